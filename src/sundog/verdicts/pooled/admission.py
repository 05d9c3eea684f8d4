"""The door of the judge: whatever users have becomes two Datasets of one shape."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.data.files import load
from sundog.data.series.layout import whole_series
from sundog.errors import DataError, OptionError, SampleSizeError, ShapeError
from sundog.statistics.catalogue.series import SHORTEST

FEWEST = {"events": 50, "images": 20, "series": 20}  # rows of each sample below which no difference would show
OTHER_SCALE = 10.0  # ratio of the standard deviations above which a note asks for the units


@dataclass(frozen=True)
class Side:
    """The samples as given, as Datasets, their (n + m,) weights if either has any, and what to say about them."""

    real: Dataset
    fake: Dataset
    train: Dataset | None
    weights: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def admitted(real: Any, fake: Any, train: Any, weights: tuple[Any, Any], draws: float, seed: int) -> Side:
    """Datasets of whatever was given; a generator draws its fakes here. ``weights`` go before those of a Dataset."""
    truth, notes = _dataset(real, "real"), []
    if truth.places:
        raise DataError("points of runs cannot be judged", got="a row per point, several of each run",
                        expected="rows that are independent of each other: p-values would be far too small",
                        do="compare run.predict(data.context) with data.values, on the runs held out")
    if callable(getattr(fake, "sample", None)) and not hasattr(fake, "columns"):  # a DataFrame samples its rows
        fakes = _drawn(truth, fake, draws, seed)
        notes.append(f"{len(fakes)} fakes drawn for {len(truth)} real rows")
    else:
        fakes = _dataset(fake, "fake", truth)
    both = [_weights(data, given, role) for data, given, role in zip((truth, fakes), weights, ("real", "fake"))]
    pooled = None if both[0] is both[1] is None else np.concatenate(
        [np.ones(len(data)) if w is None else w for data, w in zip((truth, fakes), both)])
    return Side(truth, fakes, None if train is None else _dataset(train, "train", truth), pooled, tuple(notes))


def _weights(data: Dataset, given: Any, role: str) -> np.ndarray | None:
    """Weights (n,) of either sign, or None."""
    held = data.weights if given is None else given
    if held is None:
        return None
    w = np.asarray(held, float)
    if w.shape != (len(data),) or not np.isfinite(w).all() or w.sum() <= 0:
        raise DataError(f"{role} weights are unusable", got=f"shape {w.shape}, sum {w.sum():.3g}",
                        expected=f"({len(data)},) finite numbers with a sum above 0", do="pass one weight per row")
    return w


def _drawn(real: Dataset, generator: Any, draws: float, seed: int) -> Dataset:
    if not draws > 0:
        raise OptionError("nothing would be drawn", got=f"draws = {draws}", expected="above 0", do="pass draws=10")
    n = max(1, round(draws * len(real)))
    context = None
    if real.context is not None:
        context = replace(real, values=real.context.repeat(-(-n // len(real)), 1)[:n], names=real.context_names,
                          units=real.context_units, context=None, context_names=(), context_units=(), weights=None,
                          time_step=None)
    drawn = generator.sample(n, context=context, seed=seed)
    return drawn if isinstance(drawn, Dataset) else _dataset(drawn, "fake", real)


def _dataset(x: Any, role: str, like: Dataset | None = None) -> Dataset:
    """x as a Dataset; bare arrays of the right width take the names of ``like``."""
    if isinstance(x, Dataset):
        return x
    if isinstance(x, str | Path):
        return load(x)
    if not isinstance(x, np.ndarray | torch.Tensor) and not hasattr(x, "columns"):
        raise ShapeError(f"{role} is no sample", got=type(x).__name__,
                         expected="a Dataset, array, tensor, DataFrame or file name",
                         do="sundog.load(file), or sundog.Dataset.from_arrays(values, names=...)")
    step, unit = (None, "") if like is None else (like.time_step, like.time_unit)
    data = Dataset.from_arrays(x[:, None] if x.ndim == 1 else x, time_step=step, time_unit=unit)
    if like is None or hasattr(x, "columns") or data.kind != like.kind:
        return data
    width = len(data.names)
    if like.context is not None and width == len(like.names) + len(like.context_names):
        return replace(data, names=like.names + like.context_names, units=like.units + like.context_units)
    return replace(data, names=like.names, units=like.units) if width == len(like.names) else data


def check_sizes(given: Side) -> None:
    """SampleSizeError where a sample is too small for any answer."""
    fewest = FEWEST[given.real.kind]
    if min(len(given.real), len(given.fake)) < fewest:
        raise SampleSizeError(f"too few {given.real.kind} to judge",
                              got=f"{len(given.real)} real and {len(given.fake)} fake",
                              expected=f"at least {fewest} of each", do="bring more of the smaller sample" +
                              (", or cut long records where they are loaded, windows=64"
                               if given.real.kind == "series" else ""))
    if given.real.kind == "series" and given.real.values.shape[1] < SHORTEST:
        raise SampleSizeError("too short to judge", got=f"series of {given.real.values.shape[1]} points",
                              expected=f"at least {SHORTEST}", do="cut longer windows, or judge them as events, "
                              "sundog.Dataset.from_arrays(data.values)")


def aligned(given: Side, notes: list[str]) -> tuple[Dataset, Dataset, Dataset | None]:
    """All samples with the columns of the truth in its order; ShapeError where they do not fit."""
    for data in (given.real, given.fake):
        whole_series(data, "the judge")
    real, fake = _joined(given.real), _fitted(given.real, given.fake, "fake")
    train = None if given.train is None else _fitted(given.real, given.train, "train")
    if given.real.context_names:
        notes.append(f"context ({', '.join(given.real.context_names)}) is judged together with the values")
    mute = [name for name, a, b in zip(real.names, real.units, fake.units) if bool(a) != bool(b)]
    if mute:
        notes.append(f"only one sample gives the unit of {', '.join(mute)}: taken to agree")
    notes += _other_scales(real, fake)
    return real, fake, train


def hidden(real: Dataset, fake: Dataset, train: Dataset | None, mask: Any,
           ) -> tuple[Dataset, Dataset, Dataset | None, Tensor | None]:
    """The samples with one number, the mean of all that is seen, wherever a mask hides; and which pixels are seen.

    The latter are (n + m, ny, nx), or None without a mask.
    """
    seen = None
    if mask is not None:
        shown = _mask(real, mask)
        of_real, of_fake = (_of_rows(shown, data) for data in (real, fake))
        seen = torch.cat([of_real, of_fake])
        fill = _mean_seen(torch.cat([real.values, fake.values]), seen)
        real, fake = (_covered(data, rows, fill) for data, rows in ((real, of_real), (fake, of_fake)))
        train = None if train is None else _covered(train, _of_rows(shown, train), fill)
    if float(torch.cat([real.values, fake.values]).flatten(1).std(0).max()) == 0:
        raise DataError("nothing varies", got="one row, repeated", expected="values that differ between rows",
                        do="check that the right file was read" + ("" if mask is None else ", and the right mask"))
    return real, fake, train, seen


def levelled(real: Dataset, fake: Dataset, train: Dataset | None, seen: Tensor | None, notes: list[str],
             ) -> tuple[Dataset, Dataset, Dataset | None]:
    """The samples; tiles of one sky against tiles of another less the mean of what is seen of each.

    The means of a sky's tiles follow its few largest modes: they are no independent draws, and rows of maps are
    judged as such.
    """
    if not all("tiles" in data.provenance for data in (real, fake)):
        return real, fake, train
    shown = torch.ones(1, *real.values.shape[-2:], dtype=torch.bool) if seen is None else seen[: len(real)]
    a, b = (float(_means(data, shown).mean()) for data in (real, fake))
    notes.append(f"tiles of skies: their means ({a:.3g} real, {b:.3g} fake in all) are left out; what is larger than a "
                 "tile is judged by sundog.tasks.sky.judge_skies, from several skies")
    real, fake = (replace(data, values=data.values - _means(data, shown)) for data in (real, fake))
    return real, fake, None if train is None else replace(train, values=train.values - _means(train, shown))


def _means(data: Dataset, shown: Tensor) -> Tensor:
    """Mean of what is seen of each map, by channel, shaped as the values."""
    seen = _of_rows(shown, data)
    w = (seen if data.values.ndim == 3 else seen[:, None]).double()
    return ((data.values.double() * w).sum((-2, -1), keepdim=True) / w.sum((-2, -1), keepdim=True)).to(data.values)


def _mask(real: Dataset, mask: Any) -> Tensor:
    """Where (rows, ny, nx) a mask is not 0; one row for all, or one for each of the truth."""
    if real.kind != "images":
        raise OptionError("only maps have a mask", got=f"mask= for {real.kind}", expected="images",
                          do="leave mask out")
    x = load(mask, kind="images", mask="missing").values if isinstance(mask, str | Path) else torch.as_tensor(mask)
    x = x.reshape(-1, *x.shape[-2:])
    if len(x) not in (1, len(real)) or x.shape[1:] != real.values.shape[-2:]:
        raise ShapeError("mask and maps differ in size", got=tuple(x.shape), do="cut the mask as the maps were cut",
                         expected=f"{tuple(real.values.shape[-2:])}, or one for each of the {len(real)} real maps")
    return x != 0


def _of_rows(shown: Tensor, data: Dataset) -> Tensor:
    """The mask of each row: of many fakes per real row, as of many draws at its context, again and again."""
    if len(data) % len(shown):
        raise ShapeError("not one mask for each map", got=f"{len(shown)} masks for {len(data)} maps",
                         expected="as many, or a multiple of them", do="pass one mask (ny, nx) for all")
    return shown.repeat(len(data) // len(shown), 1, 1)


def _mean_seen(values: Tensor, seen: Tensor) -> Tensor:
    """Mean of what is seen, by channel, shaped as a row's axes."""
    if not bool(seen.flatten(1).any(1).all()):
        raise DataError("the mask hides a whole map", got=f"{int((~seen.flatten(1).any(1)).sum())} of {len(seen)}",
                        expected="some pixels of each", do="leave such maps out; 1 marks pixels to judge")
    w = (seen if values.ndim == 3 else seen[:, None]).double()
    axes = (0, -2, -1)
    return ((values.double() * w).sum(axes, keepdim=True) / w.sum(axes, keepdim=True))[0]


def _covered(data: Dataset, seen: Tensor, fill: Tensor) -> Dataset:
    shown = seen if data.values.ndim == 3 else seen[:, None]
    return replace(data, values=torch.where(shown, data.values, fill.to(data.values)))


def _other_scales(real: Dataset, fake: Dataset) -> list[str]:
    """Notes on columns or channels whose range differs by more than any generator's fault would explain."""
    axis = 0 if real.kind == "events" else None
    a, b = (np.atleast_1d(x.values.numpy().std(axis=axis, dtype=float)) for x in (real, fake))
    notes = []
    for i, (s, t) in enumerate(zip(a, b)):
        ratio = max(s, t) / max(min(s, t), 1e-30)
        if min(s, t) > 0 and ratio > OTHER_SCALE:
            name = f" of {real.names[i]}" if real.kind == "events" else ""
            notes.append(f"the range{name} differs {ratio:.0f}-fold (standard deviation {s:.3g} real, {t:.3g} fake): "
                         "check units and scaling")
    return notes


def _joined(data: Dataset) -> Dataset:
    """The sample as it is judged: context columns of events behind the values, a single channel without its axis."""
    if data.kind == "series":
        return replace(data, values=data.values[..., 0]) if data.values.shape[2:] == (1,) else data
    if data.kind == "images":
        return replace(data, values=data.values[:, 0]) if data.values.ndim == 4 and data.values.shape[1] == 1 else data
    if data.context is None:
        return data
    return replace(data, values=torch.cat([data.values, data.context], 1), names=data.names + data.context_names,
                   units=data.units + data.context_units, context=None, context_names=(), context_units=())


def _fitted(given: Dataset, other: Dataset, role: str) -> Dataset:
    """The other sample, joined, with its columns in the order of the truth."""
    if given.kind != other.kind:
        raise ShapeError(f"real and {role} are not the same kind of data", got=f"{role}: {other.kind}",
                         expected=f"{given.kind}", do=f"bring both as {given.kind}; see kind= of sundog.load")
    truth, other = _joined(given), _joined(other)
    if sorted(truth.names) != sorted(other.names) or truth.context_names != other.context_names:
        raise ShapeError(f"real and {role} do not have the same columns",
                         got=f"{role}: {', '.join(other.names + other.context_names)}",
                         expected=", ".join(truth.names + truth.context_names),
                         do="rename or select the columns of one of them")
    order = [other.names.index(name) for name in truth.names]
    if order != sorted(order):
        values = other.values[..., order] if given.kind == "series" else other.values[:, order]
        other = replace(other, values=values, names=truth.names,
                        units=tuple(other.units[i] for i in order))
    if truth.values.shape[1:] != other.values.shape[1:]:
        raise ShapeError(f"real and {role} {given.kind} differ in size", got=f"{role}: {tuple(other.values.shape[1:])}",
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
    if real.time_step != other.time_step or (real.time_unit and other.time_unit and real.time_unit != other.time_unit):
        raise ShapeError(f"real and {role} differ in the time step", got=f"{role}: {other.time_step} {other.time_unit}",
                         expected=f"{real.time_step} {real.time_unit}", do="resample one of them")
    if real.pixel_arcmin and other.pixel_arcmin and not np.isclose(real.pixel_arcmin, other.pixel_arcmin):
        raise ShapeError(f"real and {role} differ in pixel size", got=f"{role}: {other.pixel_arcmin} arcmin",
                         expected=f"{real.pixel_arcmin} arcmin", do="resample one of them")
