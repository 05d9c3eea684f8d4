"""Series as networks, scalings and statistics see them: maps of one row; windows of a long record; what is refused."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch
from torch import Tensor

from sundog.checks import at_least
from sundog.data.sample import Dataset
from sundog.errors import DataError, SampleSizeError


def as_maps(x: Tensor) -> Tensor:
    """Series (n, t) or (n, t, channels) as maps of one row: (n, 1, t) or (n, channels, 1, t).

    Example
    -------
    >>> as_maps(torch.zeros(5, 64, 3)).shape
    torch.Size([5, 3, 1, 64])
    """
    return x[:, None] if x.ndim == 2 else x.transpose(1, 2)[:, :, None].contiguous()


def as_series(x: Tensor) -> Tensor:
    """Back from `as_maps`."""
    return x[:, 0] if x.ndim == 3 else x[:, :, 0].transpose(1, 2).contiguous()


def laid_out(data: Dataset) -> Dataset:
    """Series as a Dataset of maps of one row; other data as they are."""
    return data if data.kind != "series" else replace(data, values=as_maps(data.values), time_step=None, time_unit="")


def windows(data: Dataset, length: int, stride: int | None = None) -> Dataset:
    """Series of ``length`` points cut from longer ones, one after the other every ``stride`` points (``length`` when
    None), those with a gap left out; context and weights stay with their series.

    Windows of one record are no independent draws: what is slower than a window they share.

    Raises
    ------
    SampleSizeError : series shorter than a window, or gaps in each of them.

    Example
    -------
    >>> record = Dataset.from_arrays(torch.arange(10.0)[None], time_step=1.0)
    >>> windows(record, 4, stride=3).values[:, 0]
    tensor([0., 3., 6.])
    """
    whole, step = at_least(length, 2, "length"), at_least(length if stride is None else stride, 1, "stride")
    if data.kind != "series" or data.values.shape[1] < whole:
        raise SampleSizeError("nothing to cut windows from", got=f"{data.kind} of {data.values.shape[1]} points",
                              expected=f"series of at least {whole}", do="load with kind='series', or cut shorter ones")
    cut = data.values.unfold(1, whole, step)  # (n, w, [c,] length)
    rows = torch.arange(len(data)).repeat_interleave(cut.shape[1])
    x = cut.movedim(-1, 2).flatten(0, 1)
    there = ~x.isnan().flatten(1).any(1)
    if not bool(there.any()):
        raise SampleSizeError("every window has a gap", got=f"{len(x)} windows", expected="one without",
                              do="cut shorter windows, or fill the gaps")
    notes = [*data.provenance.get("notes", ()), f"{int(there.sum())} windows of {whole} points, every {step}"
             + (f"; {int((~there).sum())} with gaps left out" if not bool(there.all()) else "")]
    kept = data[rows[there]]
    return replace(kept, values=x[there].contiguous(), provenance={**data.provenance, "notes": notes})


def whole_series(data: Dataset, what: str) -> Dataset:
    """The data, where ``what`` can use them: no gaps, and no series that is constant.

    Warns where series of several channels end in zeros as padded sets of particles do: they count as values.

    Raises
    ------
    DataError : NaN; a series whose points are all equal.
    """
    if data.kind != "series":
        return data
    gaps = data.values.isnan().flatten(1).any(1)
    if bool(gaps.any()):
        raise DataError(f"{what} takes no gaps", got=f"NaN in {int(gaps.sum())} of {len(data)} series",
                        expected="a number at every time", do="cut windows without gaps where they are loaded, e.g. "
                        "windows=64 there, or fill them")
    flat = (data.values == data.values[:, :1]).flatten(1).all(1)
    if bool(flat.any()):
        raise DataError(f"{what} takes no constant series", got=f"{int(flat.sum())} of {len(data)} never change",
                        expected="series that vary", do="drop them: data[~constant]")
    nothing = (data.values == 0).all(2) if data.values.ndim == 3 else torch.zeros(len(data), 1)  # in all channels
    last = nothing.flip(1).int().cumprod(1).sum(1)  # how many such points end each
    if bool((last > 0).double().mean() > 0.5) and len(last.unique()) > 2:
        warnings.warn(f"{what} takes zeros for values, and {int((last > 0).sum())} of {len(data)} series end in them, "
                      "as padded sets of particles do: those are fitted by family 'sets', and judged by their features",
                      stacklevel=3)
    return data


def whole_sets(data: Dataset, what: str) -> Dataset:
    """The data as sets (n, particles, features), where ``what`` can use them: no NaN, and a particle in each.

    Raises
    ------
    DataError : NaN; a set of zeros alone, which is padding.
    """
    gaps = data.values.isnan().flatten(1).any(1)
    if bool(gaps.any()):
        raise DataError(f"{what} takes no NaN", got=f"NaN in {int(gaps.sum())} of {len(data)} sets",
                        expected="rows of zeros where no particle is", do="pass torch.nan_to_num(values)")
    empty = ~(data.values != 0).flatten(1).any(1)
    if bool(empty.any()):
        raise DataError(f"{what} takes no event without particles", got=f"{int(empty.sum())} of {len(data)} are all "
                        "zeros", expected="a particle in each: a row of zeros is none",
                        do="drop them: data[(data.values != 0).flatten(1).any(1)]")
    return data
