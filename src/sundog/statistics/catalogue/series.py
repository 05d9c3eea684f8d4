"""The catalogue's statistics of series: what a record remembers, how rare its jumps are, and which way its time runs.

Series come as maps of one row, (n, 1, t) or (n, channels, 1, t). Each statistic measures one channel of one series.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from sundog.statistics.catalogue import images
from sundog.statistics.catalogue.frame import Frame, Shape, Statistic
from sundog.statistics.maps.spectra import cross_spectrum
from sundog.statistics.samples.onepoint import moments
from sundog.statistics.scattering.line import LineScatteringCovariance
from sundog.statistics.series.increments import structure_functions
from sundog.statistics.series.memory import frequency_edges, power_spectrum

SPECTRUM_BINS = 12
ORDERS = (1, 2, 3, 4)
SHORTEST = 32  # points; below, no lag is far from both ends
MOST_LAGS = 8
LEVERAGE = (1, 2, 4, 8)
_KINDS = ("S1", "S2", "S3", "S4")
TINY = 1e-30  # keeps constant series finite

Names = Callable[[Shape, Frame], tuple[str, ...]]


def lags_of(shape: Shape) -> list[int]:
    """1, 2, 4, ... up to an eighth of the length."""
    return [2**i for i in range(MOST_LAGS) if 2**i <= max(1, shape[-1] // 8)]


def _lag_axis(shape: Shape, frame: Frame) -> Tensor:
    return torch.tensor(lags_of(shape), dtype=torch.float64)


def _per_lag(what: str) -> Names:
    return lambda shape, frame: tuple(f"{what} {r}" for r in lags_of(shape))


def _spectrum(x: Tensor, frame: Frame) -> Tensor:
    return power_spectrum(x[:, 0], bins=SPECTRUM_BINS, periodic=frame.periodic).power


def _spectrum_axis(shape: Shape, frame: Frame) -> Tensor:
    return power_spectrum(torch.zeros(1, shape[-1], dtype=torch.float64), bins=SPECTRUM_BINS).k


def _spectrum_names(shape: Shape, frame: Frame) -> tuple[str, ...]:
    return tuple(f"P(f={f:.3g})" for f in _spectrum_axis(shape, frame).tolist())


def _structure(x: Tensor, frame: Frame) -> Tensor:
    """S_p(r)^(1/p) / std, by order and then lag: all orders on one scale, whatever the tails."""
    s = structure_functions((x[:, 0] - frame.mean) / frame.std, lags_of(x.shape), orders=ORDERS).value
    return torch.cat([(s[..., i] + TINY) ** (1 / p) for i, p in enumerate(ORDERS)], -1)


def _structure_axis(shape: Shape, frame: Frame) -> Tensor:
    return _lag_axis(shape, frame).repeat(len(ORDERS))


def _structure_names(shape: Shape, frame: Frame) -> tuple[str, ...]:
    return tuple(f"S{p}(r={r})" for p in ORDERS for r in lags_of(shape))


def _increments(x: Tensor, r: int) -> Tensor:
    return x[:, 0, r:] - x[:, 0, :-r]


def _flatness(x: Tensor, frame: Frame) -> Tensor:
    """log (S_4 / 3 S_2^2) of the increments: 0 where they are Gaussian."""
    steps = (_increments(x / frame.std, r).square() for r in lags_of(x.shape))
    return torch.stack([((d.square().mean(1) + TINY) / (3 * d.mean(1).square() + TINY)).log() for d in steps], 1)


def _skewness(x: Tensor, frame: Frame) -> Tensor:
    """<d^3> / <d^2>^(3/2) of the increments: changes sign when time runs backwards."""
    steps = (_increments(x / frame.std, r) for r in lags_of(x.shape))
    return torch.stack([(d**3).mean(1) / (d.square().mean(1) + TINY) ** 1.5 for d in steps], 1)


def _leverage(x: Tensor, frame: Frame) -> Tensor:
    """<d_i d_{i+k}^2> / <d^2>^(3/2) for k > 0 - do falls announce agitation? - and k < 0, which time reversed swaps."""
    d = _increments(x / frame.std, 1)
    d = d - d.mean(1, keepdim=True)
    scale = (d.square().mean(1) + TINY) ** 1.5
    ks = _leverage_lags(x.shape)
    after = [(d[:, : -k or None] * d[:, k:].square()).mean(1) / scale for k in ks]
    before = [(d[:, k:] * d[:, : -k or None].square()).mean(1) / scale for k in ks]
    return torch.stack([*before, *after], 1)


def _leverage_lags(shape: Shape) -> list[int]:
    return [k for k in LEVERAGE if k <= max(1, shape[-1] // 8)]


def _leverage_axis(shape: Shape, frame: Frame) -> Tensor:
    return torch.tensor([sign * k for sign in (-1, 1) for k in _leverage_lags(shape)], dtype=torch.float64)


def _leverage_names(shape: Shape, frame: Frame) -> tuple[str, ...]:
    return tuple(f"leverage {int(k):+d}" for k in _leverage_axis(shape, frame))


def _correlation(x: Tensor, lags: list[int]) -> Tensor:
    z = x - x.mean(1, keepdim=True)
    power = z.square().sum(1) + TINY
    return torch.stack([(z[:, r:] * z[:, :-r]).sum(1) / power for r in lags], 1)


def _autocorrelation(x: Tensor, frame: Frame) -> Tensor:
    return _correlation((x[:, 0] - frame.mean) / frame.std, lags_of(x.shape))


def _memory(x: Tensor, frame: Frame) -> Tensor:
    """Autocorrelation of |x_{i+1} - x_i|: whether large changes follow large ones."""
    return _correlation(_increments(x / frame.std, 1).abs(), lags_of(x.shape))


def _hurst(x: Tensor, frame: Frame) -> Tensor:
    """Half the slope of log <(x_{i+2m} - 2 x_{i+m} + x_i)^2> against log m, by least squares, of every series."""
    lags = lags_of(x.shape)[:5]
    z = x[:, 0] / frame.std
    v = torch.stack([(z[:, 2 * m :] - 2 * z[:, m:-m] + z[:, : -2 * m]).square().mean(1) for m in lags], 1)
    at = torch.tensor(lags, dtype=torch.float64).log()
    at = at - at.mean()
    return 0.5 * ((v + TINY).log() @ at / (at.square().sum() + TINY))[:, None]


@lru_cache(maxsize=8)
def _waves(length: int) -> LineScatteringCovariance:
    return LineScatteringCovariance(length)


def _scattering(x: Tensor, frame: Frame) -> Tensor:
    """Normalised scattering covariances: S1 / sqrt(S2), log S2, real and imaginary parts of S3 and S4."""
    c = _waves(x.shape[-1])((x[:, 0] - frame.mean) / frame.std).normalised()
    return torch.cat([c[kind] for kind in _KINDS], 1).double()


def _scattering_names(shape: Shape, frame: Frame) -> tuple[str, ...]:
    waves = _waves(shape[-1])
    c = waves(torch.zeros(1, shape[-1], dtype=torch.float64))
    return tuple(f"{kind} {i}" for kind in _KINDS for i in range(c[kind].shape[-1]))


def _cross(x: Tensor, frame: Frame) -> Tensor:
    """Cross spectra of standardised channels i < j, pair after pair; nothing for a single channel."""
    x, pairs = frame.admit(x).double(), images.channel_pairs(x.shape)
    if not pairs:
        return x.new_zeros(len(x), 0)
    z = (x - frame.mean[:, None, None]) / frame.std[:, None, None]
    edges = frequency_edges(x.shape[-1], SPECTRUM_BINS)
    return torch.cat([cross_spectrum(z[:, i], z[:, j], bins=edges, periodic=frame.periodic).power
                      for i, j in pairs], 1)


def _cross_names(shape: Shape, frame: Frame) -> tuple[str, ...]:
    bands = _spectrum_axis(shape, frame).tolist()
    return tuple(f"{frame.names[i]} x {frame.names[j]} at f={f:.3g}" for i, j in images.channel_pairs(shape)
                 for f in bands)


def _moment_names(shape: Shape, frame: Frame) -> tuple[str, ...]:
    return "mean", "std", "skewness", "kurtosis"


def series_features(x: Tensor, frame: Frame) -> Tensor:
    """Raw features of one channel: moments, spectrum, flatness, asymmetry, memory, Hurst exponent; (n, K)."""
    m = moments(x, dim=(1, 2))
    one_point = [(m.mean - frame.mean) / frame.std, 0.5 * torch.log10(m.variance / frame.std**2 + 1e-12),
                 m.skewness, torch.asinh(m.kurtosis)]
    power = torch.log10(_spectrum(x, frame) / frame.std**2 + 1e-12)
    rest = [measure(x, frame) for measure in (_flatness, _skewness, _leverage, _memory, _hurst)]
    return torch.cat([torch.stack(one_point, 1), power, *rest], 1)


def series_feature_names(shape: Shape, frame: Frame) -> tuple[str, ...]:
    """Names of the columns of `series_features`."""
    power = (f"log {name}" for name in _spectrum_names(shape, frame))
    per_lag = (name for what in ("log flatness at lag", "increment skewness at lag") for name in
               _per_lag(what)(shape, frame))
    return ("mean", "log std", "skewness", "kurtosis", *power, *per_lag, *_leverage_names(shape, frame),
            *_per_lag("memory of sizes at lag")(shape, frame), "Hurst exponent")


def channel_features(x: Tensor, frame: Frame) -> Tensor:
    """Correlation of every two channels of (n, channels, 1, t), at once and one step apart either way: (n, k)."""
    if x.ndim == 3:
        return x.new_zeros(len(x), 0, dtype=torch.float64)
    z = x[:, :, 0].double()
    z = (z - z.mean(-1, keepdim=True)) / (z.std(-1, unbiased=False, keepdim=True) + TINY)
    pairs = images.channel_pairs(x.shape)
    found = [part for i, j in pairs for part in ((z[:, i] * z[:, j]).mean(1), (z[:, i, :-1] * z[:, j, 1:]).mean(1),
                                                 (z[:, i, 1:] * z[:, j, :-1]).mean(1))]
    return torch.stack(found, 1) if found else z.new_zeros(len(x), 0)


def channel_feature_names(shape: Shape, frame: Frame) -> tuple[str, ...]:
    """Names of the columns of `channel_features`."""
    names = frame.names
    return tuple(name for i, j in images.channel_pairs(shape) for name in (
        f"{names[i]} with {names[j]}", f"{names[i]} before {names[j]}", f"{names[j]} before {names[i]}"))


def _series(name: str, compare: str, one: images.One, names: Names, summary: str, axis: images.Axis | None = None,
            **labels: str) -> Statistic:
    return images.channelwise("series", name, compare, one, names, summary, axis, **labels)


SERIES_STATISTICS: tuple[Statistic, ...] = (
    _series("value histogram", "mean", images.histogram_vectors, images.histogram_names("values"),
            f"Share of points in {images.HISTOGRAM_BINS} bins, the outer two open.", images.histogram_centres,
            axis_label="value", value_label="share of points"),
    _series("moments", "distribution", images.moment_vectors, _moment_names,
            "Mean, standard deviation, skewness and excess kurtosis of every series.", axis_label="moment"),
    _series("power spectrum", "mean", _spectrum, _spectrum_names,
            "|FFT|²/t in logarithmic bands; Hann window unless the series are periodic.", _spectrum_axis,
            axis_label="frequency [cycles per step]", value_label="P(f)", source="periodogram"),
    _series("structure functions", "mean", _structure, _structure_names,
            "Moments of the increments over 1, 2, 4, ... steps, p = 1 to 4.", _structure_axis, axis_label="lag [steps]",
            value_label="S_p(r)^(1/p) / std", source="Kolmogorov 1941; Frisch 1995"),
    _series("flatness", "mean", _flatness, _per_lag("log flatness at lag"),
            "log (S4 / 3 S2²) of the increments at 1, 2, 4, ... steps; 0 if Gaussian.", _lag_axis,
            axis_label="lag [steps]", value_label="log(S4 / 3 S2²)", source="Frisch 1995, ch. 8"),
    _series("increment skewness", "mean", _skewness, _per_lag("increment skewness at lag"),
            "<d³>/<d²>^1.5 of the increments; its sign is that of the arrow of time.", _lag_axis,
            axis_label="lag [steps]", value_label="S3 / S2^1.5", source="Frisch 1995, ch. 8"),
    _series("leverage", "mean", _leverage, _leverage_names,
            "Correlation of an increment with the square of a later (+) or earlier (-) one.", _leverage_axis,
            axis_label="lag [steps]", value_label="<d d'²> / <d²>^1.5",
            source="Bouchaud, Matacz & Potters 2001, PRL 87, 228701"),
    _series("autocorrelation", "mean", _autocorrelation, _per_lag("correlation at lag"),
            "Autocorrelation of every series about its own mean.", _lag_axis, axis_label="lag [steps]",
            value_label="correlation", source="Box, Jenkins & Reinsel 1994, ch. 2"),
    _series("memory of sizes", "mean", _memory, _per_lag("memory of sizes at lag"),
            "Autocorrelation of the absolute increments: do large changes follow large ones?", _lag_axis,
            axis_label="lag [steps]", value_label="correlation of |d|", source="Cont 2001, Quant. Finance 1, 223"),
    _series("Hurst exponent", "distribution", _hurst, lambda shape, frame: ("Hurst exponent",),
            "Half the slope of log second differences against log lag, of every series.",
            source="Istas & Lang 1997, Ann. IHP B 33, 407"),
    _series("scattering", "mean", _scattering, _scattering_names,
            "Normalised scattering covariances S1 to S4; imaginary parts feel the arrow of time.",
            value_label="coefficient", source="Morel et al. 2025, ACHA 75, 101724"),
    Statistic("cross spectra", "series", "mean", _cross, _cross_names,
              "Cross spectra of the standardised channels; empty for a single channel.",
              lambda shape, frame: _spectrum_axis(shape, frame).repeat(len(images.channel_pairs(shape))),
              "frequency [cycles per step]", "P_ij(f)", "periodogram"),
)
