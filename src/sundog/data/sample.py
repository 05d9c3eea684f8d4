"""Dataset: the one object that crosses every door of the house.

What it can do with files and tables of text is added by the modules that know them (``files``, ``describe``);
``sundog.data.dataset`` loads all three.

Three kinds of data:

* ``events``: (n, d), one row per event, one column per feature;
* ``images``: (n, ny, nx) or (n, channels, ny, nx), one map or cut-out per row;
* ``series``: (n, t) or (n, t, channels), one record at equal steps of time per row; known by its ``time_step``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, overload

import numpy as np
import torch
from torch import Tensor

from sundog.checks import UNSEEN, positive, unseen
from sundog.data.exchange import Exchange
from sundog.data.formats.blocks import exactly, needs_double
from sundog.data.formats.points import row_per_point
from sundog.data.formats.raw import with_notes
from sundog.data.objects import raw_of
from sundog.errors import DataError, OptionError, ShapeError
from sundog.random import short

Split = tuple["Dataset", ...]
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Dataset(Exchange):
    """A finite sample in physical units, with everything needed to hand it back to its owner.

    Attributes
    ----------
    values : (n, d) events, (n, [channels,] ny, nx) images or (n, t[, channels]) series, physical units; float32, or
        float64 where float32 would lose digits that the numbers need (``tensor_of``). NaN in series alone: gaps
    context : (n, c) conditions such as a mass, or None; float32 or float64 likewise
    weights : (n,) non-negative event weights, or None
    names, units : one per feature (events) or per channel (images, series)
    context_names, context_units : one per context column
    pixel_arcmin : side of a pixel in arcmin, or None
    periodic : whether maps wrap around at their edges, series from end to beginning
    held_out_fraction : share of the rows that ``.held_out`` keeps away from training
    provenance : where the numbers come from; travels with every part
    time_step, time_unit : between two points of a series; None for events and images
    places : how many columns of the context, the first, say where in its run a row was read (``from_arrays(points=)``);
        rows with equal other columns are one run, which splits keep whole

    Example
    -------
    >>> import numpy as np, sundog
    >>> events = sundog.Dataset.from_arrays(np.random.default_rng(0).normal(size=(100, 2)), names=("x", "y"))
    >>> len(events.train), len(events.held_out)
    (80, 20)
    """

    values: Tensor
    context: Tensor | None = None
    weights: Tensor | None = None
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    context_names: tuple[str, ...] = ()
    context_units: tuple[str, ...] = ()
    pixel_arcmin: float | None = None
    periodic: bool = False
    held_out_fraction: float = 0.2
    provenance: Mapping[str, Any] = field(default_factory=dict)
    time_step: float | None = None
    time_unit: str = ""
    places: int = 0

    describe: ClassVar[Callable[[Dataset], str]]  # from sundog.data.describe
    _repr_html_: ClassVar[Callable[[Dataset], str]]
    save: ClassVar[Callable[[Dataset, str | Path], Path]]  # from sundog.data.files
    load: ClassVar[Callable[..., Dataset]]

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check_labels(self)
        if self.pixel_arcmin is not None:
            positive(self.pixel_arcmin, "pixel_arcmin")
        if self.time_step is not None:
            positive(self.time_step, "time_step")
        if self.places and self.context is not None and not 0 < self.places < self.context.shape[1]:
            raise OptionError("places out of range", got=self.places,
                              expected=f"fewer than the {self.context.shape[1]} columns of the context",
                              do="name place and inputs as context, place first")
        if not 0 <= self.held_out_fraction < 1:
            raise OptionError("held_out_fraction out of range", got=self.held_out_fraction,
                              expected="0 <= fraction < 1", do="pass e.g. 0.2")

    @staticmethod
    def from_arrays(
        values: Any,
        context: Any = None,
        names: Sequence[str] | None = None,
        units: Sequence[str] | str | None = None,
        *,
        weights: Any = None,
        context_names: Sequence[str] | None = None,
        context_units: Sequence[str] | str | None = None,
        pixel_arcmin: float | None = None,
        periodic: bool = False,
        held_out_fraction: float = 0.2,
        provenance: Mapping[str, Any] | None = None,
        time_step: float | None = None,
        time_unit: str = "",
        places: int = 0,
        exact: bool = False,
        owned: bool = False,
        drop_failed: bool = False,
        points: Any = None,
    ) -> Dataset:
        """Dataset from anything that `sundog.load` takes from memory; names and units that it brings are kept.

        With a ``time_step`` an array (n, t) or (n, t, channels) is series.

        Numbers are kept in float32, or in float64 where that would lose digits they need (``tensor_of``); with
        ``exact`` wherever float32 would change any number. They are copied, unless they are ``owned``: nobody else
        holds the arrays. With ``drop_failed`` rows that hold NaN or Inf, such as runs of a simulator that failed, are
        left out, and ``provenance["notes"]`` says which.

        With ``points`` (n, m) or (n, m, dims) values (n, m) are runs that were read each at its own: a row per point is
        made, whose first context columns are the place. NaN fills the runs that have fewer than m.

        Raises
        ------
        DataError : NaN, Inf, empty, or of a type that is not numbers.
        ShapeError : names, units, context or weights that do not fit the values.
        """
        more: tuple[str, ...] = ()
        if points is not None:
            inputs = raw_of(context)
            raw = row_per_point(_array(points, "points"), _array(values, "values"), _array(inputs.values, "context"),
                                context_names or inputs.facts.get("names"),
                                None if weights is None else _array(weights, "weights"))
            values, context, weights, more = raw.values, raw.context, raw.weights, raw.notes
            places, context_names, names = raw.facts["places"], raw.facts["context_names"], names or raw.facts["names"]
            context_units = context_units if context_units is None or isinstance(context_units, str) else \
                [*[""] * places, *context_units]
        held, given = raw_of(values), None if context is None else raw_of(context)
        names = names if names is not None else held.facts.get("names")
        units = units if units is not None else held.facts.get("units")
        if given is not None:
            context_names = context_names if context_names is not None else given.facts.get("names")
            context_units = context_units if context_units is not None else given.facts.get("units")
        x = tensor_of(held.values, "values", exact, owned)
        c = None if given is None else tensor_of(given.values, "context", exact, owned)
        c = c[:, None] if c is not None and c.ndim == 1 else c
        w = None if weights is None else tensor_of(_flat(raw_of(weights).values), "weights").float()
        notes = [*more, *held.notes, *(given.notes if given else ())]
        if drop_failed and bool((bad := _failed(x, c, w)).any()):
            x, c, w = x[~bad], None if c is None else c[~bad], None if w is None else w[~bad]
            notes.append(f"{int(bad.sum())} of {len(bad)} rows left out, which hold NaN or Inf: {_rows(bad)}")
        n_names = _width(x, time_step is not None)
        n_context = 0 if c is None or c.ndim != 2 else c.shape[1]
        return Dataset(
            values=x,
            context=c,
            weights=w,
            names=_labels(names, n_names, "x" if x.ndim == 2 or time_step is not None else "map"),
            units=_units(units, n_names),
            context_names=_labels(context_names, n_context, "context"),
            context_units=_units(context_units, n_context),
            pixel_arcmin=pixel_arcmin,
            periodic=periodic,
            held_out_fraction=held_out_fraction,
            provenance=with_notes(provenance or {}, notes),
            time_step=time_step,
            time_unit=time_unit,
            places=places,
        )

    @property
    def kind(self) -> str:
        """``"events"``, ``"images"`` or ``"series"``: which statistics and networks apply."""
        return "series" if self.time_step is not None else "events" if self.values.ndim == 2 else "images"

    @property
    def runs(self) -> Tensor:
        """(n,) the number of the run that each row was read from: rows of one run stand in one part of a split."""
        if not self.places or self.context is None:
            return torch.arange(len(self))
        return self.context[:, self.places :].unique(dim=0, return_inverse=True)[1]

    def __len__(self) -> int:
        return self.values.shape[0]

    @overload
    def __getitem__(self, rows: str) -> np.ndarray: ...
    @overload
    def __getitem__(self, rows: Any) -> Dataset: ...
    def __getitem__(self, rows: Any) -> Any:
        """The chosen rows (slice, index array, boolean mask) as a Dataset; or the numbers of a named column."""
        if isinstance(rows, str):
            return self.column(rows)
        rows = torch.as_tensor(rows) if not isinstance(rows, slice) else rows
        if isinstance(rows, Tensor) and rows.ndim == 0:
            rows = rows[None]
        return replace(
            self,
            values=self.values[rows],
            context=None if self.context is None else self.context[rows],
            weights=None if self.weights is None else self.weights[rows],
        )

    def split(self, fractions: Sequence[float] = (0.8, 0.2), seed: int = 0) -> Split:
        """Disjoint random parts of the rows, in the given fractions; same seed, same parts.

        A part is never split again by ``.train``: its ``held_out_fraction`` is 0.
        """
        if min(fractions) < 0 or not 0 < sum(fractions) <= 1 + 1e-9:
            raise OptionError("cannot split", got=f"fractions {tuple(fractions)}",
                              expected="non-negative numbers with a sum of at most 1", do="pass e.g. (0.8, 0.2)")
        whole = replace(self, held_out_fraction=0.0)
        return tuple(whole[rows] for rows in self._parted(fractions, seed))

    def _parted(self, fractions: Sequence[float], seed: int) -> tuple[Tensor, ...]:
        """The rows of each part of a split."""
        runs = self.runs if self.places and self.context is not None else None
        n = len(self) if runs is None else int(runs.max()) + 1
        order = torch.randperm(n, generator=torch.Generator().manual_seed(short(seed, 64, "split")))
        edges = np.rint(np.cumsum([0.0, *fractions]) * n).astype(int)
        parts = tuple(order[a:b] for a, b in zip(edges[:-1], edges[1:]) if b > a)
        if len(parts) < sum(f > 0 for f in fractions):
            raise DataError("a part of the split would be empty", got=f"{n} rows for {tuple(fractions)}",
                            expected="at least one row per part", do="use more data or fewer parts")
        return parts if runs is None else tuple(torch.isin(runs, part).nonzero().flatten() for part in parts)

    def _part(self, i: int) -> Dataset:
        """The rows kept for training (0) or held out (1); the other part is not copied."""
        rows = self._parted((1 - self.held_out_fraction, self.held_out_fraction), 0)[i]
        return replace(self[rows], held_out_fraction=0.0)

    @property
    def train(self) -> Dataset:
        """The rows that ``fit`` may see: all but ``held_out_fraction`` of them, chosen with seed 0.

        Where that share is less than half a row - a single map - nothing can be held out, and all rows are here.
        """
        if round((1 - self.held_out_fraction) * len(self)) == len(self):
            return self
        return self._part(0)

    @property
    def held_out(self) -> Dataset:
        """The rows that ``fit`` never sees; judge fakes against these."""
        if self.held_out_fraction == 0:
            raise DataError("nothing is held out", got="held_out_fraction 0", expected="a fraction above 0",
                            do="load with held_out_fraction=0.2, or judge against an independent sample")
        return self._part(1)

    def with_context(self, columns: Sequence[str] | str) -> Dataset:
        """Dataset whose named columns moved out of the values into the context, in that order; those there stay."""
        wanted = (columns,) if isinstance(columns, str) else tuple(columns)
        wanted = tuple(name for name in wanted if name not in self.context_names)  # those are there already
        if not wanted:
            return self
        missing = [name for name in wanted if name not in self.names]
        if missing or self.kind != "events":
            raise ShapeError("no such column to condition on", got=", ".join(missing) or self.kind,
                             expected=f"names among {', '.join((*self.names, *self.context_names))}",
                             do="check dataset.names")
        moved = [self.names.index(name) for name in wanted]
        kept = [i for i in range(len(self.names)) if i not in moved]
        if not kept:
            raise ShapeError("every column would become context", got=f"{len(moved)} of {len(moved)} columns",
                             expected="at least one column left to generate", do="name fewer columns")
        return replace(
            self,
            values=self.values[:, kept],
            names=tuple(self.names[i] for i in kept),
            units=tuple(self.units[i] for i in kept),
            context=self.values[:, moved] if self.context is None
            else torch.cat([self.context, self.values[:, moved]], 1),
            context_names=self.context_names + tuple(self.names[i] for i in moved),
            context_units=self.context_units + tuple(self.units[i] for i in moved),
        )

    def fingerprint(self) -> str:
        """SHA-256 (16 hex digits) of values, context and weights: says whether two runs saw the same data."""
        digest = hashlib.sha256()
        for part in (self.values, self.context, self.weights):
            if part is not None:
                digest.update(str(tuple(part.shape)).encode())
                digest.update(np.ascontiguousarray(part.numpy()).data)
        return digest.hexdigest()[:16]

    def __repr__(self) -> str:
        shape = " x ".join(str(s) for s in self.values.shape)
        described = ", ".join(f"{n} [{u}]" if u else n for n, u in zip(self.names, self.units))
        given = ", ".join(f"{n} [{u}]" if u else n for n, u in zip(self.context_names, self.context_units))
        step = "" if self.time_step is None else f", step {self.time_step:.6g} {self.time_unit}".rstrip()
        return f"Dataset({self.kind}, {shape}: {described}{step}" + (f" | {given})" if given else ")")


def tensor_of(values: Any, what: str, exact: bool = False, owned: bool = False) -> Tensor:
    """The numbers of an array, frame or tensor, of their own memory: float32, or float64 where float32 loses too much.

    ``owned`` arrays, which nobody else holds, need no copy.

    Too much is: one whole number of a column changed (ids, counts, seconds), more than 0.2 % of its different numbers
    merged, or its numbers moved by more than 1e-6 of their spread (times since 1970, a monopole under small
    ripples). With ``exact``: any number changed.

    Raises
    ------
    DataError : no numbers; beyond the range of float32; whole numbers that not even float64 tells apart.
    """
    array = _array(values, what)
    if array.dtype.kind == "b" or array.dtype.itemsize <= (4 if array.dtype.kind == "f" else 2):
        return torch.from_numpy(_held(array, np.float32, owned))
    largest = max(abs(float(array.min(initial=0))), abs(float(array.max(initial=0))))
    if array.dtype.kind == "f" and not largest <= LARGEST and (np.isfinite(array) & (np.abs(array) > LARGEST)).any():
        raise DataError(f"{what} are too large for float32", got=f"{largest:.3g}",
                        expected="at most 3.4e38", do="use a larger unit")
    kind = np.float64 if needs_double(exactly(array, what), exact) else np.float32
    return torch.from_numpy(_held(array, kind, owned))


def _held(array: np.ndarray, kind: type, owned: bool) -> np.ndarray:
    """The array in C order and of that type, in memory that is not the caller's."""
    return np.require(array, kind, ["C", "W"]) if owned else np.array(array, dtype=kind, order="C")


def _array(values: Any, what: str) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype in (torch.bfloat16, torch.float16) else values).numpy()
    try:
        array = np.asarray(values)
        array = array.astype(np.float64) if array.dtype.kind == "O" else array  # pandas' nullable numbers
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} do not form an array", got=str(error).split(". ")[0],
                        expected="numbers, rows of one length",
                        do="check for rows of mixed sizes, text and missing entries") from error
    if array.dtype.kind not in "fiub":
        raise DataError(f"{what} are not real numbers", got=f"type {array.dtype}", expected="float or integer arrays",
                        do="convert text columns and split complex maps into two channels first")
    return array


def _flat(x: np.ndarray) -> np.ndarray:
    return x[:, 0] if x.ndim == 2 and x.shape[1] == 1 else x


def _labels(names: Sequence[str] | None, count: int, stem: str) -> tuple[str, ...]:
    if names is not None:
        return (names,) if isinstance(names, str) else tuple(str(name) for name in names)
    return (stem,) if count == 1 else tuple(f"{stem}{i}" for i in range(count))


def _units(units: Sequence[str] | str | None, count: int) -> tuple[str, ...]:
    if units is None or isinstance(units, str):
        return (units or "",) * count
    return tuple(str(unit) for unit in units)


def _width(x: Tensor, series: bool) -> int:
    """Features or channels."""
    if series:
        return x.shape[2] if x.ndim == 3 else 1
    return x.shape[1] if x.ndim in (2, 4) else 1


def _check_numbers(data: Dataset) -> None:
    series = data.kind == "series"
    if data.values.ndim not in ((2, 3) if series else (2, 3, 4)) or (series and data.values.shape[1] < 2):
        raise ShapeError("values have an unusable shape", got=tuple(data.values.shape),
                         expected="(n, t) or (n, t, channels) series of two points or more" if series else
                         "(n, d) events or (n, [channels,] ny, nx) images",
                         do="reshape; one " + ("series of shape (t,)" if series else "map of shape (ny, nx)") +
                         " becomes values[None]")
    if data.values.numel() == 0:
        raise DataError("values are empty", got=tuple(data.values.shape), expected="at least one row and one column",
                        do="check the selection that produced them")
    for what, part in (("values", data.values), ("context", data.context), ("weights", data.weights)):
        if series and part is data.values:
            part = part.nan_to_num(nan=0.0, posinf=math.inf, neginf=-math.inf)  # gaps are no error
        # NaN and Inf show in the extremes, for which nothing is copied.
        if part is not None and part.numel() and not all(torch.isfinite(end) for end in part.aminmax()):
            bad = ~torch.isfinite(part).reshape(len(part), -1).all(1)
            raise DataError(f"{what} contain NaN or Inf", got=f"{int(bad.sum())} of {len(part)} rows",
                            expected="finite numbers",
                            do=f"drop or repair {_rows(bad)}; drop_failed=True leaves them out")
    if data.kind == "images" and unseen(float(data.values.min())):
        raise DataError("maps hold UNSEEN pixels", got=f"{int((data.values < 0.99 * UNSEEN).sum())} of "
                        f"{data.values.numel()} pixels of {UNSEEN:g}", expected="numbers",
                        do="load them with mask= a map that is 0 there, or with mask='missing'")
    if data.weights is not None and data.weights.shape != (len(data),):
        raise DataError("weights do not fit the values", got=tuple(data.weights.shape), expected=f"({len(data)},)",
                        do="pass one weight per row")
    if data.weights is not None and (data.weights < 0).any():
        raise DataError("weights are negative", got=f"{int((data.weights < 0).sum())} of {len(data)}, smallest "
                        f"{float(data.weights.min()):.3g}", expected="numbers >= 0: no row is drawn less than never",
                        do="resample to positive weights first, sharing each negative one among its neighbours; "
                        "dropping the rows would change the law")


def _failed(*parts: Tensor | None) -> Tensor:
    """(n,) which rows of values, context or weights hold a number that is not finite."""
    rows = [~part.isfinite().reshape(len(part), -1).all(1) for part in parts if part is not None]
    return torch.stack([part for part in rows if len(part) == len(rows[0])]).any(0)


def _rows(bad: Tensor) -> str:
    """The places of the rows that a mask (n,) marks, the first ten by number."""
    places = bad.nonzero().flatten().tolist()
    more = f" and {len(places) - 10} more" if len(places) > 10 else ""
    return f"row{'s' * (len(places) > 1)} {', '.join(map(str, places[:10]))}{more}"


def _check_labels(data: Dataset) -> None:
    count = _width(data.values, data.kind == "series")
    for what, labels in (("names", data.names), ("units", data.units)):
        if len(labels) != count:
            raise ShapeError(f"{what} do not fit the values", got=len(labels), expected=count,
                             do=f"pass one entry of {what} per column or channel")
    if len(set(data.names + data.context_names)) != len(data.names + data.context_names):
        raise ShapeError("two columns share a name", got=", ".join(data.names + data.context_names),
                         expected="names all different", do="rename one of them")
    if data.context is not None and (data.context.ndim != 2 or len(data.context) != len(data)):
        raise ShapeError("context does not fit the values", got=tuple(data.context.shape),
                         expected=f"({len(data)}, c)", do="pass one context row per row of values")
    width = 0 if data.context is None else data.context.shape[1]
    if len(data.context_names) != width or len(data.context_units) != width:
        raise ShapeError("context names or units do not fit", got=len(data.context_names), expected=width,
                         do="pass one name and one unit per context column")
