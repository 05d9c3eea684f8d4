"""Skies: other frequencies, units and frames; patches and sources; generated skies and how they are judged."""

from sundog.simulate.frequency import convert, sz_spectrum, thermodynamic_to_intensity
from sundog.tasks.sky.generate import GeneratedSky, apply_transfer, assemble, generate_sky, transfer_function
from sundog.tasks.sky.patches import sky_strips
from sundog.tasks.sky.rescale import in_frame, in_unit, rescale, with_beam
from sundog.tasks.sky.sources import find_sources, place_sources

__all__ = [
    "GeneratedSky",
    "apply_transfer",
    "assemble",
    "convert",
    "find_sources",
    "generate_sky",
    "in_frame",
    "in_unit",
    "place_sources",
    "rescale",
    "sky_strips",
    "sz_spectrum",
    "thermodynamic_to_intensity",
    "transfer_function",
    "with_beam",
]
