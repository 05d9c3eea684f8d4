"""judge(real, fake): can the fakes be told from the truth? One p-value decides, rows explain; worst first.

The order of the work is the order of the file: bring both samples into one shape, measure every row once on a ruler
that knows no labels, exchange the labels, fill the rows of the verdict, decide.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from sundog.checks import enough_memory, near, several, whole
from sundog.data.dataset import Dataset
from sundog.errors import OptionError
from sundog.random import stream
from sundog.statistics.catalogue.table import Statistic, catalogue, choose
from sundog.verdicts.deciding.labels import EXPLAINING, SPLITS, Labels, Table, fill
from sundog.verdicts.deciding.maximum import combined, spread
from sundog.verdicts.deciding.moved import Moved
from sundog.verdicts.deciding.rows import Deciding, deciding_rows, memory_row, standardised, twin_rows
from sundog.verdicts.evidence import Curve, Evidence
from sundog.verdicts.explaining.rows import (
    MOST_PARTS,
    Explaining,
    catalogue_rows,
    joint_rows,
    logarithm,
    moment_rows,
)
from sundog.verdicts.explaining.special import classifier_row, closeness, neighbour_rows, support_row
from sundog.verdicts.explaining.where import Region, regions, telling
from sundog.verdicts.pooled.admission import Side, admitted, aligned, check_sizes, hidden, levelled
from sundog.verdicts.pooled.bend import Bend
from sundog.verdicts.pooled.sample import Pooled, bent, pool
from sundog.verdicts.twosample import duplicate_groups
from sundog.verdicts.verdict import FALSE_ALARM, Row, Verdict

MODEST = {"events": 500, "images": 100, "series": 100}  # below, a note says that only gross differences show
MOSTLY_REPEATED = 0.5
DECIDING = ("means", "pairs", "column shapes", "kernel", "fine kernel", "mixture", "coarse mixture", "largest width",
            "widths", "narrow kernel", "memorisation", "moved copies", "repeats", "copies")
GROUPS = {  # word for ``statistics`` -> rows
    "moments": ("mean", "width", "skewness", "tails", "Kolmogorov-Smirnov", "atoms", "rounding"),
    "joint": ("sliced Wasserstein", "sliced KS", "energy distance", "MMD²", "spectral kernel test",
              "covariance eigenvalue", "Fréchet distance", "cells"),
    "sliced": ("sliced Wasserstein", "sliced KS"), "energy": ("energy distance",), "mmd": ("MMD²",),
    "frechet": ("Fréchet distance",), "prdc": ("precision", "recall", "density", "coverage"),
    "classifier": ("classifier AUC",), "support": ("support",), "near copies": ("near copies",),
    "where": (),
}
UNWEIGHTED = ("prdc", "classifier", "support", "near copies", "frechet")
SHOWN = {"events": 20_000, "images": 12, "series": 12}  # rows kept for the report's pictures


def judge(
    real: Any,
    fake: Any,
    *,
    statistics: str | Sequence[str] = "all",
    train: Any = None,
    real_weights: Any = None,
    fake_weights: Any = None,
    mask: Any = None,
    seed: int = 0,
    splits: int = SPLITS,
    draws: float = 10.0,
    progress: bool = False,
) -> Verdict:
    """Verdict on the fakes: can they be told from the truth?

    Ten rows, fixed beforehand, decide: statistics of all real rows and all fakes, compared with what they give when
    the labels "real" and "fake" are exchanged at random 999 times. Their largest standardised value gives one p-value,
    exact at any sample size and for any law; the verdict passes when it is above 1 %. With ``train``, and where rows
    are repeated, rows that look for copies decide too. All other rows explain, each with its own p-value.

    Tiles of two skies are judged less their means, which follow the few largest modes of a sky; a note says so.

    Parameters
    ----------
    real : the truth; best rows that the generator never saw (``dataset.held_out``)
    fake : what is judged, or a generator with ``sample(n, context=, seed=)``, such as a Run, which then draws
        ``draws`` times as many rows as the truth has, at its contexts. Same columns, matched by name, and units.
        Context columns are judged together with the values
    statistics : rows that explain: "all", "deciding" (none), or names of the catalogue, "moments", "joint", "sliced",
        "energy", "mmd", "frechet", "prdc", "classifier", "support", "near copies", "where" or names of rows
    train : what the generator was trained on: whether fakes are copies of it, of images also copies that were shifted,
        turned or mirrored, becomes part of the verdict
    real_weights, fake_weights : one per row, of either sign; by default those of the Dataset. Differences of weighted
        means are judged, and each sample is resampled by itself for the null
    mask : of maps: (ny, nx), or (n, ny, nx) with one for each real map and, again and again, for the fakes, or a file;
        0 where pixels are hidden. Nothing that stands there is judged, every number is of the pixels that are seen
    seed : of everything drawn; same seed, same verdict
    splits : random splits of the truth behind the bands of real against real
    draws : fakes per real row when ``fake`` is a generator
    progress : show a bar on stderr

    Both samples may be a Dataset, an array, a tensor, a DataFrame, or a file name.

    Raises
    ------
    SampleSizeError : fewer than 50 events or 20 images or series of either, series of fewer than 32 points.
    ShapeError : the samples differ in kind, size, names or units.
    DataError : nothing varies.

    Example
    -------
    >>> import torch
    >>> x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    >>> judge(x, x[:200] + 1, splits=8).passed
    False
    """
    start = time.perf_counter()
    whole(seed, "seed", least=0)
    whole(splits, "splits", least=4)  # fewer make no band
    given = admitted(real, fake, train, (real_weights, fake_weights), draws, seed)
    notes = list(given.notes)
    check_sizes(given)
    truth, fakes, learned, seen = hidden(*aligned(given, notes), mask)
    truth, fakes, learned = levelled(truth, fakes, learned, seen, notes)
    wanted, words, left_out = _chosen(truth, given.weights is not None, statistics)
    _check_memory(truth, len(truth) + len(fakes))
    columns = torch.cat([truth.values, fakes.values])
    truth, fakes, learned, bend = bent(truth, fakes, learned)
    labels = Labels(len(truth), len(fakes), seed, given.weights, splits=splits)
    pooled = pool(truth, fakes, learned, wanted, labels, seen)
    groups = _groups(pooled)
    notes += bend.notes() + left_out + _notes_on(pooled, groups)
    notes += [] if seen is None else [f"the mask hides {float((~seen).double().mean()):.1%} of the pixels: not judged"]
    rows, p = _rows(pooled, groups, words, progress)
    rows.sort(key=lambda row: (row.p_value, -abs(row.pull)))
    boxes = _where(pooled, columns) if "where" in words else ()
    if spent := fakes.provenance.get("privacy"):
        notes.append("the fakes come of a private training: "
                     f"epsilon {spent['epsilon']:.3g}, delta {spent['delta']:.3g}")
    return Verdict(tuple(rows), p, len(truth), len(fakes), truth.kind, splits, seed,
                   _evidence(truth, fakes, pooled, bend), tuple(notes),
                   _provenance(given, time.perf_counter() - start), boxes)


def _where(pooled: Pooled, columns: Tensor) -> tuple[Region, ...]:
    """Regions in the columns as given, or in the features of images."""
    x = columns.double().numpy() if pooled.kind == "events" else pooled.space
    return regions(x, pooled.names, pooled.labels, pooled.kind)


def _check_memory(real: Dataset, rows: int) -> None:
    """OptionError where the features of the rows, and what all labellings make of them, are more than the memory."""
    if real.kind == "events":
        d = real.values.shape[1]
        pairs = d * (d - 1) / 2 if d * (d - 1) / 2 <= MOST_PARTS else 0
        enough_memory(3e8 + 5e5 * d + 90.0 * rows * (d + pairs), f"a verdict on {rows} rows of {d} columns",
                      "judge fewer rows, or fewer columns=")


def _chosen(real: Dataset, weighted: bool, names: str | Sequence[str],
            ) -> tuple[tuple[Statistic, ...], tuple[str, ...], list[str]]:
    """Catalogue statistics and words of other rows among the names; what cannot be measured, in a note."""
    known = [s.name for s in catalogue(real.kind, on_request=True)]
    words = [*known, *GROUPS, *(row for rows in GROUPS.values() for row in rows), *DECIDING, "deciding"]
    usual = [*(s.name for s in catalogue(real.kind)), *GROUPS]
    asked = tuple(usual if names == "all" else (names,) if isinstance(names, str) else several(names, "statistics"))
    unknown = [name for name in asked if name not in words]
    if unknown or not asked:
        raise OptionError(f"unknown statistic of {real.kind}", got=", ".join(map(str, unknown)) or "no name at all",
                          expected="one of " + ", ".join(dict.fromkeys(words)),
                          do=near("".join(map(str, unknown[:1])), words) or "choose among these, or pass 'all'")
    notes = []
    if weighted and set(asked) & set(UNWEIGHTED):
        asked = tuple(name for name in asked if name not in UNWEIGHTED)
        notes.append("with weights, rows that count rows are left out: " + ", ".join(UNWEIGHTED))
    pairs = real.values.shape[1] * (real.values.shape[1] - 1) / 2 if real.kind == "events" else 0
    wide = [name for name in asked if name in ("correlations", "pair projections") and pairs > MOST_PARTS]
    if wide:
        notes.append(f"{pairs:.0f} pairs of columns: {', '.join(wide)} left out; the deciding rows see pairs")
    picked = [name for name in dict.fromkeys(asked) if name in known and name not in wide]
    return choose(real.kind, picked) if picked else (), tuple(n for n in asked if n not in known), notes


def _rows(pooled: Pooled, groups: np.ndarray, words: Sequence[str], progress: bool) -> tuple[list[Row], float]:
    """All rows, and the global p-value."""
    deciding = deciding_rows(standardised(pooled.space), pooled.labels)
    if pooled.train is not None:
        deciding.append(memory_row(pooled.to_train()))
    moved = Moved.of(pooled) if pooled.train is not None and pooled.kind == "images" else None
    deciding += [moved.row()] if moved else []
    deciding += twin_rows(groups[: len(pooled.space)], pooled.labels)
    explaining = [*catalogue_rows(pooled), *_explaining(pooled, words)]
    tables = {id(table): table for table in [row.table for row in deciding] + [row.table for row in explaining]}
    for row in explaining:
        row.table.columns = 1 + pooled.labels.splits + EXPLAINING
    fill(pooled.labels, list(tables.values()))
    rows, p = _decided(deciding, pooled.labels)
    rows = [moved.told(row) if moved and row.name == "moved copies" else row for row in rows]
    p = min([p, *(row.p_value for row in rows if row.name == "moved copies" and row.value)])
    if pooled.labels.weights is None and not {"copies", "repeats"} & {row.name for row in rows}:
        rows += [Row(name, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, about="No row is repeated.") for name in ("copies", "repeats")]
    special = _special(pooled, groups, words)
    found = [_explained(row, pooled) for row in explaining]
    for make in track(special, "judging", disable=not progress, console=Console(stderr=True)):
        found += make()
    threshold = FALSE_ALARM / max(len(found), 1)
    rows += [replace(row, threshold=threshold, passed=row.p_value > threshold) for row in found]
    return rows, p


def _asked(words: Sequence[str], group: str) -> set[str]:
    """Rows of a group that the words ask for."""
    return set(GROUPS[group]) & {row for word in words for row in GROUPS.get(word, (word,))}


def _explaining(pooled: Pooled, words: Sequence[str]) -> list[Explaining]:
    rows: list[Explaining] = []
    for group, make in (("moments", moment_rows), ("joint", joint_rows)):
        asked = _asked(words, group)
        rows += [row for row in make(pooled) if row.name in asked] if asked else []
    return rows + ([closeness(pooled)] if "near copies" in words else [])


def _special(pooled: Pooled, groups: np.ndarray, words: Sequence[str]) -> list[Callable[[], list[Row]]]:
    """The rows that do their own work."""
    asked = _asked(words, "prdc")
    real = groups[: pooled.labels.real]
    if (np.bincount(real)[real] > 1).mean() > MOSTLY_REPEATED:  # neighbourhoods have no size: see _notes_on
        asked = set()
    steps: list[Callable[[], list[Row]]] = []
    if asked:
        steps.append(lambda: [row for row in neighbour_rows(pooled) if row.name in asked])
    if _asked(words, "classifier"):
        steps.append(lambda: [classifier_row(pooled, groups)])
    if "support" in words:
        steps.append(lambda: [support_row(pooled)])
    return steps


def _decided(rows: Sequence[Deciding], labels: Labels) -> tuple[list[Row], float]:
    """The deciding rows with step-down p-values, and the global p-value."""
    columns = np.r_[0, np.arange(1 + labels.splits, 1 + labels.splits + labels.relabellings)]
    together = combined(np.array([row.statistic(row.table).numpy()[columns] for row in rows]))
    found = []
    for row, p, pull in zip(rows, together.each, together.pull):
        shown = row.shown(row.table).numpy()
        found.append(Row(row.name, float(shown[0]), *_band(shown, row.table, labels), float(pull), float(p),
                         FALSE_ALARM, bool(p > FALSE_ALARM), True, min(labels.real, labels.fake), about=row.about))
    return found, together.p


def _band(shown: np.ndarray, table: Table, labels: Labels) -> tuple[float, float, float]:
    """Median, 16 % and 84 % of real against real; of relabellings where pairs of rows are counted."""
    band = shown[labels.null] if table.marks else shown[1 : 1 + labels.splits]
    low, middle, high = np.quantile(band, [0.16, 0.5, 0.84])
    return float(middle), float(low), float(high)


def _explained(row: Explaining, pooled: Pooled) -> Row:
    """The row of an explaining statistic: the summary and the worst part are both tested."""
    labels, each = pooled.labels, row.parts(row.table)
    summary = row.summary(each)
    null = np.r_[0, np.arange(1 + labels.splits, each.shape[1])]
    scaled = (each[:, null].abs() ** row.power).numpy()
    scaled = (scaled - scaled.mean(1, keepdims=True)) / spread(scaled)
    i = int(scaled[:, 0].argmax())
    total = (summary[null].abs() ** row.power).numpy()
    found = combined(scaled if len(each) == 1 else np.stack([total, scaled.max(0)]))
    low_middle_high = _band(summary.numpy(), row.table, labels)
    made = Row(row.name, float(summary[0]), *low_middle_high, float(found.pull[found.each.argmin()]), found.p,
               n=min(labels.real, labels.fake), worst=row.names[i], about=row.about)
    if len(each) > 1 and row.names[i]:
        part = each[i].numpy()
        made = replace(made, worst_value=float(part[0]), worst_null=_band(part, row.table, labels)[0],
                       worst_pull=float(scaled[i, 0]))
    return _with_means(made, i, pooled)


def _with_means(row: Row, i: int, pooled: Pooled) -> Row:
    """The row with the mean of its worst component in each sample and its standard error."""
    if row.name not in pooled.vectors:
        return row
    geometric = {s.name: s.compare for s in pooled.statistics}[row.name] == "power"
    x = pooled.vectors[row.name]
    x = x[:, i % x.shape[1]]
    (a, da), (b, db) = ((float(m), float(e)) for m, e in (_mean(pooled, k, x, geometric) for k in (0, 1)))
    unit = pooled.units[i] if row.name == "marginals" else ""
    return replace(row, real_value=a, real_error=da, fake_value=b, fake_error=db, unit=unit)


def _mean(pooled: Pooled, sample: int, x: np.ndarray, geometric: bool) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean of x (n + m, ...) over the real rows (0) or fakes (1), of logarithms if geometric; its error."""
    rows = pooled.fake == bool(sample)
    y = (logarithm(x) * np.log(10) if geometric else x)[rows]  # one floor for the zeros of both samples
    w = np.ones(len(y)) if pooled.labels.weights is None else pooled.labels.weights[rows]
    share = w / w.sum()
    mean = np.tensordot(share, y, 1)
    error = np.sqrt(np.tensordot(share**2, (y - mean) ** 2, 1))
    return (np.exp(mean), np.exp(mean) * error) if geometric else (mean, error)


def _groups(pooled: Pooled) -> np.ndarray:
    """Group number of every real, fake and training row: equal rows share one."""
    rows = pooled.values if pooled.train is None else np.concatenate([pooled.values, pooled.train])
    return duplicate_groups(torch.from_numpy(rows))


def _evidence(real: Dataset, fake: Dataset, pooled: Pooled, bend: Bend) -> Evidence:
    curves = []
    for s in pooled.statistics:
        if s.compare != "distribution":
            x, geometric = pooled.vectors[s.name], s.compare == "power"
            parts = [torch.from_numpy(part) for k in (0, 1) for part in _mean(pooled, k, x, geometric)]
            curves.append(Curve(s.name, s.axis_label, s.value_label, pooled.components[s.name], pooled.axes[s.name],
                                *parts))
    generator = stream(pooled.labels.seed, "shown")
    picked = [torch.randperm(len(data), generator=generator)[: SHOWN[data.kind]] for data in (real, fake)]
    given = pooled.labels.weights
    w = [None, None] if given is None else [
        torch.from_numpy(w)[rows] for w, rows in zip(np.split(given, [len(real)]), picked)]
    names = tuple(f"asinh of {name}" if name in bend.names else name for name in real.names)
    tell = None if real.kind == "events" else fake.values[list(telling(standardised(pooled.space), pooled.labels))]
    return Evidence(tuple(curves), real.values[picked[0]], fake.values[picked[1]], names, real.units,
                    real.pixel_arcmin, tell, (w[0], w[1]))


def _notes_on(pooled: Pooled, groups: np.ndarray) -> list[str]:
    labels, notes = pooled.labels, []
    real, _, train = np.split(groups, [labels.real, labels.real + labels.fake])
    if min(labels.real, labels.fake) < MODEST[pooled.kind]:
        notes.append(f"n = {min(labels.real, labels.fake)} {pooled.kind} is small: only gross differences show at this "
                     "size")
    if len(train) and (share := float(np.isin(real, train).mean())) > 0.05:
        notes.append(f"{share:.0%} of the real rows are training rows: judge against rows that the generator never saw")
    if (repeated := float((np.bincount(real)[real] > 1).mean())) > MOSTLY_REPEATED:
        notes.append(f"{repeated:.0%} of the real rows are repeated: neighbourhoods have no size, precision and recall "
                     "are left out")
    if labels.weights is not None:
        notes.append(f"weighted: effective rows {labels.effective[0]:.0f} real, {labels.effective[1]:.0f} fake")
    return notes


def _provenance(given: Side, seconds: float) -> dict[str, object]:
    roles = {role: data for role, data in (("real", given.real), ("fake", given.fake), ("train", given.train))
             if data is not None}
    return {
        **{role: {"fingerprint": data.fingerprint(), "rows": len(data), "data": repr(data),
                  "source": dict(data.provenance)} for role, data in roles.items()},
        "versions": {"python": platform.python_version(),
                     **{name: _version(name) for name in ("sundog", "torch", "numpy", "scipy", "scikit-learn")}},
        "seconds": round(seconds, 2),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
