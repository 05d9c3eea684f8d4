"""The posterior p(mu | d) of a few statistics mu of the signal, from simulated mixtures.

    prior draw mu_i  ->  map s_i with these statistics  ->  d_i = s_i + c_i  ->  y_i = mu(d_i)

Maps s_i are solutions of the separation, turned and shifted at random, with the power of every band, the skewness of
the pixels and the intermittency of small scales drawn anew. p(mu | y(d)) is the conditional of the joint Gaussian of
(mu_i, y_i), in two rounds, the second around what the first says of powers, skewness and intermittency; or a
normalizing flow of mu with y as context.

Source: Allys 2024, talk "Generative model and component separation" (Bayesian separation in the space of statistics);
Blum & Francois 2010, Stat. Comput. 20, 63 (regression on simulations).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sundog.checks import one_of
from sundog.data.dataset import Dataset
from sundog.errors import SampleSizeError, ShapeError
from sundog.random import stream
from sundog.statistics.maps.morphology import gaussian_smooth
from sundog.tasks.separation.result import Separation
from sundog.tasks.separation.sources import Source, shifted
from sundog.train.fit import fit
from sundog.train.plan import Plan

WIDTH = 1.0  # of the prior of log power per band, around that of the solution, of skewness and of intermittency
SKEW_WIDTH = 0.15  # the quadratic term, in units of the standard deviation, for a skewness of 1
BURST_WIDTH = 0.5  # the strength of bursts for an intermittency of 1
SMOOTH = 2.0  # octaves over which log powers go together; bands that jump apart make structures Gaussian
INFLATION = 2.0  # of the widths of the first answer, for the second round


@dataclass(frozen=True, eq=False)
class Posterior:
    """Draws of p(mu | d).

    Attributes
    ----------
    names : (q,) of the statistics: "log power k=..." per band, "log sparsity j=..." (S1^2 / S2) per octave
    mean, std : (q,)
    samples : (m, q)
    """

    names: list[str]
    mean: Tensor
    std: Tensor
    samples: Tensor

    def __str__(self) -> str:
        rows = [f"{name:22s}{m:9.3f} +- {s:.3f}" for name, m, s in zip(self.names, self.mean, self.std)]
        return "\n".join(rows)


def posterior(
    found: Separation, contaminations: Any, *, samples: int = 300, method: str = "gaussian", seed: int = 0,
) -> Posterior:  # fmt: skip
    """Return p(mu | d) of the band powers and sparsities of the signal behind a mixture.

    Parameters
    ----------
    found : what `separate` returned, one channel, periodic
    contaminations : as for `separate`
    samples : simulated mixtures in each of two rounds
    method : "gaussian", or "flow" for a neural posterior trained on the second round (then a few thousand samples)
    seed : of the simulations

    Errors: ShapeError for several channels or open maps; SampleSizeError for fewer mixtures than three per statistic.

    Example
    -------
    >>> from sundog.tasks.separation import separate
    >>> noise = torch.randn(40, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> found = separate(noise[0].cumsum(1) / 3 + noise[1], noise[2:], bins=6, eras=1, iterations=5, polish=0)
    >>> answer = posterior(found, noise[2:], samples=60)
    >>> len(answer.names) == len(answer.mean), bool((answer.std > 0).all())
    (True, True)
    """
    one_of(method, ("gaussian", "flow"), "method")
    if found.signal.ndim != 2 or not found.phi.domain.whole:
        raise ShapeError("the posterior takes one whole periodic map", got=tuple(found.signal.shape),
                         expected="(ny, nx), no mask, no regions", do="separate such a map first")
    names = [f"log power k={k:.4f}" for k in found.report.k.tolist()]
    names += [f"log sparsity j={j}" for j in range(found.phi.covariance.J)]
    if samples < 3 * len(names):
        raise SampleSizeError("too few simulated mixtures", got=samples, expected=f"at least {3 * len(names)}",
                              do="raise samples")
    unit = found.mixture.std()[None, None, None]
    source = Source(contaminations, (1, *found.signal.shape), unit)
    generator = stream(seed, "posterior")
    base = (found.samples - found.mixture.mean()) / unit
    y = reduced(found, (found.mixture / unit)[0][None])[0]
    bands, q = len(found.report.k), len(names)
    centre = reduced(found, base).mean(0)[:bands]
    prior = torch.zeros(bands + 2), torch.full((bands + 2,), WIDTH)
    for last in (False, True):
        mu, shape, seen = _simulated(found, base, source, prior, samples, generator)
        mean, covariance = _conditional(torch.cat([mu, shape], 1), seen, y)
        std = covariance.diagonal().clamp_min(0).sqrt()
        if not last:
            answer, width = (torch.cat([x[:bands], x[q:]]) for x in (mean, std))
            answer[:bands] -= centre
            prior = answer, (INFLATION * width).clamp(0.05, WIDTH)
    mean, covariance, std = mean[:q], covariance[:q, :q], std[:q]
    if method == "flow":
        draws = _neural(mu, seen, y, seed)
        mean, std = draws.mean(0), draws.std(0)
    else:
        root = torch.linalg.cholesky(covariance + 1e-9 * torch.eye(len(mean), dtype=covariance.dtype))
        white = torch.randn(1000, len(mean), generator=generator, dtype=root.dtype)
        draws = mean + white @ root.T
    shift = torch.zeros_like(mean)
    shift[: len(found.report.k)] = 2 * float(unit.log())  # powers in the unit of the data
    return Posterior(names, mean + shift, std, draws + shift)


def reduced(found: Separation, x: Tensor) -> Tensor:
    """mu of maps (n, ny, nx): log band powers and log S1^2 / S2 per octave, (n, q) float64."""
    with torch.no_grad():
        x = x.to(found.signal)
        measured = [found.phi.covariance(part).iso() for part in x.split(16)]
        s1, s2 = (torch.cat([c[kind] for c in measured]) for kind in ("S1", "S2"))
        powers = found.phi.powers(x)[:, 0]
        return torch.cat([powers.clamp_min(1e-12).log(), (s1**2 / s2).log()], 1).double()


def _simulated(
    found: Separation, base: Tensor, source: Source, prior: tuple[Tensor, Tensor], n: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """mu_i, skewness and intermittency (n, 2), and y_i, of n signals drawn around the solutions, and their mixtures.

    prior : mean and width of the log power of each band, then of the skewness and of the intermittency
    """
    mu, seen = [], []
    noise = source(n, generator)[:, 0]
    ny, nx = base.shape[-2:]
    octave = found.report.k.log2()
    together = torch.eye(len(prior[0]))
    together[:-2, :-2] = torch.exp(-0.5 * ((octave - octave[:, None]) / SMOOTH) ** 2)
    root = torch.linalg.cholesky(together + 1e-4 * torch.eye(len(together)))
    drawn = prior[0] + prior[1] * (torch.randn(n, len(prior[0]), generator=generator) @ root.T)
    for i, (*factor, bend, burst) in enumerate(drawn.tolist()):
        s = shifted(base[torch.randint(len(base), (1,), generator=generator)], generator)[0]
        s = s.flip([a for a in (0, 1) if float(torch.rand((), generator=generator)) < 0.5])
        s = s + SKEW_WIDTH * bend * (s.square() - s.square().mean()) / s.std()
        s = _bursting(s, BURST_WIDTH * burst)
        amplitude = found.phi.bands.spread((0.5 * torch.tensor(factor)).exp().to(s)).reshape(ny, -1)
        s = torch.fft.irfft2(torch.fft.rfft2(s) * amplitude, s=(ny, nx))
        mu.append(s)
        seen.append(s + noise[i % len(noise)])
    return reduced(found, torch.stack(mu)), drawn[:, -2:].double(), reduced(found, torch.stack(seen))


def _bursting(s: Tensor, strength: float) -> Tensor:
    """A map whose small scales are stronger where they are strong already (weaker for a negative strength)."""
    smooth = gaussian_smooth(s[None], 2.0, periodic=True)[0]
    local = gaussian_smooth((s - smooth).abs()[None], 2.0, periodic=True)[0]
    return smooth + (s - smooth) * (strength * (local - local.mean()) / local.std().clamp_min(1e-12)).clamp(-3, 3).exp()


def _regression(mu: Tensor, seen: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The linear prediction (q,) of mu at seen = y, and what the rows differ from theirs (n, q)."""
    a, b = mu - mu.mean(0), seen - seen.mean(0)
    scale = b.std(0).clamp_min(1e-6)
    b, step = b / scale, (y - seen.mean(0)) / scale
    n = len(mu) - 1
    ridge = 1e-3 * torch.eye(b.shape[1], dtype=b.dtype)
    slope = torch.linalg.solve(b.T @ b / n + ridge, b.T @ a / n)
    return mu.mean(0) + step @ slope, a - b @ slope


def _conditional(mu: Tensor, seen: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of mu at seen = y, of the joint Gaussian of the rows."""
    mean, rest = _regression(mu, seen, y)
    # the residuals of a regression with p columns on n rows are too small by (n - p) / n
    return mean, rest.T @ rest / max(1, len(mu) - 1 - seen.shape[1])


def _neural(mu: Tensor, seen: Tensor, y: Tensor, seed: int) -> Tensor:
    """Draws (1000, q) of p(mu | y): a flow, with y as context, of what the linear regression leaves of mu."""
    mean, rest = _regression(mu, seen, y)
    data = Dataset.from_arrays(rest.float(), context=seen.float())
    run = fit("flow", data, plan=Plan(steps=400, batch=256), seed=seed, device="cpu")
    return mean + run.sample(1000, context=y.float()[None].expand(1000, -1), seed=seed).values.double()
