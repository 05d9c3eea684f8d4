"""Pooled: both samples, measured once on one ruler that does not know which row is which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.data.series.layout import laid_out
from sundog.statistics.catalogue.features import FEATURE_THRESHOLDS, features
from sundog.statistics.catalogue.frame import Frame, Statistic
from sundog.statistics.catalogue.series import channel_feature_names, series_feature_names
from sundog.statistics.catalogue.table import choose
from sundog.statistics.samples.neighbours import nearest_distance
from sundog.verdicts.deciding.labels import Labels
from sundog.verdicts.pooled.bend import Bend

TREE_COLUMNS = 12  # above, a k-d tree is no quicker than all distances
PAIRS_AT_ONCE = 2e7  # distances held at once


@dataclass(frozen=True, eq=False)
class Pooled:
    """The n real rows, then the m fakes.

    Attributes
    ----------
    labels : which is which
    kind : "events", "images" or "series"
    space : (n + m, K) interpretable features of unit scale; context columns behind them
    names, units : of the features
    vectors : catalogue statistic -> (n + m, k)
    statistics : those of the catalogue, and ``components`` their names
    values : (n + m, p) values in pooled standard deviations: where nearest neighbours are looked for
    train : (t, p) the training data on the same scale, or None
    shape : of one row
    """

    labels: Labels
    kind: str
    space: np.ndarray
    names: tuple[str, ...]
    units: tuple[str, ...]
    vectors: dict[str, np.ndarray]
    statistics: tuple[Statistic, ...]
    components: dict[str, tuple[str, ...]]
    axes: dict[str, Tensor | None]
    values: np.ndarray
    train: np.ndarray | None
    shape: tuple[int, ...]

    @property
    def fake(self) -> np.ndarray:
        """Which rows are fakes, (n + m,) booleans."""
        return np.arange(len(self.space)) >= self.labels.real

    def to_train(self) -> np.ndarray:
        """Distance (n + m,) of every row to the nearest training row."""
        assert self.train is not None  # asked for only where there is one
        return nearest(self.values, self.train)


def pool(real: Dataset, fake: Dataset, train: Dataset | None, statistics: tuple[Statistic, ...],
         labels: Labels, seen: Tensor | None = None) -> Pooled:
    """Both samples on one ruler: frame, scale and bent columns are those of all rows together.

    Of images pixels that are not ``seen``, (n + m, ny, nx), enter nothing.
    """
    series = real.kind == "series"
    whole = x = torch.cat([laid_out(real).values, laid_out(fake).values])
    if seen is not None:
        x = torch.where(seen if x.ndim == 3 else seen[:, None], x, torch.nan)
    frame = Frame.of(x, periodic=real.periodic, names=real.names, series=series, masked=seen is not None)
    space, names, units = features(x, frame), feature_names(x, frame), real.units
    if real.kind != "events":
        units = ("",) * len(names)
    if real.context is not None and fake.context is not None:  # of images; that of events stands among the values
        c = torch.cat([real.context, fake.context])
        space = torch.cat([space, features(c, Frame.of(c, names=real.context_names))], 1)
        names, units = names + real.context_names, units + real.context_units
    if real.kind == "events":
        space = x  # as it is: standardised where it is used, so that integers stay integers
    shape = tuple(x.shape)
    vectors = {s.name: s.measure(x, frame).numpy() for s in statistics}
    return Pooled(
        labels, real.kind, space.double().numpy(), names, units, vectors,
        tuple(s for s in statistics if vectors[s.name].shape[1] > 0),
        {s.name: s.components(shape, frame) for s in statistics},
        {s.name: None if s.axis is None else s.axis(shape, frame) for s in statistics},
        _scaled(whole, frame), None if train is None else _scaled(laid_out(train).values, frame), shape[1:],
    )


def bent(real: Dataset, fake: Dataset, train: Dataset | None) -> tuple[Dataset, Dataset, Dataset | None, Bend]:
    """The samples with wild columns bent, the same for all, and how."""
    bend = Bend.of(replace(real, values=torch.cat([real.values, fake.values]), context=None, weights=None,
                           context_names=(), context_units=()))
    return bend(real), bend(fake), None if train is None else bend(train), bend


def feature_names(x: Tensor, frame: Frame) -> tuple[str, ...]:
    """Names of the columns of ``features``."""
    if x.ndim == 2:
        return frame.names
    if frame.kind == "series":
        names = series_feature_names(tuple(x.shape), frame)
        return (*_of_channels(names, frame), *channel_feature_names(tuple(x.shape), frame))
    one, alone = (1, *x.shape[-2:]), frame.channel(0)
    power, peaks, shapes = (choose("images", [name])[0].components(one, alone)
                            for name in ("power spectrum", "peaks", "shapes"))
    contours = tuple(f"V{v} at {t:+g} sigma" for v in range(3) for t in FEATURE_THRESHOLDS)
    names = ("mean", "log std", "skewness", "kurtosis", *(f"log {p}" for p in power), *contours, *peaks, *shapes)
    return _of_channels(names, frame)


def _of_channels(names: Sequence[str], frame: Frame) -> tuple[str, ...]:
    several = len(frame.names) > 1
    return tuple(name + (f" ({channel})" if several else "") for channel in frame.names for name in names)


def nearest(x: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Distance (n,) of each row of x to the nearest of the reference; O(n log n) up to twelve columns."""
    if x.shape[1] <= TREE_COLUMNS:
        return np.asarray(cKDTree(reference).query(x)[0])
    a, b = torch.from_numpy(x), torch.from_numpy(reference)
    size = max(1, int(PAIRS_AT_ONCE / len(b)))
    return torch.cat([nearest_distance(part, b) for part in a.split(size)]).numpy()


def _scaled(x: Tensor, frame: Frame) -> np.ndarray:
    shape = (1, -1, *[1] * (x.ndim - 2)) if x.ndim != 3 else (1, 1, 1)
    return ((x - frame.mean.view(shape)) / frame.std.view(shape)).flatten(1).float().numpy()
