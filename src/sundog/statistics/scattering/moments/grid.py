"""The four scattering moments on periodic grids of any dimension, with a hand-written gradient.

The same sums as in `moments.plane`, which is for maps and faster there: every third-layer average is a sum over
Fourier modes, < (M_a * psi)(M_b * psi)^* > = sum_k F_a(k) F_b(k)^* psi^(k)^2, taken on half of the modes, only where
psi^ is not negligible, and for one psi over all pairs (a, b) in one matrix product. Modes are lists of places here, not
boxes, so that lines and cubes share the code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from sundog.statistics.scattering.moments.parts import in_parts
from sundog.statistics.wavelets.filters import REACH, SIGMA, XI, frequencies, grid_size
from sundog.statistics.wavelets.waves import TINY

POINTS = 16384  # of all fields that are transformed together on a CPU


@dataclass(frozen=True)
class ModeWindow:
    """Where psi_(j3,l3)^2 matters: places in the box of its octave, and weights as in `moments.plane.Window`."""

    modes: Tensor
    forward: Tensor
    backward: Tensor
    odd: Tensor


@dataclass(frozen=True)
class GridScale:
    """One octave: its grid, its filters (L, *grid) there, and where its box stands in the spectra it needs.

    ``crop``: places of the grid's frequencies in the full transform of the field, None where the grid is the whole one.
    ``places``: lists of the box's modes in the half spectrum of the field and of the moduli of octaves 0 ... j.
    """

    grid: tuple[int, ...]
    filters: Tensor
    crop: Tensor | None
    places: tuple[Tensor, ...]
    windows: tuple[ModeWindow, ...]


@dataclass(frozen=True)
class GridPlan:
    """Everything that depends on the grid alone."""

    shape: tuple[int, ...]
    L: int
    scales: tuple[GridScale, ...]
    imaginary: bool


def round_morlet(axes: list[Tensor], j: int, direction: tuple[float, ...]) -> Tensor:
    """Return the Fourier transform of a Morlet wavelet with a round envelope on a grid of any dimension d, float64.

    psi^(k) = sum_m G(k + 2 pi m - xi n) - beta G(k + 2 pi m),  G(q) = exp(-sigma^2 |q|^2 / 2), with sigma = 0.8 2^j,
    xi = (3 pi / 4) 2^-j, n the unit vector ``direction``, and beta such that the mean vanishes: `wavelets.morlet` with
    slant 1 in two dimensions.

    Parameters
    ----------
    axes : frequencies of each axis in radians per pixel, one dimension each.

    Example
    -------
    >>> psi = round_morlet([frequencies(64)], 1, (1.0,))
    >>> float(psi[0]), int(psi.argmax())
    (0.0, 12)
    """
    sigma, xi = SIGMA * 2.0**j, XI / 2.0**j
    aliases = int((xi + REACH / sigma + math.pi) / (2 * math.pi))
    turns = 2 * math.pi * torch.arange(-aliases, aliases + 1, dtype=torch.float64)

    def periodic(axes: list[Tensor], centre: tuple[float, ...]) -> Tensor:
        parts = [torch.exp(-0.5 * sigma**2 * (k[:, None] + turns - c) ** 2).sum(1) for k, c in zip(axes, centre)]
        return reduce(lambda a, b: a[..., None] * b, parts)

    zero, still = [torch.zeros(1, dtype=torch.float64)] * len(axes), (0.0,) * len(axes)
    centre = tuple(xi * n for n in direction)
    beta = periodic(zero, centre) / periodic(zero, still)
    psi = periodic(axes, centre) - beta * periodic(axes, still)
    psi[(0,) * len(axes)] = 0.0
    return psi


def grid_filters(shape: tuple[int, ...], j: int, directions: list[tuple[float, ...]], quality: float) -> Tensor:
    """Return the wavelets of one octave (L, *grid), float64, on the grid that carries it."""
    grid = [grid_size(n, j, quality) for n in shape]
    axes = [frequencies(n, m) for n, m in zip(shape, grid)]
    return torch.stack([round_morlet(axes, j, direction) for direction in directions])


def make_grid_plan(
    shape: tuple[int, ...], directions: list[tuple[float, ...]], J: int, quality: float, cut: float,
    imaginary: bool, like: Tensor,
) -> GridPlan:  # fmt: skip
    """Return the plan for fields of one shape; ``cut`` is the share of the peak of psi^2 below which it is dropped."""
    scales: list[GridScale] = []
    for j in range(J):
        psi = grid_filters(shape, j, directions, quality)
        grids = [shape, *[s.grid for s in scales], tuple(psi.shape[1:])]
        scales.append(_scale(shape, grids, psi, cut, imaginary, like))
    return GridPlan(shape, len(directions), tuple(scales), imaginary)


def _scale(
    shape: tuple[int, ...], grids: list[tuple[int, ...]], psi: Tensor, cut: float, imaginary: bool, like: Tensor
) -> GridScale:
    grid = grids[-1]
    dims = tuple(range(1, psi.ndim))
    square = psi**2
    mirrored = square.flip(dims).roll((1,) * len(dims), dims)
    whole = [np.fft.fftfreq(m, d=1 / m).round().astype(int) for m in grid]
    # Half of the modes, without the Nyquist modes of a small grid: those are aliases of modes that finer grids hold.
    kept = [np.ones(m, bool) if m == n else 2 * abs(k) < m for k, m, n in zip(whole, grid, shape)]
    half = np.arange(grid[-1]) <= grid[-1] // 2
    kept[-1] = kept[-1] & half
    inside = torch.from_numpy(reduce(lambda a, b: a[..., None] & b, kept))
    needed = (square.amax(0) > cut * square.max()) | (mirrored.amax(0) > cut * square.max())
    box = (inside & needed).nonzero().numpy()
    vectors = np.column_stack([abs(k[i]) if a == len(grid) - 1 else k[i]
                               for a, (k, i) in enumerate(zip(whole, box.T))])  # fmt: skip
    copies = np.where((vectors[:, -1] == 0) | (2 * vectors[:, -1] == shape[-1]), 1.0, 2.0)
    where = tuple(torch.from_numpy(i) for i in box.T)
    windows = tuple(
        _window(s[where], m[where], torch.from_numpy(copies), cut, imaginary, like) for s, m in zip(square, mirrored)
    )
    places = tuple(torch.from_numpy(_half_places(vectors, g)).to(like.device) for g in grids)
    crop = None if grid == shape else torch.from_numpy(_full_places(whole, shape)).to(like.device)
    return GridScale(grid, psi.to(like), crop, places, windows)


def _half_places(vectors: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Flat places of whole wave vectors in the half spectrum of a grid."""
    return np.ravel_multi_index(tuple(vectors.T), (*grid[:-1], grid[-1] // 2 + 1), mode="wrap")


def _full_places(whole: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Flat places, in the full transform of ``shape``, of the frequencies of a smaller grid."""
    return np.ravel_multi_index(tuple(np.meshgrid(*whole, indexing="ij")), shape, mode="wrap").ravel()


def _window(
    square: Tensor, mirrored: Tensor, copies: Tensor, cut: float, imaginary: bool, like: Tensor
) -> ModeWindow:
    even, odd = (square + mirrored) / 2 * copies, (square - mirrored) / 2 * copies
    modes = (even > cut * even.max()).nonzero()[:, 0]
    root = even[modes].sqrt()

    def twice(values: Tensor) -> Tensor:
        return values.to(like)[:, None].expand(-1, 2).contiguous()

    odd = twice(odd[modes]) if imaginary else odd[:0].to(like)
    return ModeWindow(modes.to(like.device), twice(root), twice(root / copies[modes]), odd)


def grid_moments(x: Tensor, plan: GridPlan) -> tuple[Tensor, Tensor, Tensor]:
    """Return S1 (n, J, L), S2 (n, J, L) and the third-layer blocks (n, c) of fields x (n, *shape).

    Layout of the blocks as in `moments.plane.moments`. Differentiable once.
    """
    s1, s2, blocks = in_parts(
        x, max(1, POINTS // math.prod(plan.shape)),  # so many fields stay in cache together
        lambda part, keep: _forward(part, plan), lambda saved, g1, g2, gb: _backward(saved, g1, g2, gb, plan),
    )  # fmt: skip
    return s1, s2, blocks


def _forward(x: Tensor, plan: GridPlan) -> tuple[tuple[Tensor, Tensor, Tensor], list[Tensor]]:
    dims = tuple(range(-len(plan.shape), 0))
    full = torch.fft.fftn(x, dim=dims, norm="forward")
    half = full[..., : plan.shape[-1] // 2 + 1].flatten(1)[:, None]
    s1, s2, blocks, waves, spectra = [], [], [], [], [half]
    for scale in plan.scales:
        small = full if scale.crop is None else full.flatten(1)[:, scale.crop].view(-1, *scale.grid)
        wave = torch.fft.ifftn(small[:, None] * scale.filters, dim=dims, norm="forward")
        modulus = wave.abs()
        s2.append(modulus.square().mean(dims))
        spectra.append(torch.fft.rfftn(modulus, dim=dims, norm="forward").flatten(2))
        s1.append(spectra[-1][..., 0].real)
        waves.append(wave)
        blocks.append(_block(_stack(spectra, scale), scale, plan.imaginary).flatten(1))
    return (torch.stack(s1, 1), torch.stack(s2, 1), torch.cat(blocks, 1)), [*waves, *spectra]


def _stack(spectra: list[Tensor], scale: GridScale) -> Tensor:
    """The box of the field and of all moduli up to this octave, (n, 1 + (j3 + 1) L, modes) complex."""
    return torch.cat([f.index_select(2, place) for f, place in zip(spectra, scale.places)], 1)


def _pick(stack: Tensor, window: ModeWindow, weights: Tensor) -> Tensor:
    return (torch.view_as_real(stack.index_select(2, window.modes)) * weights).flatten(2)


def _turned(rows: Tensor) -> Tensor:
    """(Re, Im) -> (Im, -Re) of flattened pairs; products with it are imaginary parts."""
    pairs = rows.unflatten(2, (-1, 2))
    return torch.stack([pairs[..., 1], -pairs[..., 0]], -1).flatten(2)


def _block(stack: Tensor, scale: GridScale, imaginary: bool) -> Tensor:
    even, odd = [], []
    for window in scale.windows:
        rows = _pick(stack, window, window.forward)
        even.append(rows @ rows.mT)
        if imaginary:
            plain = torch.view_as_real(stack.index_select(2, window.modes)).flatten(2)
            odd.append((_turned(plain) * window.odd.flatten()) @ plain.mT)
    real = torch.stack(even, 1)
    return torch.stack([real, torch.stack(odd, 1)], 1) if imaginary else real


def _block_backward(stack: Tensor, grad: Tensor, scale: GridScale, imaginary: bool) -> Tensor:
    """Gradient of a block with respect to the stack, divided by the copies of each mode: what irfftn wants."""
    out = torch.zeros_like(stack)
    even = grad[:, 0] if imaginary else grad
    for ell, window in enumerate(scale.windows):
        moved = (even[:, ell] + even[:, ell].mT) @ _pick(stack, window, window.forward)
        moved = moved.unflatten(2, (-1, 2)) * window.backward
        if imaginary:
            plain = torch.view_as_real(stack.index_select(2, window.modes)).flatten(2)
            # odd = copies (psi^2(k) - psi^2(-k)) / 2; backward / forward is 1 / copies.
            weights = window.odd * window.backward / window.forward
            turned = _turned(plain) * weights.flatten()
            moved += ((grad[:, 1, ell].mT - grad[:, 1, ell]) @ turned).unflatten(2, (-1, 2))
        _add_at(out, window.modes, torch.view_as_complex(moved.contiguous()))
    return out


def _add_at(out: Tensor, places: Tensor, values: Tensor) -> None:
    """out[..., places] += values for places that are all different."""
    out.index_copy_(-1, places, out.index_select(-1, places) + values)


def _backward(saved: tuple[Tensor, ...], g1: Tensor, g2: Tensor, gb: Tensor, plan: GridPlan) -> Tensor:
    J, dims = len(plan.scales), tuple(range(-len(plan.shape), 0))
    waves, spectra = saved[:J], list(saved[J:])
    grads = [torch.zeros_like(s) for s in spectra]
    start = 0
    for j, scale in enumerate(plan.scales):
        m = 1 + (j + 1) * plan.L
        shape = (2, plan.L, m, m) if plan.imaginary else (plan.L, m, m)
        block = gb[:, start : start + math.prod(shape)].view(-1, *shape)
        start += math.prod(shape)
        moved = _block_backward(_stack(spectra[: j + 2], scale), block, scale, plan.imaginary)
        for grad, place, part in zip(grads, scale.places, moved.split([1, *[plan.L] * (j + 1)], 1)):
            _add_at(grad, place, part)
    total = waves[0].new_zeros(len(gb), math.prod(plan.shape))
    for j, scale in enumerate(plan.scales):
        grads[j + 1][..., 0] += g1[:, j]
        moved = _wave_backward(waves[j], grads[j + 1], g2[:, j], scale).flatten(1)
        if scale.crop is None:
            total += moved
        else:
            _add_at(total, scale.crop, moved)
    half = grads[0].view(-1, *plan.shape[:-1], plan.shape[-1] // 2 + 1)
    there = torch.fft.ifftn(total.view(-1, *plan.shape), dim=dims).real
    return there + torch.fft.irfftn(half, s=plan.shape, dim=dims)


def _wave_backward(wave: Tensor, grad_spectrum: Tensor, g2: Tensor, scale: GridScale) -> Tensor:
    """Gradient with respect to the cropped transform of the field, through M = |W| and S2 = <|W|^2>."""
    dims = tuple(range(-len(scale.grid), 0))
    half = grad_spectrum.view(*grad_spectrum.shape[:2], *scale.grid[:-1], scale.grid[-1] // 2 + 1)
    modulus = wave.abs()
    factor = torch.fft.irfftn(half, s=scale.grid, dim=dims).div_(modulus.clamp_min_(TINY[modulus.dtype]))
    factor += (2.0 / math.prod(scale.grid)) * g2[(...,) + (None,) * len(dims)]
    grad = torch.fft.fftn(wave * factor, dim=dims)
    return (grad * scale.filters).sum(1)
