"""What a generator over- and under-represents: shares of classes, orientations, fluxes, sizes beside the training data.

Every attribute is cut into classes: its own, where it has few values, else eight cells of equal share of all rows. A
class has its share in both samples with a 95 % interval (Wilson), and a p-value: that of so many of its rows among the
fakes, were all labels exchanged (hypergeometric, two-sided). It is flagged where Holm's correction over all classes of
all attributes leaves p <= 5 %: one law for both raises any flag at all in at most 5 % of reports.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import hypergeom, norm

from sundog.checks import near
from sundog.data.dataset import Dataset
from sundog.errors import DataError, OptionError, SampleSizeError, ShapeError
from sundog.statistics.objects.shapes import shape_metrics

FALSE_ALARM = 0.05  # of a whole report
CELLS = 8  # of an attribute of many values
FEW = 12  # values, up to which each is a class of its own
FEWEST_ROWS = 20
Attribute = Callable[[Dataset], Any]
KNOWN: Mapping[str, Attribute] = {  # of images
    "flux": lambda d: d.values.flatten(1).sum(1),
    "size": lambda d: shape_metrics(_single(d))["scatter"],
    "orientation": lambda d: shape_metrics(_single(d))["pca_angle"],
}


@dataclass(frozen=True)
class Share:
    """One class of one attribute: its share of the training data and of the fakes, each with a 95 % interval.

    ``p_value`` is corrected for all classes of the report; ``flagged`` where it is 5 % or less.
    """

    attribute: str
    name: str
    train: float
    train_low: float
    train_high: float
    fake: float
    fake_low: float
    fake_high: float
    p_value: float
    flagged: bool = False

    def __str__(self) -> str:
        word = "" if not self.flagged else "  OVER" if self.fake > self.train else "  UNDER"
        sides = ((self.train, self.train_low, self.train_high, "trained"),
                 (self.fake, self.fake_low, self.fake_high, "drawn"))
        told = ", ".join(f"{share:6.1%} ({low:.1%} to {high:.1%}) {side}" for share, low, high, side in sides)
        return f"{self.attribute:>16} {self.name:>22}: {told}, p = {self.p_value:.2g}{word}"


@dataclass(frozen=True)
class BiasReport:
    """What `bias_report` found.

    Attributes
    ----------
    shares : of every class of every attribute
    levels, steps : noise levels of the sampling, and (levels, classes) shares of the denoised images there; empty
        without a trajectory
    """

    shares: tuple[Share, ...]
    levels: tuple[float, ...] = ()
    steps: tuple[tuple[float, ...], ...] = ()

    @property
    def flags(self) -> tuple[Share, ...]:
        """The classes that are over- or under-represented, the surest first."""
        return tuple(sorted((share for share in self.shares if share.flagged), key=lambda share: share.p_value))

    def __str__(self) -> str:
        found = f"{len(self.flags)} of {len(self.shares)} classes are over- or under-represented"
        lines = [f"{found} (5 % chance of any flag if none is)", *map(str, self.shares)]
        if self.steps:
            lines += ["", "shares of the denoised images by noise level"]
            lines += [f"{level:10.3g}  " + " ".join(f"{share:6.1%}" for share in step)
                      for level, step in zip(self.levels, self.steps)]
        return "\n".join(lines)

    def to_pandas(self) -> Any:
        """The classes as a pandas DataFrame, one column per attribute of `Share`."""
        import pandas  # heavy, and nothing else here needs it

        return pandas.DataFrame([asdict(share) for share in self.shares])

    def to_json(self) -> str:
        """Everything as JSON."""
        return json.dumps(asdict(self), indent=1)


def bias_report(train: Dataset, fake: Dataset,
                attributes: Mapping[str, Attribute | tuple[Any, Any]] | Sequence[str] | str, *,
                trajectory: Any = None) -> BiasReport:
    """Frequencies of classes of the training data and of the fakes, and which of them differ beyond chance.

    Parameters
    ----------
    train, fake : Datasets with the same columns; weights count
    attributes : names of columns of values or context; of images also ``flux`` (sum), ``size`` (scatter of the light,
        pixels) and ``orientation`` (degrees, 0 to 180); or name -> function of a Dataset to (n,) numbers or words; or
        name -> the (n,) values of both samples
    trajectory : of ``sundog.tasks.trajectory``: shares also at every noise level of the sampling

    Raises
    ------
    OptionError : an attribute that neither sample has; with a trajectory, given values.
    SampleSizeError : fewer than 20 rows.
    ShapeError : an attribute of another length, or of another unit; a trajectory of other columns.
    DataError : values that are not finite.

    Example
    -------
    >>> import torch
    >>> x = torch.arange(400.0)[:, None] % 4
    >>> train, fake = (Dataset.from_arrays(part, names=["kind"]) for part in (x, x[x[:, 0] < 3]))
    >>> report = bias_report(train, fake, "kind")
    >>> [share.name for share in report.flags if share.fake < share.train]
    ['3']
    """
    if min(len(train), len(fake)) < FEWEST_ROWS:
        raise SampleSizeError("too few rows for frequencies", got=f"{len(train)} and {len(fake)}",
                              expected=f"at least {FEWEST_ROWS} of each", do="draw more")
    attributes = [attributes] if isinstance(attributes, str) else attributes
    if not attributes:
        raise OptionError("no attributes", got="none", expected="names", do="pass attributes=['flux', 'size']")
    found: list[Share] = []
    cells: list[tuple[Any, _Classes]] = []
    for name in attributes:
        source = attributes[name] if isinstance(attributes, Mapping) else name
        both = _values(source, name, train, fake)
        classes = _Classes.of(np.concatenate(both))
        cells.append((source, classes))
        found += _shares(name, classes, both, [_weights(train), _weights(fake)])
    p = _holm(np.array([share.p_value for share in found]))
    shares = tuple(Share(**{**asdict(share), "p_value": float(q), "flagged": bool(q <= FALSE_ALARM)})
                   for share, q in zip(found, p))
    if trajectory is None:
        return BiasReport(shares)
    way = trajectory.sample
    if (way.kind, way.names, way.context_names) != (fake.kind, fake.names, fake.context_names):
        raise ShapeError("a trajectory of other columns", got=", ".join(way.names + way.context_names),
                         expected=", ".join(fake.names + fake.context_names), do="record that of the judged generator")
    if fixed := [name for name, (source, _) in zip(attributes, cells) if isinstance(source, tuple)]:
        raise OptionError("values of rows are not known at noise levels", got=", ".join(fixed),
                          expected="names of columns, or functions of a Dataset", do="leave out trajectory=, or these")
    steps = [tuple(float(v) for source, classes in cells for v in classes.shares(
        _of(source, str(source), replace(way, values=frame)))) for frame in trajectory.frames]
    return BiasReport(shares, tuple(map(float, trajectory.levels)), tuple(steps))


@dataclass(frozen=True)
class _Classes:
    """How values are told apart: by ``values``, or by inner ``edges`` where there are none."""

    names: tuple[str, ...]
    values: np.ndarray | None
    edges: np.ndarray

    @staticmethod
    def of(x: np.ndarray) -> _Classes:
        values = np.unique(x)
        if len(values) <= FEW or x.dtype.kind not in "fiub":
            names = tuple(f"{v:g}" if x.dtype.kind in "fiu" else str(v) for v in values)
            return _Classes(names, values, np.empty(0))
        edges = np.unique(np.quantile(x, np.arange(1, CELLS) / CELLS))
        ends = ["", *(f"{edge:.4g}" for edge in edges), ""]
        names = tuple(f"{a} to {b}" if a and b else f"below {b}" if b else f"above {a}" for a, b in zip(ends, ends[1:]))
        return _Classes(names, None, edges)

    def of_rows(self, x: np.ndarray) -> np.ndarray:
        """(n, classes) booleans."""
        if self.values is not None:
            return np.asarray(x[:, None] == self.values)
        return np.asarray(np.searchsorted(self.edges, x, side="left")[:, None] == np.arange(len(self.edges) + 1))

    def shares(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.of_rows(x).mean(0))


def _shares(name: str, classes: _Classes, both: Sequence[np.ndarray], weights: Sequence[np.ndarray | None]
            ) -> list[Share]:
    held = [classes.of_rows(x) for x in both]
    w = [np.ones(len(x)) if given is None else given for x, given in zip(both, weights)]
    share = [(part * v[:, None]).sum(0) / v.sum() for part, v in zip(held, w)]
    effective = [v.sum() ** 2 / (v**2).sum() for v in w]
    if all(given is None for given in weights):
        (n, m), k = map(len, both), held[1].sum(0)
        total = held[0].sum(0) + k
        law = hypergeom(n + m, total, m)
        p = np.minimum(1, 2 * np.minimum(law.cdf(k), law.sf(k - 1)))
    else:
        spread = np.sqrt(sum((v[:, None] ** 2 * (part - s) ** 2).sum(0) / v.sum() ** 2
                             for part, v, s in zip(held, w, share)))
        p = 2 * norm.sf(np.abs(share[1] - share[0]) / np.maximum(spread, 1e-300))
    (a_low, a_high), (b_low, b_high) = (_wilson(s, n) for s, n in zip(share, effective))
    table = np.stack([share[0], a_low, a_high, share[1], b_low, b_high, p], 1).tolist()
    return [Share(name, word, *numbers) for word, numbers in zip(classes.names, table)]


def _wilson(share: np.ndarray, n: float) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of a share of n rows (Wilson 1927)."""
    z = float(norm.isf(0.025))
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.maximum(middle - half, 0), np.minimum(middle + half, 1)


def _holm(p: np.ndarray) -> np.ndarray:
    """p-values that count all of them (Holm 1979)."""
    order = p.argsort(kind="stable")
    out = np.empty(len(p))
    out[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return out


def _values(source: Any, name: str, train: Dataset, fake: Dataset) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(source, tuple):
        found = [np.asarray(x).reshape(-1) for x in source]
    else:
        found = [_of(source, name, data) for data in (train, fake)]
        units = [_unit(source, data) for data in (train, fake)]
        if units[0] != units[1]:
            raise ShapeError(f"unit of {name} differs", got=units[1], expected=units[0], do="convert one of them")
    for x, data in zip(found, (train, fake)):
        if len(x) != len(data):
            raise ShapeError(f"attribute {name} has another length", got=len(x), expected=f"{len(data)} rows",
                             do="one value per row")
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            raise DataError(f"attribute {name} is not finite", got=f"{int((~np.isfinite(x)).sum())} such rows",
                            expected="numbers", do="leave these rows out")
    return found[0], found[1]


def _of(source: Any, name: str, data: Dataset) -> np.ndarray:
    """(n,) values of an attribute."""
    columns = dict(zip(data.names, data.values.T)) if data.kind == "events" else {}
    if data.context is not None:
        columns |= dict(zip(data.context_names, data.context.T))
    known = {**columns, **(KNOWN if data.kind == "images" else {})}
    if isinstance(source, str) and source not in known:
        raise OptionError(f"no attribute {name}", got=source, expected=", ".join(known) or "functions",
                          do=near(source, known) or "name one of these; in Python also pass {name: function}")
    if isinstance(source, str):
        source = columns.get(source, KNOWN.get(source))
    return np.asarray(source(data) if callable(source) else source).reshape(-1)


def _unit(source: Any, data: Dataset) -> str:
    names = (*(data.names if data.kind == "events" else ()), *data.context_names)
    units = (*(data.units if data.kind == "events" else ()), *data.context_units)
    return dict(zip(names, units)).get(source, "") if isinstance(source, str) else ""


def _weights(data: Dataset) -> np.ndarray | None:
    return None if data.weights is None else data.weights.double().numpy()


def _single(data: Dataset) -> Any:
    x = data.values
    return x if x.ndim == 3 else x.mean(1)
