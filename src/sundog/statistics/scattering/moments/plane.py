"""The four scattering moments of periodic maps with a hand-written gradient.

With W_(j,l) = x * psi_(j,l), M = |W|, < > the mean over pixels, and F_a the discrete transforms divided by the number
of pixels, all third-layer averages are sums in Fourier space:

    < (M_a * psi)(M_b * psi)^* > = sum_k F_a(k) F_b(k)^* psi^(k)^2.

Three things make this fast. Coarse scales live on small grids (a crop in Fourier space). Each sum over k is one matrix
product over all pairs (a, b), on the half plane, inside the box where psi^ is not negligible; the map itself is row 0
of that matrix, so S3 comes with S4. The backward pass runs the same products and transforms in reverse.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sundog.statistics.scattering.moments.parts import in_parts
from sundog.statistics.wavelets.waves import Octave, make_octave, transform, transform_backward

Pairs = tuple[tuple[int, int], ...]  # of channels
SMALL = 2500  # modes of a box below which all orientations are one matrix product
MOST_KEPT = 31 * 2**20  # bytes; larger blocks always go back to the system
WHOLE = 0.9  # share of a box from which a window is not worth cutting out


@dataclass(frozen=True)
class Window:
    """Part of a box on which psi_(j3,l3)^2 matters, for some orientations l3, with weights (orientations, columns,
    rows, 2), each value twice (real, imaginary).

    even = copies (psi^2(k) + psi^2(-k)) / 2, odd = copies (psi^2(k) - psi^2(-k)) / 2, for imaginary parts, where
    ``copies`` (columns, 1, 1) counts how often a half-plane mode stands in the full plane. A window that is the whole
    box weighs one side of the products, forward = even, backward = even / copies; one that has to be cut out weighs
    both, forward = sqrt(even), backward = forward / copies.
    """

    columns: slice
    rows: slice
    whole: bool
    forward: Tensor
    backward: Tensor
    odd: Tensor
    copies: Tensor


@dataclass(frozen=True)
class Plan:
    """Everything that depends on the map size alone; ``imaginary`` says whether imaginary parts are wanted."""

    shape: tuple[int, int]
    L: int
    octaves: tuple[Octave, ...]
    windows: tuple[tuple[Window, ...], ...]
    imaginary: bool

    @property
    def block_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the third-layer blocks, one per octave j3."""
        sizes = [1 + (j + 1) * self.L for j in range(len(self.octaves))]
        return [((2,) if self.imaginary else ()) + (self.L, m, m) for m in sizes]


def make_plan(
    shape: tuple[int, int], J: int, L: int, quality: float, cut: float, imaginary: bool, like: Tensor, wavelet: str
) -> Plan:
    """Return the plan for maps of one size; ``cut`` is the share of the peak of psi^2 below which it is dropped."""
    octaves: list[Octave] = []
    windows: list[tuple[Window, ...]] = []
    for j in range(J):
        before = octaves[-1] if octaves else None
        octave, square, mirrored = make_octave(shape, j, L, quality, cut, like, wavelet, before)
        copies = octave.weights[: octave.columns, None].double().cpu()
        even, odd = (square + mirrored) / 2 * copies, (square - mirrored) / 2 * copies
        octaves.append(octave)
        if math.prod(even.shape[1:]) <= SMALL:
            windows.append((_window(even, odd, copies, 0.0, imaginary, like),))
        else:
            each = zip(even.split(1), odd.split(1))
            windows.append(tuple(_window(e, o, copies, cut, imaginary, like) for e, o in each))
    plan = Plan(shape, L, tuple(octaves), tuple(windows), imaginary)
    _keep_memory(plan, like)
    return plan


def _keep_memory(plan: Plan, like: Tensor) -> None:
    """Give back one block of twice the size of what a gradient holds, about its peak.

    The C library of Linux then keeps as much for the next call; else it hands the pages back to the system after every
    call, and every call touches them anew, which costs a fifth of its time.
    """
    held = sum(2 * plan.L * math.prod(octave.grid) for octave in plan.octaves)
    held += sum(2 * (1 + (j + 1) * plan.L) * o.columns * (o.negative + o.positive) for j, o in enumerate(plan.octaves))
    if like.device.type == "cpu":
        torch.empty(min(2 * held * like.element_size(), MOST_KEPT), dtype=torch.uint8)


def _window(even: Tensor, odd: Tensor, copies: Tensor, cut: float, imaginary: bool, like: Tensor) -> Window:
    kept, spans = (even > cut * even.max()).any(0), []
    for axis in (1, 0):
        where = kept.any(axis).nonzero()
        spans.append(slice(int(where.min()), int(where.max()) + 1))
    columns, rows = spans
    whole = len(even) > 1 or even[0, columns, rows].numel() > WHOLE * even[0].numel()
    if whole:
        columns, rows = slice(0, even.shape[1]), slice(0, even.shape[2])

    def twice(plane: Tensor) -> Tensor:
        part = plane[:, columns, rows].to(like)
        return part[..., None].expand(*part.shape, 2).contiguous()

    forward = even if whole else even.sqrt()
    odd = twice(odd) if imaginary else odd[:0].to(like)
    return Window(columns, rows, whole, twice(forward), twice(forward / copies), odd, copies[columns, :, None].to(like))


def moments(x: Tensor, plan: Plan) -> tuple[Tensor, Tensor, Tensor]:
    """Return S1 (n, J, L), S2 (n, J, L) and the flat third-layer blocks (n, c) of maps x (n, ny, nx).

    Block j3 has shape (L, m, m), or (2, L, m, m) with imaginary parts, m = 1 + (j3 + 1) L: entry (l3, a, b) is
    sum_k F_a F_b^* psi_(j3,l3)^2 where a = 0 is the map and a = 1 + j L + l is the modulus M_(j,l).
    Differentiable once.
    """
    s1, s2, blocks = pair_moments(x[:, None], ((0, 0),), plan)
    return s1[:, 0], s2[:, 0], blocks[:, 0]


def pair_moments(x: Tensor, pairs: Pairs, plan: Plan) -> tuple[Tensor, Tensor, Tensor]:
    """Return S1, S2 (n, C, J, L) of maps x (n, C, ny, nx) and the blocks (n, P, c) of P pairs of channels (a, b).

    Layout of a block as in `moments`, with the rows of channel a on the left and those of b on the right:
    sum_k F^a_m F^b_n^* psi_(j3,l3)^2. Every map is transformed once, whatever the number of pairs it is in.
    """
    sizes = [math.prod(shape) for shape in plan.block_shapes]

    def forward(part: Tensor, keep: bool) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        size = part.shape[:2]
        s1, s2, f, stacks, directions = _stacked(part.flatten(0, 1), plan, keep)
        blocks = [_block(stack, size[1], pairs, windows, plan.imaginary).flatten(2)
                  for stack, windows in zip(stacks, plan.windows)]
        return (s1.unflatten(0, size), s2.unflatten(0, size), torch.cat(blocks, 2)), [f, *directions, *stacks]

    def backward(saved: tuple[Tensor, ...], g1: Tensor, g2: Tensor, gb: Tensor) -> Tensor:
        def add(out: Tensor, stack: Tensor, block: Tensor, j: int) -> None:
            _add_block_backward(out, stack, block, pairs, plan.windows[j], plan.imaginary)

        blocks = [block.unflatten(2, shape) for block, shape in zip(gb.split(sizes, 2), plan.block_shapes)]
        moved = _stacked_backward(saved, (g1.flatten(0, 1), g2.flatten(0, 1)), blocks, plan, add)
        return moved.unflatten(0, g1.shape[:2])

    s1, s2, blocks = in_parts(x, 1, forward, backward)
    return s1, s2, blocks


def _stacked(x: Tensor, plan: Plan, keep: bool) -> tuple[Tensor, Tensor, Tensor, list[Tensor], list[Tensor]]:
    """S1, S2, the half plane of maps x (n, ny, nx), stacks, and directions of W if ``keep``.

    The stack of octave j3, (n, 1 + (j3 + 1) L, columns, rows, 2) real and imaginary, holds the box of the map and of
    all moduli up to this octave, rows in ascending order of ky.
    """
    s1, s2, f, spectra, directions = transform(x, plan.octaves, keep)
    stacks: list[Tensor] = []
    for j, (octave, spectrum) in enumerate(zip(plan.octaves, spectra)):
        negative, positive, columns, known = octave.negative, octave.positive, octave.columns, 1 + j * plan.L
        stack = f.new_empty(len(f), known + plan.L, columns, negative + positive)
        if j == 0:
            _place(stack[:, :1], f[:, None, :columns], negative)
        else:
            stack[:, :known] = stacks[-1][(slice(None), slice(None), *_inside(plan.octaves, j))]
        _place(stack[:, known:], spectrum, negative)
        stacks.append(stack)
    return s1, s2, f, [torch.view_as_real(stack) for stack in stacks], directions


def _place(box: Tensor, plane: Tensor, negative: int) -> None:
    """Write the rows of a plane, in the order of fftfreq, into a box whose rows ascend."""
    box[..., :negative] = plane[..., plane.shape[-1] - negative :]
    box[..., negative:] = plane[..., : box.shape[-1] - negative]


def _inside(octaves: tuple[Octave, ...], j: int) -> tuple[slice, slice]:
    """Where the box of octave j lies in that of octave j - 1."""
    start = octaves[j - 1].negative - octaves[j].negative
    return slice(0, octaves[j].columns), slice(start, start + octaves[j].negative + octaves[j].positive)


def _picked(stack: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """Left and right side (n, orientations or 1, m, modes) of the products of a stack."""
    if window.whole:
        return (stack[:, None] * window.forward[:, None]).flatten(3), stack.flatten(2)[:, None]
    both = (stack[:, :, window.columns, window.rows] * window.forward).flatten(2)[:, None]
    return both, both


def _picked_odd(stack: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """The same for imaginary parts: i times the stack, weighted, and the stack."""
    plain = stack[:, :, window.columns, window.rows]
    turned = _turned_by_i(plain)[:, None] * window.odd[:, None]
    return turned.flatten(3), plain.flatten(2)[:, None]


def _turned_by_i(stack: Tensor) -> Tensor:
    """(Re, Im) -> (Im, -Re) of a real-viewed stack; products with it are imaginary parts."""
    return torch.stack([stack[..., 1], -stack[..., 0]], -1)


def _block(stack: Tensor, channels: int, pairs: Pairs, windows: tuple[Window, ...], imaginary: bool) -> Tensor:
    """(n, P, [2,] L, m, m) of a stack (n C, m, columns, rows, 2)."""

    def products(left: Tensor, right: Tensor) -> Tensor:
        found = [torch.bmm(left[a::channels].flatten(1, 2), right[b::channels, 0].mT) for a, b in pairs]
        return torch.stack(found, 1).unflatten(2, left.shape[1:3])

    even = torch.cat([products(*_picked(stack, window)) for window in windows], 2)
    if not imaginary:
        return even
    odd = torch.cat([products(*_picked_odd(stack, window)) for window in windows], 2)
    return torch.stack([even, odd], 2)


def _add_block_backward(
    out: Tensor, stack: Tensor, grad: Tensor, pairs: Pairs, windows: tuple[Window, ...], imaginary: bool
) -> None:
    """Add the gradient of a block with respect to the stack, divided by ``copies``, which is what `maps_of` wants."""
    channels, first = len(stack) // len(grad), 0
    for window in windows:
        mine = slice(first, first + len(window.forward))
        first = mine.stop
        right = stack.flatten(2) if window.whole else _picked(stack, window)[1][:, 0]
        even = grad[:, :, 0, mine] if imaginary else grad[:, :, mine]
        for c, partner, weights in _terms(even, pairs, 1):
            moved = torch.bmm(weights.flatten(1, 2), right[partner::channels]).unflatten(1, (-1, stack.shape[1]))
            place = out[c::channels, :, window.columns, window.rows]
            for one, share in zip(moved.unbind(1), window.backward):
                place.addcmul_(one.view(place.shape), share)
        if imaginary:
            turned = _picked_odd(stack, window)[0]
            for c, partner, weights in _terms(grad[:, :, 1, mine], pairs, -1):
                place = out[c::channels, :, window.columns, window.rows]
                place += (weights @ turned[partner::channels]).sum(1).view(place.shape) / window.copies


def _terms(grad: Tensor, pairs: Pairs, sign: int) -> Iterator[tuple[int, int, Tensor]]:
    """Channel, the channel whose rows it is multiplied with, and the weights (n, o, m, m), of the gradient (n, P, ...).

    ``sign`` -1 where a product changes sign when its sides are swapped.
    """
    for (a, b), g in zip(pairs, grad.unbind(1)):
        if a == b:
            yield a, a, g.mT.add(g, alpha=sign)
        else:
            yield a, b, sign * g
            yield b, a, g.mT


def _stacked_backward(
    saved: tuple[Tensor, ...], grads: tuple[Tensor, Tensor], blocks: list[Tensor], plan: Plan, add: Any
) -> Tensor:
    """Gradient for the maps of `_stacked`, coarse to fine: ``add(out, stack, block, j)`` adds that of one block."""
    J, f = len(plan.octaves), saved[0]
    directions, stacks = saved[1 : 1 + J], saved[1 + J :]
    grad_spectra: list[Tensor] = []
    out = coarser = f
    for j in reversed(range(J)):
        octave, known = plan.octaves[j], 1 + j * plan.L
        out = torch.zeros_like(stacks[j])
        if j + 1 < J:
            out[(slice(None), slice(None), *_inside(plan.octaves, j + 1))] = coarser[:, : known + plan.L]
        add(out, stacks[j], blocks[j], j)
        box = torch.view_as_complex(out)
        grad_spectra.append(_unplaced(box[:, known:], octave.grid[0], octave.negative))
        coarser = out
    grad_f = torch.zeros_like(f)
    grad_f[:, : plan.octaves[0].columns] = _unplaced(box[:, :1], plan.shape[0], plan.octaves[0].negative)[:, 0]
    return transform_backward(f, directions, plan.octaves, grads, grad_f, grad_spectra[::-1], plan.shape[1])


def _unplaced(box: Tensor, rows: int, negative: int) -> Tensor:
    """Adjoint of `_place`: a plane of so many rows, zero outside the box."""
    plane = box.new_zeros(*box.shape[:-1], rows)
    plane[..., rows - negative :] = box[..., :negative]
    plane[..., : box.shape[-1] - negative] = box[..., negative:]
    return plane
