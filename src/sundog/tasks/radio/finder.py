"""Source finding with photutils: connected pixels above a threshold, their fluxes, positions and sizes."""

from __future__ import annotations

import importlib.util
import math
import warnings
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt

from sundog.errors import MissingExtraError, OptionError
from sundog.tasks.radio.catalogue import Catalogue
from sundog.tasks.radio.cutouts import Mosaic
from sundog.tasks.radio.preparation import clipped


def find_sources(mosaic: Mosaic, *, threshold: float = 5.0, rms_mjy: float | None = None, join_arcsec: float = 0.0
                 ) -> Catalogue:
    """The sources of a mosaic: islands of pixels above ``threshold`` times the noise, at least half a beam large.

    Positions are the flux-weighted mean, fluxes the sum over the island divided by the beam area [mJy], sizes the
    largest extent of the island [arcsec]. What lies below the threshold is not counted: fluxes of faint sources
    come out too low.

    Parameters
    ----------
    threshold : in units of the noise
    rms_mjy : of the noise, mJy/beam; sigma-clipped standard deviation of the mosaic when None
    join_arcsec : islands no further apart belong to one source, as the two lobes of a radio galaxy do

    Raises
    ------
    MissingExtraError : photutils is not installed.
    OptionError : the mosaic does not know its beam.
    """
    if mosaic.beam is None:
        raise OptionError("fluxes need the beam", got="a mosaic without BMAJ", expected="its full widths",
                          do="pass replace(mosaic, beam=Beam(6.0, 6.0))")
    values = np.nan_to_num(mosaic.values)
    rms = clipped(mosaic.values[np.isfinite(mosaic.values)])[1] if rms_mjy is None else rms_mjy
    area = mosaic.beam.area_arcsec2() / mosaic.pixel_arcsec**2
    rows = islands(values, threshold * rms, area, join_arcsec / mosaic.pixel_arcsec)
    if not rows:
        return Catalogue.of({"ra": [], "dec": [], "name": []})
    table = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    ra, dec = mosaic.position_of(table["x"], table["y"])
    names = [f"J{a:08.4f}{d:+08.4f}" for a, d in zip(ra, dec)]
    return Catalogue.of({"name": names, "ra": ra, "dec": dec, "flux_mjy": table["flux"], "peak_mjy": table["peak"],
                         "las_arcsec": table["extent"] * mosaic.pixel_arcsec})


def source_numbers(images: np.ndarray, *, beam_pixel: float, threshold: float = 5.0, rms_mjy: float | None = None
                   ) -> dict[str, np.ndarray]:
    """What the finder says about each image (n, ny, nx): number of "sources", "flux", "peak" and "extent", (n,) each.

    Flux is the sum over the islands [mJy for mJy/beam], peak and extent [pixels] those of the brightest island; all
    are 0 where nothing is found. ``rms_mjy`` is measured on each image when None.

    Example
    -------
    >>> image = np.zeros((1, 20, 20)); image[0, 5:9, 5:9] = 1.0
    >>> {name: round(float(value[0]), 2) for name, value in source_numbers(image, beam_pixel=2, rms_mjy=0.1).items()}
    {'sources': 1.0, 'flux': 3.53, 'peak': 1.0, 'extent': 5.24}
    """
    area = math.pi / (4 * math.log(2)) * beam_pixel**2
    out: dict[str, list[float]] = {name: [] for name in ("sources", "flux", "peak", "extent")}
    for image in images:
        rows = islands(image, threshold * (clipped(image)[1] if rms_mjy is None else rms_mjy), area, 0.0)
        brightest = max(rows, key=lambda row: row["flux"], default={"peak": 0.0, "extent": 0.0})
        for name, value in (("sources", len(rows)), ("flux", sum(row["flux"] for row in rows)),
                            ("peak", brightest["peak"]), ("extent", brightest["extent"])):
            out[name].append(float(value))
    return {name: np.array(value) for name, value in out.items()}


def islands(values: np.ndarray, level: float, beam_area: float, join: float) -> list[dict[str, float]]:
    """Connected pixels above a level, at least half a beam of them: x, y, flux, peak and extent [pixels]."""
    if importlib.util.find_spec("photutils") is None:
        raise MissingExtraError("photutils", "radio")
    from photutils.segmentation import detect_sources

    mask = _widened(values > level, join) if join > 0 else None
    n_pixels = max(3, round(beam_area / 2))
    searched = (values, level) if mask is None else (mask.astype(float), 0.5)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No sources were found")  # an answer, not a problem
        source: Any = detect_sources(*searched, n_pixels)
    if source is None:
        return []
    found = []
    for label, box in zip(source.labels, source.slices):
        inside = (source.data[box] == label) & (values[box] > level)
        if inside.sum() < n_pixels:
            continue
        y, x = (axis + part.start for axis, part in zip(np.nonzero(inside), box))
        weight = values[box][inside]
        found.append({"x": float(np.average(x, weights=weight)), "y": float(np.average(y, weights=weight)),
                      "flux": float(weight.sum() / beam_area), "peak": float(weight.max()), "extent": _extent(x, y)})
    return found


def _extent(x: np.ndarray, y: np.ndarray) -> float:
    """Largest width over 36 directions, one pixel for a single pixel."""
    angle = np.arange(36) * math.pi / 36
    along = x[:, None] * np.cos(angle) + y[:, None] * np.sin(angle)
    return float(np.ptp(along, axis=0).max() + 1)


def _widened(mask: np.ndarray, join: float) -> np.ndarray:
    """The mask with gaps up to ``join`` pixels closed."""
    return np.asarray(distance_transform_edt(~mask) <= join / 2)
