"""The window in which a resonance is sought, its sidebands, and the checks that a search starts with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sundog.checks import near
from sundog.data.dataset import Dataset
from sundog.errors import DataError, OptionError, SampleSizeError, ShapeError

FEWEST_EVENTS = 1000  # below, neither a template nor a classifier of four features is worth its error bar
FEWEST_BESIDE = 500  # in each sideband: the interpolation into the window needs support on both sides
FEWEST_INSIDE = 200
MOST_WINDOWS = 10_000  # each is a search of minutes
UNIT_STEP = 1000.0  # GeV for TeV, keV for MeV


@dataclass(frozen=True)
class SignalRegion:
    """The mass window ``lo < m < hi`` in which the signal is sought; everything else is sideband.

    Attributes
    ----------
    lo, hi : edges of the window, in ``unit``
    unit : of the mass; compared with the unit of the events where these carry one

    Example
    -------
    >>> region = SignalRegion(3.3, 3.7)
    >>> region.contains(torch.tensor([3.2, 3.5])).tolist()
    [False, True]
    """

    lo: float
    hi: float
    unit: str = "TeV"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.lo) and np.isfinite(self.hi) and self.lo < self.hi):
            raise OptionError("the signal region is not a window", got=f"lo = {self.lo:g}, hi = {self.hi:g}",
                              expected="two finite numbers, lo < hi", do="pass e.g. SignalRegion(3.3, 3.7)")

    @property
    def centre(self) -> float:
        """Middle of the window."""
        return 0.5 * (self.lo + self.hi)

    @property
    def width(self) -> float:
        """hi - lo."""
        return self.hi - self.lo

    def contains(self, m: Any) -> Tensor:
        """Which masses m (n,) or (n, 1) lie inside: (n,) booleans."""
        mass = mass_column(m)
        return (mass > self.lo) & (mass < self.hi)

    def sidebands(self, m: Any, reach: float | None = None) -> Tensor:
        """Which masses lie outside the window, and not further than ``reach`` from its edge: (n,) booleans."""
        mass = mass_column(m)
        outside = ~self.contains(mass)
        if reach is None:
            return outside
        if reach <= 0:
            raise OptionError("reach of the sidebands is unusable", got=reach, expected="a length > 0",
                              do=f"pass e.g. reach={self.width / 2:g}")
        return outside & (mass > self.lo - reach) & (mass < self.hi + reach)

    def check(self, m: Any, *, sidebands: bool = True) -> None:
        """Nothing, if a search in this window of the spectrum m can begin.

        Raises
        ------
        DataError : the window lies outside the spectrum; says so if the masses look like another unit.
        SampleSizeError : fewer than 1000 events, 200 inside, or 500 in either sideband.
        """
        mass = mass_column(m)
        self._check_overlap(mass)
        inside, below, above = (int(part.sum()) for part in (self.contains(mass), mass <= self.lo, mass >= self.hi))
        if len(mass) < FEWEST_EVENTS:
            raise SampleSizeError("too few events for a search", got=len(mass), expected=f"at least {FEWEST_EVENTS}",
                                  do="loosen the selection")
        if inside < FEWEST_INSIDE:
            raise SampleSizeError("too few events in the signal region", got=inside,
                                  expected=f"at least {FEWEST_INSIDE}", do="widen the window")
        if sidebands and min(below, above) < FEWEST_BESIDE:
            raise SampleSizeError("the sidebands are too thin", got=f"{below} events below, {above} above the window",
                                  expected=f"at least {FEWEST_BESIDE} on each side",
                                  do="move the window inwards, or keep more of the spectrum")

    def _check_overlap(self, mass: Tensor) -> None:
        low, high = float(mass.min()), float(mass.max())
        if self.hi > low and self.lo < high:
            return
        what, do = "the window lies outside the spectrum", f"choose a window between {low:.4g} and {high:.4g}"
        for factor, said in ((UNIT_STEP, "1000 times larger"), (1 / UNIT_STEP, "1000 times smaller")):
            if self.hi * factor > low and self.lo * factor < high:
                what = f"the masses are {said} than the window: another unit than {self.unit}, such as GeV for TeV"
                do = f"multiply the masses by {1 / factor:g}"
        raise DataError(what, got=f"masses from {low:.4g} to {high:.4g}",
                        expected=f"a spectrum around {self.lo:g} to {self.hi:g} {self.unit}", do=do)


def sliding_windows(lo: float, hi: float, width: float, step: float | None = None,
                    unit: str = "TeV") -> tuple[SignalRegion, ...]:
    """Windows of one width that cover [lo, hi] from below, ``step`` apart (half a width when None).

    Leave room for sidebands: lo and hi are the outer edges of the first and last window, not of the spectrum.

    Example
    -------
    >>> [(w.lo, w.hi) for w in sliding_windows(3.0, 4.0, 0.5)]
    [(3.0, 3.5), (3.25, 3.75), (3.5, 4.0)]
    """
    step = width / 2 if step is None else step
    if not (0 < width <= hi - lo) or step <= 0:
        raise OptionError("the windows do not fit", got=f"width {width:g}, step {step:g} in [{lo:g}, {hi:g}]",
                          expected="0 < width <= hi - lo and step > 0", do="use narrower windows")
    count = (hi - lo - width) / step + 1
    if not count <= MOST_WINDOWS:
        raise OptionError("too many windows", got=f"{count:.3g}", expected=f"at most {MOST_WINDOWS}",
                          do="use wider windows or a larger step")
    count = int(np.floor(count + 1e-9))
    return tuple(SignalRegion(round(lo + i * step, 12), round(lo + i * step + width, 12), unit) for i in range(count))


def mass_column(m: Any) -> Tensor:
    """Masses as float64 (n,), from numpy, torch, pandas or a Dataset with one context column."""
    if isinstance(m, Dataset):
        m = m.context
    # A copy: pandas hands out read-only memory.
    mass = torch.tensor(np.asarray(m.detach().cpu() if isinstance(m, Tensor) else m), dtype=torch.float64)
    mass = mass[:, 0] if mass.ndim == 2 and mass.shape[1] == 1 else mass
    if mass.ndim != 1 or len(mass) == 0:
        raise ShapeError("masses have an unusable shape", got=tuple(mass.shape), expected="(n,) or (n, 1), n > 0",
                         do="pass one mass per event; name the column with dataset.with_context(...)")
    if not torch.isfinite(mass).all():
        raise DataError("masses contain NaN or Inf", got=f"{int((~torch.isfinite(mass)).sum())} of {len(mass)} rows",
                        expected="finite numbers", do="drop these events")
    return mass


def gather(x: Any, m: Any = None, *, unit: str = "") -> Dataset:
    """Events as a Dataset whose only context is the mass, nothing held out; checked for use in a search.

    Parameters
    ----------
    x : (n, d) numpy, torch or pandas, or a Dataset; d >= 1
    m : (n,) masses; None when x is a Dataset with one context column
    unit : expected unit of the mass; events that declare another one are refused

    Raises
    ------
    DataError : NaN, constant or duplicated columns, weights (a search counts events).
    ShapeError : no mass, more than one, or a wrong unit.
    """
    if isinstance(x, Dataset):
        mass = mass_column(x if m is None else m) if m is not None or x.context is not None else None
        names, units = x.names, x.units
        found = "" if x.context is None or m is not None else x.context_units[0]
        weights, values = x.weights, x.values
    else:
        mass, names, units, found, weights, values = None if m is None else mass_column(m), None, None, "", None, x
    if mass is None:
        raise ShapeError("events come without a mass", got="no m", expected="one mass per event",
                         do="pass m, or a Dataset made with with_context('m_jj')")
    if unit and found and unit != found:
        raise ShapeError("the mass has another unit than the signal region", got=found, expected=unit,
                         do="convert the masses, or pass unit=... to SignalRegion")
    if weights is not None and not torch.allclose(weights, weights.mean()):
        raise DataError("events carry weights", got=f"weights from {float(weights.min()):.3g} to "
                        f"{float(weights.max()):.3g}", expected="unit weights: a search counts events",
                        do="resample to unit weights")
    events = Dataset.from_arrays(values, mass, names, units, context_names=("m",), context_units=(found or unit,),
                                 held_out_fraction=0.0)
    check_columns(events)
    return events


def check_columns(events: Dataset) -> None:
    """Nothing, if every column of the events varies and no two are copies of each other.

    Raises
    ------
    DataError : a constant column, two equal ones, or the mass among the features. Names them.
    """
    if events.kind != "events":
        raise ShapeError("a search needs features", got=f"values of shape {tuple(events.values.shape)}",
                         expected="(n, d)", do="measure features of each event first")
    table = torch.cat([events.values, events.context], 1) if events.context is not None else events.values
    names = [*events.names, *events.context_names]
    for j, name in enumerate(names):
        if bool((table[:, j] == table[0, j]).all()):
            raise DataError(f"column {name} is constant", got=f"{float(table[0, j]):.6g} everywhere",
                            expected="a feature that varies", do="leave the column out")
    for j, name in enumerate(names):
        for i in range(j):
            if torch.equal(table[:, i], table[:, j]):
                raise DataError(f"columns {names[i]} and {name} are copies", got="equal in every row",
                                expected="different features; the mass is not a feature", do="leave one of them out")


def gather_any(x: Any, m: Any = None) -> Dataset:
    """Events to be scored, of any number: as ``gather``, without the checks that need many rows."""
    if isinstance(x, Dataset):
        return x if m is None else Dataset.from_arrays(x.values, m, x.names, x.units, context_names=("m",),
                                                       held_out_fraction=0.0)
    return Dataset.from_arrays(x, m, context_names=None if m is None else ("m",), held_out_fraction=0.0)


def ordered(events: Dataset, names: tuple[str, ...]) -> Dataset:
    """The events with the columns ``names`` in that order; others are left out.

    Columns without names of their own (x0, x1 ... of an array) are taken by position.

    Raises
    ------
    ShapeError : a column is missing, or columns without names are too many or too few.

    Example
    -------
    >>> x = Dataset.from_arrays(torch.tensor([[1.0, 2.0, 3.0]]), names=("b", "mass", "a"))
    >>> ordered(x, ("a", "b")).values.tolist()
    [[3.0, 1.0]]
    """
    if events.names == names:
        return events
    if set(names) <= set(events.names):
        pick = [events.names.index(name) for name in names]
        return replace(events, values=events.values[:, pick], names=names, units=tuple(events.units[j] for j in pick))
    if len(names) == len(events.names) and (_nameless(names) or _nameless(events.names)):
        return replace(events, names=names)
    missing = [name for name in names if name not in events.names]
    raise ShapeError(f"column {missing[0]} is missing", got=", ".join(events.names), expected=", ".join(names),
                     do=near(missing[0], events.names) or "pass the columns that the detector was fitted to")


def _nameless(names: tuple[str, ...]) -> bool:
    """Whether these are the names that an array without names gets."""
    return names == tuple(f"x{i}" for i in range(len(names))) or names == ("x",)
