"""Series from what files hold: which axis is time, how long a step is, and what to do where steps differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sundog.checks import near, positive
from sundog.data.formats.raw import Raw
from sundog.errors import DataError, OptionError, ShapeError

CLOCKS = ("time", "t", "times", "date", "datetime", "timestamp", "mjd", "jd", "epoch")  # names of a column of times
UNEVEN = 1e-3  # steps that differ by less, relatively, are equal: times were rounded when they were written
BRIDGED = 1.5  # steps; new points are interpolated between neighbours no further apart than this


def series_of(raw: Raw, time: str | None, resample: float | None, columns: Sequence[str] | None = None) -> Raw:
    """The array as (n, t) or (n, t, channels) with its time step, by the rule that ``load`` states.

    Raises
    ------
    DataError : irregular sampling, which names the step to resample at. ShapeError : no such column, no series.
    """
    x, facts = raw.values, dict(raw.facts)
    if x.ndim == 2 and len(facts.get("names") or ()) == x.shape[1]:
        raw = _of_table(raw, time, resample, columns)
        x, facts = raw.values, dict(raw.facts)
    elif time is not None or resample is not None or columns is not None:
        raise OptionError("series in an array have no columns", got=f"shape {x.shape}", expected="a table with names",
                          do="pass a table with a column of times, or leave out what chooses or resamples columns")
    elif raw.ours and facts.get("time_step") is not None:
        return raw
    elif x.ndim == 1 or (x.ndim == 2 and x.shape[1] == 1 < x.shape[0]):
        x = x.reshape(1, -1)
    if x.ndim not in (2, 3) or x.shape[1] < 2:
        raise ShapeError("the array has an unusable shape", got=raw.values.shape,
                         expected="(t,), (n, t) or (n, t, channels), or a table with a row for each time",
                         do="reshape it, time on the second axis")
    note = ""
    if facts.get("time_step") is None:
        facts["time_step"] = 1.0
        note = "nothing says how long a time step is: 1 is taken; pass time_step=, or call the column of times 'time'"
    return replace(raw, values=x, facts=facts, ours=False).noted(f"{len(x)} series of {x.shape[1]} points", note)


def _of_table(raw: Raw, time: str | None, resample: float | None, columns: Sequence[str] | None) -> Raw:
    """One series, of which every column but that of the times is a channel."""
    names, units = list(raw.facts["names"]), raw.facts.get("units") or ""
    units = [units] * len(names) if isinstance(units, str) else list(units)
    clock = time if time is not None else next((name for name in names if name.lower() in CLOCKS), None)
    for name in (*(columns or ()), *([] if clock is None else [clock])):
        if name not in names:
            raise ShapeError(f"no column {name!r}", got=", ".join(names), expected="one of these names",
                             do=near(name, names) or "check the spelling")
    kept = [names.index(name) for name in columns or names if name != clock]
    if not kept:
        raise ShapeError("a table of times alone", got=", ".join(names), expected="a column of values beside them",
                         do="check the columns")
    x, facts, notes = raw.values[:, kept], dict(raw.facts), []
    if clock is not None:
        at = raw.values[:, names.index(clock)].astype(np.float64)
        x, step, note = _even(at, x, resample)
        given = facts.get("time_step")
        if given is not None and abs(given - step) > UNEVEN * step:
            notes.append(f"a step of {given:g} was given in place of {step:g} between the times in {clock!r}")
        facts["time_step"] = step if given is None else given
        facts["time_unit"] = facts.get("time_unit") or units[names.index(clock)]
        notes += [f"column {clock!r} holds the times", note]
    elif resample is not None:
        raise OptionError("nothing says when", got=", ".join(names), expected="a column of times",
                          do="call it 'time' in the file, or pass time='...' to load")
    facts |= {"names": tuple(names[i] for i in kept), "units": tuple(units[i] for i in kept)}
    several = "" if len(kept) == 1 else f"{len(kept)} columns are the channels of one series; for as many series " \
        "load an array (n, t)"
    values = x[:, 0][None] if len(kept) == 1 else x[None]
    return replace(raw, values=values, facts=facts).noted(*notes, several)


def _even(at: np.ndarray, x: np.ndarray, resample: float | None) -> tuple[np.ndarray, float, str]:
    """Values (t, c) at equal steps, the step, and what was done."""
    steps = np.diff(at)
    if len(at) < 2 or not np.isfinite(at).all() or steps.min() <= 0:
        raise DataError("times do not rise", got=f"{len(at)} times, smallest step "
                        f"{float(steps.min()) if len(steps) else float('nan'):g}", expected="rising, finite times",
                        do="sort the rows by time, and keep one row for each")
    step = float(np.median(steps))
    if resample is None:
        if np.abs(steps - step).max() > UNEVEN * step:
            raise DataError("sampling is irregular", expected="equal steps",
                            got=f"steps from {steps.min():g} to {steps.max():g}, median {step:g}",
                            do=f"pass resample={step:g} to interpolate linearly at equal steps (wide gaps become NaN)")
        return x, float((at[-1] - at[0]) / (len(at) - 1)), ""
    points = int(np.floor((at[-1] - at[0]) / positive(resample, "resample") * (1 + 1e-9))) + 1
    new = at[0] + resample * np.arange(points)
    return resampled(at, x, new), float(resample), f"{len(at)} points were interpolated at {len(new)} equal steps"


def resampled(at: Sequence[float] | np.ndarray, x: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Values (t', c) at new times, linear between the two neighbours; NaN in gaps wider than 1.5 median steps.

    Nothing is smoothed first: steps much longer than those of the record alias what is faster than they are.

    Example
    -------
    >>> resampled([0.0, 1.0, 2.0, 6.0], np.array([[0.0], [2.0], [4.0], [0.0]]), np.array([0.5, 2.0, 4.0]))[:, 0]
    array([ 1.,  4., nan])
    """
    times = np.asarray(at, np.float64)
    wide = BRIDGED * np.median(np.diff(times))
    right = np.clip(np.searchsorted(times, new), 1, len(times) - 1)
    apart = times[right] - times[right - 1]
    on = np.minimum(np.abs(new - times[right]), np.abs(new - times[right - 1])) <= 1e-6 * wide
    found = np.stack([np.interp(new, times, column.astype(np.float64)) for column in x.T], 1)
    found[(apart > wide) & ~on] = np.nan
    return found
