"""describe: a Dataset in a few lines of text, with what a reader should worry about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from sundog.data.dataset import Dataset

_HEAD = ("name", "unit", "min", "median", "max", "mean", "std", "zeros", "")


def describe(data: Dataset) -> str:
    """One row per feature, channel, context column and weight, then the shape, duplicates and warnings.

    Constant columns are flagged here and are an error only when a scaling is fitted: a file with one is
    readable, and the user decides which columns to drop.

    Example
    -------
    >>> from sundog.data.dataset import Dataset
    >>> print(describe(Dataset.from_arrays([[1.0, 5.0], [2.0, 5.0], [0.0, 5.0]], names=("m", "k"), units=("TeV", ""))))
    events: 3 rows, 2 features, 1 held out with seed 0
    name  unit  min  median  max  mean    std  zeros
    m     TeV     0       1    2     1  0.816    33%
    k             5       5    5     5      0     0%  constant
    """
    rows = [_row(name, unit, part) for name, unit, part in _columns(data)]
    lines = [_headline(data), *_aligned([_HEAD, *rows])]
    copies = len(data) - _distinct(data)
    if copies:
        lines.append(f"{copies} of {len(data)} rows are exact copies of another row")
    return "\n".join(lines)


def _headline(data: Dataset) -> str:
    shape, held = data.values.shape, round(data.held_out_fraction * len(data))
    what = f"{shape[1]} features" if data.kind == "events" else " x ".join(str(s) for s in shape[1:]) + " pixels"
    words = [f"{data.kind}: {len(data)} rows", what, f"{held} held out with seed 0"]
    if data.pixel_arcmin is not None:
        words.append(f"pixel {data.pixel_arcmin:.6g} arcmin")
    if data.periodic:
        words.append("periodic")
    return ", ".join(words)


def _columns(data: Dataset) -> list[tuple[str, str, Tensor]]:
    found = [(name, unit, data.values if data.values.ndim == 3 else data.values[:, i])
             for i, (name, unit) in enumerate(zip(data.names, data.units))]
    if data.context is not None:
        found += [(f"| {name}", unit, data.context[:, i])
                  for i, (name, unit) in enumerate(zip(data.context_names, data.context_units))]
    return found if data.weights is None else [*found, ("(weight)", "", data.weights)]


def _row(name: str, unit: str, part: Tensor) -> tuple[str, ...]:
    x = part.numpy().ravel()
    numbers = [x.min(), np.median(x), x.max(), x.mean(dtype=np.float64), x.std(dtype=np.float64)]
    constant = "constant" if numbers[0] == numbers[2] else ""
    if constant:
        numbers[3:] = [numbers[0], 0.0]  # the mean of equal numbers is not exactly one of them
    return (name, unit, *(f"{float(v):.3g}" for v in numbers), _share(x == 0), constant)


def _share(flags: np.ndarray) -> str:
    """A percentage that says "none" and "few" apart: a single exact zero matters to a logarithm."""
    return "<1%" if 0 < flags.mean() < 0.005 else f"{flags.mean():.0%}"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Text columns to the left, numbers to the right."""
    widths = [max(len(row[j]) for row in rows) for j in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) if j in (0, 1, 8) else cell.rjust(w)
                      for j, (cell, w) in enumerate(zip(row, widths))).rstrip() for row in rows]


def _distinct(data: Dataset) -> int:
    parts = [part.reshape(len(data), -1) for part in (data.values, data.context) if part is not None]
    whole = np.ascontiguousarray(torch.cat(parts, 1).numpy() + 0.0)  # -0.0 equals 0.0
    return len(np.unique(whole.view(np.dtype((np.void, whole.shape[1] * whole.itemsize)))))
