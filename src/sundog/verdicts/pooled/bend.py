"""Columns with wild tails are judged on a bent scale: without a variance, distances between samples mean little."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sundog.data.dataset import Dataset

# Central 99.8 % over the interquartile range: 4.6 for a Gaussian, 15 for a lognormal, 300 for a Cauchy law.
WILD = 50.0


@dataclass(frozen=True, eq=False)
class Bend:
    """x -> asinh((x - median) / IQR) in the columns of wild tails; the same for every sample.

    The map is monotonic, so whatever tells two samples apart in x does so in the bent x.
    """

    columns: Tensor
    median: Tensor
    width: Tensor
    names: tuple[str, ...]

    @staticmethod
    def of(pooled: Dataset) -> Bend:
        """The bend that all rows together ask for; none for images."""
        nothing = torch.zeros(0)
        if pooled.kind != "events":
            return Bend(nothing.long(), nothing, nothing, ())
        levels = torch.tensor([0.001, 0.25, 0.5, 0.75, 0.999], dtype=torch.float64)
        low, first, median, third, high = torch.from_numpy(
            np.quantile(pooled.values.double().numpy(), levels.numpy(), axis=0))
        width = third - first
        wild = ((high - low > WILD * width) & (width > 0)).nonzero().flatten()
        return Bend(wild, median[wild], width[wild], tuple(pooled.names[i] for i in wild.tolist()))

    def __call__(self, data: Dataset) -> Dataset:
        """The sample with its wild columns bent."""
        if not self.names:
            return data
        values = data.values.clone()
        values[:, self.columns] = ((values[:, self.columns].double() - self.median) / self.width).asinh().to(values)
        units = tuple("" if i in self.columns.tolist() else unit for i, unit in enumerate(data.units))
        return replace(data, values=values, units=units)

    def notes(self) -> list[str]:
        """What the reader must know."""
        return [f"wild tails: judged as asinh((x - median) / IQR): {', '.join(self.names)}"] if self.names else []
