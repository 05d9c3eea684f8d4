"""A signal of any shape: p_S as a normalizing flow, started from a mixture of Gaussians and climbed directly.

    L(w, p_S) = sum_i log(w p_S(z_i) + (1 - w) p_B(z_i)),   z = (features, mass),   p_B frozen

The flow acts on u = R^-1 (z - mu), with mean mu and covariance R R^T of the mixture, so that the identity is the best
single Gaussian. It first maximises sum_i r_i log p_S(z_i), r_i the mixture's probability that event i is signal, then L
itself, and keeps the running mean of its weights that is best on events held out.

Source: Das, Kasieczka & Shih 2024 (R-ANODE), eq. 3, for L; the warm start is ours.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sundog.errors import OptionError
from sundog.models.flow import NormalizingFlow
from sundog.models.mixture.signal import GaussianSignal, MixtureFit, climb, floored, gains

BATCH, RATE = 1024, 3e-3
WARM, STEPS, EVERY = 60, 300, 20  # steps on the mixture's probabilities, of the climb, between two looks at the rest
PATIENCE = 5  # looks without a better one, before the climb ends
HELD_OUT = 0.2
DECAY = 0.95  # of the running mean of the weights
REACH = 8.0  # standard deviations of a Gaussian beyond which an event cannot become signal
LEAST = 0.02  # of the chance to be drawn that a sure background event has, relative to a sure signal event


@dataclass(frozen=True, eq=False)
class FlowSignal:
    """A flow on standardised features, and a Gaussian mass whose mean is linear in the features.

    Attributes
    ----------
    flow : of u, (d,)
    mean, root : (d + 1,) mu and (d + 1, d + 1) R, lower triangular, the mass last
    mass : (2,) mean and logarithm of the width of the mass's u; None where all columns are features
    """

    flow: NormalizingFlow
    mean: Tensor
    root: Tensor
    mass: Tensor | None

    def log_prob(self, z: Tensor) -> Tensor:
        """log p_S(z), float64 (n,), of z (n, d + 1)."""
        with torch.no_grad():
            return torch.cat([self._log_prob(part) for part in z.split(50_000)])

    def marginal(self, columns: list[int]) -> FeatureLaw:
        """The law of the features without the mass."""
        if columns != list(range(len(self.mean) - 1)):
            raise OptionError("a flow knows its features together", got=f"columns {columns}", expected="all of them",
                              do="take a mixture of Gaussians for the law of some")
        return FeatureLaw(self)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n draws (n, d + 1), float64."""
        with torch.no_grad():
            u = self.flow.sample(n, None, generator).double()
        if self.mass is not None:
            mass = self.mass[0] + self.mass[1].exp() * torch.randn(n, 1, generator=generator, dtype=torch.float64)
            u = torch.cat([u, mass], 1)
        return self.mean + u @ self.root.T

    def _log_prob(self, z: Tensor) -> Tensor:
        u = torch.linalg.solve_triangular(self.root, (z - self.mean).T, upper=False).T
        volume = self.root.diagonal().log().sum()
        if self.mass is None:
            return self.flow.log_prob(u.float(), None).double() - volume
        v = (u[:, -1] - self.mass[0]) * (-self.mass[1]).exp()
        log_m = -0.5 * v**2 - self.mass[1] - 0.5 * math.log(2 * math.pi)
        return self.flow.log_prob(u[:, :-1].float(), None).double() + log_m - volume


@dataclass(frozen=True, eq=False)
class FeatureLaw:
    """p_S of the features alone."""

    signal: FlowSignal

    def log_prob(self, z: Tensor) -> Tensor:
        """log p_S(z), float64 (n,), of standardised features z (n, d)."""
        d = z.shape[1]
        root = self.signal.root[:d, :d]
        u = torch.linalg.solve_triangular(root, (z - self.signal.mean[:d]).T, upper=False).T.float()
        with torch.no_grad():
            log_p = torch.cat([self.signal.flow.log_prob(part, None) for part in u.split(50_000)])
        return log_p.double() - root.diagonal().log().sum()


@dataclass(frozen=True, eq=False)
class FlowFit:
    """A fitted w and p_S.

    Attributes
    ----------
    w : signal fraction
    signal : p_S
    gain : log-likelihood of all events above that of w = 0 (natural log)
    steps : steps of the climb
    start : the mixture it climbed from
    """

    w: float
    signal: FlowSignal
    gain: float
    steps: int
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
    climber = _Climber((z[rows], log_b[rows]), len(z), start, seed=seed, learn_w=w is None, with_mass=with_mass)
    taken = climber.climb(steps)
    signal, w = climber.best()
    gain = float(gains(signal.log_prob(z[rows]) - log_b[rows], w).sum())
    return FlowFit(w, signal, gain + float((~rows).sum()) * math.log1p(-w), taken, start)


def climb_on(z: Tensor, log_b: Tensor, fit: MixtureFit | FlowFit, w: float, seed: int = 0) -> MixtureFit | FlowFit:
    """The fit at a fixed w reached from that at another."""
    mixture = fit.start if isinstance(fit, FlowFit) else fit
    mixture = climb(z, log_b, mixture.signal, w, fixed_w=True, steps=60)
    return grow(z, log_b, mixture, seed=seed, w=w) if isinstance(fit, FlowFit) else mixture


class _Climber:
    """Weights, optimiser and the best state so far."""

    def __init__(self, near: tuple[Tensor, Tensor], n: int, start: MixtureFit, *, seed: int, learn_w: bool,
                 with_mass: bool) -> None:
        z, log_b = near
        self.generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.flow = NormalizingFlow((z.shape[1] - with_mass,), layers=2, hidden=(32, 32))
        mean, root = _moments(start.signal)
        mass = torch.zeros(2, dtype=torch.float64, requires_grad=True) if with_mass else None
        self.signal = FlowSignal(self.flow, mean, root, mass)
        self.logit = torch.tensor(math.log(start.w / (1 - start.w)), dtype=torch.float64, requires_grad=learn_w)
        held = torch.rand(len(z), generator=self.generator) < HELD_OUT
        self.train, self.held = (z[~held], log_b[~held]), (z[held], log_b[held])
        self.n_train, self.n_held = n * (1 - HELD_OUT), n * HELD_OUT
        self.r = _probability(start, *self.train)
        self.chance = (self.r + LEAST) / (self.r + LEAST).sum()
        rest = ([mass] if mass is not None else []) + ([self.logit] if learn_w else [])
        self.optimiser = torch.optim.Adam([*self.flow.parameters(), *rest], lr=RATE)
        self.mean_state, self.kept, self.kept_value = self._state(), self._state(), -math.inf

    def climb(self, steps: int) -> int:
        """Steps taken until the held-out likelihood falls."""
        for _ in range(WARM):
            z, _, r, share = self._batch()
            self._step(-(share * r * self.signal._log_prob(z)).sum() / (self.n_train * self.w))
        self.mean_state = self._state()
        worse = 0
        for taken in range(steps):
            if taken % EVERY == 0:
                value = self._held_out()
                worse = 0 if value > self.kept_value else worse + 1
                if worse == 0:
                    self.kept, self.kept_value = copy.deepcopy(self.mean_state), value
                elif worse == PATIENCE:
                    return taken
            self.optimiser.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * taken / steps))
            z, log_b, _, share = self._batch()
            odds = torch.nn.functional.softplus(self.logit + self.signal._log_prob(z) - log_b)
            self._step(-((share * odds).sum() - self.n_train * torch.nn.functional.softplus(self.logit))
                       / (self.n_train * self.w))
            self.mean_state = {k: DECAY * v + (1 - DECAY) * self._state()[k] for k, v in self.mean_state.items()}
        if self._held_out() > self.kept_value:
            self.kept = self.mean_state
        return steps

    @property
    def w(self) -> float:
        return float(torch.sigmoid(self.logit.detach()))

    def best(self) -> tuple[FlowSignal, float]:
        """Signal and w of the best state."""
        return self._restored(self.kept)

    def _batch(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Rows that may be signal more often than others, and how many events of the sample each stands for."""
        index = torch.multinomial(self.chance, min(BATCH, len(self.r)), replacement=True, generator=self.generator)
        return self.train[0][index], self.train[1][index], self.r[index], 1 / (self.chance[index] * len(index))

    def _step(self, loss: Tensor) -> None:
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.flow.parameters(), 5.0)
        self.optimiser.step()

    def _held_out(self) -> float:
        signal, w = self._restored(self.mean_state)
        logit = math.log(w / (1 - w))
        odds = torch.nn.functional.softplus(logit + signal.log_prob(self.held[0]) - self.held[1]).sum()
        return float(odds) + self.n_held * math.log1p(-w)

    def _state(self) -> dict[str, Tensor]:
        flow = {f"flow.{name}": v.detach().clone() for name, v in self.flow.state_dict().items()}
        mass = {} if self.signal.mass is None else {"mass": self.signal.mass.detach().clone()}
        return {**flow, **mass, "logit": self.logit.detach().clone()}

    def _restored(self, state: dict[str, Tensor]) -> tuple[FlowSignal, float]:
        flow = copy.deepcopy(self.flow)
        flow.load_state_dict({name[5:]: v for name, v in state.items() if name.startswith("flow.")})
        signal = FlowSignal(flow, self.signal.mean, self.signal.root, state.get("mass"))
        return signal, float(torch.sigmoid(state["logit"]))


def _near(z: Tensor, signal: GaussianSignal) -> Tensor:
    """Which events lie within REACH standard deviations of a Gaussian, (n,) booleans."""
    near = torch.zeros(len(z), dtype=torch.bool)
    for mean, covariance in zip(signal.means, signal.covariances):
        u = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), (z - mean).T, upper=False)
        near |= u.square().sum(0) < REACH**2
    return near


def _moments(signal: GaussianSignal) -> tuple[Tensor, Tensor]:
    """Mean of a mixture, and the Cholesky root of its covariance."""
    mean = signal.weights @ signal.means
    apart = signal.means - mean
    covariance = (signal.weights[:, None, None] * (signal.covariances + apart[:, :, None] * apart[:, None, :])).sum(0)
    return mean, torch.linalg.cholesky(covariance)


def _probability(start: MixtureFit, z: Tensor, log_b: Tensor) -> Tensor:
    """Probability that each event is signal, by the mixture."""
    return torch.sigmoid(math.log(start.w / (1 - start.w)) + start.signal.log_prob(z) - log_b)
