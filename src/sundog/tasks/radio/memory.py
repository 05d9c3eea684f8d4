"""Flux memory: what scaling per image takes away and gives back, as context that a generator can be conditioned on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import boxcox, boxcox_llf
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import DataError, OptionError, ShapeError

KEY = "radio"  # of the provenance
POWERS = (-2.0, 2.0)  # the likelihood of a few peaks that are nearly alike has its maximum at hundreds
PEAK, FLOOR, LAS = "box_cox_peak", "floor", "log10_las"


@dataclass(frozen=True)
class FluxMemory:
    """How prepared images were scaled, and how to come back to mJy/beam and arcsec.

    An image z in 0 .. 1 is x = floor + z (peak - floor) in mJy/beam. The peak is Box-Cox transformed,
    (peak^lambda - 1) / lambda, which makes it nearly Gaussian; sizes are logarithms. What is the same for all images
    is stored here, what differs stands in the context columns, so that samples bring it along.

    Attributes
    ----------
    scale : ``image``, or ``set``: the values are mJy/beam already
    power : lambda of Box and Cox
    peak, floor, las_arcsec : the common value, or None where the context has it (or nothing is known)
    columns : names of the context columns
    size : pixels per side
    side_per_las : side of a cut-out per largest angular size, where pixels differ between images
    pixel_arcsec : of all images, where they do not
    beam_arcsec : major and minor axis and angle [degrees], or empty
    unit : of the restored images
    """

    scale: str
    power: float = 0.0
    peak: float | None = None
    floor: float | None = None
    las_arcsec: float | None = None
    columns: tuple[str, ...] = ()
    size: int = 80
    side_per_las: float = 1.5
    pixel_arcsec: float | None = None
    beam_arcsec: tuple[float, ...] = ()
    unit: str = "mJy/beam"

    @staticmethod
    def measured(low: np.ndarray, high: np.ndarray, las: np.ndarray | None, **facts: Any
                 ) -> tuple[FluxMemory, np.ndarray | None]:
        """The memory of images with those extremes [mJy/beam] and sizes [arcsec], and their context (n, c)."""
        memory, columns, names = FluxMemory("image", **facts), [], []
        if np.ptp(high) > 0:
            memory = replace(memory, power=_power(high))
            columns.append(boxcox(high, memory.power))
            names.append(PEAK)
        else:
            memory = replace(memory, peak=float(high[0]))
        if np.ptp(low) > 1e-6 * np.abs(high).max():
            columns.append(low)
            names.append(FLOOR)
        else:
            memory = replace(memory, floor=float(low.mean()))
        if las is not None and np.ptp(las) > 0:
            columns.append(np.log10(las))
            names.append(LAS)
        elif las is not None:
            memory = replace(memory, las_arcsec=float(las[0]))
        return replace(memory, columns=tuple(names)), np.stack(columns, 1) if columns else None

    @staticmethod
    def sizes(las: np.ndarray | None, **facts: Any) -> tuple[FluxMemory, np.ndarray | None]:
        """The memory of images that stay in mJy/beam: their sizes alone."""
        memory = FluxMemory("set", **facts)
        if las is None:
            return memory, None
        if np.ptp(las) == 0:
            return replace(memory, las_arcsec=float(las[0])), None
        return replace(memory, columns=(LAS,)), np.log10(las)[:, None]

    @staticmethod
    def of(source: Any) -> FluxMemory:
        """The memory that a prepared Dataset, or a run trained on one, carries in its provenance.

        Raises
        ------
        DataError : neither was prepared here.
        """
        facts: Mapping[str, Any] = source.provenance
        facts = facts.get(KEY) or facts.get("data", {}).get(KEY) or {}
        if not facts:
            raise DataError("no flux memory", got=f"a provenance with {', '.join(source.provenance) or 'nothing'}",
                            expected="images made by sundog radio prepare", do="prepare the images first")
        stored: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in facts["memory"].items()}
        return FluxMemory(**stored)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a provenance."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    def restored(self, images: Dataset) -> Dataset:
        """Images in mJy/beam; those of ``scale="set"`` are returned as they are.

        Raises
        ------
        ShapeError : the context columns of the preparation are missing.
        """
        if self.scale == "set":
            return images
        low, high = self._column(images, FLOOR, self.floor), self._peaks(images)
        values = low[:, None, None] + images.values.double() * (high - low)[:, None, None]
        return replace(images, values=values.float(), units=(self.unit,) * len(images.units))

    def pixels(self, images: Dataset) -> np.ndarray:
        """Side of a pixel of each image [arcsec], (n,)."""
        if self.pixel_arcsec is not None:
            return np.full(len(images), self.pixel_arcsec)
        las = 10 ** self._column(images, LAS, None if self.las_arcsec is None else float(np.log10(self.las_arcsec)))
        return np.asarray(self.side_per_las * las / self.size)

    def asked(self, contexts: Tensor, peak: float | None = None, las_arcsec: float | None = None) -> Tensor:
        """Contexts (n, c) with the peak brightness or the size asked for in place of their own.

        Raises
        ------
        OptionError : something that the run was not trained on.
        """
        changed = contexts.clone() if self.columns else contexts
        for name, wanted in ((PEAK, peak), (LAS, las_arcsec)):
            if wanted is None:
                continue
            if name not in self.columns or not wanted > 0:
                raise OptionError(f"cannot ask for {name}", got=wanted, expected=f"a positive number, one of the "
                                  f"conditions {', '.join(self.columns) or 'none'}", do="prepare with sizes or fluxes")
            value = np.log10(wanted) if name == LAS else boxcox(np.array([wanted]), self.power)[0]
            changed[:, self.columns.index(name)] = float(value)
        return changed

    def _peaks(self, images: Dataset) -> Tensor:
        if self.peak is not None:
            return torch.full((len(images),), self.peak, dtype=torch.float64)
        y = self._column(images, PEAK, None)
        if abs(self.power) < 1e-12:
            return y.exp()
        return (1 + self.power * y).clamp_min(1e-12) ** (1 / self.power)

    def _column(self, images: Dataset, name: str, common: float | None) -> Tensor:
        if name in self.columns:
            if name not in images.context_names or images.context is None:
                raise ShapeError("the flux of these images is unknown", expected=", ".join(self.columns),
                                 got=", ".join(images.context_names) or "no context",
                                 do="sample from a run trained on prepared images")
            return images.context[:, images.context_names.index(name)].double()
        return torch.full((len(images),), common or 0.0, dtype=torch.float64)


def _power(peaks: np.ndarray) -> float:
    """The lambda of greatest likelihood for Box-Cox transformed peaks to be Gaussian."""
    return float(minimize_scalar(lambda power: -boxcox_llf(power, peaks), bounds=POWERS, method="bounded").x)
