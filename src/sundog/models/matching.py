"""Conditional flow matching: a velocity field that carries noise to data along straight lines.

x_t = (1 - (1 - s) t) x_0 + t x_1,   u = x_1 - (1 - s) x_0,   loss = |v(x_t, t, c) - u|^2

with x_0 standard normal, x_1 data, t uniform and s = sigma_min. Samples solve dx/dt = v from t = 0 to 1;
the density follows from d log p / dt = -div v along the same path.

Source: Lipman et al. 2023, eq. 20-23 (optimal-transport conditional path), Chen et al. 2018, eq. 8 (density).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sundog.errors import OptionError
from sundog.models.base import Batch, EstimatedDensity, Noise, Objective, RowNoise
from sundog.models.divergence import PROBES, Divergence, affordable, mean_and_error
from sundog.models.options import Options, option
from sundog.nets.mlp import TimeMLP
from sundog.nets.residual import GatedResidualMLP, InterpolatedField
from sundog.nets.transformer import Transformer
from sundog.nets.unet import UNet, levels_for
from sundog.solve.ode import Field, integrate, integrate_beside

AT_ONCE = 2**19  # numbers drawn at once: what fits a processor's caches draws fastest



@dataclass(frozen=True)
class MatchingOptions(Options):
    """Options of `FlowMatching`."""

    network: str = option(None, "``mlp`` or ``residual``, the large gated network published with SIGMA, for "
                                 "vectors; ``unet`` for images and series; ``transformer`` for series",
                         words=("mlp", "residual", "unet", "transformer"))
    hidden: tuple[int, ...] = option((128, 128, 128), "widths of the layers, or of the blocks of a residual network "
                                     "(all equal)", least=1, only=("data", "vectors"))
    time_frequencies: int = option(3, "harmonics given to the network beside t", least=0, only=("data", "vectors"))
    context_frequencies: int = option(None, "harmonics given to the network beside the context; none for an "
                                             "mlp, 9 octaves for a residual network unless said otherwise", least=0)
    sigma_min: float = option(1e-3, "width of the path at the data end, in standardised units", least=0)
    parameters: float = option(600_000, "of the U-Net or transformer", above=0, only=("data", "images"))
    periodic: bool = option(False, "images that wrap around at their edges", only=("data", "images"))
    solver: str = option("midpoint", "of the sampler, see ``sundog.solve.ode.integrate``")
    sampling_steps: int = option(25, "of the sampler", least=1)
    sampling: str = option("float32", "``bf16``: matrix products of the sampler in bfloat16, three times as fast on a "
                           "CPU that knows it; the state and the density keep their precision",
                           words=("float32", "bf16"))
    trace: str = option("auto", "divergence in the density; auto is exact up to 64 columns, 16 pixels",
                        words=("auto", "exact", "hutchinson"))
    learning_rate: float = option(None, "0.001 for images and 0.003 for vectors when None", above=0)

    def for_data(self, shape: tuple[int, ...], context_dim: int) -> MatchingOptions:
        images = len(shape) > 1
        network = self.network or ("unet" if images else "mlp")
        line = images and shape[-2] == 1
        if (network == "unet" and not images) or (network == "transformer" and not line) or (
                network in ("mlp", "residual") and images):
            raise OptionError("the network does not fit the data", got=f"{network} for samples of shape {shape}",
                              expected="unet for images, unet or transformer for series, mlp or residual for vectors",
                              do="leave network out")
        if network == "residual" and len(set(self.hidden)) != 1:
            raise OptionError("blocks of a residual network differ", got=f"hidden={self.hidden}",
                              expected="equal widths", do="pass e.g. hidden=(256,) * 4")
        harmonics = 9 if network == "residual" else 0
        return replace(
            self, network=network, learning_rate=self.learning_rate or (1e-3 if images else 3e-3),
            context_frequencies=harmonics if self.context_frequencies is None else self.context_frequencies,
        )


class FlowMatching(EstimatedDensity):
    """Conditional flow matching on vectors (n, d) or images (n, [channels,] ny, nx), conditional on vectors (n, c).

    Series are maps of one row, for which the U-Net has kernels along time alone.

    Example
    -------
    >>> model = FlowMatching((2,), 0, hidden=(16,))
    >>> model.sample(5, None, torch.Generator().manual_seed(0)).shape
    torch.Size([5, 2])
    """

    family: ClassVar[str] = "flow-matching"
    takes: ClassVar[type[Options]] = MatchingOptions
    draws: ClassVar[tuple[str, ...]] = ("vectors", "images", "series")
    default_steps: ClassVar[int] = 3000
    options: MatchingOptions

    def __init__(self, shape: Sequence[int], context_dim: int = 0, **options: Any) -> None:
        super().__init__(shape, context_dim, **options)
        o = self.options
        self.sigma_min, self.solver, self.steps = o.sigma_min, o.solver, o.sampling_steps
        self.exact = o.trace == "exact" or (o.trace == "auto" and affordable(shape))
        self.default_batch = 32 if len(shape) > 1 else 4096
        harmonics: dict[str, Any] = {"time_frequencies": o.time_frequencies,
                                     "context_frequencies": o.context_frequencies}
        self.velocity: nn.Module
        if o.network == "unet":
            self.velocity = UNet(self.grid[0], self.grid[0], context_dim=context_dim, parameters=o.parameters,
                                 levels=levels_for(*self.grid[1:]), line=self.grid[1] == 1, periodic=o.periodic)
        elif o.network == "transformer":
            self.velocity = Transformer(self.grid[0], self.grid[0], context_dim=context_dim, parameters=o.parameters)
        elif o.network == "mlp":
            self.velocity = TimeMLP(self.grid[0], context_dim, hidden=o.hidden, **harmonics)
        else:
            self.velocity = GatedResidualMLP(self.grid[0], context_dim, width=o.hidden[0], blocks=len(o.hidden),
                                             **harmonics)

    def between(self, first: float, second: float, how: str = "context") -> FlowMatching:
        """The same model knowing its field only at two contexts, interpolated from them: see ``InterpolatedField``.

        Costs nothing and trains nothing: both share their weights.

        Parameters
        ----------
        first, second : contexts of the one column, in standardised units
        how : ``context`` (needs ``network="residual"``) or ``linear``
        """
        with torch.random.fork_rng(devices=[]):
            twin = FlowMatching(**self.config())
        twin.velocity = InterpolatedField(self.velocity, first, second, how=how)
        return twin.to(next(self.parameters()).device).eval()

    def objectives(self) -> list[Objective]:
        return [Objective("flow matching", list(self.parameters()), self.loss, self.options.learning_rate)]

    def loss(self, batch: Batch, noise: Noise) -> Tensor:
        """Mean squared difference of the network and the velocity of the straight path."""
        x_0 = noise.normal(*self.grid)
        t = noise.uniform(1)
        return batch.mean(self._mismatch(batch.x.reshape(-1, *self.grid), batch.context, x_0, t))

    def _mismatch(self, x_1: Tensor, context: Tensor | None, x_0: Tensor, t: Tensor) -> Tensor:
        u = torch.add(x_1, x_0, alpha=-(1 - self.sigma_min))
        x_t = torch.addcmul(x_0, t.reshape(-1, *[1] * (u.ndim - 1)), u)
        return (self.velocity(x_t, t, context) - u).square().flatten(1).mean(1)

    def _field(self, context: Tensor | None, like: Tensor) -> Any:
        def v(t: float, x: Tensor) -> Tensor:
            return self.velocity(x, x.new_full((len(x), 1), t), context)

        return v

    def draw(self, noise: RowNoise, context: Tensor | None) -> Tensor:
        """x(1) of dx/dt = v(x, t, context) from standard normal x(0): (n, *shape)."""
        x = noise.normal(*self.grid)
        low = self.options.sampling == "bf16" and x.dtype == torch.float32
        with torch.autocast(x.device.type, torch.bfloat16, enabled=low):
            x = integrate(self._field(context, x), x, 0.0, 1.0, method=self.solver, steps=self.steps)
        return x.reshape(-1, *self.shape)

    def latent(self, x: Tensor, context: Tensor | None) -> Tensor:
        """x(0) of the path that ends in x, standard normal where the field is right: (n, d)."""
        return integrate(self._field(context, x), x, 1.0, 0.0, method=self.solver, steps=self.steps)

    def log_prob_and_error(self, x: Tensor, context: Tensor | None, *, method: str = "rk4", steps: int = 20,
                           rtol: float = 1e-5, atol: float = 1e-5, probes: int = PROBES) -> tuple[Tensor, Tensor]:
        """log p(x | context) = log N(x(0); 0, 1) - int_0^1 div v dt along the path that ends in x, and its error.

        Returns (n,) and (n,). The divergence is exact (``trace="exact"``, error 0) or the mean over ``probes`` of
        random signs, the same for every row and call, so that the result is a function of x alone; the error is then
        one standard error of that mean. Rows that lie close share it: it does not average out over them.
        """
        x = x.reshape(-1, *self.grid)
        divergence, found = Divergence(self.exact, probes), []
        how = {"method": method, "steps": steps, "rtol": rtol, "atol": atol}
        for rows in divergence.split(x):
            v = self._field(None if context is None else context[rows], x)

            def moved(t: float, y: Tensor, v: Field = v) -> tuple[Tensor, Tensor]:
                return divergence.of(partial(v, t), y)

            z, change = integrate_beside(moved, x[rows], divergence.count, 1.0, 0.0, **how)
            square = z.flatten(1).square()
            # Integrating backwards, `change` is minus the integral of div v from 0 to 1.
            found.append(change - 0.5 * (square + math.log(2 * math.pi)).sum(1, keepdim=True))
        return mean_and_error(torch.cat(found))

    def score(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Held-out matching loss at noise and times that never change, so that scores can be compared."""
        x = x.reshape(-1, *self.grid)
        generator = torch.Generator(x.device).manual_seed(0)
        x_0 = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        # Evenly spread times: less scatter than random ones.
        t = ((torch.arange(len(x), device=x.device, dtype=x.dtype) + 0.5) / len(x))[:, None]
        losses = []
        for rows in torch.arange(len(x), device=x.device).split(max(1, AT_ONCE // math.prod(self.grid))):
            given = None if context is None else context[rows]
            losses.append(self._mismatch(x[rows], given, x_0[rows], t[rows]))
        return torch.cat(losses).mean()
