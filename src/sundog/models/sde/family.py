"""Neural stochastic differential equations driven by fractional noise, learned by variational inference.

    dX = f(X) dt + s(X) dB^H,     B^H ~ sum_k omega_k(H) Y_k,   dY_k = -gamma_k Y_k dt + dW,     x_j = X(t_j) + r e_j
    ELBO = E_q [sum_j ln p(x_j | X(t_j)) + ln dP / dQ]  <=  ln p(x)

in units of one time step: Euler for X, exact steps for Y. f = -a x + a network, s = s_0 exp(a network); H, omega(H), a,
s_0, r and the networks are learned together, with the gradient through the solver. Q steers the noise of each step,
e ~ N(shift - gain z, spread^2), by the control that is optimal for the equation linearised about the observations: the
ELBO is then ln p(x) itself where f is linear and s constant. Without control ln dP / dQ = 0.

Source: Daems, Opper, Crevecoeur & Birdal 2024 (ICLR, arXiv 2310.12975), eq. 10 (ELBO) and section 3 (noise).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sundog.errors import DataError, OptionError
from sundog.models.base import Batch, Model, Noise, Objective, RowNoise
from sundog.models.options import Options, option
from sundog.models.sde.control import Ahead, Control
from sundog.models.sde.noise import HURST, MarkovNoise
from sundog.nets.mlp import mlp, still
from sundog.statistics.series.hurst import hurst_exponent

SHORTEST = 32  # points
FAINTEST = 0.02  # r, in root mean square steps: the control must not have to hit a point
PACE = 5.0  # ln r is so many times its parameter: Adam moves each by the learning rate, and r may have decades to go
SCORED = 64  # series behind a held-out score


@dataclass(frozen=True)
class SDEOptions(Options):
    """Options of `FractionalSDE`."""

    hurst: float | None = option(None, "fixed Hurst exponent, 0.5 for white noise; learned when None", above=0, below=1)
    hidden: tuple[int, ...] = option((16,), "widths of the network of drift and noise", least=1)
    noise: str = option("state", "size of the noise: follows the state, or is constant", words=("state", "constant"))
    terms: int = option(6, "Ornstein-Uhlenbeck processes that stand for the fractional noise", least=2)
    learning_rate: float = option(0.02, "of all parameters", above=0)


class FractionalSDE(Model):
    """Neural SDE of series (1, t) or (channels, 1, t), each channel with its own fractional noise of one exponent.

    Example
    -------
    >>> model = FractionalSDE((1, 40)).double()
    >>> x = torch.randn(50, 1, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64).cumsum(2)
    >>> model.prepare(x, None)
    >>> model.sample(3, None, torch.Generator().manual_seed(0)).shape
    torch.Size([3, 1, 40])
    """

    family: ClassVar[str] = "sde"
    takes: ClassVar[type[Options]] = SDEOptions
    draws: ClassVar[tuple[str, ...]] = ("series",)
    takes_context: ClassVar[bool] = False
    fixes: ClassVar[Mapping[str, Any]] = {"precision": "float64"}
    default_steps: ClassVar[int] = 200
    default_batch: int = 64
    options: SDEOptions
    faintest: Tensor

    def __init__(self, shape: Sequence[int], context_dim: int = 0, **options: Any) -> None:
        super().__init__(shape, context_dim, **options)
        o, self.steps, self.channels = self.options, self.shape[-1] - 1, self.grid[0]
        if self.steps + 1 < SHORTEST:
            raise OptionError("series too short for an equation", got=f"{self.steps + 1} points",
                              expected=f"at least {SHORTEST}", do="load longer ones, or cut longer windows")
        if o.hurst is not None and not HURST[0] <= o.hurst <= HURST[1]:
            raise OptionError("hurst out of range", got=o.hurst, expected=f"{HURST[0]} to {HURST[1]}",
                              do="leave hurst out to learn it")
        c = self.channels
        self.driver = MarkovNoise(self.steps, o.terms)
        self.net = mlp(c, 2 * c, o.hidden)
        still(self.net[-1])
        self.place = nn.Parameter(torch.zeros(()), requires_grad=o.hurst is None)  # of H between its ends, as a logit
        self.pull = nn.Parameter(torch.full((c,), -3.0))
        self.size, self.blur = nn.Parameter(torch.zeros(c)), nn.Parameter(torch.zeros(c))
        self.first, self.first_size = nn.Parameter(torch.zeros(c)), nn.Parameter(torch.zeros(c))
        self.first_memory = nn.Parameter(torch.zeros(c, o.terms))
        self.register_buffer("faintest", torch.ones(c))
        if o.hurst is not None:
            self._set_hurst(o.hurst)
        self.double()  # what observations say of a state spans more digits than float32 has

    @property
    def hurst(self) -> Tensor:
        """H, ()."""
        return HURST[0] + (HURST[1] - HURST[0]) * torch.sigmoid(self.place)

    def _set_hurst(self, hurst: float) -> None:
        share = (hurst - HURST[0]) / (HURST[1] - HURST[0])
        share = min(max(share, 1e-6), 1 - 1e-6)
        self.place.data.fill_(math.log(share / (1 - share)))

    def prepare(self, x: Tensor, context: Tensor | None) -> None:
        """Start near the data: size of the steps, first points, roughness; DataError for a channel that is constant."""
        x = x.reshape(len(x), self.channels, -1).double()
        steps = x.diff(dim=2)
        scale = steps.square().mean((0, 2)).sqrt()
        if not bool((scale > 0).all()):
            raise DataError("there is nothing to learn", got="a channel that never changes", expected="varying series",
                            do="drop the channel")
        self.faintest.copy_(FAINTEST * scale)
        self.size.data.copy_(scale.log())
        self.blur.data.copy_((0.1 * scale).log() / PACE)
        self.first.data.copy_(x[:, :, 0].mean(0))
        self.first_size.data.copy_((x[:, :, 0].std(0) if len(x) > 1 else scale).clamp_min(1e-3).log())
        if self.options.hurst is None:
            self._set_hurst(min(max(hurst_exponent(x.flatten(0, 1)).value, 0.1), 0.9))

    # -- the equation ----------------------------------------------------------------------------------------------

    def drift_and_size(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """f and s at states (..., channels), each of that shape."""
        change, louder = self.net(x).chunk(2, -1)
        size = self.size.exp()
        f = change - F.softplus(self.pull) * (x - self.first)
        return f, size * louder.exp() if self.options.noise == "state" else size.expand_as(f)

    @property
    def blurring(self) -> Tensor:
        """r (channels,): standard deviation of what is observed about the path."""
        return self.faintest + (PACE * self.blur).exp()

    def _start(self) -> tuple[Tensor, Tensor]:
        """m (channels, S) and G (channels, S, S) of the first state: X_0 knows the past of the noise, and more."""
        c, k = self.channels, self.options.terms
        mean = torch.cat([self.first[:, None], self.first.new_zeros(c, k)], 1)
        top = torch.cat([self.first_memory, self.first_size.exp()[:, None]], 1)[:, None]
        below = torch.cat([self.driver.start, self.driver.start.new_zeros(k, 1)], 1).expand(c, k, k + 1)
        return mean, torch.cat([top, below], 1)

    def _solved(self, e: Tensor, controls: Sequence[Control] | None) -> tuple[Tensor, Tensor]:
        """Paths X (n, channels, t) from standard normal e (n, t, channels, K + 1), and ln dP / dQ (n,)."""
        e = e.double()
        n, c = len(e), self.channels
        weights = self.driver.weights(self.hurst)
        decay, root, seen = self.driver.decay, self.driver.root, self.driver.root.T @ weights
        fading = weights * (decay - 1)
        mean, start = self._start()
        drawn, used = [], e[:, 0] if controls is None else _steered(controls[0], mean.expand(n, c, -1), e[:, 0])
        drawn.append(used)
        z = mean + torch.einsum("csk,nck->ncs", start, used)
        x, y = z[..., 0], z[..., 1:]
        path = [x]
        for j in range(self.steps):
            f, s = self.drift_and_size(x)
            x_next, y_next = x + f + s * (y @ fading), y * decay
            used = e[:, j + 1, :, :-1]
            if controls is not None:
                used = _steered(controls[j + 1], torch.cat([x_next[..., None], y_next], -1), used)
            drawn.append(used)
            x, y = x_next + s * (used @ seen), y_next + used @ root.T
            path.append(x)
        ratio = x.new_zeros(n)
        if controls is not None:
            before = e[:, 0].square().sum((1, 2)) + e[:, 1:, :, :-1].square().sum((1, 2, 3))
            after = drawn[0].square().sum((1, 2)) + torch.stack(drawn[1:], 1).square().sum((1, 2, 3))
            ratio = 0.5 * (before - after) + torch.stack([k.volume for k in controls]).reshape(-1, n, c).sum((0, 2))
        return torch.stack(path, 2), ratio

    def _controls(self, x: Tensor) -> list[Control]:
        """Controls that steer through x (n, channels, t), NaN where nothing was observed, from the first step on."""
        x = x.double()
        with torch.enable_grad():
            at = _bridged(x).transpose(1, 2).detach().requires_grad_()  # (n, t, channels)
            f, s = self.drift_and_size(at)
            slope = torch.stack([torch.autograd.grad(f[..., i].sum(), at, retain_graph=True)[0][..., i]
                                 for i in range(self.channels)], -1)
        with torch.no_grad():
            f, s, slope, at = (part.transpose(1, 2).flatten(0, 1).detach() for part in (f, s, slope, at))
            weights, k = self.driver.weights(self.hurst), self.options.terms
            size, rows = k + 1, len(f)
            scale = self.blurring.expand(len(x), -1).flatten()
            there, seen = (~x.isnan()).flatten(0, 1).to(f), x.nan_to_num().flatten(0, 1)
            ahead = Ahead.of(seen[:, -1], there[:, -1], scale, size)
            found = []
            linear, drive, offset = f.new_zeros(rows, size, size), f.new_zeros(rows, size, k), f.new_zeros(rows, size)
            linear[:, 1:, 1:], drive[:, 1:] = self.driver.decay.diag(), self.driver.root
            fading, loading = weights * (self.driver.decay - 1), self.driver.root.T @ weights
            for j in range(self.steps - 1, -1, -1):
                linear[:, 0, 0], linear[:, 0, 1:] = 1 + slope[:, j], s[:, j, None] * fading
                drive[:, 0], offset[:, 0] = s[:, j, None] * loading, f[:, j] - slope[:, j] * at[:, j]
                control, ahead = ahead.before(drive, linear, offset)
                ahead = ahead + Ahead.of(seen[:, j], there[:, j], scale, size)
                found.append(control)
            _, start = self._start()
            found.append(ahead.before(start.repeat(len(x), 1, 1), torch.eye(size).to(f).expand(rows, -1, -1),
                                      offset * 0)[0])
        return found[::-1]

    def elbo(self, x: Tensor, e: Tensor, *, control: bool = True) -> Tensor:
        """One draw of the bound on ln p of each series (n, channels, t), NaN where not observed; (n,).

        e: (n, t, channels, K + 1) standard normal. Its mean over e is the ELBO. Without ``control`` paths are those of
        the prior and ln dP / dQ is 0.
        """
        path, ratio = self._solved(e, self._controls(x) if control else None)
        r, there = self.blurring[:, None], ~x.isnan()
        density = -0.5 * ((torch.where(there, x, path) - path) / r).square() - r.log() - 0.5 * math.log(2 * math.pi)
        return torch.where(there, density, 0.0).sum((1, 2)) + ratio

    # -- the family ------------------------------------------------------------------------------------------------

    def objectives(self) -> list[Objective]:
        moved = [p for p in self.parameters() if p.requires_grad]
        return [Objective("-ELBO per point", moved, self.loss, self.options.learning_rate, clip_norm=10.0)]

    def loss(self, batch: Batch, noise: Noise) -> Tensor:
        x = batch.x.reshape(len(batch.x), self.channels, -1)
        e = noise.normal(self.steps + 1, self.channels, self.options.terms + 1)
        return batch.mean(-self.elbo(x, e) / x[0].numel())

    def draw(self, noise: RowNoise, context: Tensor | None) -> Tensor:
        """Paths of the equation with what blurs their observation: (n, *shape)."""
        path, _ = self._solved(noise.normal(self.steps + 1, self.channels, self.options.terms + 1), None)
        x = path + self.blurring[:, None] * noise.normal(self.channels, self.steps + 1)
        return x.reshape(-1, *self.shape).to(noise.dtype)

    def conditioned(self, x: Tensor, noise: RowNoise) -> Tensor:
        """Paths (n, *shape), one for each x (n, *shape), given its points that are not NaN.

        Draws of the posterior control: exact where drift is linear and noise constant.
        """
        flat = x.reshape(len(x), self.channels, -1)
        e = noise.normal(self.steps + 1, self.channels, self.options.terms + 1)
        with torch.no_grad():
            path, _ = self._solved(e, self._controls(flat))
        return path.reshape(x.shape)

    def score(self, x: Tensor, context: Tensor | None) -> Tensor:
        """-ELBO per number of held-out series, with the same noise each time."""
        x = x[:SCORED].reshape(-1, self.channels, self.steps + 1)
        generator = torch.Generator(x.device).manual_seed(0)
        e = torch.randn(len(x), self.steps + 1, self.channels, self.options.terms + 1, generator=generator,
                        device=x.device, dtype=x.dtype)
        with torch.no_grad():
            return -self.elbo(x, e).mean() / x[0].numel()


def _steered(control: Control, mean: Tensor, e: Tensor) -> Tensor:
    """Noise (n, channels, K) of a step that would land at ``mean`` (n, channels, S) without any."""
    n, c = e.shape[:2]
    flat = control.shift - (control.gain @ mean.reshape(n * c, -1, 1))[..., 0] \
        + (control.spread @ e.reshape(n * c, -1, 1))[..., 0]
    return flat.reshape(n, c, -1)


def _bridged(x: Tensor) -> Tensor:
    """x (n, channels, t) with straight lines where nothing was observed."""
    if not bool(x.isnan().any()):
        return x
    t = torch.arange(x.shape[-1], device=x.device)
    there = ~x.isnan()
    left = torch.where(there, t, -1).cummax(-1).values
    right = torch.where(there, t, x.shape[-1]).flip(-1).cummin(-1).values.flip(-1)
    left, right = torch.where(left < 0, right, left), torch.where(right == x.shape[-1], left, right)
    known = x.nan_to_num()
    left, right = left.clamp(0, x.shape[-1] - 1), right.clamp(0, x.shape[-1] - 1)
    share = (t - left) / (right - left).clamp(min=1)
    return known.gather(-1, left) * (1 - share) + known.gather(-1, right) * share
