"""Where contaminations come from: maps, a function, a fitted generator, or several of these at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import OptionError, SampleSizeError, ShapeError
from sundog.statistics.samples.admission import checked_images

Draw = Callable[[int, torch.Generator], Tensor]  # maps (n, C, ny, nx), or fewer
FEWEST_DRAWS = 10  # below this the variance of a draw is itself uncertain by a third


class Source:
    """Draws (n, C, ny, nx) of one contamination, divided by the unit of the mixture.

    Parameters
    ----------
    origin : maps (n, [C,] ny, nx), a Dataset of them, a function (n, generator) -> maps, or a fitted run
    shape : (C, ny, nx)
    unit : (C, 1, 1)
    units : names of the unit of the mixture, compared with those of a Dataset; () when it has none
    """

    def __init__(self, origin: Any, shape: tuple[int, int, int], unit: Tensor, units: tuple[str, ...] = ()) -> None:
        self.shape, self.unit, self.units = shape, unit, units
        self.origin = origin
        if not callable(origin) and not hasattr(origin, "sample"):
            self.origin = self._checked(origin)
            if len(self.origin) < FEWEST_DRAWS:
                raise SampleSizeError("too few contaminations for their variance", got=len(self.origin),
                                      expected=f"at least {FEWEST_DRAWS}",
                                      do="add maps, or pass a function or a generator (family 'scattering')")

    def __call__(self, n: int, generator: torch.Generator) -> Tensor:
        if isinstance(self.origin, Kept):
            return self.origin(n, generator)
        if isinstance(self.origin, Tensor):
            order = torch.randperm(len(self.origin), generator=generator)
            return self.origin[order[:n]]
        if hasattr(self.origin, "sample"):
            whole = int(torch.randint(2**31, (1,), generator=generator))
            maps = self._checked(self.origin.sample(n, seed=whole))
            self.origin = Kept(maps, rolled=getattr(self.origin, "family", "") == "scattering")
            return maps
        return self._checked(self.origin(n, generator))

    def _checked(self, maps: Any) -> Tensor:
        if isinstance(maps, Dataset):
            check_units(self.units, maps)
        found = as_maps(maps, self.shape[1:], "contaminations", self.shape[0])
        return found.to(self.unit) / self.unit


class Mixed:
    """The sum of several contaminations; each call draws them anew and keeps none."""

    def __init__(self, parts: list[Draw]) -> None:
        self.parts = parts

    def __call__(self, n: int, generator: torch.Generator) -> Tensor:
        drawn = [part(n, generator) for part in self.parts]
        fewest = min(len(part) for part in drawn)
        return torch.stack([part[:fewest] for part in drawn]).sum(0)


class Patches:
    """Draws (n, P C, ny, nx) for P patches at once, from a source of one.

    A source of few maps deals them out to every patch in an order of its own: the mean over patches then varies as it
    should, by 1 / P of the variance of a map, however often one is used.
    """

    def __init__(self, one: Source, patches: int) -> None:
        self.one, self.patches = one, patches

    def __call__(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.cat([self.one(n, generator) for _ in range(self.patches)], 1)


class Kept:
    """Draws made once and used again, for generators that take seconds per map.

    Every call returns a random subset. Maps known to be periodic (those of the family "scattering") are shifted at
    random as well, which for a stationary process is a new draw at no cost.
    """

    def __init__(self, maps: Tensor, rolled: bool) -> None:
        self.maps, self.rolled = maps, rolled

    def __call__(self, n: int, generator: torch.Generator) -> Tensor:
        chosen = self.maps[torch.randperm(len(self.maps), generator=generator)[:n]]
        return shifted(chosen, generator) if self.rolled else chosen


def shifted(maps: Tensor, generator: torch.Generator) -> Tensor:
    """Periodic maps (n, ..., ny, nx), each shifted at random."""
    shifts = torch.stack([torch.randint(size, (len(maps),), generator=generator) for size in maps.shape[-2:]], 1)
    return torch.stack([x.roll(shift, (-2, -1)) for x, shift in zip(maps, shifts.tolist())])


def sources(
    contaminations: Any, shape: tuple[int, int, int], unit: Tensor, units: tuple[str, ...], patches: int = 1
) -> tuple[Draw, dict[str, Draw]]:
    """The source of the whole contamination, and the parts by name (one of them, "contamination", unless named)."""
    named = isinstance(contaminations, Mapping)
    if named and not contaminations:
        raise OptionError("no contamination", got="an empty dictionary", expected="{name: draws}", do="pass one")
    parts: dict[str, Draw] = {name: Patches(Source(origin, shape, unit, units), patches)
             for name, origin in (contaminations if named else {"contamination": contaminations}).items()}  # fmt: skip
    return Mixed(list(parts.values())), parts


def as_maps(maps: Any, size: tuple[int, ...] | None, what: str, channels: int | None = None) -> Tensor:
    """Maps (n, ny, nx), or (n, C, ny, nx) when ``channels`` are asked for, checked and finite.

    Integers become float64. A single map gets an axis in front. Any size will do when ``size`` is None.
    """
    maps = maps.values if isinstance(maps, Dataset) else maps
    maps = checked_images(torch.as_tensor(np.asarray(maps) if not isinstance(maps, Tensor) else maps))
    wanted = tuple(maps.shape[-2:]) if size is None else tuple(size)
    if channels is not None and maps.ndim == 3 and (channels == 1 or maps.shape[0] != channels):
        maps = maps[:, None]
    if maps.ndim == 2 or (channels is not None and maps.ndim == 3):
        maps = maps[None]
    if channels is None and maps.ndim == 4 and maps.shape[1] == 1:
        maps = maps[:, 0]
    expected = ("n", *wanted) if channels is None else ("n", channels, *wanted)
    fits = maps.ndim == len(expected) and tuple(maps.shape[-2:]) == wanted
    if not fits or (channels is not None and maps.shape[1] != channels):
        raise ShapeError(f"{what} and mixture differ in size", got=tuple(maps.shape),
                         expected=f"({', '.join(map(str, expected))})",
                         do="cut both to the same patch and the same channels")
    return maps


def check_units(units: tuple[str, ...], maps: Dataset) -> None:
    """ShapeError unless the Dataset is in the named units; nothing is known of a mixture without names."""
    if units and maps.units != units:
        raise ShapeError("contamination and mixture differ in unit", got=maps.units, expected=units,
                         do="convert the contaminations")
