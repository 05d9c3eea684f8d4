"""Score-based diffusion (EDM, sigma(t) = t) for images and vectors, around a linear-optimal skip connection.

    x = x_0 + sigma e,     D(x; sigma) = D_w(x; sigma) + r(sigma) F(x, D_w, ln sigma / 4, c)
    loss = |D - x_0|^2 / r(sigma)^2,     ln sigma ~ N(P_mean, P_std^2)

D_w is the exact denoiser of a Gaussian with the covariance of the data and r its root mean square error, so that
the network F always has targets of unit variance. With the covariance sigma_data^2 1 this is EDM: D_w = c_skip x
and r = c_out. With the full covariance (principal components, or the power spectrum of stationary fields) an
untrained network already draws exact Gaussian fakes, and what is learned is only what a Gaussian is not. Where mean
and variances depend on a context (the size of a source decides where its beam cuts the spectrum), D_w knows that too.
The density follows from the same flow, d ln p / d ln sigma = -div(x - D).

Source: Karras et al. 2022, eq. 7 and table 1; Song et al. 2021, section 4.3 (density); Karras et al. 2024, eq. 14
(uncertainty of each noise level).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sundog.models.base import Batch, EstimatedDensity, Noise, Objective, RowNoise
from sundog.models.diffusion.levels import LevelUncertainty, NoiseRange
from sundog.models.diffusion.options import SAMPLERS, DiffusionOptions
from sundog.models.divergence import PROBES, Divergence, affordable, mean_and_error
from sundog.models.gaussian.by_context import ROWS
from sundog.models.gaussian.law import Covariance, GaussianDenoiser, Isotropic, Principal, Spectral
from sundog.models.options import Options
from sundog.models.symmetry import all_turned, placed
from sundog.nets.mlp import TimeMLP
from sundog.nets.transformer import Transformer
from sundog.nets.unet import UNet, levels_for
from sundog.solve.ode import integrate_beside
from sundog.solve.samplers import noise_levels

ENTRIES = 2**19  # numbers denoised at once: what fits a processor's caches draws fastest
LOUDEST_REACH = 3.0  # sigma_max over the largest standard deviation given any context, at least
SCORED = (256, 1024)  # fewest and most noisy images behind a held-out score


class Diffusion(EstimatedDensity):
    """Score-based diffusion on images (ny, nx) or (channels, ny, nx) with a U-Net, on vectors (d,) with an MLP.

    Everything that depends on the scale of the data (`NoiseRange`, mean, covariance) is measured by ``prepare``
    and stored with the weights; before, it is that of independent entries of mean 0 and variance 1.

    Example
    -------
    >>> model = Diffusion((8, 8), skip="covariance", parameters=5e4)
    >>> model.prepare(torch.randn(100, 8, 8, generator=torch.Generator().manual_seed(0)), None)
    >>> model.sample(5, None, torch.Generator().manual_seed(0)).shape
    torch.Size([5, 8, 8])
    """

    family: ClassVar[str] = "diffusion"
    takes: ClassVar[type[Options]] = DiffusionOptions
    draws: ClassVar[tuple[str, ...]] = ("vectors", "images", "series")
    options: DiffusionOptions
    sigma_data: Tensor
    sigma_min: Tensor
    sigma_max: Tensor
    p_mean: Tensor
    p_std: Tensor

    def __init__(self, shape: Sequence[int], context_dim: int = 0, **options: Any) -> None:
        super().__init__(shape, context_dim, **options)
        o = self.options
        self.skip, self.symmetry, self.guidance = o.skip, o.symmetry, o.guidance
        self.sampler, self.steps, self.rho = o.sampler, o.sampling_steps, o.rho
        self.default_batch = 1024 if len(shape) == 1 else 32
        self.gaussian = GaussianDenoiser(torch.zeros(self.grid), self._covariance(),
                                         context_dim if o.skip == "conditional" else 0)
        for name in NoiseRange.__dataclass_fields__:
            self.register_buffer(name, torch.tensor(0.0))
        # Of d entries of unit variance a mode can have sqrt(d), and nobody has looked yet.
        self._set_levels(NoiseRange.of(Isotropic(self.grid), 40.0 * math.prod(self.grid) ** 0.5))
        self.network = self._network()
        self.uncertainty = LevelUncertainty() if o.uncertainty else None
        self.exact = affordable(shape)  # the divergence, else by probes of random signs

    def _covariance(self) -> Covariance:
        if self.skip == "edm":
            return Isotropic(self.grid)
        return Spectral(self.grid) if self.options.periodic else Principal(self.grid, self.options.components)

    def _network(self) -> nn.Module:
        inputs = 1 if self.skip == "edm" else 2
        told = self.context_dim + 1 if self.context_dim else 0
        if len(self.grid) == 1:
            d = self.grid[0]
            return TimeMLP(d, (inputs - 1) * d + told, hidden=self.options.hidden, time_frequencies=8)
        channels, ny, nx = self.grid
        if self.options.network == "transformer":
            return Transformer(inputs * channels, channels, context_dim=told, parameters=self.options.parameters)
        return UNet(inputs * channels, channels, context_dim=told, parameters=self.options.parameters,
                    levels=levels_for(-(-ny // self.options.patch), -(-nx // self.options.patch)), line=ny == 1,
                    periodic=self.options.periodic, patch=self.options.patch)

    def prepare(self, x: Tensor, context: Tensor | None) -> None:
        """Measure mean, covariance and the noise levels that suit them; DataError where nothing varies."""
        x = x.reshape(-1, *self.grid)
        if self.symmetry == "dihedral":
            x = all_turned(x, ROWS)
        self.gaussian.fit(x, context)
        covariance = self.gaussian.covariance
        if self.skip == "edm":
            # One variance is all that the skip knows, but the range of noise needs the largest.
            covariance = Spectral(self.grid) if self.options.periodic else Principal(self.grid, 256)
            covariance.fit(x - self.gaussian.mean)
        # A start that knows the covariance has only the shape of the law left to forget.
        self._set_levels(NoiseRange.of(covariance, 40.0 if self.skip == "edm" else 5.0))
        if self.gaussian.by_context is not None:  # as a rule the loudest context is within the reach of all data
            self.sigma_max.clamp_(min=LOUDEST_REACH * float(self.gaussian.by_context.loudest().sqrt()))

    def unseen(self) -> bool:
        """With skip ``edm``, on rows of unit scale around 0: then the one variance is 1."""
        return self.skip == "edm"

    def _set_levels(self, levels: NoiseRange) -> None:
        for name in NoiseRange.__dataclass_fields__:
            getattr(self, name).fill_(getattr(levels, name))
        if self.options.noise is not None:
            self.p_mean.fill_(math.log(levels.sigma_data) + self.options.noise[0])
            self.p_std.fill_(self.options.noise[1])

    # -- the denoiser --------------------------------------------------------------------------------------------

    def denoise(self, x: Tensor, sigma: Tensor | float, context: Tensor | None = None,
                guidance: float | None = None) -> Tensor:
        """Mean of the clean x_0 given x = x_0 + sigma e: (n, *shape); sigma one number, or one per row (n,).

        With a context and guidance w:  D_none + w (D_context - D_none); exactly D_none for w = 0 or no context,
        exactly D_context for w = 1.
        """
        w = self.guidance if guidance is None else guidance
        z = x.reshape(-1, *self.grid)
        sigma = torch.as_tensor(sigma)
        if context is None or w == 0 or not self.context_dim:
            return self._denoise(z, sigma, None).reshape(x.shape)
        if w == 1:
            return self._denoise(z, sigma, context).reshape(x.shape)
        known = torch.cat([torch.zeros_like(context[:, :1]), torch.ones_like(context[:, :1])])
        both = self._denoise(torch.cat([z, z]), sigma if sigma.ndim == 0 else torch.cat([sigma, sigma]),
                             torch.cat([context, context]), known)
        none, given = both.chunk(2)
        return torch.lerp(none, given, w).reshape(x.shape)

    def score_function(self, x: Tensor, sigma: Tensor | float, context: Tensor | None = None) -> Tensor:
        """Gradient of the log-density of the noisy data, (D - x) / sigma^2: (n, *shape)."""
        sigma = torch.as_tensor(sigma).to(x)
        return (self.denoise(x, sigma, context) - x) / sigma.square().reshape(-1, *[1] * (x.ndim - 1))

    def _denoise(self, x: Tensor, sigma: Tensor, context: Tensor | None, given: Tensor | None = None) -> Tensor:
        linear, residual, error = self._parts(x, sigma, context, given)
        return linear + _rows(error, x) * residual

    def _parts(self, x: Tensor, sigma: Tensor, context: Tensor | None, given: Tensor | None = None
               ) -> tuple[Tensor, Tensor, Tensor]:
        """D_w (n, *grid), F (n, *grid) and r (n or 1, 1) of D = D_w + r F; a context counts where ``given`` (n, 1)."""
        law, told = self._law(context, given), self._told(len(x), context, given)
        removed = law.removed(x, sigma)
        linear = x - removed
        square = sigma.to(x).reshape(-1, 1).square()
        if self.skip == "edm":
            inputs = [(x - self.gaussian.mean) / _rows(law.mean_square(lambda v: v + square).sqrt(), x)]
        else:
            left = law.mean_square(lambda v: square * (square / (v + square))).sqrt()
            kept = law.mean_square(lambda v: v * (v / (v + square))).sqrt()
            inputs = [removed / _rows(left, x), (linear - law.centre) / _rows(kept, x)]
        level = (square.log() / 8).expand(len(x), 1)
        if len(self.grid) == 1:
            more = [*inputs[1:], *([] if told is None else [told])]
            residual = self.network(inputs[0], level, torch.cat(more, 1) if more else None)
        else:
            residual = self.network(torch.cat(inputs, 1), level, told)
        return linear, residual.to(x.dtype), law.error(sigma)

    def _law(self, context: Tensor | None, given: Tensor | None = None) -> GaussianDenoiser:
        """The Gaussian of these contexts, or of all data."""
        return self.gaussian if context is None else self.gaussian.given(context, given)

    def _told(self, n: int, context: Tensor | None, given: Tensor | None = None) -> Tensor | None:
        """What the network is told: the context and a 1 beside it, or zeros where there is none (n, c + 1)."""
        if not self.context_dim:
            return None
        if context is None:
            return self.sigma_data.new_zeros(n, self.context_dim + 1)
        given = torch.ones_like(context[:, :1]) if given is None else given.to(context)
        return torch.cat([context * given, given], 1)

    # -- training ------------------------------------------------------------------------------------------------

    def objectives(self) -> list[Objective]:
        learned = [p for part in (self.network, self.uncertainty) if part is not None for p in part.parameters()]
        return [Objective("denoising", learned, self.loss, self.options.learning_rate,
                          betas=(0.9, 0.99), clip_norm=1.0)]

    def loss(self, batch: Batch, noise: Noise) -> Tensor:
        """Mean of |D - x_0|^2 / r(sigma)^2 (or in EDM's weighting) per entry, ln sigma ~ N(p_mean, p_std^2)."""
        x_0 = batch.x.reshape(-1, *self.grid)
        sigma = torch.exp(self.p_mean + self.p_std * noise.normal(1)[:, 0])
        e = noise.normal(*self.grid)
        given = noise.uniform(1) >= self.options.context_dropout
        x_0 = placed(x_0, self.symmetry, noise)
        linear, residual, error = self._parts(x_0 + _rows(sigma[:, None], x_0) * e, sigma, batch.context, given)
        wanted = (x_0 - linear) / _rows(error, x_0)
        wrong = (residual - wanted).square().flatten(1).mean(1)
        if self.options.weight == "edm":
            wrong = wrong * error[:, 0].square() * (sigma.square() + self.sigma_data**2) / (sigma * self.sigma_data)**2
        if self.uncertainty is not None:
            u = self.uncertainty(sigma)
            wrong = wrong * torch.exp(-u) + u
        return batch.mean(wrong)

    def score(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Held-out denoising loss in EDM's weighting, at noise that never changes; 1 = no better than c_skip x.

        mean of |D - x_0|^2 (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 over the levels of training, which
        depend on data and skip: compare the scores of fits that share both.
        """
        x = x.reshape(-1, *self.grid)
        count = min(max(len(x), SCORED[0]), len(x) if len(self.grid) == 1 else SCORED[1])
        g = torch.Generator(x.device).manual_seed(0)
        rows = torch.arange(count, device=x.device) % len(x)
        # Evenly spread quantiles of the training levels, in an order that no order of the rows can match.
        quantile = (torch.randperm(count, generator=g, device=x.device).to(x) + 0.5) / count
        sigma = torch.exp(self.p_mean + self.p_std * math.sqrt(2) * torch.erfinv(2 * quantile - 1))
        e = torch.randn(count, *self.grid, generator=g, device=x.device, dtype=x.dtype)
        losses = []
        for part in torch.arange(count, device=x.device).split(self._at_once()):
            x_0, s = x[rows[part]], sigma[part]
            told = None if context is None else context[rows[part]]
            wrong = self._denoise(x_0 + _rows(s[:, None], x_0) * e[part], s, told) - x_0
            weight = (s.square() + self.sigma_data**2) / (s * self.sigma_data).square()
            losses.append(weight * wrong.square().flatten(1).mean(1))
        return torch.cat(losses).mean()

    # -- sampling ------------------------------------------------------------------------------------------------

    def draw(self, noise: RowNoise, context: Tensor | None, *, guidance: float | None = None,
             steps: int | None = None) -> Tensor:
        """n new samples (n, *shape): from N(mean, C + sigma_max^2) down the noise levels to 0.

        A conditional model without context draws from the law of all its training data.
        """
        levels = noise_levels(steps or self.steps, sigma_min=float(self.sigma_min), sigma_max=float(self.sigma_max),
                              rho=self.rho)
        context = None if (self.guidance if guidance is None else guidance) == 0 else context
        law = self._law(context)
        start = law.coloured(noise.normal(*self.grid), float(self.sigma_max))

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            return self.denoise(x, sigma, context, guidance)

        # Around the Gaussian flow only what the network adds is left to the solver.
        exact = {"around": law} if self.sampler == "dpm_solver_2m" and self.skip != "edm" else {}
        return SAMPLERS[self.sampler](denoise, start, levels, **exact).reshape(-1, *self.shape)

    # -- density -------------------------------------------------------------------------------------------------

    def log_prob_and_error(self, x: Tensor, context: Tensor | None, *, method: str = "rk4", steps: int = 40,
                           probes: int = PROBES) -> tuple[Tensor, Tensor]:
        """Log-density of the data smoothed by sigma_min, at the rows x, and its error: (n,) and (n,).

            ln p(x) = ln N(x(sigma_max); m, C + sigma_max^2) + int div(x - D) d ln sigma

        along dx / d ln sigma = x - D(x; sigma) from x at sigma_min. The divergence of the Gaussian part is known;
        that of the network is exact up to 64 dimensions, 16 for images (error 0), beyond it the mean over ``probes``
        of random signs, the same for every row and call, so that the result is a function of x alone; the error is
        then one standard error of that mean. Rows that lie close share it: it does not average out over them.
        """
        x = x.reshape(-1, *self.grid)
        low, high = math.log(float(self.sigma_min)), math.log(float(self.sigma_max))
        divergence, found = Divergence(self.exact, probes), []
        for rows in divergence.split(x):
            given = None if context is None else context[rows]
            law, field = self._law(given), self._flow(given, divergence)
            end, change = integrate_beside(field, x[rows], divergence.count, low, high, method=method, steps=steps)
            found.append(law.log_prob(end, float(self.sigma_max))[:, None] + change)
        return mean_and_error(torch.cat(found))

    def _flow(self, context: Tensor | None, divergence: Divergence) -> Callable[[float, Tensor], tuple[Tensor, Tensor]]:
        """(ln sigma, x) to dx / d ln sigma (n, *grid) and its divergence by each probe (n, m)."""
        law = self._law(context)

        def field(t: float, x: Tensor) -> tuple[Tensor, Tensor]:
            sigma = torch.tensor(math.exp(t)).to(x)

            def added(z: Tensor) -> Tensor:  # r F
                _, residual, error = self._parts(z, sigma, context)
                return _rows(error, residual) * residual

            value, change = divergence.of(added, x)
            return law.removed(x, sigma) - value, law.trace(math.exp(t)).to(x).reshape(-1, 1) - change

        return field

    def _at_once(self) -> int:
        return max(1, ENTRIES // math.prod(self.grid))


def _rows(column: Tensor, like: Tensor) -> Tensor:
    """(n or 1, 1) made to multiply (n, ...)."""
    return column.reshape(-1, *[1] * (like.ndim - 1))
