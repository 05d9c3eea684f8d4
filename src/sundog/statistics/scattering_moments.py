"""The four scattering moments of periodic maps with a hand-written gradient.

With W_(j,l) = x * psi_(j,l), M = |W|, < > the mean over pixels, and F_a the discrete transforms divided by the number
of pixels, all third-layer averages are sums in Fourier space:

    < (M_a * psi)(M_b * psi)^* > = sum_k F_a(k) F_b(k)^* psi^(k)^2.

Three things make this fast. Coarse scales live on small grids (a crop in Fourier space). Each sum over k is one matrix
product over all pairs (a, b), on the half plane, inside the box where psi^ is not negligible; the map itself is row 0
of that matrix, so S3 comes with S4. The backward pass runs the same products and transforms in reverse and stores W
only, with the gradient of the modulus written as W / max(|W|, tiny), finite everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sundog.statistics.wavelets import frequencies, grid_size, octave_bank

TINY = {torch.float32: 1e-20, torch.float64: 1e-150}


@dataclass(frozen=True)
class Window:
    """Part of a box on which psi_(j3,l3)^2 matters: slices, and weights with each value twice (real, imaginary).

    even = copies (psi^2(k) + psi^2(-k)) / 2 is split as square roots: forward = sqrt(even),
    backward = forward / copies; odd = copies (psi^2(k) - psi^2(-k)) / 2, for imaginary parts. ``copies`` counts how
    often a half-plane mode stands in the full plane.
    """

    rows: slice
    columns: slice
    forward: Tensor
    backward: Tensor
    odd: Tensor


@dataclass(frozen=True)
class Scale:
    """One octave: its grid, its filters (L, my, mx, 2) there, and its box of the half plane.

    The box holds ``negative`` rows of negative and ``positive`` rows of non-negative ky, and ``columns`` kx.
    """

    grid: tuple[int, int]
    filters: Tensor
    negative: int
    positive: int
    columns: int
    copies: Tensor
    windows: tuple[Window, ...]


@dataclass(frozen=True)
class Plan:
    """Everything that depends on the map size alone; ``imaginary`` says whether imaginary parts are wanted."""

    shape: tuple[int, int]
    L: int
    scales: tuple[Scale, ...]
    imaginary: bool


def make_plan(
    shape: tuple[int, int], J: int, L: int, quality: float, cut: float, imaginary: bool, like: Tensor, wavelet: str
) -> Plan:
    """Return the plan for maps of one size; ``cut`` is the share of the peak of psi^2 below which it is dropped."""
    scales = []
    for j in range(J):
        grid = (grid_size(shape[0], j, quality), grid_size(shape[1], j, quality))
        rows, columns = frequencies(shape[0], grid[0]), frequencies(shape[1], grid[1])
        psi = octave_bank(wavelet, rows, columns, j, L)
        scales.append(_scale(shape, grid, psi, cut, imaginary, like))
    return Plan(shape, L, tuple(scales), imaginary)


def _scale(
    shape: tuple[int, int], grid: tuple[int, int], psi: Tensor, cut: float, imaginary: bool, like: Tensor
) -> Scale:
    (my, mx), square = grid, psi**2
    mirrored = square.flip((-2, -1)).roll((1, 1), (-2, -1))
    needed = (square.amax(0) > cut * square.max()) | (mirrored.amax(0) > cut * square.max())
    # On a small grid the Nyquist modes are aliases of modes that finer grids hold apart: leave them out.
    top = [n // 2 if m == n else (m - 1) // 2 for m, n in zip(grid, shape)]
    ky = (frequencies(my) * my / (2 * math.pi)).round().abs()
    reach = min(int(ky[needed.any(1)].max()), top[0])
    positive = min(reach + 1, (my + 1) // 2)
    negative = min(reach, my // 2)
    columns = min(int(needed[:, : mx // 2 + 1].any(0).nonzero().max()), top[1]) + 1
    copies = torch.full((columns,), 2.0, dtype=torch.float64)
    copies[0] = 1.0
    if mx % 2 == 0 and columns == mx // 2 + 1:
        copies[-1] = 1.0

    def boxed(plane: Tensor) -> Tensor:
        return torch.cat([plane[..., my - negative :, :columns], plane[..., :positive, :columns]], -2)

    windows = [_window(e, o, copies, cut, imaginary, like) for e, o in zip(boxed(square), boxed(mirrored))]
    filters = psi.to(like)[..., None].expand(*psi.shape, 2).contiguous()
    return Scale(grid, filters, negative, positive, columns, copies.to(like)[:, None], tuple(windows))


def _window(square: Tensor, mirrored: Tensor, copies: Tensor, cut: float, imaginary: bool, like: Tensor) -> Window:
    even, odd = (square + mirrored) / 2 * copies, (square - mirrored) / 2 * copies
    kept = even > cut * even.max()
    spans = []
    for axis in (1, 0):
        where = kept.any(axis).nonzero()
        spans.append(slice(int(where.min()), int(where.max()) + 1))
    rows, columns = spans

    def twice(plane: Tensor) -> Tensor:
        part = plane[rows, columns].to(like)
        return part[..., None].expand(*part.shape, 2).contiguous()

    root = even.sqrt()
    pair = (twice(root), twice(root / copies))
    return Window(rows, columns, *pair, twice(odd) if imaginary else odd[:0])


def moments(x: Tensor, plan: Plan) -> tuple[Tensor, Tensor, Tensor]:
    """Return S1 (n, J, L), S2 (n, J, L) and the flat third-layer blocks (n, c) of maps x (n, ny, nx).

    Block j3 has shape (L, m, m), or (2, L, m, m) with imaginary parts, m = 1 + (j3 + 1) L: entry (l3, a, b) is
    sum_k F_a F_b^* psi_(j3,l3)^2 where a = 0 is the map and a = 1 + j L + l is the modulus M_(j,l).
    Differentiable once.
    """
    return _Moments.apply(x, plan)  # type: ignore[no-any-return]


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, plan: Plan) -> tuple[Tensor, Tensor, Tensor]:
        # Maps are processed one by one on a CPU (their pieces stay in cache), all at once elsewhere.
        parts = x.split(1) if x.device.type == "cpu" else [x]
        keep = x.requires_grad
        outs, saved = [], []
        for part in parts:
            out, memory = _forward(part, plan, keep)
            outs.append(out)
            saved.append(memory)
        ctx.plan, ctx.counts = plan, [len(part) for part in parts]
        if keep:
            ctx.save_for_backward(*[tensor for memory in saved for tensor in memory])
        s1, s2, blocks = (torch.cat([out[i] for out in outs]) for i in range(3))
        return s1, s2, blocks

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, g1: Tensor, g2: Tensor, gb: Tensor) -> tuple[Tensor, None]:
        saved, each = ctx.saved_tensors, len(ctx.saved_tensors) // len(ctx.counts)
        grads = []
        pieces = zip(g1.split(ctx.counts), g2.split(ctx.counts), gb.split(ctx.counts))
        for i, (d1, d2, db) in enumerate(pieces):
            grads.append(_backward(saved[i * each : (i + 1) * each], d1, d2, db, ctx.plan))
        return torch.cat(grads), None


def _forward(x: Tensor, plan: Plan, keep: bool) -> tuple[tuple[Tensor, Tensor, Tensor], list[Tensor]]:
    s1, s2, fx, waves, spectra = transform(x, plan, keep)
    half = fx[:, None, :, : x.shape[-1] // 2 + 1]
    blocks = [
        _block(stacked(half, spectra[: j + 1], scale), scale, plan.imaginary) for j, scale in enumerate(plan.scales)
    ]
    return (s1, s2, torch.cat([b.flatten(1) for b in blocks], 1)), [fx, *waves, *spectra] if keep else []


def transform(x: Tensor, plan: Plan, keep: bool) -> tuple[Tensor, Tensor, Tensor, list[Tensor], list[Tensor]]:
    """S1 and S2 (n, J, L), the transform of maps x (n, ny, nx), the W_j (if ``keep``) and the transforms of the M_j."""
    fx = torch.fft.fft2(x.to(torch.complex64 if x.dtype == torch.float32 else torch.complex128), norm="forward")
    waves, spectra, s1, s2 = [], [], [], []
    for scale in plan.scales:
        small = torch.view_as_real(crop_frequencies(fx, scale.grid))
        wave = torch.fft.ifft2(torch.view_as_complex(small[:, None] * scale.filters), norm="forward")
        parts = torch.view_as_real(wave).square()
        power = parts[..., 0] + parts[..., 1]
        s2.append(power.mean((-2, -1)))
        spectrum = torch.fft.rfft2(power.sqrt_(), norm="forward")
        s1.append(spectrum[..., 0, 0].real)
        spectra.append(spectrum)
        if keep:
            waves.append(wave)
    return torch.stack(s1, 1), torch.stack(s2, 1), fx, waves, spectra


def crop_frequencies(full: Tensor, grid: tuple[int, int]) -> Tensor:
    """Low frequencies of a full plane (n, ny, nx), in the order of a smaller grid."""
    (ny, nx), (my, mx) = full.shape[-2:], grid
    if my < ny:
        full = torch.cat([full[:, : (my + 1) // 2], full[:, ny - my // 2 :]], 1)
    if mx < nx:
        full = torch.cat([full[..., : (mx + 1) // 2], full[..., nx - mx // 2 :]], 2)
    return full


def _add_crop(full: Tensor, small: Tensor) -> None:
    """Adjoint of `crop_frequencies`: full += small, in place."""
    (ny, nx), (my, mx) = full.shape[-2:], small.shape[-2:]
    for rows, to_rows in ((slice(0, (my + 1) // 2), 0), (slice((my + 1) // 2, my), ny - my)):
        for columns, to_columns in ((slice(0, (mx + 1) // 2), 0), (slice((mx + 1) // 2, mx), nx - mx)):
            part = small[:, rows, columns]
            r, c = rows.start + to_rows, columns.start + to_columns
            full[:, r : r + part.shape[1], c : c + part.shape[2]] += part


def stacked(half: Tensor, spectra: list[Tensor], scale: Scale) -> Tensor:
    """The box of the map and of all moduli up to this scale, (n, 1 + (j3 + 1) L, rows, columns) complex."""
    return torch.cat(
        [
            torch.cat(
                [f[..., f.shape[-2] - scale.negative :, : scale.columns], f[..., : scale.positive, : scale.columns]], -2
            )
            for f in (half, *spectra)
        ],
        1,
    )


def picked(stack: Tensor, window: Window, weights: Tensor) -> Tensor:
    """Window of a real-viewed stack times weights, flattened to (n, m, modes)."""
    return (stack[:, :, window.rows, window.columns] * weights).flatten(2)


def turned_by_i(stack: Tensor) -> Tensor:
    """(Re, Im) -> (Im, -Re) of a real-viewed stack; products with it are imaginary parts."""
    return torch.stack([stack[..., 1], -stack[..., 0]], -1)


def _block(stack: Tensor, scale: Scale, imaginary: bool) -> Tensor:
    real = torch.view_as_real(stack)
    even = []
    for window in scale.windows:
        rows = picked(real, window, window.forward)
        even.append(rows @ rows.mT)
    if not imaginary:
        return torch.stack(even, 1)
    turned, odd = turned_by_i(real), []
    for window in scale.windows:
        odd.append(picked(turned, window, window.odd) @ real[:, :, window.rows, window.columns].flatten(2).mT)
    return torch.stack([torch.stack(even, 1), torch.stack(odd, 1)], 1)


def _block_backward(stack: Tensor, grad: Tensor, scale: Scale, imaginary: bool) -> Tensor:
    """Gradient of a block with respect to the stack, divided by ``copies``: what irfft2 wants."""
    real = torch.view_as_real(stack)
    out = torch.zeros_like(real)
    even = grad[:, 0] if imaginary else grad
    for ell, window in enumerate(scale.windows):
        rows = picked(real, window, window.forward)
        moved = (even[:, ell] + even[:, ell].mT) @ rows
        out[:, :, window.rows, window.columns].addcmul_(
            moved.view(*moved.shape[:2], *window.forward.shape), window.backward
        )
    if imaginary:
        turned = turned_by_i(real)
        for ell, window in enumerate(scale.windows):
            moved = (grad[:, 1, ell].mT - grad[:, 1, ell]) @ picked(turned, window, window.odd)
            moved = moved.view(*moved.shape[:2], *window.odd.shape) / scale.copies[window.columns]
            out[:, :, window.rows, window.columns] += moved
    return torch.view_as_complex(out)


def _backward(saved: tuple[Tensor, ...], g1: Tensor, g2: Tensor, gb: Tensor, plan: Plan) -> Tensor:
    J = len(plan.scales)
    fx, waves, spectra = saved[0], saved[1 : 1 + J], list(saved[1 + J :])
    half = fx[:, None, :, : plan.shape[1] // 2 + 1]
    grad_half, grad_spectra = torch.zeros_like(half), [torch.zeros_like(s) for s in spectra]
    start = 0
    for j, scale in enumerate(plan.scales):
        m = 1 + (j + 1) * plan.L
        shape = (2, plan.L, m, m) if plan.imaginary else (plan.L, m, m)
        block = gb[:, start : start + math.prod(shape)].view(-1, *shape)
        start += math.prod(shape)
        moved = _block_backward(stacked(half, spectra[: j + 1], scale), block, scale, plan.imaginary)
        unstacked(moved, [grad_half, *grad_spectra[: j + 1]], scale, plan.L)
    return transform_backward(waves, grad_half[:, 0], grad_spectra, (g1, g2), plan)


def transform_backward(
    waves: Sequence[Tensor], grad_half: Tensor, grad_spectra: list[Tensor], grads: tuple[Tensor, Tensor], plan: Plan
) -> Tensor:
    """Gradient for the maps from those for their half planes, for the transforms of the M_j, and for S1 and S2."""
    ny, nx = plan.shape
    grad_full = grad_half.new_zeros(len(grad_half), ny, nx)
    for j, scale in enumerate(plan.scales):
        grad_spectra[j][..., 0, 0] += grads[0][:, j]
        _add_crop(grad_full, _wave_backward(waves[j], grad_spectra[j], grads[1][:, j], scale))
    # Real maps: the gradient of Re-valued sums over the full and over the half plane.
    return torch.fft.ifft2(grad_full).real + torch.fft.irfft2(grad_half, s=plan.shape)


def unstacked(moved: Tensor, grads: list[Tensor], scale: Scale, L: int) -> None:
    """Adjoint of `stacked`, added in place to the gradient of each half plane."""
    for grad, part in zip(grads, moved.split([1, *[L] * (len(grads) - 1)], 1)):
        grad[..., grad.shape[-2] - scale.negative :, : scale.columns] += part[..., : scale.negative, :]
        grad[..., : scale.positive, : scale.columns] += part[..., scale.negative :, :]


def _wave_backward(wave: Tensor, grad_spectrum: Tensor, g2: Tensor, scale: Scale) -> Tensor:
    """Gradient with respect to the cropped transform of the map, through M = |W| and S2 = <|W|^2>."""
    parts = torch.view_as_real(wave).square()
    modulus = (parts[..., 0] + parts[..., 1]).sqrt_().clamp_min_(TINY[parts.dtype])
    factor = torch.fft.irfft2(grad_spectrum, s=scale.grid).div_(modulus)
    factor += (2.0 / math.prod(scale.grid)) * g2[..., None, None]
    grad = torch.view_as_real(torch.fft.fft2(wave * factor))
    out = grad[:, 0] * scale.filters[0]
    for ell in range(1, len(scale.filters)):
        out.addcmul_(grad[:, ell], scale.filters[ell])
    return torch.view_as_complex(out)
