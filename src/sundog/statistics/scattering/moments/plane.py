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
from sundog.statistics.wavelets.waves import Octave, make_octave, nearly, transform, transform_backward

Pairs = tuple[tuple[int, int], ...]  # of channels
ALONE: Pairs = ((0, 0),)
THIN = 16  # rows below which a product with many rows on the left is faster the other way round
PIECE = 2**18  # numbers that stay in the second cache
SMALL = 2500  # modes of a box below which all orientations are one matrix product
MOST_KEPT = 31 * 2**20  # bytes; larger blocks always go back to the system
WHOLE = 0.6  # mean share of a box from which windows are not worth cutting out


@dataclass(frozen=True)
class Window:
    """Part of a box on which psi_(j3,l3)^2 matters, for some orientations l3, with weights (orientations, columns,
    rows, 2), each value twice (real, imaginary).

    even = copies (psi^2(k) + psi^2(-k)) / 2, odd = copies (psi^2(k) - psi^2(-k)) / 2, for imaginary parts, where
    ``copies`` (columns, 1, 1) counts how often a half-plane mode stands in the full plane. A window of ``whole`` rows
    is for all orientations and weighs one side of the products, forward = even, backward = even / copies;
    one that has to be cut out is for one and weighs both sides, forward = sqrt(even), backward = forward / copies.
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
        copies = octave.weights[:, None].double().cpu()
        even, odd = (square + mirrored) / 2 * copies, (square - mirrored) / 2 * copies
        octaves.append(octave)
        boxes = [_box(e, cut) for e in even]
        share = sum(e[box].numel() for e, box in zip(even, boxes)) / even.numel()
        if share > WHOLE or math.prod(even.shape[1:]) <= SMALL:
            rows = slice(0, even.shape[2])
            boxes = [(columns, rows) for columns in _pieces(even.shape[1], L * (1 + (j + 1) * L) * 2 * even.shape[2])]
            windows.append(tuple(_window(even, odd, copies, box, True, imaginary, like) for box in boxes))
        else:
            each = zip(even.split(1), odd.split(1), boxes)
            windows.append(tuple(_window(e, o, copies, box, False, imaginary, like) for e, o, box in each))
    plan = Plan(shape, L, tuple(octaves), tuple(windows), imaginary)
    _keep_memory(plan, like)
    return plan


def _keep_memory(plan: Plan, like: Tensor) -> None:
    """Give back one block of twice the size of what a gradient holds, about its peak.

    The C library of Linux then keeps as much for the next call; else it hands the pages back to the system after every
    call, and every call touches them anew, which costs a fifth of its time.
    """
    held = sum(3 * plan.L * math.prod(octave.grid) for octave in plan.octaves)
    held += sum(2 * (1 + (j + 1) * plan.L) * o.columns * (o.negative + o.positive) for j, o in enumerate(plan.octaves))
    if like.device.type == "cpu":
        torch.empty(min(2 * held * like.element_size(), MOST_KEPT), dtype=torch.uint8)


def _box(even: Tensor, cut: float) -> tuple[slice, slice]:
    """The columns and rows on which weights are not below a share of their peak."""
    where = (even > cut * even.max()).nonzero()
    columns, rows = (slice(int(w.min()), int(w.max()) + 1) for w in where.unbind(1))
    return columns, rows


def _pieces(columns: int, each: int) -> list[slice]:
    """Columns, in pieces if all of them make weighted rows that no cache holds; ``each`` numbers per column."""
    step = max(1, PIECE // each) if columns * each > 8 * PIECE else columns
    return [slice(start, min(start + step, columns)) for start in range(0, columns, step)]


def _window(
    even: Tensor, odd: Tensor, copies: Tensor, box: tuple[slice, slice], whole: bool, imaginary: bool, like: Tensor
) -> Window:
    def twice(plane: Tensor) -> Tensor:
        part = plane[:, box[0], box[1]].to(like)
        return part[..., None].expand(*part.shape, 2).contiguous()

    forward = even if whole else even.sqrt()
    odd = twice(odd) if imaginary else odd[:0].to(like)
    return Window(*box, whole, twice(forward), twice(forward / copies), odd, copies[box[0], :, None].to(like))


def moments(x: Tensor, plan: Plan) -> tuple[Tensor, Tensor, Tensor]:
    """Return S1 (n, J, L), S2 (n, J, L) and the flat third-layer blocks (n, c) of maps x (n, ny, nx).

    Block j3 has shape (L, m, m), or (2, L, m, m) with imaginary parts, m = 1 + (j3 + 1) L: entry (l3, a, b) is
    sum_k F_a F_b^* psi_(j3,l3)^2 where a = 0 is the map and a = 1 + j L + l is the modulus M_(j,l).
    Differentiable once.
    """
    s1, s2, blocks = pair_moments(x[:, None], ALONE, plan)
    return s1[:, 0], s2[:, 0], blocks[:, 0]


def pair_moments(x: Tensor, pairs: Pairs, plan: Plan) -> tuple[Tensor, Tensor, Tensor]:
    """Return S1, S2 (n, C, J, L) of maps x (n, C, ny, nx) and the blocks (n, P, c) of P pairs of channels (a, b).

    Layout of a block as in `moments`, with the rows of channel a on the left and those of b on the right:
    sum_k F^a_m F^b_n^* psi_(j3,l3)^2. Every map is transformed once, whatever the number of pairs it is in.
    """
    sizes = [math.prod(shape) for shape in plan.block_shapes]

    def forward(part: Tensor, keep: bool) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        size = part.shape[:2]
        s1, s2, stacks, waves = _stacked(part.flatten(0, 1), plan, keep)
        blocks = s1.new_zeros(size[0], len(pairs), sum(sizes))
        for block, shape, stack, windows in zip(blocks.split(sizes, 2), plan.block_shapes, stacks, plan.windows):
            _fill_block(block.unflatten(2, shape), stack, pairs, windows, plan.imaginary)
        return (s1.unflatten(0, size), s2.unflatten(0, size), blocks), [*waves, *stacks]

    def backward(saved: tuple[Tensor, ...], g1: Tensor, g2: Tensor, gb: Tensor) -> Tensor:
        def add(out: Tensor, stack: Tensor, block: Tensor, j: int) -> None:
            _add_block_backward(out, stack, block, pairs, plan.windows[j], plan.imaginary)

        blocks = [block.unflatten(2, shape) for block, shape in zip(gb.split(sizes, 2), plan.block_shapes)]
        moved = _stacked_backward(saved, (g1.flatten(0, 1), g2.flatten(0, 1)), blocks, plan, add)
        return moved.unflatten(0, g1.shape[:2])

    s1, s2, blocks = in_parts(x, 1, forward, backward)
    return s1, s2, blocks


def _stacked(x: Tensor, plan: Plan, keep: bool) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
    """S1, S2, stacks of maps x (n, ny, nx), and what `transform` keeps for the gradient if ``keep``.

    The stack of octave j3, (n, 1 + (j3 + 1) L, columns, rows, 2) real and imaginary, holds the box of the map and of
    all moduli up to this octave, rows in ascending order of ky.
    """
    s1, s2, f, spectra, waves = transform(x, plan.octaves, keep)
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
    return s1, s2, [torch.view_as_real(stack) for stack in stacks], waves


def _place(box: Tensor, plane: Tensor, negative: int) -> None:
    """Write the rows of a plane, in the order of fftfreq, into a box whose rows ascend."""
    above, below = plane[..., : box.shape[-1] - negative], plane[..., plane.shape[-1] - negative :]
    torch.cat([below, above], -1, out=box)


def _inside(octaves: tuple[Octave, ...], j: int) -> tuple[slice, slice]:
    """Where the box of octave j lies in that of octave j - 1."""
    start = octaves[j - 1].negative - octaves[j].negative
    return slice(0, octaves[j].columns), slice(start, start + octaves[j].negative + octaves[j].positive)


def _weighted(stack: Tensor, window: Window, weights: Tensor) -> Tensor:
    """Rows (n, orientations m, modes) of a stack under each orientation of a window."""
    return (stack[:, None, :, window.columns, window.rows] * weights[:, None]).flatten(3).flatten(1, 2)


def _turned_by_i(stack: Tensor) -> Tensor:
    """(Re, Im) -> (Im, -Re) of a real-viewed stack; products with it are imaginary parts."""
    return torch.stack([stack[..., 1], -stack[..., 0]], -1)


def _fill_block(
    block: Tensor, stack: Tensor, pairs: Pairs, windows: tuple[Window, ...], imaginary: bool
) -> None:
    """Fill a block of zeros (n, P, [2,] L, m, m) from a stack (n C, m, columns, rows, 2).

    The products of the maps themselves, (0, 0), are left out for one channel; so is (a, 0), which is (0, a).
    """
    channels, m = len(stack) // len(block), stack.shape[1]
    for window, here in zip(windows, _places(windows)):
        left = _weighted(stack, window, window.forward)
        plain = stack[:, :, window.columns, window.rows].flatten(2) if window.whole or imaginary else left
        sides = [(left, plain if window.whole else left)]
        if imaginary:
            sides.append((_weighted(_turned_by_i(stack), window, window.odd), plain))
        for part, (left, right) in enumerate(sides):
            for p, (a, b) in enumerate(pairs):
                first = int(a == b)  # m is one more than a multiple of L: a product that leaves it out is twice as fast
                found = _products(left[a::channels], right[b::channels, first:])
                into = block[:, p, part, here] if imaginary else block[:, p, here]
                into[..., first:].add_(found.unflatten(1, (-1, m)))


def _places(windows: tuple[Window, ...]) -> list[slice]:
    """Orientations of each window."""
    return [slice(None) if window.whole else slice(ell, ell + 1) for ell, window in enumerate(windows)]


def _products(left: Tensor, right: Tensor) -> Tensor:
    """left right^T (n, rows, rows), in the order in which long thin products are faster."""
    if right.shape[1] < THIN:
        return torch.bmm(right, left.mT).mT
    return torch.bmm(left, right.mT)


def _add_block_backward(
    out: Tensor, stack: Tensor, grad: Tensor, pairs: Pairs, windows: tuple[Window, ...], imaginary: bool
) -> None:
    """Add the gradient of a block with respect to the stack, divided by ``copies``, which is what `maps_of` wants."""
    channels = len(stack) // len(grad)
    for window, here in zip(windows, _places(windows)):
        side = _weighted(stack, window, window.backward if window.whole else window.forward)
        even = grad[:, :, 0, here] if imaginary else grad[:, :, here]
        for c, partner, weights in _terms(even, pairs, 1):
            rows = weights.transpose(1, 2).flatten(2)
            place = out[c::channels, :, window.columns, window.rows]
            if window.whole:
                place.flatten(2).baddbmm_(rows, side[partner::channels])
            else:
                place.addcmul_(torch.bmm(rows, side[partner::channels]).view(place.shape), window.backward)
        if imaginary:
            turned = _weighted(_turned_by_i(stack), window, window.odd)
            for c, partner, weights in _terms(grad[:, :, 1, here], pairs, -1):
                place = out[c::channels, :, window.columns, window.rows]
                rows = weights.transpose(1, 2).flatten(2)
                place += torch.bmm(rows, turned[partner::channels]).view(place.shape) / window.copies


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
    J, last = len(plan.octaves), plan.octaves[0]
    waves, stacks = saved[: 2 * J], saved[2 * J :]
    grad_spectra: list[Tensor] = []
    coarser = stacks[0]
    for j in reversed(range(J)):
        octave, known = plan.octaves[j], 1 + j * plan.L
        out = torch.zeros_like(stacks[j])
        if j + 1 < J:
            out[(slice(None), slice(None), *_inside(plan.octaves, j + 1))] = coarser[:, : known + plan.L]
        add(out, stacks[j], blocks[j], j)
        box = torch.view_as_complex(out)
        grad_spectra.append(_unplaced(box[:, known:], octave.grid, octave.negative))
        coarser = out
    box = torch.view_as_complex(coarser[:, 0])
    grad_f = box.new_zeros(len(box), plan.shape[1] // 2 + 1, plan.shape[0])
    grad_f[:, : last.columns] = _unplaced(box, plan.shape, last.negative)[:, : last.columns]
    return transform_backward(waves, plan.octaves, grads, grad_f, grad_spectra[::-1], plan.shape[1])


def _unplaced(box: Tensor, grid: tuple[int, int], negative: int) -> Tensor:
    """Adjoint of `_place`: the first columns of the half plane of a grid, zero outside the box."""
    *batch, columns, rows = box.shape
    plane = box.new_zeros(*batch, nearly(columns, grid[1]), grid[0])
    plane[..., :columns, grid[0] - negative :] = box[..., :negative]
    plane[..., :columns, : rows - negative] = box[..., negative:]
    return plane
