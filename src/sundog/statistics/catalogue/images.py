"""The catalogue's statistics of images: each measures one channel; channels are then put side by side."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sundog.statistics.catalogue.frame import Frame, Shape, Statistic
from sundog.statistics.maps.morphology import minkowski_functionals, smoothed_where_seen, structure_functions
from sundog.statistics.maps.peaks import peak_mask
from sundog.statistics.maps.spectra import cross_spectrum, power_spectrum
from sundog.statistics.objects.shapes import shape_features
from sundog.statistics.samples.onepoint import histogram, moments

HISTOGRAM_BINS = 24
SPECTRUM_BINS = 12
THRESHOLDS = tuple(0.5 * i for i in range(-2, 7))  # in units of the frame's std, above its mean
ORDERS = (1, 2, 3, 4)
PEAK_LEVELS = (1.0, 3.0)
SMOOTHING = 1.0  # pixels, before Minkowski functionals and peaks: pixel noise would own both
CHUNK_PIXELS = 1 << 18  # pixels measured at once: 2 MB in float64 stay in the cache

One = Callable[..., Tensor]  # (n, ny, nx), frame of that channel, which pixels are seen where not all -> (n, k)
Names = Callable[[Shape, Frame], tuple[str, ...]]
Axis = Callable[[Shape, Frame], Tensor]


def by_channel(one: One) -> One:
    """Return a measure of (n, [c,] ny, nx) that applies ``one`` to each channel, in chunks, and concatenates.

    Pixels without a number are hidden: ``one`` gets the mean of the frame there, and which are seen.
    """

    def measure(x: Tensor, frame: Frame) -> Tensor:
        x = frame.admit(x)
        channels = [x] if x.ndim == 3 else list(x.unbind(1))
        size = max(1, CHUNK_PIXELS // (x.shape[-1] * x.shape[-2]))
        return torch.cat([torch.cat([_of_seen(one, part.double(), frame.channel(i)) for part in channel.split(size)])
                          for i, channel in enumerate(channels)], 1)

    return measure


def _of_seen(one: One, x: Tensor, frame: Frame) -> Tensor:
    hidden = x.isnan()
    return one(torch.where(hidden, frame.mean, x), frame, ~hidden) if bool(hidden.any()) else one(x, frame)


def _named(labels: Names) -> Names:
    """Repeat component names for every channel, with its name behind them when there are several."""

    def components(shape: Shape, frame: Frame) -> tuple[str, ...]:
        n_channels = shape[1] if len(shape) == 4 else 1
        return tuple(
            label + (f" ({frame.names[i]})" if n_channels > 1 else "")
            for i in range(n_channels)
            for label in labels(shape, frame.channel(i))
        )

    return components


def _repeated(axis: Axis) -> Axis:
    def abscissae(shape: Shape, frame: Frame) -> Tensor:
        n_channels = shape[1] if len(shape) == 4 else 1
        return torch.cat([axis(shape, frame.channel(i)) for i in range(n_channels)])

    return abscissae


def _histogram_edges(frame: Frame) -> Tensor:
    inner = torch.linspace(0, 1, HISTOGRAM_BINS - 1, dtype=torch.float64) * (frame.high - frame.low) + frame.low
    ends = inner.new_tensor([float("inf")])
    return torch.cat([-ends, inner, ends])


def histogram_vectors(x: Tensor, frame: Frame, seen: Tensor | None = None) -> Tensor:
    """Return the share of values in each bin: (n, 24)."""
    return histogram(x, _histogram_edges(frame), dim=(1, 2), weights=_flat(seen))


def _flat(weights: Tensor | None) -> Tensor | None:
    return None if weights is None else weights.flatten(1)


def histogram_centres(shape: Shape, frame: Frame) -> Tensor:
    """Return the bin centres; the two open end bins stand half a bin outside."""
    step = (frame.high - frame.low) / (HISTOGRAM_BINS - 2)
    return frame.low + step * (torch.arange(HISTOGRAM_BINS, dtype=torch.float64) - 0.5)


def histogram_names(what: str) -> Names:
    """Return the names of the bins: "pixels near 3.2"."""
    return lambda shape, frame: tuple(f"{what} near {c:.3g}" for c in histogram_centres(shape, frame).tolist())


def moment_vectors(x: Tensor, frame: Frame, seen: Tensor | None = None) -> Tensor:
    """Return mean, standard deviation, skewness and excess kurtosis of each image: (n, 4)."""
    m = moments(x, dim=(1, 2), weights=_flat(seen))
    # The offset keeps the gradient of the square root finite on constant images.
    return torch.stack([m.mean, (m.variance + 1e-30).sqrt(), m.skewness, m.kurtosis], 1)


def spectrum_vectors(x: Tensor, frame: Frame, seen: Tensor | None = None) -> Tensor:
    """Return the power of each image in logarithmic rings: (n, b)."""
    return power_spectrum(x, bins=SPECTRUM_BINS, periodic=frame.periodic, mask=seen).power


def _spectrum_axis(shape: Shape, frame: Frame) -> Tensor:
    blank = torch.zeros(1, *shape[-2:], dtype=torch.float64)
    return power_spectrum(blank, bins=SPECTRUM_BINS).k


def _spectrum_names(shape: Shape, frame: Frame) -> tuple[str, ...]:
    return tuple(f"P(k={k:.3g})" for k in _spectrum_axis(shape, frame).tolist())


def minkowski_vectors(x: Tensor, frame: Frame, seen: Tensor | None = None, thresholds: tuple[float, ...] = THRESHOLDS,
                      ) -> Tensor:
    """Return V0, V1 and V2 at mean + t std for every t, after smoothing by one pixel: (n, 3 t)."""
    levels = frame.mean + frame.std * torch.tensor(thresholds, dtype=torch.float64)
    m = minkowski_functionals(x, levels, sigma_pixel=SMOOTHING, periodic=frame.periodic, mask=seen)
    return torch.cat([m.v0, m.v1, m.v2], -1)


def _minkowski_axis(shape: Shape, frame: Frame) -> Tensor:
    return torch.tensor(THRESHOLDS * 3, dtype=torch.float64)


def _minkowski_names(shape: Shape, frame: Frame) -> tuple[str, ...]:
    return tuple(f"{v} at {t:+g} sigma" for v in ("V0", "V1", "V2") for t in THRESHOLDS)


def _lags(shape: Shape) -> list[int]:
    """1, 2, 4, ... up to a quarter of the smaller side."""
    side = min(shape[-2:])
    return [2**i for i in range(16) if 2**i <= max(1, side // 4)]


def _structure(x: Tensor, frame: Frame, seen: Tensor | None = None) -> Tensor:
    """S_p(r)^(1/p) / std, by order and then lag: all orders on one scale, whatever the tails."""
    z, lags = (x - frame.mean) / frame.std, _lags(x.shape)
    s = structure_functions(z, lags, orders=ORDERS, periodic=frame.periodic, mask=seen).value
    # The offset keeps the gradient of the root finite on constant images.
    return torch.cat([(s[..., i] + 1e-30) ** (1 / p) for i, p in enumerate(ORDERS)], -1)


def _structure_axis(shape: Shape, frame: Frame) -> Tensor:
    return torch.tensor(_lags(shape) * len(ORDERS), dtype=torch.float64)


def _structure_names(shape: Shape, frame: Frame) -> tuple[str, ...]:
    return tuple(f"S{p}(r={r})" for p in ORDERS for r in _lags(shape))


def peak_vectors(x: Tensor, frame: Frame, seen: Tensor | None = None) -> Tensor:
    """Return the number of peaks above 1 and 3 sigma and the mean height of the former in sigma (0 without): (n, 3).

    Numbers are those of a whole image: counted where pixel and neighbours are seen, over the share of such places.
    """
    smooth, seen = smoothed_where_seen(x.detach(), SMOOTHING, seen, periodic=frame.periodic)
    z = (smooth - frame.mean) / frame.std
    peaks = peak_mask(z, periodic=frame.periodic, mask=seen)
    counts = [(peaks & (z >= level)).sum((1, 2)).double() for level in PEAK_LEVELS]
    heights = torch.where(peaks & (z >= PEAK_LEVELS[0]), z, 0.0).sum((1, 2)) / counts[0].clamp_min(1.0)
    if seen is not None:
        beside = torch.nn.functional.max_pool2d((~seen).double()[:, None], 3, 1, 1)
        counts = [count / (1 - beside).mean((1, 2, 3)).clamp_min(1e-9) for count in counts]
    return torch.stack([*counts, heights], 1)


def shape_vectors(x: Tensor, frame: Frame, seen: Tensor | None = None) -> Tensor:
    """Return the shape features of the light above the frame's mean, none where pixels are hidden: (n, 11)."""
    return torch.stack(list(shape_features((x - frame.mean) / frame.std).values()), 1)


def _shape_names(shape: Shape, frame: Frame) -> tuple[str, ...]:
    return tuple(shape_features(torch.zeros(1, 2, 2)))


def band_vectors(x: Tensor, frame: Frame, seen: Tensor | None = None) -> Tensor:
    """Return skewness and excess kurtosis of each image in bands an octave wide: (n, 2 b)."""
    smooth = [(x, seen), *(smoothed_where_seen(x, s, seen, periodic=frame.periodic) for s in _band_scales(x.shape))]
    bands = [moments(fine - coarse, dim=(1, 2), weights=_flat(sure))
             for (fine, _), (coarse, sure) in zip(smooth, smooth[1:])]
    return torch.stack([m.skewness for m in bands] + [m.kurtosis for m in bands], 1)


def _band_scales(shape: Shape) -> list[float]:
    return [float(2**i) for i in range(4) if i == 0 or 2**i <= min(shape[-2:]) / 8]


def _band_names(shape: Shape, frame: Frame) -> tuple[str, ...]:
    scales = [0.0, *_band_scales(shape)]
    return tuple(
        f"{name} between {fine:g} and {coarse:g} px"
        for name in ("skewness", "kurtosis")
        for fine, coarse in zip(scales, scales[1:])
    )


def _cross(x: Tensor, frame: Frame) -> Tensor:
    """Cross spectra of standardised channels i < j, pair after pair; nothing for a single channel."""
    x = frame.admit(x)
    if x.ndim == 3 or x.shape[1] < 2:
        return x.new_zeros(len(x), 0, dtype=torch.float64)
    size = max(1, CHUNK_PIXELS // (x.shape[1] * x.shape[2] * x.shape[3]))
    return torch.cat([_cross_chunk(part.double(), frame) for part in x.split(size)])


def _cross_chunk(x: Tensor, frame: Frame) -> Tensor:
    z = (x - frame.mean[:, None, None]) / frame.std[:, None, None]
    seen = ~z.isnan()
    whole = bool(seen.all())
    spectra = [
        cross_spectrum(z[:, i], z[:, j], bins=SPECTRUM_BINS, periodic=frame.periodic,
                       mask=None if whole else seen[:, i] & seen[:, j])
        for i, j in channel_pairs(x.shape)
    ]
    return torch.cat([spectrum.power for spectrum in spectra], 1)


def _cross_axis(shape: Shape, frame: Frame) -> Tensor:
    return _spectrum_axis(shape, frame).repeat(len(channel_pairs(shape)))


def _cross_names(shape: Shape, frame: Frame) -> tuple[str, ...]:
    rings = _spectrum_axis(shape, frame).tolist()
    return tuple(f"{frame.names[i]} x {frame.names[j]} at k={k:.3g}" for i, j in channel_pairs(shape) for k in rings)


def channel_pairs(shape: Shape) -> list[tuple[int, int]]:
    """Return all pairs i < j of channels."""
    n = shape[1] if len(shape) == 4 else 1
    return [(i, j) for i in range(n) for j in range(i + 1, n)]


def channelwise(kind: str, name: str, compare: str, one: One, names: Names, summary: str, axis: Axis | None = None,
                **labels: str) -> Statistic:
    """Return a statistic of one channel, measured on each."""
    return Statistic(name, kind, compare, by_channel(one), _named(names), summary,
                     None if axis is None else _repeated(axis), **labels)


def _image(name: str, compare: str, one: One, names: Names, summary: str, axis: Axis | None = None, **labels: str
           ) -> Statistic:
    return channelwise("images", name, compare, one, names, summary, axis, **labels)


IMAGE_STATISTICS: tuple[Statistic, ...] = (
    _image("pixel histogram", "mean", histogram_vectors, histogram_names("pixels"),
           f"Share of pixels in {HISTOGRAM_BINS} bins, the outer two open.", histogram_centres,
           axis_label="pixel value", value_label="share of pixels"),
    _image("moments", "distribution", moment_vectors, lambda shape, frame: ("mean", "std", "skewness", "kurtosis"),
           "Mean, standard deviation, skewness and excess kurtosis of every image.", axis_label="moment"),
    _image("power spectrum", "power", spectrum_vectors, _spectrum_names,
           "|FFT|²/(ny nx) in logarithmic rings; Hann window unless the maps are periodic.", _spectrum_axis,
           axis_label="k [cycles per pixel]", value_label="P(k), geometric mean", source="periodogram"),
    _image("Minkowski functionals", "mean", minkowski_vectors, _minkowski_names,
           "Area, perimeter and Euler number of the sets above a threshold, after smoothing by 1 pixel.",
           _minkowski_axis, axis_label="threshold [sigma]", value_label="V0, V1, V2 per pixel",
           source="Schmalzing & Gorski 1998, MNRAS 297, 355"),
    _image("structure functions", "mean", _structure, _structure_names,
           "Moments of the increments over 1, 2, 4, ... pixels, p = 1 to 4.", _structure_axis,
           axis_label="lag [pixels]", value_label="S_p(r)^(1/p) / std", source="Kolmogorov 1941; Frisch 1995"),
    _image("peaks", "distribution", peak_vectors,
           lambda shape, frame: ("peaks above 1 sigma", "peaks above 3 sigma", "mean peak height"),
           "Number and mean height of the peaks of every image, smoothed by 1 pixel.",
           value_label="count, height [sigma]", source="strict local maxima among 8 neighbours"),
    _image("shapes", "distribution", shape_vectors, _shape_names,
           "Centre, elongation, scatter, Gini, M20, concentration and asymmetry of the light above the mean.",
           source="Vicanek Martinez et al. 2024, A&A 691, A360; Lotz et al. 2004; Conselice 2003"),
    _image("band moments", "distribution", band_vectors, _band_names,
           "Skewness and kurtosis of every image in octave bands: what phases do to a spectrum.",
           value_label="skewness, kurtosis", source="differences of Gaussians, Burt & Adelson 1983"),
    Statistic("cross spectra", "images", "mean", _cross, _cross_names,
              "Cross spectra of the standardised channels; empty for a single channel.", _cross_axis,
              "k [cycles per pixel]", "P_ij(k)", "periodogram"),
)
