"""R-ANODE's signal flow trained: from a mixture of Gaussians to the fit that a flow reaches from it.

A mixture hands over the events near it; the engine climbs, and keeps the running mean of the weights that is best on a
fifth of the events, held out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sundog.models.base import Batch
from sundog.models.mixture.flow import FlowSignal, SignalFlow
from sundog.models.mixture.signal import GaussianSignal, MixtureFit, climb, floored, gains
from sundog.random import key, stream
from sundog.train.engine import train
from sundog.train.plan import Plan

BATCH = 1024
WARM, STEPS, EVERY = 60, 300, 20  # steps on the mixture's probabilities, of the climb, between two looks at the rest
HELD_OUT = 0.2
DECAY = 0.95  # of the running mean of the weights
REACH = 8.0  # standard deviations of a Gaussian beyond which an event cannot become signal
LEAST = 0.02  # of the chance to be drawn that a sure background event has, relative to a sure signal event


@dataclass(frozen=True, eq=False)
class FlowFit:
    """A fitted w and p_S.

    Attributes
    ----------
    w : signal fraction
    signal : p_S
    gain : log-likelihood of all events above that of w = 0 (natural log)
    start : the mixture it climbed from
    """

    w: float
    signal: FlowSignal
    gain: float
    start: MixtureFit


def grow(z: Tensor, log_b: Tensor, start: MixtureFit, *, seed: int = 0, w: float | None = None,
         steps: int = STEPS, with_mass: bool = True) -> FlowFit:
    """The fit that a flow reaches from a mixture.

    Parameters
    ----------
    z : (n, d + 1) standardised events, mass last; log_b : (n,) log p_B of each, per unit of z
    start : the mixture of Gaussians to climb from
    seed : of weights, held-out events and batches
    w : fixed signal fraction, or None to learn it
    with_mass : whether the last column is a mass

    Example
    -------
    >>> g = torch.Generator().manual_seed(1)
    >>> z = torch.cat([torch.randn(5000, 2, generator=g), 2 + 0.2 * torch.randn(100, 2, generator=g)]).double()
    >>> log_b = -0.5 * (z**2).sum(1) - 1.8379
    >>> from sundog.models.mixture.signal import find_signal
    >>> fit = grow(z, log_b, find_signal(z, log_b), steps=20)
    >>> 0.01 < fit.w < 0.04
    True
    """
    log_b = floored(log_b)
    rows = _near(z, start.signal)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, "weights") >> 192)
        model = SignalFlow(start, float(rows.double().mean()), learn_w=w is None, with_mass=with_mass)
    near = torch.stack([log_b[rows], _probability(start, z[rows], log_b[rows])], 1)
    held = torch.rand(len(near), generator=stream(seed, "held out")) < HELD_OUT
    learned, unseen = Batch(z[rows][~held], near[~held]), Batch(z[rows][held], near[held])
    plan = Plan(steps=WARM, batch=BATCH, ema=0.0, schedule="constant", seed=seed)
    train(model, _drawn(learned, WARM, seed), None, plan)
    model.warm = False
    train(model, _drawn(learned, steps, seed), unseen, plan.with_(steps=steps, ema=DECAY, schedule="one-cycle",
                                                                   validate_every=min(EVERY, steps)))
    model.requires_grad_(False)
    gain = float(gains(model.signal.log_prob(z[rows]) - log_b[rows], model.w).sum())
    return FlowFit(model.w, model.signal, gain + float((~rows).sum()) * math.log1p(-model.w), start)


def climb_on(z: Tensor, log_b: Tensor, fit: MixtureFit | FlowFit, w: float, seed: int = 0) -> MixtureFit | FlowFit:
    """The fit at a fixed w reached from that at another."""
    mixture = fit.start if isinstance(fit, FlowFit) else fit
    mixture = climb(z, log_b, mixture.signal, w, fixed_w=True, steps=60)
    return grow(z, log_b, mixture, seed=seed, w=w) if isinstance(fit, FlowFit) else mixture


def _drawn(rows: Batch, steps: int, seed: int) -> Batch:
    """As many rows as so many steps take, those that may be signal more often; weights make up for it."""
    assert rows.context is not None  # made by grow
    chance = rows.context[:, 1] + LEAST
    chance = chance / chance.sum()
    index = torch.multinomial(chance, steps * BATCH, replacement=True, generator=stream(seed, "drawn", steps))
    return Batch(rows.x[index], rows.context[index], 1 / (chance[index] * len(chance)))


def _near(z: Tensor, signal: GaussianSignal) -> Tensor:
    """Which events lie within REACH standard deviations of a Gaussian, (n,) booleans."""
    near = torch.zeros(len(z), dtype=torch.bool)
    for mean, covariance in zip(signal.means, signal.covariances):
        u = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), (z - mean).T, upper=False)
        near |= u.square().sum(0) < REACH**2
    return near


def _probability(start: MixtureFit, z: Tensor, log_b: Tensor) -> Tensor:
    """Probability that each event is signal, by the mixture."""
    return torch.sigmoid(math.log(start.w / (1 - start.w)) + start.signal.log_prob(z) - log_b)
