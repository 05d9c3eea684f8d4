"""describe: a Dataset in a few lines of text, with what a reader should worry about."""

from __future__ import annotations

import html

import numpy as np
import torch
from torch import Tensor

from sundog.data.sample import Dataset
from sundog.data.scaling.found import found_column

_HEAD = ("name", "unit", "min", "median", "max", "mean", "std", "zeros", "kind")


def describe(data: Dataset) -> str:
    """One row per feature, channel, context column and weight, then the shape, duplicates and warnings.

    Median, mean, standard deviation and the share of zeros are those of the weighted sample where there are weights
    (the first line says so); minimum and maximum are those of the rows that weigh anything.

    The last column names what a feature of events is beside continuous (``sundog.data.scaling.ByKind``): bounded,
    integer, zero-inflated ... Constant columns are flagged here and are an error only when a scaling is fitted: a
    file with one is readable, and the user decides which columns to drop.

    Example
    -------
    >>> from sundog.data.dataset import Dataset
    >>> print(describe(Dataset.from_arrays([[1.0, 5.0], [2.0, 5.0], [0.0, 5.0]], names=("m", "k"), units=("TeV", ""))))
    events: 3 rows, 2 features, 1 held out with seed 0
    name  unit  min  median  max  mean    std  zeros  kind
    m     TeV     0       1    2     1  0.816    33%
    k             5       5    5     5      0     0%  constant
    """
    lines = [_headline(data), *_aligned([_HEAD, *_rows(data)])]
    gaps = data.values.isnan()
    if bool(gaps.any()):
        lines.append(f"{int(gaps.flatten(1).any(1).sum())} of {len(data)} series have gaps: "
                     f"{_share(float(gaps.float().mean()))} of the numbers are NaN")
    copies = len(data) - _distinct(data)
    if copies:
        lines.append(f"{copies} of {len(data)} rows are exact copies of another row")
    return "\n".join([*lines, *(f"note: {note}" for note in data.provenance.get("notes", ()))])


def column_kinds(data: Dataset) -> dict[str, str]:
    """Column of events -> its kind (``sundog.data.scaling.ByKind``), for all rows; {} for images and series.

    Example
    -------
    >>> column_kinds(Dataset.from_arrays(torch.arange(100.0)[:, None] % 3, names=("n",)))
    {'n': 'integer'}
    """
    if data.kind != "events":
        return {}
    heavy = slice(None) if data.weights is None or not bool(data.weights.any()) else data.weights > 0
    w = None if data.weights is None or isinstance(heavy, slice) else data.weights[heavy].double()
    columns = data.values[heavy].double().T.contiguous()
    return {name: "constant" if bool((x == x[0]).all()) else found_column(x, w).kind
            for name, x in zip(data.names, columns)}


def as_html(data: Dataset) -> str:
    """The description as a table, which notebooks show."""
    rows = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in _rows(data)]
    head = "".join(f"<th>{word}</th>" for word in _HEAD)
    return (f"<p>{html.escape(_headline(data))}</p><table><thead><tr>{head}</tr></thead><tbody>"
            + "".join(f"<tr>{row}</tr>" for row in rows) + "</tbody></table>")


def _rows(data: Dataset) -> list[tuple[str, ...]]:
    kinds = column_kinds(data)
    rows = [_row(name, unit, part, data.weights, kinds.get(name, "")) for name, unit, part in _columns(data)]
    return rows if data.weights is None else [*rows, _row("(weight)", "", data.weights, None)]


def _headline(data: Dataset) -> str:
    shape, held = data.values.shape, len(data) - round((1 - data.held_out_fraction) * len(data))
    what = f"{shape[1]} features" if data.kind == "events" else " x ".join(str(s) for s in shape[1:]) + " pixels"
    if data.time_step is not None:
        what = f"{shape[1]} points at steps of {data.time_step:.6g} {data.time_unit}".rstrip()
    words = [f"{data.kind}: {len(data)} rows", what, f"{held} held out with seed 0"]
    if data.pixel_arcmin is not None:
        words.append(f"pixel {data.pixel_arcmin:.6g} arcmin")
    if data.periodic:
        words.append("periodic")
    if data.weights is not None:
        words.append("weighted statistics")
    return ", ".join(words)


def _columns(data: Dataset) -> list[tuple[str, str, Tensor]]:
    found = [(name, unit, data._channel(i)) for i, (name, unit) in enumerate(zip(data.names, data.units))]
    if data.context is not None:
        found += [(f"| {name}", unit, data.context[:, i])
                  for i, (name, unit) in enumerate(zip(data.context_names, data.context_units))]
    return found


def _row(name: str, unit: str, part: Tensor, weights: Tensor | None, kind: str = "") -> tuple[str, ...]:
    x, w = part.numpy().ravel().astype(np.float64), None
    if weights is not None and bool(weights.any()):
        w = weights.double().repeat_interleave(part.numel() // len(part)).numpy()
        x, w = x[w > 0], w[w > 0] / w.sum()
    there = ~np.isnan(x)
    x, w = x[there], None if w is None else w[there] / w[there].sum()
    if not len(x):
        return (name, unit, *[""] * 6, "gaps alone")
    mean = np.average(x, weights=w)
    numbers = [x.min(), _median(x, w), x.max(), mean, np.sqrt(np.average((x - mean) ** 2, weights=w))]
    if numbers[0] == numbers[2]:
        kind, numbers[3:] = "constant", [numbers[0], 0.0]  # the mean of equal numbers is not exactly one of them
    zeros = _share(float(np.average(x == 0, weights=w)))
    return (name, unit, *(f"{float(v):.3g}" for v in numbers), zeros, "" if kind == "continuous" else kind)


def _median(x: np.ndarray, weights: np.ndarray | None) -> float:
    """The middle of the sample: where the weights below and above are equal."""
    if weights is None:
        return float(np.median(x))
    order = np.argsort(x)
    x, below = x[order], np.cumsum(weights[order])
    k = int(np.searchsorted(below, 0.5 - 1e-12))
    return float(x[k] if below[k] > 0.5 + 1e-12 else 0.5 * (x[k] + x[min(k + 1, len(x) - 1)]))


def _share(share: float) -> str:
    """A percentage that says "none" and "few" apart: a single exact zero matters to a logarithm."""
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Text columns to the left, numbers to the right."""
    widths = [max(len(row[j]) for row in rows) for j in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) if j in (0, 1, 8) else cell.rjust(w)
                      for j, (cell, w) in enumerate(zip(row, widths))).rstrip() for row in rows]


def _distinct(data: Dataset) -> int:
    parts = [part.reshape(len(data), -1) for part in (data.values, data.context) if part is not None]
    whole = np.ascontiguousarray(torch.cat(parts, 1).numpy() + 0.0)  # -0.0 equals 0.0
    return len(np.unique(whole.view(np.dtype((np.void, whole.shape[1] * whole.itemsize)))))


Dataset.describe, Dataset._repr_html_ = describe, as_html
