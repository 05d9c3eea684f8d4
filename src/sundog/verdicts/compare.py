"""judge(real, fake): every number beside its real-vs-real band at the same sample size; worst first.

The order of the work is the order of the file: bring both samples into one shape, cut the splits, measure every
row once, fill the rows of the verdict, decide.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import OptionError, SampleSizeError, ShapeError
from sundog.statistics.catalogue.table import Statistic, catalogue, choose
from sundog.verdicts import rows as row_of
from sundog.verdicts.bend import Bend
from sundog.verdicts.evidence import Curve, Evidence
from sundog.verdicts.measured import Measured, Ruler, measure
from sundog.verdicts.null import Split, disjoint_splits
from sundog.verdicts.twosample import duplicate_groups
from sundog.verdicts.verdict import Row, Verdict

FEWEST = {"events": 50, "images": 20}  # rows of each sample below which the bands say nothing
MODEST = {"events": 500, "images": 100}  # below, a note says that only gross differences show
FALSE_ALARM = 0.01  # probability per verdict, shared equally by its rows; docs/judge.md has the measured rate
MOSTLY_REPEATED = 0.5
SPLITS = 24
COSTLY_SPLITS = {"sliced": 12, "energy": 12, "mmd": 12, "prdc": 12, "frechet": 12, "memorisation": 12, "classifier": 6}
WHOLE_SAMPLE = ("sliced", "energy", "mmd", "frechet", "prdc", "classifier", "memorisation", "copies", "repeats")
SHOWN = {"events": 20_000, "images": 12}  # rows kept for the report's pictures


def judge(
    real: Dataset,
    fake: Dataset,
    *,
    statistics: str | Sequence[str] = "all",
    train: Dataset | None = None,
    seed: int = 0,
    splits: int = SPLITS,
    progress: bool = False,
) -> Verdict:
    """Verdict on the fakes: is there any statistic that tells them from the truth?

    With n = min(len(fake), len(real) // 2), the truth is cut ``splits`` times into two disjoint random halves of n
    rows, and every statistic is computed between the halves (the null band) and between n fakes and one half. A
    row fails when its p-value is below 0.01 / (number of rows); the verdict passes when no row fails.

    Parameters
    ----------
    real : the truth; best rows that the generator never saw (``dataset.held_out``)
    fake : what is judged; same columns, names and units. Context columns are judged together with the values
    statistics : "all", or names among those of the catalogue for this kind of data and "sliced", "energy", "mmd",
        "frechet", "prdc", "classifier", "memorisation", "copies", "repeats"
    train : what the generator was trained on; sharpens the search for memorised rows
    seed : of the splits, the classifier and the thinning of weighted samples; same seed, same verdict
    splits : random disjoint splits; costly statistics use 12, the classifier 6, or fewer
    progress : show a bar on stderr

    Weights are honoured by thinning: a row stays with probability w / max(w), so that what is left is an
    unweighted sample without repeated rows.

    Raises
    ------
    SampleSizeError : n below 50 events or 20 images.
    ShapeError : the samples differ in kind, size, names or units.

    Example
    -------
    >>> import sundog, torch
    >>> x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    >>> verdict = judge(sundog.Dataset.from_arrays(x), sundog.Dataset.from_arrays(x[:200] + 1), splits=8)
    >>> verdict.passed
    False
    """
    _check(real, fake, train, statistics, seed)
    start, given = time.perf_counter(), (real, fake, train)
    if splits < 4:
        raise OptionError("too few splits for a band", got=splits, expected="at least 4", do="pass splits=24")
    wanted, whole = _chosen(real.kind, statistics)
    notes = _notes_on(real, fake)
    real, fake = _joined(real, seed), _aligned(real, fake, seed, "fake")
    train = None if train is None else _aligned(given[0], train, seed, "train")
    n = _size(real, fake)
    bend = Bend.of(real)
    real, fake, train = bend(real), bend(fake), None if train is None else bend(train)
    notes += bend.notes()
    cuts = disjoint_splits(len(real), len(fake), n, splits, seed)
    ruler = Ruler.of(real, wanted)
    samples = [None if data is None else measure(data, ruler) for data in (real, fake, train)]
    groups = _groups(samples)
    whole, remarks = _without_neighbourhoods(whole, groups[: len(real)])
    rows = _rows(real, ruler, samples, cuts, whole, groups, seed, progress)
    rows = sorted(_decided(rows), key=lambda row: (row.p_value, -abs(row.pull)))
    notes += remarks + _notes_on_size(real.kind, n) + _notes_on_overlap(groups, [len(real), len(real) + len(fake)])
    return Verdict(tuple(rows), n, real.kind, splits, seed, _evidence(real, fake, ruler, samples, n, seed),
                   tuple(notes), _provenance(given, time.perf_counter() - start))


def _check(real: Dataset, fake: Dataset, train: Dataset | None, statistics: object, seed: int) -> None:
    """Stop at arguments that are not what they should be."""
    for what, data in (("real", real), ("fake", fake), ("train", train)):
        if not isinstance(data, Dataset) and not (what == "train" and data is None):
            raise ShapeError(f"{what} is not a Dataset", got=type(data).__name__, expected="names and units to compare",
                             do="sundog.load(file), or sundog.Dataset.from_arrays(values, names=...)")
    if not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise OptionError("seed out of range", got=seed, expected="a whole number from 0 to 2^31 - 1", do="pass seed=0")
    if statistics is None:
        raise OptionError("no statistics named", got=None, expected="'all' or names", do="leave the argument out")


def _chosen(kind: str, names: str | Sequence[str]) -> tuple[tuple[Statistic, ...], tuple[str, ...]]:
    """Catalogue statistics and whole-sample statistics among the names."""
    if names == "all":
        return choose(kind, "all"), WHOLE_SAMPLE
    names = (names,) if isinstance(names, str) else tuple(names)
    known = {statistic.name for statistic in catalogue(kind)}
    unknown = [name for name in names if name not in known and name not in WHOLE_SAMPLE]
    if unknown or not names:
        raise OptionError(f"unknown statistic of {kind}", got=", ".join(map(str, unknown)) or "no name at all",
                          expected="one of " + ", ".join([*sorted(known), *WHOLE_SAMPLE]),
                          do="choose among these names, or pass 'all'")
    wanted = [name for name in names if name in known]
    return choose(kind, wanted) if wanted else (), tuple(name for name in WHOLE_SAMPLE if name in names)


def _joined(data: Dataset, seed: int) -> Dataset:
    """The sample as it is judged: thinned to unit weights; context columns of events behind the values."""
    if data.weights is not None:
        keep = torch.rand(len(data), generator=torch.Generator().manual_seed(seed)) * data.weights.max() < data.weights
        data = replace(data[keep], weights=None)
    if data.kind == "images" or data.context is None:
        return data
    return replace(data, values=torch.cat([data.values, data.context], 1), names=data.names + data.context_names,
                   units=data.units + data.context_units, context=None, context_names=(), context_units=())


def _aligned(real: Dataset, other: Dataset, seed: int, role: str) -> Dataset:
    """The other sample, joined, with its columns in the order of the truth; ShapeError where it does not fit."""
    if real.kind != other.kind:
        raise ShapeError(f"real and {role} are not the same kind of data", got=f"{role}: {other.kind}",
                         expected=f"{real.kind}", do="judge events against events and images against images")
    truth, other = _joined(real, seed), _joined(other, seed)
    if sorted(truth.names) != sorted(other.names) or truth.context_names != other.context_names:
        raise ShapeError(f"real and {role} do not have the same columns",
                         got=f"{role}: {', '.join(other.names + other.context_names)}",
                         expected=", ".join(truth.names + truth.context_names),
                         do="rename or select the columns of one of them")
    order = [other.names.index(name) for name in truth.names]
    if truth.values.ndim == other.values.ndim != 3 and order != sorted(order):
        other = replace(other, values=other.values[:, order], names=truth.names,
                        units=tuple(other.units[i] for i in order))
    if truth.values.shape[1:] != other.values.shape[1:]:
        raise ShapeError(f"real and {role} images differ in size", got=f"{role}: {tuple(other.values.shape[1:])}",
                         expected=tuple(truth.values.shape[1:]), do="cut or resample one of them")
    _check_units(truth, other, role)
    return other


def _check_units(real: Dataset, other: Dataset, role: str) -> None:
    """ShapeError where two units are given and differ; an absent unit is taken to agree."""
    named = zip(real.names + real.context_names, real.units + real.context_units, other.units + other.context_units)
    for name, unit, theirs in named:
        if unit and theirs and unit != theirs:
            raise ShapeError(f"real and {role} differ in the unit of {name}", got=f"{role}: {theirs}", expected=unit,
                             do=f"convert {name} to {unit} before judging")
    if real.pixel_arcmin and other.pixel_arcmin and not np.isclose(real.pixel_arcmin, other.pixel_arcmin):
        raise ShapeError(f"real and {role} differ in pixel size", got=f"{role}: {other.pixel_arcmin} arcmin",
                         expected=f"{real.pixel_arcmin} arcmin", do="resample one of them")


def _size(real: Dataset, fake: Dataset) -> int:
    n, fewest = min(len(fake), len(real) // 2), FEWEST[real.kind]
    if n < fewest:
        raise SampleSizeError(f"too few {real.kind} to judge", got=f"{len(real)} real and {len(fake)} fake, so n = {n}",
                              expected=f"n = min(fake, real / 2) of at least {fewest}",
                              do=f"bring at least {2 * fewest} real and {fewest} fake {real.kind}")
    return n


def _rows(real: Dataset, ruler: Ruler, samples: Sequence[Measured | None], cuts: list[Split], whole: Sequence[str],
          groups: np.ndarray, seed: int, progress: bool) -> list[Row]:
    steps: list[Statistic | str] = [*ruler.statistics, *whole]
    x, y, train = samples
    assert x is not None and y is not None  # for the type checker: only train may be absent
    found: list[Row] = []
    for step in track(steps, "judging", disable=not progress, console=Console(stderr=True)):
        if isinstance(step, Statistic):
            names = step.components(tuple(real.values.shape), ruler.frame)
            row = row_of.vector_row(step, names, _units_of(step, names, real), x, y, cuts)
            found += [row] if row is not None else []
        else:
            found += _whole_sample(step, x, y, train, cuts[: COSTLY_SPLITS.get(step, len(cuts))], groups, seed)
    return found


def _whole_sample(name: str, x: Measured, y: Measured, train: Measured | None, cuts: list[Split], groups: np.ndarray,
                  seed: int) -> list[Row]:
    if name == "prdc":
        return row_of.neighbour_rows(x, y, cuts)
    sizes = (len(x), len(y), 0 if train is None else len(train))
    make = {
        "sliced": lambda: row_of.sliced_row(x, y, cuts, seed),
        "energy": lambda: row_of.energy_row(x, y, cuts),
        "mmd": lambda: row_of.mmd_row(x, y, cuts, seed),
        "frechet": lambda: row_of.frechet_row(x, y, cuts),
        "classifier": lambda: row_of.classifier_row(x, y, cuts, groups, seed),
        "memorisation": lambda: row_of.near_row(x, y, train, cuts),
        "copies": lambda: row_of.copy_row(groups, sizes, cuts),
        "repeats": lambda: row_of.repeat_row(groups, len(x), cuts),
    }
    return [make[name]()]


def _groups(samples: Sequence[Measured | None]) -> np.ndarray:
    """Group number of every row of real, fake, train: equal (to rounding) rows share one."""
    return duplicate_groups(torch.cat([sample.space for sample in samples if sample is not None]))


def _units_of(statistic: Statistic, components: Sequence[str], real: Dataset) -> tuple[str, ...]:
    """Unit of each component: that of the column where the component is a column, else none."""
    units = dict(zip(real.names, real.units)) if statistic.name == "marginals" else {}
    return tuple(units.get(component, "") for component in components)


def _decided(rows: Sequence[Row]) -> Iterator[Row]:
    threshold = FALSE_ALARM / max(len(rows), 1)
    return (replace(row, threshold=threshold, passed=bool(row.p_value >= threshold)) for row in rows)


def _evidence(real: Dataset, fake: Dataset, ruler: Ruler, samples: Sequence[Measured | None], n: int,
              seed: int) -> Evidence:
    x, y, _ = samples
    assert x is not None and y is not None  # as in _rows
    shape, generator = tuple(real.values.shape), torch.Generator().manual_seed(seed)
    curves = [
        Curve(s.name, s.axis_label, s.value_label, s.components(shape, ruler.frame),
              None if s.axis is None else s.axis(shape, ruler.frame),
              *_mean_and_error(x.vectors[s.name], n), *_mean_and_error(y.vectors[s.name], n))
        for s in ruler.statistics if s.compare == "mean" and x.vectors[s.name].shape[1] > 0
    ]
    shown = [data.values[torch.randperm(len(data), generator=generator)[: SHOWN[data.kind]]] for data in (real, fake)]
    return Evidence(tuple(curves), shown[0], shown[1], real.names, real.units, real.pixel_arcmin)


def _mean_and_error(x: Tensor, n: int) -> tuple[Tensor, Tensor]:
    return x.mean(0), x.std(0) / n**0.5


def _notes_on(real: Dataset, fake: Dataset) -> list[str]:
    notes = []
    for role, data in (("real", real), ("fake", fake)):
        if data.weights is not None:
            share = float(data.weights.mean() / data.weights.max())
            notes.append(f"the {role} sample was thinned by its weights to about {share:.0%} of its {len(data)} rows")
    if real.context_names:
        notes.append(f"context ({', '.join(real.context_names)}) is judged together with the values")
    mute = [name for name, a, b in zip(real.names, real.units, fake.units) if bool(a) != bool(b)]
    if mute and real.names == fake.names:
        notes.append(f"only one sample gives the unit of {', '.join(mute)}: taken to agree")
    return notes


def _notes_on_size(kind: str, n: int) -> list[str]:
    return [f"n = {n} {kind} is small: only gross differences show at this size"] if n < MODEST[kind] else []


def _notes_on_overlap(groups: np.ndarray, ends: Sequence[int]) -> list[str]:
    real, _, train = np.split(groups, ends)
    share = float(np.isin(real, train).mean())
    return [f"{share:.0%} of the real rows are training rows: judge against rows that the generator never saw"] \
        if share > 0.05 else []


def _without_neighbourhoods(whole: tuple[str, ...], real: np.ndarray) -> tuple[tuple[str, ...], list[str]]:
    """The whole-sample statistics, less precision and recall where most real rows have twins, and a note on it."""
    repeated = float((np.bincount(real)[real] > 1).mean())
    if repeated < MOSTLY_REPEATED:
        return whole, []
    return (tuple(name for name in whole if name != "prdc"),
            [f"{repeated:.0%} of the real rows are repeated: neighbourhoods have no size, precision and recall are "
             "left out, and copies cannot be told from chance"])


def _provenance(given: Sequence[Dataset | None], seconds: float) -> dict[str, object]:
    roles = {role: data for role, data in zip(("real", "fake", "train"), given) if data is not None}
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
