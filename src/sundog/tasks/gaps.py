"""Gaps of series, drawn from what a fitted equation says of them given the points around."""

from __future__ import annotations

from dataclasses import replace

import torch

from sundog.data.dataset import Dataset
from sundog.data.series.layout import as_maps, as_series
from sundog.errors import OptionError, ShapeError
from sundog.models.base import RowNoise
from sundog.models.sde import FractionalSDE
from sundog.random import key
from sundog.train.run import Run


def fill_gaps(run: Run, data: Dataset, *, seed: int = 0) -> Dataset:
    """The series with every NaN replaced by one draw from the posterior; what was observed stays as it is.

    The spread of several seeds is the error of a gap. Exact where the drift is linear and the noise constant
    (`FractionalSDE.conditioned`); a gap of many steps is what the equation, and nothing else, says of it.

    Parameters
    ----------
    run : of family ``sde``
    data : series of the length, names, units and time step of the run's training data

    Errors: OptionError for another family; ShapeError for other series.

    Example
    -------
    >>> import sundog
    >>> walk = torch.randn(40, 32, generator=torch.Generator().manual_seed(0)).cumsum(1)
    >>> run = sundog.fit("sde", Dataset.from_arrays(walk, time_step=1.0), steps=1)
    >>> walk[0, 10:20] = torch.nan
    >>> bool(fill_gaps(run, Dataset.from_arrays(walk, time_step=1.0)).values.isfinite().all())
    True
    """
    model = run.model
    if not isinstance(model, FractionalSDE):
        raise OptionError("this run fills no gaps", got=f"family '{run.family}'", expected="family 'sde'",
                          do="fit one: sundog.fit('sde', series)")
    facts = ("names", "units", "time_step", "time_unit")
    wanted, got = (tuple(run.labels[f] for f in facts), tuple(getattr(data, f) for f in facts))
    x = as_maps(data.values) if data.kind == "series" else data.values
    if wanted != got or tuple(x.shape[1:]) != model.shape:
        raise ShapeError("the series do not fit the run", got=f"{got}, shape {tuple(x.shape[1:])}",
                         expected=f"{wanted}, shape {model.shape}", do="cut, name and convert them as in training")
    noise = RowNoise(key(seed, "gaps"), len(x), dtype=torch.float64)
    z = model.conditioned(run.scaling.forward(x.double()), noise)
    drawn = as_series(run.scaling.inverse(z)).to(data.values)
    gaps = data.values.isnan()
    notes = [*data.provenance.get("notes", ()), f"{int(gaps.sum())} gaps drawn by an SDE, seed {seed}"]
    return replace(data, values=torch.where(gaps, drawn, data.values),
                   provenance={**data.provenance, "notes": notes, "run": run.identity})
