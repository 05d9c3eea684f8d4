"""What a sky is made of: ONE table, a line for each component; everything else asks it.

A new component is a line here and, where its law is not one of these, a file of its own with the law.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sundog.checks import one_of
from sundog.simulate.sky.free_free import draw_free_free, free_free_colour
from sundog.simulate.sky.indices import CIB, RADIO, REFERENCE, Band, SpectralIndices
from sundog.simulate.sky.sources import draw_radio, trace_radio

Array = NDArray[Any]
Colour = Callable[[Band], float]  # what a map at 148 GHz is multiplied with, uK_CMB over uK_CMB


@dataclass(frozen=True)
class Component:
    """One map of a sky.

    Attributes
    ----------
    name : of the map and of its file; title : for a reader
    unit : at 148 GHz, "" where it has none
    scaling : with frequency: a colour for the whole map, indices that are drawn for each pixel, or None for a map that
        is the same at every frequency
    compton : whether the map can be told as Compton y
    point_like : whether pixels hold sources, which ring in harmonic space
    default : whether `simulate_sky` draws it unasked
    layer : (sky under construction, one shell of matter), called for every shell; for tracers of the matter that need
        none of its halos
    draw : (sky under construction), called once at the end

    kappa, tSZ, kSZ and CIB have neither: they come out of the halos and the matter of the `simulator` together.
    """

    name: str
    title: str
    unit: str = "uK_CMB"
    scaling: Colour | SpectralIndices | None = None
    compton: bool = False
    point_like: bool = False
    default: bool = True
    layer: Callable[[Any, Any], None] | None = None
    draw: Callable[[Any], None] | None = None

    def rescaled(self, values: Array, band: Band, seed: int, *, scatter: bool = True) -> Array:
        """The map (n,) at another frequency; every pixel draws its own index, if ``scatter``."""
        if self.scaling is None:
            return values
        if isinstance(self.scaling, SpectralIndices):
            return self.scaling.rescaled(values, band, (seed, self.name), scatter=scatter)
        return values * np.float32(self.scaling(band))


TABLE = (
    Component("kappa", "lensing convergence", unit=""),
    Component("tsz", "thermal SZ", scaling=Band.compton, compton=True),
    Component("ksz", "kinetic SZ"),
    Component("cib", "infrared background", scaling=CIB, point_like=True),
    Component("radio", "radio sources", scaling=RADIO, point_like=True, layer=trace_radio, draw=draw_radio),
    Component("free_free", "free-free", scaling=free_free_colour, default=False, draw=draw_free_free),
)
COMPONENTS = {component.name: component for component in TABLE}
NAMES = tuple(component.name for component in TABLE if component.default)
POINT_LIKE = tuple(component.name for component in TABLE if component.point_like)

__all__ = ["COMPONENTS", "NAMES", "POINT_LIKE", "REFERENCE", "Component", "component"]


def component(name: str) -> Component:
    """The component of that name.

    Errors: OptionError for an unknown one.

    Example
    -------
    >>> component("cib").unit, component("cib").point_like
    ('uK_CMB', True)
    """
    return COMPONENTS[one_of(name, COMPONENTS, "component of the sky")]
