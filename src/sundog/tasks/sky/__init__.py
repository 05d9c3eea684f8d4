"""Skies: other frequencies, units and frames; patches and sources; generated skies and how they are judged."""

from sundog.simulate.frequency import convert, sz_spectrum, thermodynamic_to_intensity
from sundog.tasks.sky.rescale import in_frame, in_unit, rescale, with_beam

__all__ = [
    "convert",
    "in_frame",
    "in_unit",
    "rescale",
    "sz_spectrum",
    "thermodynamic_to_intensity",
    "with_beam",
]
