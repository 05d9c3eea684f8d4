"""Measured: one sample after every per-row statistic was taken once; splits then only pick rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.statistics.catalogue.table import Frame, Statistic, features


@dataclass(frozen=True)
class Ruler:
    """What both samples are measured with: the frame of the truth, and that of its context when images carry one."""

    statistics: tuple[Statistic, ...]
    frame: Frame
    context: Frame | None

    @staticmethod
    def of(real: Dataset, statistics: Sequence[Statistic]) -> Ruler:
        """The ruler of a true sample."""
        frame = Frame.of(real.values, periodic=real.periodic, names=real.names)
        context = None if real.context is None else Frame.of(real.context, names=real.context_names)
        return Ruler(tuple(statistics), frame, context)


@dataclass(frozen=True, eq=False)
class Measured:
    """Numbers of one sample of N rows.

    Attributes
    ----------
    vectors : statistic name -> (N, k), float64
    space : (N, K) interpretable features on a common scale, context columns behind them
    pixels : (N, p) values in units of the true standard deviation: where nearest neighbours are looked for
    """

    vectors: dict[str, Tensor]
    space: Tensor
    pixels: Tensor

    def __len__(self) -> int:
        return len(self.space)


def measure(data: Dataset, ruler: Ruler) -> Measured:
    """All numbers of a sample, on the given ruler."""
    vectors = {s.name: s.measure(data.values, ruler.frame).double() for s in ruler.statistics}
    space = features(data.values, ruler.frame)
    if ruler.context is not None and data.context is not None:
        space = torch.cat([space, features(data.context, ruler.context)], 1)
    return Measured(vectors, space, _scaled(data.values, ruler.frame))


def _scaled(x: Tensor, frame: Frame) -> Tensor:
    if x.ndim == 3:
        return ((x - frame.mean) / frame.std).flatten(1).float()
    shape = (1, -1, *[1] * (x.ndim - 2))
    return ((x - frame.mean.view(shape)) / frame.std.view(shape)).flatten(1).float()
