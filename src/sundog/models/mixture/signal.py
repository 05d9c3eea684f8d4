"""A small signal on a known background: p(z) = w p_S(z) + (1 - w) p_B(z), p_B frozen, w and p_S learned.

p_S is a mixture of Gaussians, so that expectation-maximisation climbs the likelihood in closed form:

    r_ij = w pi_j N(z_i; mu_j, C_j) / p(z_i),   r_i = sum_j r_ij     (probability that event i is signal)
    w = mean_i r_i,   pi_j ~ sum_i r_ij,   mu_j and C_j the r_ij-weighted mean and covariance

p_B enters only through its values at the events, computed once by whoever knows it.

Source: Das, Kasieczka & Shih 2024 (R-ANODE), eq. 3 and 4, for the likelihood; Dempster, Laird & Rubin 1977.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sundog.errors import OptionError, ShapeError
from sundog.random import stream

CENTRES = 512  # points at which an excess is looked for
CENTRES_AT_ONCE = 16  # bounds the memory of the search to 16 doubles per event
FLOOR = 0.05  # smallest width of a Gaussian, in standardised units: no collapse onto a few events
SURELY_BACKGROUND = 1e-7  # probability of being signal below which an event moves nothing
BETWEEN = 10  # steps between two looks at all events
FIRST_GUESS = 0.003  # signal fraction that a climb starts from
FEWEST_EVENTS = 5  # fewer are no signal, however rare the background is where they lie


@dataclass(frozen=True, eq=False)
class GaussianSignal:
    """Mixture of k Gaussians in d standardised columns.

    Attributes
    ----------
    weights : (k,) pi_j, sum 1
    means : (k, d) mu_j
    covariances : (k, d, d) C_j

    Example
    -------
    >>> one = GaussianSignal(torch.ones(1), torch.zeros(1, 2), torch.eye(2)[None])
    >>> round(float(one.log_prob(torch.zeros(1, 2))), 4)   # -log(2 pi)
    -1.8379
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def log_prob(self, z: Tensor) -> Tensor:
        """log p_S(z), (n,), of z (n, d)."""
        return torch.logsumexp(self.log_parts(z), 1)

    def log_parts(self, z: Tensor) -> Tensor:
        """log pi_j N(z_i; mu_j, C_j): (n, k)."""
        root = torch.linalg.cholesky(self.covariances)
        inverse = torch.linalg.solve_triangular(root, torch.eye(z.shape[1], dtype=root.dtype), upper=False)
        norm = -root.diagonal(dim1=1, dim2=2).log().sum(1) - 0.5 * z.shape[1] * math.log(2 * math.pi)
        parts = [((z - mu) @ w.T).square_().sum(1) for mu, w in zip(self.means, inverse)]
        return torch.stack(parts, 1).mul_(-0.5).add_(norm + self.weights.log())

    def marginal(self, columns: list[int]) -> GaussianSignal:
        """The law of some columns alone."""
        return replace(self, means=self.means[:, columns], covariances=self.covariances[:, columns][:, :, columns])

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n draws (n, d), float64."""
        which = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.means.shape[1], generator=generator, dtype=torch.float64)
        root = torch.linalg.cholesky(self.covariances)
        return self.means[which] + (root[which] @ noise[:, :, None])[:, :, 0]


@dataclass(frozen=True, eq=False)
class MixtureFit:
    """A fitted w and p_S.

    Attributes
    ----------
    w : signal fraction
    signal : p_S
    gain : log-likelihood of all events above that of w = 0 (natural log)
    """

    w: float
    signal: GaussianSignal
    gain: float


def climb(z: Tensor, log_b: Tensor, signal: GaussianSignal, w: float, *, fixed_w: bool = False, steps: int = 300,
          tolerance: float = 0.05, floor: float = FLOOR) -> MixtureFit:
    """The fit that expectation-maximisation reaches from a start.

    Parameters
    ----------
    z : (n, d) events; log_b : (n,) log p_B of each, per unit of z
    signal, w : where to start; ``fixed_w`` keeps w
    steps, tolerance : stop when ten steps gain less than ``tolerance`` in total log-likelihood
    floor : smallest width, its square is added to every variance

    Example
    -------
    >>> g = torch.Generator().manual_seed(0)
    >>> z = torch.cat([torch.randn(5000, 1, generator=g), 3 + 0.1 * torch.randn(100, 1, generator=g)]).double()
    >>> log_b = -0.5 * z[:, 0] ** 2 - 0.9189
    >>> start = GaussianSignal(torch.ones(1).double(), torch.full((1, 1), 2.8).double(), torch.eye(1)[None].double())
    >>> fit = climb(z, log_b, start, 0.01)
    >>> abs(fit.w - 100 / 5100) < 4 * 10 / 5100
    True
    """
    _check(z, log_b)
    log_b = floored(log_b)
    gain, taken = -math.inf, 0
    while taken < steps:
        now, parts = _responsibilities(z, log_b, signal, w)
        if now - gain < tolerance:
            gain = max(now, gain)
            break
        gain = now
        # Rows that are surely background do not move the Gaussians: leaving them out saves most of the time.
        rows = parts.sum(1) > SURELY_BACKGROUND
        near, log_near = z[rows], log_b[rows]
        parts = parts[rows]
        for _ in range(min(BETWEEN, steps - taken)):
            signal, learned = _maximise(near, parts, floor)
            w = w if fixed_w else learned / len(z)
            taken += 1
            _, parts = _responsibilities(near, log_near, signal, w)
        if w * len(z) < 1:  # less than one event: there is no signal here
            break
    return MixtureFit(w, signal, gain)


def _responsibilities(z: Tensor, log_b: Tensor, signal: GaussianSignal, w: float) -> tuple[float, Tensor]:
    """Total log-likelihood above w = 0, and r_ij, (n, k)."""
    parts = signal.log_parts(z).sub_(log_b[:, None])  # log pi_j N_j / p_B
    total = gains(parts.logsumexp(1), w)
    return float(total.sum()), (parts - total[:, None]).exp_().mul_(w)


def gains(log_ratio: Tensor, w: float) -> Tensor:
    """log(1 - w + w p_S / p_B) of each event, (n,), from log p_S / p_B (n,): its log-likelihood above w = 0.

    Example
    -------
    >>> [round(float(gain), 2) for gain in gains(torch.tensor([0.0, 1000.0]), 0.5)]
    [0.0, 999.31]
    """
    return torch.logaddexp(log_ratio.new_tensor(w).log() + log_ratio, torch.log1p(log_ratio.new_tensor(-w)))


def floored(log_b: Tensor) -> Tensor:
    """log p_B (n,), nowhere below its value at the fifth rarest event: what fewer events tell is not believed.

    A learned density far from the events that taught it is an extrapolation. One event at 30 standard deviations is
    worth 450 to a likelihood that believes it, more than any signal, and fewer than five events are none.
    """
    finite = log_b[torch.isfinite(log_b)]
    if len(finite) == 0:
        return torch.zeros_like(log_b)
    place = max(1, FEWEST_EVENTS - (len(log_b) - len(finite)))
    return log_b.clamp(min=float(finite.kthvalue(min(place, len(finite))).values))


def _events(z: Tensor, log_b: Tensor, fit: MixtureFit) -> float:
    """How many events the fit takes for signal."""
    return float(_responsibilities(z, log_b, fit.signal, fit.w)[1].sum())


def _maximise(z: Tensor, r: Tensor, floor: float) -> tuple[GaussianSignal, float]:
    """The Gaussians that r_ij asks for, and the number of signal events."""
    count = r.sum(0).clamp(min=1e-9)
    means = (r.T @ z) / count[:, None]
    ridge = floor**2 * torch.eye(z.shape[1], dtype=z.dtype)
    covariances = []
    for j, mu in enumerate(means):
        centred = z - mu
        covariances.append((centred * r[:, j : j + 1]).T @ centred / count[j] + ridge)
    share = (count / count.sum()).clamp(min=1e-6)
    return GaussianSignal(share / share.sum(), means, torch.stack(covariances)), float(count.sum())


def excesses(z: Tensor, log_b: Tensor, generator: torch.Generator, *, width: float = 0.5, count: int = 6,
             centres: int = CENTRES) -> Tensor:
    """Points (count, d) where events are most in excess of p_B, the most significant first.

    For a Gaussian K of ``width`` around each of many events, the score test of w = 0 against w K + (1 - w) p_B:

        T = sum_i (K(z_i)/p_B(z_i) - 1) / sqrt(sum_i (K(z_i)/p_B(z_i))^2)

    Half of the centres are drawn among all events, half in proportion to p_B^(-1/2), where background is rare.
    Points returned lie at least 2 widths apart.
    """
    _check(z, log_b)
    z, log_b = z.float(), log_b.float()  # the answer is a place to start from: half the time, same places
    rare = (-0.5 * (log_b - log_b.max())).clamp(max=20).exp()
    half = min(centres, len(z)) // 2
    picked = torch.cat([torch.randperm(len(z), generator=generator)[:half],
                        torch.multinomial(rare, half, generator=generator)])
    candidates = z[picked]
    norm = -0.5 * z.shape[1] * math.log(2 * math.pi * width**2)
    significance = []
    for block in candidates.split(CENTRES_AT_ONCE):
        distance = torch.cdist(z, block, compute_mode="use_mm_for_euclid_dist").square_()
        ratio = distance.mul_(-0.5 / width**2).add_(norm - log_b[:, None]).clamp_(max=20).exp_()
        significance.append((ratio.sum(0) - len(z)) / ratio.square().sum(0).sqrt())
    chosen: list[Tensor] = []
    for index in torch.cat(significance).argsort(descending=True).tolist():
        if all(torch.dist(candidates[index], other) > 2 * width for other in chosen):
            chosen.append(candidates[index])
        if len(chosen) == count:
            break
    return torch.stack(chosen).double()


def find_signal(z: Tensor, log_b: Tensor, *, seed: int = 0, w: float | None = None, starts: int = 6,
                width: float = 0.5, floor: float = FLOOR) -> MixtureFit:
    """The best fit of w and one Gaussian found by climbing from the places where events are most in excess.

    Parameters
    ----------
    z : (n, d) standardised events; log_b : (n,) log p_B per unit of z
    seed : of the places
    w : fixed signal fraction, or None to learn it
    starts : places to climb from
    width : scale of the excesses looked for, in standardised units

    Example
    -------
    >>> g = torch.Generator().manual_seed(1)
    >>> z = torch.cat([torch.randn(5000, 2, generator=g), 2 + 0.2 * torch.randn(60, 2, generator=g)]).double()
    >>> fit = find_signal(z, -0.5 * (z**2).sum(1) - 1.8379)
    >>> bool(((fit.signal.means[0] - 2).abs() < 0.2).all())
    True
    """
    if starts < 1 or width <= 0 or (w is not None and not 0 < w < 1):
        raise OptionError("a signal fit is unusable", got=f"starts={starts}, width={width}, w={w}",
                          expected="starts >= 1, width > 0 and 0 < w < 1 or None", do="correct it")
    _check(z, log_b)
    log_b = floored(log_b)
    one, eye = torch.ones(1, dtype=z.dtype), torch.eye(z.shape[1], dtype=z.dtype)[None]
    places = excesses(z, log_b, stream(seed, "centres"), width=width, count=starts)
    fits = [climb(z, log_b, GaussianSignal(one, centre[None], width**2 * eye), w or FIRST_GUESS,
                  fixed_w=w is not None, steps=30, tolerance=1.0, floor=floor) for centre in places]
    best = max(fits, key=lambda fit: (_events(z, log_b, fit) >= FEWEST_EVENTS, fit.gain))
    return climb(z, log_b, best.signal, best.w, fixed_w=w is not None, floor=floor)


def split_signal(z: Tensor, log_b: Tensor, fit: MixtureFit, components: int, *, seed: int = 0,
                 fixed_w: bool = False, floor: float = FLOOR) -> MixtureFit:
    """The fit of several Gaussians reached from draws of a fit with fewer.

    Example
    -------
    >>> g = torch.Generator().manual_seed(1)
    >>> z = torch.cat([torch.randn(5000, 1, generator=g), 4 + torch.rand(200, 1, generator=g)]).double()
    >>> log_b = -0.5 * z[:, 0] ** 2 - 0.9189
    >>> one = find_signal(z, log_b)
    >>> split_signal(z, log_b, one, 2).gain > one.gain
    True
    """
    if components < 1:
        raise OptionError("number of Gaussians is unusable", got=components, expected="at least 1", do="pass e.g. 2")
    means = fit.signal.sample(components, stream(seed, "means"))
    whole = fit.signal.covariances.mean(0, keepdim=True).expand(components, -1, -1)
    start = GaussianSignal(torch.full((components,), 1 / components, dtype=z.dtype), means, whole)
    return climb(z, log_b, start, fit.w, fixed_w=fixed_w, floor=floor)


def _check(z: Tensor, log_b: Tensor) -> None:
    if z.ndim != 2 or log_b.shape != (len(z),):
        raise ShapeError("events and background densities do not fit", got=f"{tuple(z.shape)} and {tuple(log_b.shape)}",
                         expected="(n, d) and (n,)", do="pass one log-density per event")
