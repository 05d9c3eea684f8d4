"""Edges of a column: where its numbers may end, and whether they pile up there."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_KNOWN = tuple(float(v) for v in torch.tensor([0.0, math.pi, 2 * math.pi, math.pi / 2]).tolist())


def edges(column: Tensor, weights: Tensor | None = None) -> tuple[tuple[float, bool], tuple[float, bool]]:
    """Where the column (n,) may begin and end, and whether these edges are hard; see ``edges_of``."""
    ordered, order = column.sort()
    share = torch.full_like(column, 1 / len(column)) if weights is None else weights[order] / weights.sum()
    return edges_of(ordered, share, 1 / float((share**2).sum()))


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
    high, hard = _low_edge(-ordered.flip(0), share.flip(0), rows)
    return _low_edge(ordered, share, rows), (-high, hard)


def _low_edge(x: Tensor, share: Tensor, n: float) -> tuple[float, bool]:
    k = max(20, int(n) // 1000)
    whole = float(x[-1] - x[0])
    if n < 20 * k:
        return float(x[0]) - whole, False  # too few numbers to tell
    ranks = torch.searchsorted(share.cumsum(0), torch.tensor([k / n, 10 * k / n], dtype=x.dtype)).clamp(max=len(x) - 1)
    near, far = (x[ranks] - x[0]).tolist()
    if near > 0.2 * far:
        return float(x[0]) - whole, False
    return _roundest(float(x[0]), 10 * near / k), True


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
