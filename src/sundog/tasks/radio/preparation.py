"""From survey images and a catalogue to training images: every cut counted, nothing dropped in silence.

The steps are those published with the LOFAR diffusion model (Vicanek Martinez, Baron Perez & Brüggen 2024, A&A 691,
A360, and its code): centre on the optical identification, cut a square of a fixed side or of 1.5 times the largest
angular size, drop what is broken, faint or cut off, clip the noise, bring each image to 0 .. 1. Beyond that, the
brightness taken away is remembered (`FluxMemory`), so that samples come back in mJy/beam.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sundog.data.dataset import Dataset
from sundog.errors import DataError, OptionError
from sundog.tasks.radio.catalogue import Catalogue
from sundog.tasks.radio.cutouts import Beam, Cutout, Mosaic, crop, cut, resized
from sundog.tasks.radio.memory import KEY, FluxMemory

OF_THE_PEAK = "of the peak"  # unit of images scaled one by one
SIDES, NEGATIVES, SCALES = ("las", "fixed", "image"), ("clip", "absolute", "keep"), ("image", "set")
SMALLEST_LAS, UNKNOWN_LAS = 10.0, 15.0  # arcsec: below the first counts as it, 0 counts as the second
CLIP_SIGMA, CLIP_ROUNDS = 3.0, 10  # of the sigma clipping

# Reason -> what it means, in the order in which they are asked.
REASONS = {
    "no position": "neither an optical nor a radio position in the catalogue",
    "negative size": "largest angular size below zero, or missing where it sets the side",
    "out of range": "size or flux outside the range asked for",
    "no image": "a catalogue row without image: another field, or no such file",
    "no catalogue row": "an image whose name the catalogue does not hold",
    "beyond the edge": "the square leaves the mosaic, or the cut-out is smaller than the square",
    "NaN": "pixels without data",
    "constant": "all pixels alike, such as all zero",
    "broken": "more than one pixel equal to the minimum: blanked or clipped before",
    "cut off": "a pixel of the outermost ring is brighter than 0.8 of the peak",
    "faint": "signal to noise below the limit",
}


@dataclass(frozen=True)
class Preparation:
    """Settings, with the published values.

    Attributes
    ----------
    size : pixels per side in the end
    side : ``las`` (1.5 times the largest angular size; 15 arcsec stand for 0, and 10 for less), ``fixed`` or ``image``
        (the whole cut-out)
    side_arcsec, side_per_las : for these
    nan : ``drop`` images with NaN, or ``fill`` them with the lowest value
    broken : drop images with a repeated minimum; switch off for images that were clipped before
    max_edge : largest share of the peak on the edge
    min_snr : smallest signal to noise, see `signal_to_noise`; 0 keeps all
    las_range, flux_range, peak_range : of the catalogue, arcsec, mJy and mJy/beam; None for all
    negatives : ``clip`` below ``clip_sigma`` robust deviations (0: below zero), ``absolute`` values, or ``keep``
    scale : ``image`` (each to 0 .. 1, flux in the context) or ``set`` (mJy/beam stay, for a scaling of the whole set)
    """

    size: int = 80
    side: str = "las"
    side_arcsec: float = 120.0
    side_per_las: float = 1.5
    nan: str = "drop"
    broken: bool = True
    max_edge: float = 0.8
    min_snr: float = 5.0
    las_range: tuple[float, float] | None = None
    flux_range: tuple[float, float] | None = None
    peak_range: tuple[float, float] | None = None
    negatives: str = "clip"
    clip_sigma: float = 1.5
    scale: str = "image"

    def __post_init__(self) -> None:
        for what, word, known in (("side", self.side, SIDES), ("negatives", self.negatives, NEGATIVES),
                                  ("scale", self.scale, SCALES), ("nan", self.nan, ("drop", "fill"))):
            if word not in known:
                raise OptionError(f"unknown {what} of a preparation", got=word, expected=" | ".join(known), do="choose")
        if self.size < 4 or self.side_arcsec <= 0 or self.side_per_las <= 0 or self.clip_sigma < 0:
            raise OptionError("impossible settings of a preparation", got=f"size={self.size}, side_arcsec="
                              f"{self.side_arcsec}, side_per_las={self.side_per_las}, clip_sigma={self.clip_sigma}",
                              expected="size >= 4, sides > 0, clip_sigma >= 0", do="correct them")


@dataclass(frozen=True)
class Report:
    """What happened to every source: how many came in, why some were dropped, how many are left.

    Example
    -------
    >>> print(Report(3, {"NaN": 1}, 2, {}))
    3 sources
      1 dropped  NaN: pixels without data
      2 kept
    """

    given: int
    dropped: Mapping[str, int]
    kept: int
    settings: Mapping[str, Any]
    filled: int = 0

    def __str__(self) -> str:
        lines = [f"{self.given} sources"]
        lines += [f"{count:3} dropped  {reason}: {REASONS[reason]}" for reason, count in self.dropped.items() if count]
        if self.filled:
            lines.append(f"{self.filled:3} had pixels without data, filled with their lowest value")
        return "\n".join([*lines, f"{self.kept:3} kept"])

    def to_json(self) -> str:
        """All counts, zeros included, and the settings."""
        return json.dumps(asdict(self), indent=1)


@dataclass(frozen=True, eq=False)
class Prepared:
    """Training images, the rows of the catalogue that they show, how to get mJy/beam back, and the report."""

    dataset: Dataset
    catalogue: Catalogue
    memory: FluxMemory
    report: Report


def prepare(images: Mosaic | Sequence[Cutout], catalogue: Catalogue | None = None,
            settings: Preparation | None = None) -> Prepared:
    """Training images from a mosaic and a catalogue, or from cut-outs, whose catalogue may be missing.

    Cut-outs find their row by name; without a catalogue the side must be ``fixed`` or ``image``.

    Raises
    ------
    DataError : nothing is left; the message counts the reasons.

    Example
    -------
    >>> rough = np.random.default_rng(0).normal(size=(20, 20))
    >>> rough[9:11, 9:11] += 50.0
    >>> whole = Preparation(side="image", size=16)
    >>> found = prepare([Cutout("a", rough, 1.5), Cutout("b", 0 * rough, 1.5)], None, whole)
    >>> found.report.dropped["constant"], len(found.dataset), float(found.dataset.values.max())
    (1, 1, 1.0)
    """
    settings = settings or Preparation()
    if settings.side == "las" and catalogue is None:
        raise OptionError("no sizes to cut by", got="no catalogue", expected="one with largest angular sizes",
                          do="pass a catalogue, or side='fixed' or side='image'")
    if isinstance(images, Mosaic) and (catalogue is None or settings.side == "image"):
        raise OptionError("a mosaic needs positions and a side", got="no catalogue" if catalogue is None else
                          "side='image'", expected="a catalogue and side='las' or 'fixed'",
                          do="pass catalogue=read_catalogue(file), or find_sources(mosaic)")
    dropped = dict.fromkeys(REASONS, 0)
    kept: list[tuple[int | None, Cutout, np.ndarray]] = []
    filled = given = 0
    for row, taken in _sources(images, catalogue, settings):
        given += 1
        if isinstance(taken, str):
            dropped[taken] += 1
            continue
        values, reason, was_filled = _checked(taken, settings)
        if reason:
            dropped[reason] += 1
            continue
        filled += was_filled
        kept.append((row, taken, values))
    report = Report(given, dropped, len(kept), asdict(settings), filled)
    if not kept:
        raise DataError("no image is left", got=str(report).replace("\n", "; "), expected="at least one",
                        do="look at the reasons; min_snr, max_edge, broken and nan are settings")
    return _prepared(kept, catalogue, settings, report)


def signal_to_noise(image: np.ndarray) -> float:
    """Mean of the bright pixels over mean of the others, of the image brought to 0 .. 1; 0 for a constant one.

    Bright is above median + k s, s the sigma-clipped standard deviation, k = 5, lowered by 0.5 until a pixel is.

    Example
    -------
    >>> image = np.full((10, 10), 0.5); image[0, 0] = 0.0; image[5, 5] = 1.0
    >>> round(signal_to_noise(image), 2)
    2.02
    """
    low, high = image.min(), image.max()
    if not high > low:
        return 0.0
    z = (image - low) / (high - low)
    middle, s = clipped(z)
    for k in np.arange(5.0, 0.0, -0.5):
        bright = z > middle + k * s
        if bright.any():
            rest = z[~bright].mean() if not bright.all() else 0.0
            return float(z[bright].mean() / rest) if rest > 0 else float("inf")
    return 0.0


def clipped(image: np.ndarray) -> tuple[float, float]:
    """Median and standard deviation after ten rounds of clipping at three standard deviations about the median.

    Example
    -------
    >>> clipped(np.array([0.0, 1.0, 0.0, 1.0] * 20 + [1000.0]))
    (0.5, 0.5)
    """
    x = np.asarray(image, dtype=np.float64).ravel()
    for _ in range(CLIP_ROUNDS):
        inside = np.abs(x - np.median(x)) <= CLIP_SIGMA * x.std()
        if inside.all():
            break
        x = x[inside]
    return float(np.median(x)), float(x.std())


def _sources(images: Mosaic | Sequence[Cutout], catalogue: Catalogue | None, settings: Preparation
             ) -> Iterator[tuple[int | None, Cutout | str]]:
    """Row of the catalogue (or None) and the cut-out, or the reason why there is none."""
    if catalogue is None:
        assert not isinstance(images, Mosaic)
        for image in images:
            yield None, image if settings.side == "image" else crop(image, settings.side_arcsec)
        return
    by_name = {} if isinstance(images, Mosaic) else {image.name: image for image in images}
    ra, dec = catalogue.position()
    for row, name in enumerate(catalogue.name):
        side = _side(catalogue, row, settings)
        if isinstance(images, Mosaic) and not np.isfinite(ra[row] + dec[row]):
            yield row, "no position"
        elif isinstance(side, str):
            yield row, side
        elif isinstance(images, Mosaic):
            yield row, cut(images, ra[row], dec[row], side, name) or "no image"
        elif name not in by_name:
            yield row, "no image"
        else:
            yield row, by_name[name] if settings.side == "image" else crop(by_name[name], side)
    yield from ((None, "no catalogue row") for _ in set(by_name) - set(catalogue.name))


def _side(catalogue: Catalogue, row: int, settings: Preparation) -> float | str:
    """Side of the square [arcsec], or the reason why the row is dropped."""
    las = float(catalogue.las_arcsec[row])
    if las < 0 or (settings.side == "las" and not np.isfinite(las)):
        return "negative size"
    for value, span in ((las, settings.las_range), (catalogue.flux_mjy[row], settings.flux_range),
                        (catalogue.peak_mjy[row], settings.peak_range)):
        if span is not None and not span[0] <= value <= span[1]:
            return "out of range"
    return settings.side_per_las * effective_las(las) if settings.side == "las" else settings.side_arcsec


def effective_las(las_arcsec: float) -> float:
    """The size that sets the side: 15 arcsec for a size of 0, at least 10 arcsec else.

    Example
    -------
    >>> [effective_las(las) for las in (0.0, 3.0, 40.0)]
    [15.0, 10.0, 40.0]
    """
    return UNKNOWN_LAS if las_arcsec == 0 else max(las_arcsec, SMALLEST_LAS)


def _checked(taken: Cutout, settings: Preparation) -> tuple[np.ndarray, str, bool]:
    """The image at its final size without negatives; the reason to drop it, or ""; whether it was filled."""
    values, missing = taken.values, ~np.isfinite(taken.values)
    if not taken.complete:
        return values, "beyond the edge", False
    if missing.all() or (missing.any() and settings.nan == "drop"):
        return values, "NaN", False
    lowest = values[~missing].min()
    values = np.where(missing, lowest, values)
    if values.max() == lowest:
        return values, "constant", False
    if settings.broken and (values == lowest)[~missing].sum() > 1:
        return values, "broken", False
    values = resized(values, settings.size)
    edge = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    if edge.max() / values.max() > settings.max_edge or values.max() <= 0:
        return values, "cut off", False
    if settings.min_snr > 0 and signal_to_noise(values) < settings.min_snr:
        return values, "faint", False
    return _without_negatives(values, settings), "", bool(missing.any())


def _without_negatives(values: np.ndarray, settings: Preparation) -> np.ndarray:
    if settings.negatives == "absolute":
        return np.abs(values)
    if settings.negatives == "keep":
        return values
    return np.maximum(values, settings.clip_sigma * clipped(values)[1] if settings.clip_sigma > 0 else 0.0)


def _prepared(kept: list[tuple[int | None, Cutout, np.ndarray]], catalogue: Catalogue | None, settings: Preparation,
              report: Report) -> Prepared:
    values = np.stack([image for _, _, image in kept])
    cuts = [taken for _, taken, _ in kept]
    rows = [row for row, _, _ in kept]
    chosen = catalogue[np.array(rows)] if catalogue is not None else Catalogue.of(
        {"name": [taken.name for taken in cuts]} | {key: [np.nan] * len(cuts) for key in ("ra", "dec")})
    las = np.array([effective_las(x) for x in chosen.las_arcsec]) if settings.side == "las" else None
    beam: Beam | None = cuts[0].beam
    pixels = np.array([taken.pixel_arcsec * len(taken.values) / settings.size for taken in cuts])
    unit = cuts[0].unit
    facts: dict[str, Any] = {
        "unit": unit, "size": settings.size, "side_per_las": settings.side_per_las,
        "pixel_arcsec": float(pixels.mean()) if las is None else None,
        "beam_arcsec": () if beam is None else (beam.major_arcsec, beam.minor_arcsec, beam.angle_deg),
    }
    if settings.scale == "image":
        low, high = values.min((1, 2)), values.max((1, 2))
        memory, context = FluxMemory.measured(low, high, las, **facts)
        values = (values - low[:, None, None]) / (high - low)[:, None, None]
    else:
        memory, context = FluxMemory.sizes(las, **facts)
    units = {"las": "log arcsec"}
    dataset = Dataset.from_arrays(
        values, context, names=["brightness"], units=OF_THE_PEAK if settings.scale == "image" else unit,
        context_names=list(memory.columns) or None,
        context_units=[unit if name == "floor" else units.get(name[-3:], "") for name in memory.columns] or None,
        pixel_arcmin=None if memory.pixel_arcsec is None else memory.pixel_arcsec / 60,
        provenance={KEY: {"memory": memory.to_json(), "report": json.loads(report.to_json())}})
    return Prepared(dataset, chosen, memory, report)
