"""From a sky to patches: extended maps by harmonics, sources by a catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sundog.data.sky.sphere import analysis
from sundog.data.sky.strips import ROTATIONS, Strip, equatorial_strip
from sundog.simulate.sky import SkyMaps
from sundog.simulate.sky.components import component
from sundog.tasks.sky.sources import find_point_sources

Array = NDArray[Any]


def sky_strips(maps: SkyMaps, *, pixel_arcmin: float = 2.0, half_height_deg: float = 10.0,
               rotations: Sequence[tuple[float, float]] = ROTATIONS[:5], threshold: float = 5.0,
               out: str | Path | None = None, threads: int = 1) -> list[Strip]:
    """Strips of a sky with its components as channels, one per rotation.

    kappa, tSZ and kSZ are read from their harmonics. In CIB and radio the sources above ``threshold`` are taken out
    into a catalogue, the rest is read from its harmonics, and the sources are put back whole: no ringing.

    Parameters
    ----------
    maps : its band limit, 2 NSIDE, is that of the strips: choose ``pixel_arcmin`` near its pixels or above
    out : folder for memory maps

    Example
    -------
    >>> from sundog.simulate.sky import NAMES
    >>> sky = SkyMaps(dict(zip(NAMES, np.random.default_rng(0).normal(size=(5, 3072)).astype(np.float32))))
    >>> strips = sky_strips(sky, pixel_arcmin=120.0, half_height_deg=20.0, rotations=[(0.0, 0.0)])
    >>> strips[0].names, strips[0].values.shape
    (('kappa', 'tsz', 'ksz', 'cib', 'radio'), (5, 20, 180))
    """
    fields: dict[str, Any] = {}
    for name, values in maps:
        values = np.asarray(values, np.float32)
        if component(name).point_like:
            sources, rest = find_point_sources(values, threshold=threshold)
            fields[name] = (analysis(rest, threads=threads), sources)
        else:
            fields[name] = analysis(values, threads=threads)
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
    return [equatorial_strip(fields, pixel_arcmin=pixel_arcmin, half_height_deg=half_height_deg, rotation=rotation,
                             out=None if out is None else Path(out) / f"strip{number:02}.npy", threads=threads)
            for number, rotation in enumerate(rotations)]
