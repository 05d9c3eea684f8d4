"""A Dataset as other libraries hold it: arrays, frames, tables, columns by name; and several put together by rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch

from sundog.checks import near
from sundog.data.formats.raw import weight_name
from sundog.errors import ShapeError

D = TypeVar("D", bound="Exchange")


class Exchange:
    """What `Dataset` can be turned into; all of it are copies."""

    values: Any
    context: Any
    weights: Any
    names: tuple[str, ...]
    units: tuple[str, ...]
    context_names: tuple[str, ...]
    context_units: tuple[str, ...]
    pixel_arcmin: float | None
    periodic: bool
    time_step: float | None
    time_unit: str
    kind: Any
    provenance: Any

    def to_numpy(self) -> np.ndarray:
        """The values: (n, d), (n, [channels,] ny, nx) or (n, t[, channels]), without context and weights."""
        return self.values.numpy().copy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.to_numpy(), dtype)

    def column(self, name: str) -> np.ndarray:
        """One named column of values or context, (n,); one named channel of images, (n, ny, nx), of series, (n, t).

        Raises
        ------
        ShapeError : no such name; the message suggests the nearest.
        """
        known = (*self.names, *self.context_names)
        if name not in known:
            raise ShapeError(f"no column {name!r}", got=", ".join(known), expected="one of these names",
                             do=near(name, known) or "check the spelling")
        if name in self.names:
            return self._channel(self.names.index(name)).numpy().copy()
        return self.context[:, self.context_names.index(name)].numpy().copy()

    def columns(self) -> dict[str, np.ndarray]:
        """Name -> numbers (n,) of events: values, then context, then ``weight`` where there are weights (``weight_``
        where a column is called so).

        Raises
        ------
        ShapeError : images and series, which have no columns.
        """
        if self.kind != "events":
            raise ShapeError(f"{self.kind} have no columns", got=repr(self), expected="events (n, d)",
                             do="use to_numpy(), or dataset[name] for a channel")
        found = {name: self.column(name) for name in (*self.names, *self.context_names)}
        return found | ({} if self.weights is None else {weight_name(found): self.weights.numpy().copy()})

    def to_pandas(self) -> Any:
        """A pandas frame of events: values, context, ``weight``; the units stand in ``frame.attrs["units"]``."""
        import pandas as pd

        frame = pd.DataFrame(self.columns())
        frame.attrs["units"] = {name: unit for name, unit in self._units().items() if unit}
        return frame

    def to_table(self) -> Any:
        """An astropy table of events with units; one that astropy does not know becomes an unrecognised unit."""
        from astropy.table import Table
        from astropy.units import Unit

        table = Table(self.columns())
        for name, unit in self._units().items():
            table[name].unit = Unit(unit, parse_strict="silent") if unit else None
        return table

    @staticmethod
    def concat(parts: Sequence[D]) -> D:
        """The rows of several Datasets as one; columns in another order are matched by name.

        Raises
        ------
        ShapeError : other names or units, or context or weights in some parts only.
        """
        if not parts:
            raise ShapeError("no data sets to put together", got="none", expected="one or more",
                             do="pass a list of them")
        first = parts[0]
        aligned = [part._like(first) for part in parts]
        held = {what: [getattr(part, what) for part in aligned] for what in ("values", "context", "weights")}
        for what, found in held.items():
            if len({part is None for part in found}) > 1:
                raise ShapeError(f"some parts have {what}, others none", expected="all or none",
                                 got=f"{sum(part is not None for part in found)} of {len(found)} with {what}",
                                 do=f"give every part its {what}")
        joined = {what: None if found[0] is None else torch.cat(found) for what, found in held.items()}
        return replace(first, **joined, provenance={**first.provenance, "parts": len(parts)})  # type: ignore[type-var]

    def _like(self: D, first: D) -> D:
        """The same with the columns in the order of another."""
        if set(self.names) != set(first.names) or self.context_names != first.context_names:
            raise ShapeError("the data sets have other columns", got=", ".join((*self.names, *self.context_names)),
                             expected=", ".join((*first.names, *first.context_names)),
                             do="choose the same columns of each")
        if self._whole() != first._whole():
            raise ShapeError("the data sets have other units or pixels", got=str(self._whole()),
                             expected=str(first._whole()), do="convert one of them")
        if self.names == first.names:
            return self
        order = [self.names.index(name) for name in first.names]
        values = self.values[..., order] if self.time_step is not None else self.values[:, order]
        return replace(self, values=values, names=first.names, units=first.units)  # type: ignore[type-var]

    def _channel(self, i: int) -> Any:
        """Feature or channel i: (n,), (n, ny, nx) or (n, t)."""
        if self.time_step is not None:
            return self.values if self.values.ndim == 2 else self.values[..., i]
        return self.values if self.values.ndim == 3 else self.values[:, i]

    def _whole(self) -> dict[str, Any]:
        """What the parts of a whole share."""
        grid = {} if self.kind == "events" else {
            "size": tuple(self.values.shape[1:]), "pixel_arcmin": self.pixel_arcmin, "periodic": self.periodic}
        step = {} if self.time_step is None else {"time step": f"{self.time_step:g} {self.time_unit}"}
        return self._units() | grid | step

    def _units(self) -> dict[str, str]:
        return dict(zip((*self.names, *self.context_names), (*self.units, *self.context_units)))
