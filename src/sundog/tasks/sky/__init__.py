"""Skies: other frequencies, units and frames; patches and sources; generated skies and how they are judged."""

from sundog.simulate.frequency import convert, sz_spectrum, thermodynamic_to_intensity
from sundog.tasks.sky.ensemble import SkyCovariance, simulate_skies, skies_in, sky_covariance
from sundog.tasks.sky.generate import GeneratedSky, apply_transfer, assemble, generate_sky, transfer_function
from sundog.tasks.sky.judge import SkyVerdict, judge_skies, plausible, sky_patches
from sundog.tasks.sky.measure import geometric_edges, sky_bispectrum, sky_spectra, sky_trispectrum, source_counts
from sundog.tasks.sky.patches import sky_strips
from sundog.tasks.sky.rescale import in_frame, in_unit, rescale, with_beam
from sundog.tasks.sky.sources import find_point_sources, place_sources

__all__ = [
    "GeneratedSky",
    "SkyCovariance",
    "SkyVerdict",
    "apply_transfer",
    "assemble",
    "convert",
    "find_point_sources",
    "generate_sky",
    "geometric_edges",
    "in_frame",
    "in_unit",
    "judge_skies",
    "place_sources",
    "plausible",
    "rescale",
    "simulate_skies",
    "skies_in",
    "sky_bispectrum",
    "sky_covariance",
    "sky_patches",
    "sky_spectra",
    "sky_strips",
    "sky_trispectrum",
    "source_counts",
    "sz_spectrum",
    "thermodynamic_to_intensity",
    "transfer_function",
    "with_beam",
]
