"""Densities: laws that can be drawn from and whose log-density is known - the ruler of every density model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sundog.checks import at_least, positive
from sundog.data.dataset import Dataset
from sundog.errors import OptionError, ShapeError
from sundog.random import stream

_LOG_2PI = math.log(2 * math.pi)
_CHUNK = 16_384  # rows per block of the quadrature: bounds its memory at some 100 MB


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """Mixture of Gaussians, ``p(x) = sum_j w_j N(x; mu_j, C_j)``.

    Attributes
    ----------
    means : (k, d) centres mu_j
    covariances : (k, d, d) covariances C_j (not scales; for scales see ``isotropic``)
    weights : (k,) weights w_j, brought to sum 1; equal when None

    Example
    -------
    >>> law = GaussianMixture.isotropic([[-2.0, 0.0], [2.0, 0.0]], scales=0.5)
    >>> law.sample(100, seed=0).values.shape
    torch.Size([100, 2])
    >>> round(float(law.log_prob(torch.tensor([[2.0, 0.0]]))), 4)   # log(0.5 / (2 pi 0.25))
    -1.1447
    """

    means: Any
    covariances: Any
    weights: Any = None

    def __post_init__(self) -> None:
        means, covariances = _float64(self.means), _float64(self.covariances)
        if means.ndim != 2 or covariances.shape != (*means.shape, means.shape[-1]):
            raise ShapeError("means and covariances do not fit", got=f"{tuple(means.shape)} and "
                             f"{tuple(covariances.shape)}", expected="(k, d) and (k, d, d)",
                             do="pass one covariance matrix per mean, or use GaussianMixture.isotropic")
        weights = torch.ones(len(means)).double() if self.weights is None else _float64(self.weights)
        if weights.shape != means.shape[:1] or (weights < 0).any() or weights.sum() <= 0:
            raise OptionError("mixture weights are unusable", got=weights.tolist(),
                              expected=f"{len(means)} numbers >= 0", do="pass one weight per mean")
        object.__setattr__(self, "means", means)
        object.__setattr__(self, "covariances", covariances)
        object.__setattr__(self, "weights", weights / weights.sum())
        object.__setattr__(self, "_roots", _cholesky(covariances))

    @staticmethod
    def isotropic(means: Any, scales: Any, weights: Any = None) -> GaussianMixture:
        """Mixture of round Gaussians of standard deviation ``scales`` (one number, or one per mean)."""
        centres = _float64(means)
        variances = _float64(scales).square().expand(len(centres))
        return GaussianMixture(centres, variances[:, None, None] * torch.eye(centres.shape[-1]).double(), weights)

    @staticmethod
    def ring(k: int = 8, radius: float = 2.0, scale: float = 0.1) -> GaussianMixture:
        """The usual mode-collapse test: ``k`` equal round Gaussians on a circle."""
        angle = 2 * math.pi * torch.arange(at_least(k, 1, "k")).double() / k
        return GaussianMixture.isotropic(radius * torch.stack([angle.cos(), angle.sin()], 1), scale)

    def sample(self, n: int, seed: int) -> Dataset:
        """``n`` draws as events x0, x1, ..."""
        return _events(self.draw(n, stream(seed, "gaussian mixture")), self, seed)

    def draw(self, n: int, g: torch.Generator) -> Tensor:
        """``n`` rows (n, d)."""
        j = torch.multinomial(self.weights, at_least(n, 1, "n"), replacement=True, generator=g)
        z = torch.randn(n, self.means.shape[1], generator=g, dtype=torch.float64)
        return self.means[j] + torch.einsum("nij,nj->ni", self._roots[j], z)  # type: ignore[attr-defined]

    def log_prob(self, x: Any) -> Tensor:
        """log p(x) in float64, natural logarithm; x: (n, d) -> (n,)."""
        x = _rows(x, self.means.shape[1])
        log_p = [_log_normal(x - mu, root) for mu, root in zip(self.means, self._roots)]  # type: ignore[attr-defined]
        return torch.logsumexp(torch.stack(log_p, 1) + self.weights.log(), 1)


@dataclass(frozen=True, eq=False)
class CorrelatedGaussian:
    """One Gaussian, ``p(x) = N(x; mean, covariance)``.

    Example
    -------
    >>> law = CorrelatedGaussian([0.0, 0.0], [[1.0, 0.8], [0.8, 1.0]])
    >>> round(float(law.log_prob(torch.zeros(1, 2))), 4)            # -log(2 pi sqrt(1 - 0.64))
    -1.3271
    """

    mean: Any
    covariance: Any

    def __post_init__(self) -> None:
        mean, covariance = _float64(self.mean), _float64(self.covariance)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "covariance", covariance)
        object.__setattr__(self, "_law", GaussianMixture(mean[None], covariance[None]))

    def sample(self, n: int, seed: int) -> Dataset:
        """``n`` draws as events x0, x1, ..."""
        return _events(self._law.draw(n, stream(seed, "gaussian")), self, seed)  # type: ignore[attr-defined]

    def log_prob(self, x: Any) -> Tensor:
        """log p(x) in float64, natural logarithm; x: (n, d) -> (n,)."""
        return self._law.log_prob(x)  # type: ignore[attr-defined,no-any-return]


@dataclass(frozen=True)
class TwoMoons:
    """Two interleaved half circles, blurred by a round Gaussian of width ``noise``.

    ``x = c(t) + noise z`` with t uniform on [0, pi] and, with probability 1/2 each,
    ``c(t) = (cos t, sin t)`` or ``c(t) = (1 - cos t, 1/2 - sin t)``. The density is the integral over t by
    Gauss-Legendre nodes closer together than noise / 5; accurate to rounding within some 10 radii.

    Example
    -------
    >>> law = TwoMoons(noise=0.1)
    >>> bool(law.log_prob([[0.0, 1.0]]) > law.log_prob([[0.5, 0.25]]))    # on an arc, between the arcs
    True
    """

    noise: float = 0.1

    def __post_init__(self) -> None:
        positive(self.noise, "noise")

    def sample(self, n: int, seed: int) -> Dataset:
        """``n`` draws as events x0, x1."""
        g = stream(seed, "two moons")
        t = math.pi * torch.rand(at_least(n, 1, "n"), generator=g, dtype=torch.float64)
        first = torch.rand(n, generator=g) < 0.5
        upper, lower = _moons(t)
        x = torch.where(first[:, None], upper, lower)
        return _events(x + self.noise * torch.randn(n, 2, generator=g, dtype=torch.float64), self, seed)

    def log_prob(self, x: Any) -> Tensor:
        """log p(x) in float64, natural logarithm; x: (n, 2) -> (n,)."""
        nodes, weights = np.polynomial.legendre.leggauss(64 + math.ceil(8 * math.pi / self.noise))
        points = torch.cat(_moons(torch.from_numpy(math.pi / 2 * (nodes + 1))))
        log_w = torch.from_numpy(weights / 4).log().repeat(2)  # (pi/2) / pi / 2 moons
        log_norm = _LOG_2PI + 2 * math.log(self.noise)
        blocks = [torch.cdist(rows, points).square() for rows in _rows(x, 2).split(_CHUNK)]
        return torch.cat([torch.logsumexp(log_w - b / (2 * self.noise**2), 1) for b in blocks]) - log_norm


@dataclass(frozen=True)
class ResonantToy:
    """Resonance on a falling mass spectrum with four features, every density in closed form.

    Background: m ~ exp(-1.6 m) on [3, 4.6] TeV and x | m ~ N(a (m - 3.5), I_4), a = (0.6, -0.4, 0.3, 0).
    Signal: m ~ N(3.5, 0.06) TeV and x ~ N((1.5, -1.5, 1, 1), 0.4^2 I_4), whatever m.
    Signal region 3.3 < m < 3.7 TeV (31.7 % of the background, 99.9 % of the signal).

    Densities are of the features *given* the mass, p(x | m): inside the signal region the ratio
    p_S(x | m) / p_B(x | m) has SIC = TPR / sqrt(FPR) = 9.57, 16.5, 11.2 at FPR 1e-2, 1e-3, 1e-4.
    The mass laws alone are ``log_background_mass`` and ``log_signal_mass``.

    Truth labels never enter a Dataset: ``truth(n, w, seed)`` returns those of ``events(n, w, seed)``.

    Example
    -------
    >>> toy = ResonantToy()
    >>> events = toy.events(1000, w=0.1, seed=0)
    >>> events
    Dataset(events, 1000 x 4: x0, x1, x2, x3 | m [TeV])
    >>> int(toy.truth(1000, w=0.1, seed=0).sum())
    83
    """

    signal_region = (3.3, 3.7)
    mass_range = (3.0, 4.6)
    fall = 1.6
    peak, width = 3.5, 0.06
    slope = (0.6, -0.4, 0.3, 0.0)
    centre, scale = (1.5, -1.5, 1.0, 1.0), 0.4

    def background(self, n: int, seed: int) -> Dataset:
        """``n`` background events, context m [TeV]."""
        return self._draw(torch.zeros(at_least(n, 1, "n"), dtype=torch.bool), seed, "background")

    def signal(self, n: int, seed: int) -> Dataset:
        """``n`` signal events, context m [TeV]."""
        return self._draw(torch.ones(at_least(n, 1, "n"), dtype=torch.bool), seed, "signal")

    def events(self, n: int, w: float, seed: int) -> Dataset:
        """``n`` independent events, each signal with probability ``w`` (over the whole mass range)."""
        return self._draw(self.truth(n, w, seed), seed, "events", w=w)

    def truth(self, n: int, w: float, seed: int) -> Tensor:
        """Labels of ``events(n, w, seed)``: (n,) booleans, True for signal."""
        if not 0 <= w <= 1:
            raise OptionError("signal fraction out of range", got=w, expected="0 <= w <= 1", do="pass e.g. w=0.006")
        return torch.rand(at_least(n, 1, "n"), generator=stream(seed, "truth"), dtype=torch.float64) < w

    def log_background(self, x: Any, m: Any) -> Tensor:
        """log p_B(x | m) in float64; x: (n, 4), m: (n,) or (n, 1) TeV -> (n,)."""
        residual = _rows(x, 4) - _float64(self.slope) * (_column(m) - self.peak)[:, None]
        return -0.5 * residual.square().sum(1) - 2 * _LOG_2PI

    def log_signal(self, x: Any, m: Any = None) -> Tensor:
        """log p_S(x | m) in float64, the same for every m; x: (n, 4) -> (n,)."""
        z = (_rows(x, 4) - _float64(self.centre)) / self.scale
        return -0.5 * z.square().sum(1) - 4 * math.log(self.scale) - 2 * _LOG_2PI

    def log_likelihood_ratio(self, x: Any, m: Any) -> Tensor:
        """log p_S(x | m) - log p_B(x | m), the best possible score of an event of known mass."""
        return self.log_signal(x, m) - self.log_background(x, m)

    def log_background_mass(self, m: Any) -> Tensor:
        """log p_B(m) per TeV; -inf outside the mass range."""
        low, high = self.mass_range
        mass = _column(m)
        log_p = math.log(self.fall) - self.fall * (mass - low) - math.log(-math.expm1(-self.fall * (high - low)))
        return torch.where((mass >= low) & (mass <= high), log_p, -torch.inf)

    def log_signal_mass(self, m: Any) -> Tensor:
        """log p_S(m) per TeV."""
        return -0.5 * ((_column(m) - self.peak) / self.width).square() - math.log(self.width) - 0.5 * _LOG_2PI

    def in_signal_region(self, events: Dataset) -> Tensor:
        """Which events have 3.3 < m < 3.7 TeV: (n,) booleans, usable as ``events[mask]``."""
        mass = _column(events.context)
        return (mass > self.signal_region[0]) & (mass < self.signal_region[1])

    def _draw(self, is_signal: Tensor, seed: int, what: str, **facts: float) -> Dataset:
        n, g = len(is_signal), stream(seed, "toy", what)
        (low, high), fall = self.mass_range, self.fall
        u = torch.rand(n, generator=g, dtype=torch.float64)
        falling = low - torch.log1p(u * math.expm1(-fall * (high - low))) / fall
        peak = self.peak + self.width * torch.randn(n, generator=g, dtype=torch.float64)
        mass = torch.where(is_signal, peak, falling)
        z = torch.randn(n, 4, generator=g, dtype=torch.float64)
        x = torch.where(is_signal[:, None], _float64(self.centre) + self.scale * z,
                        _float64(self.slope) * (mass - self.peak)[:, None] + z)
        return Dataset.from_arrays(x, mass, context_names=("m",), context_units="TeV",
                                   provenance={"simulator": "sundog.simulate.densities.ResonantToy", "seed": seed,
                                               **facts})


def _moons(t: Tensor) -> tuple[Tensor, Tensor]:
    return torch.stack([t.cos(), t.sin()], 1), torch.stack([1 - t.cos(), 0.5 - t.sin()], 1)


def _events(x: Tensor, law: object, seed: int) -> Dataset:
    return Dataset.from_arrays(x, provenance={"simulator": f"sundog.simulate.densities.{type(law).__name__}",
                                              "seed": seed})


def _float64(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def _rows(x: Any, width: int) -> Tensor:
    rows = _float64(x.values if isinstance(x, Dataset) else x)
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ShapeError("x does not fit the law", got=tuple(rows.shape), expected=f"(n, {width})",
                         do=f"pass rows of {width} features")
    return rows


def _column(m: Any) -> Tensor:
    mass = _float64(m)
    if mass.ndim > 2 or (mass.ndim == 2 and mass.shape[1] != 1):
        raise ShapeError("m does not fit", got=tuple(mass.shape), expected="(n,) or (n, 1)",
                         do="pass one mass per event, e.g. events.context")
    return mass.reshape(-1)


def _cholesky(covariance: Tensor) -> Tensor:
    root, info = torch.linalg.cholesky_ex(covariance)
    if info.any() or not torch.equal(covariance, covariance.mT):
        raise OptionError("covariance is unusable", got="a matrix that is not symmetric and positive definite",
                          expected="a covariance matrix", do="check its eigenvalues")
    return root


def _log_normal(residual: Tensor, root: Tensor) -> Tensor:
    z = torch.linalg.solve_triangular(root, residual.T, upper=False)
    return -0.5 * z.square().sum(0) - root.diagonal().log().sum() - 0.5 * len(root) * _LOG_2PI
