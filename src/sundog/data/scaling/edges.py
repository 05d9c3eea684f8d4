"""Edges of a column: where its numbers may end, and whether they pile up there."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

_KNOWN = tuple(float(v) for v in torch.tensor([0.0, math.pi, 2 * math.pi, math.pi / 2]).tolist())


def edges(column: Tensor, weights: Tensor | None = None) -> tuple[tuple[float, bool], tuple[float, bool]]:
    """Where the column (n,) may begin and end, and whether these edges are hard; see ``edges_of``."""
    if weights is None:
        n = len(column)
        return edges_of(torch.from_numpy(np.sort(column.cpu().numpy())), column.new_tensor(1 / n).expand(n), n)
    ordered, order = column.sort()
    share = weights[order].div_(weights.sum())
    return edges_of(ordered, share, 1 / float(share @ share))


def edges_of(ordered: Tensor, share: Tensor, rows: float) -> tuple[tuple[float, bool], tuple[float, bool]]:
    """Where rising numbers may begin and end, and whether nothing lies beyond: the edge is hard.

    An edge is hard when the k-th number from it, k = n / 1000 (at least 20), is closer to it than a fifth of the
    way to the 10 k-th. Where the density does not vanish at the edge that ratio is 0.1, where it vanishes
    linearly 0.32, and in a Gaussian or exponential tail 0.4 to 0.7; many equal numbers at the end are an edge too.
    It lies within a hair of the smallest number, ten times the mean distance of neighbours there (fresh data lie
    beyond the smallest of a sample, but hardly ever so far): at a round number if one is there, such as 0 or pi. A
    soft edge lies the range of the data beyond the smallest number. The upper edge is that of the negative numbers.

    Parameters
    ----------
    share : of the rows, for each number
    rows : how many count
    """
    whole, k = float(ordered[-1] - ordered[0]), max(20, int(rows) // 1000)
    high, hard = _low_edge(lambda m: (-ordered[-m:].flip(0), share[-m:].flip(0)), whole, k, rows)
    return _low_edge(lambda m: (ordered[:m], share[:m]), whole, k, rows), (-high, hard)


def _low_edge(first: Callable[[int], tuple[Tensor, Tensor]], whole: float, k: int, n: float) -> tuple[float, bool]:
    """The lower edge of numbers of which ``first`` gives the lowest m and their shares."""
    lowest = float(first(1)[0])
    if n < 20 * k:
        return lowest - whole, False  # too few numbers to tell
    m = 1024
    while float(first(m)[1].sum()) < 20 * k / n and m < first(m)[0].numel() + 1:
        m *= 4
    x, share = first(m)
    ranks = torch.searchsorted(share.cumsum(0), torch.tensor([k / n, 10 * k / n], dtype=x.dtype)).clamp(max=len(x) - 1)
    near, far = (x[ranks] - lowest).tolist()
    if near > 0.2 * far:
        return lowest - whole, False
    return _roundest(lowest, 10 * near / k), True


def natural(edge: float, extreme: float) -> float:
    """Where fakes may end at a hard edge: at the edge if it is a round number, else at the extreme seen."""
    is_round = any(abs(edge) == known for known in _KNOWN) or float(f"{edge:.4g}") == edge
    return edge if is_round else extreme


def _roundest(low: float, hair: float) -> float:
    """The roundest number in [low - hair, low], or low - hair where none is much rounder than chance has it."""
    for known in (0.0, *(sign * v for v in _KNOWN[1:] for sign in (-1, 1))):
        if low - hair <= known <= low:
            return known
    if hair == 0:
        return low
    powers = range(math.ceil(math.log10(abs(low))), math.floor(math.log10(hair)), -1)
    for step in (digit * 10.0**power for power in powers for digit in (5, 2, 1)):
        if step < 10 * hair:
            break
        found = float(f"{math.floor(low / step + 1e-6) * step:.12g}")
        if found >= low - hair:
            return min(found, low)
    return low - hair
