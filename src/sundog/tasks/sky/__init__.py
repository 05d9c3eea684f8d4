"""Skies: other frequencies, units and frames; patches and sources; generated skies and how they are judged."""

from sundog.simulate.frequency import convert, sz_spectrum, thermodynamic_to_intensity
from sundog.tasks.sky.generate import GeneratedSky, apply_transfer, assemble, generate_sky, transfer_function
from sundog.tasks.sky.rescale import in_frame, in_unit, rescale, with_beam

__all__ = [
    "GeneratedSky",
    "apply_transfer",
    "assemble",
    "convert",
    "generate_sky",
    "in_frame",
    "in_unit",
    "rescale",
    "sz_spectrum",
    "thermodynamic_to_intensity",
    "transfer_function",
    "with_beam",
]
