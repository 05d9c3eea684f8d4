"""Wasserstein GAN with gradient penalty: a generator G moves noise to data, a critic D measures the way left.

L_D = E D(G(z)) - E D(x) + lambda E P(|grad D(y)|),    y = u x + (1 - u) G(z),    L_G = -E D(G(z))

with z standard normal and u uniform, one per row. Without the penalty term, -L_D of a critic of slope 1 is a lower
bound of the Wasserstein-1 distance of data and fakes.

Source: Arjovsky et al. 2017, eq. 2 (dual distance); Gulrajani et al. 2017, eq. 3 and algorithm 1 (penalty).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sundog.checks import one_of
from sundog.errors import OptionError, ShapeError
from sundog.models.base import Batch, Model, Noise, Objective, RowNoise, beside
from sundog.models.options import Options, option
from sundog.nets.convnets import DCCritic, DCGenerator
from sundog.nets.mlp import mlp
from sundog.statistics.samples.distance import energy_distance

PENALTIES: dict[str, Callable[[Tensor], Tensor]] = {
    "two-sided": lambda slope: (slope - 1).square(),
    "one-sided": lambda slope: (slope - 1).clamp_min(0).square(),
    "norm": lambda slope: slope,
}
SCORED_ROWS = 2048  # of the held-out rows: the energy distance costs their square
REFERENCE_ROWS = 128  # whose statistics batch normalisation wears when it samples

# Settings that stand in for those left at None. ``mmdl``: the DCWGAN-GP of the published microwave skies, whose
# networks for five channels of 128 pixels have 11,164,609 (critic) and 15,361,871 parameters.
PRESETS: dict[str, dict[str, Any]] = {
    "vectors": {"width": 16, "normalisation": "none", "bound": None, "penalty_weight": 1.0, "learning_rate": 3e-3,
                "betas": (0.0, 0.9), "initial": "he", "critic_bias": False, "batch": 256},
    "images": {"latent": 64, "width": 16, "normalisation": "none", "bound": None, "penalty_weight": 10.0,
               "learning_rate": 1e-3, "betas": (0.0, 0.9), "initial": "he", "critic_bias": False, "batch": 64},
    "mmdl": {"latent": 256, "width": 64, "normalisation": "batch", "bound": 15.0, "penalty_weight": 10.0,
             "learning_rate": 1e-4, "betas": (0.5, 0.9), "initial": "dcgan", "critic_bias": True, "batch": 32},
}


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    kind: str = "two-sided",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Mean penalty on the slope of a critic between real and fake rows: a scalar, without the factor lambda.

    mean_i P(|grad D(y_i)|),  y_i = u_i real_i + (1 - u_i) fake_i;  P(s) = (s - 1)^2, max(0, s - 1)^2 or s

    Parameters
    ----------
    critic : (n, ...) -> (n,) or (n, 1), each row on its own (no batch normalisation)
    real, fake : (n, ...) of equal shape
    kind : ``two-sided``, ``one-sided``, or ``norm``, the slope itself
    generator : draws u on [0, 1); None spreads them evenly over the rows, which is as good where rows are in
        random order

    Raises
    ------
    OptionError : unknown kind. ShapeError : unequal shapes.

    Source: Gulrajani et al. 2017, eq. 3 (two-sided) and section 4 (one-sided).

    Example
    -------
    >>> x = torch.zeros(4, 2)
    >>> gradient_penalty(lambda y: y @ torch.tensor([3.0, 4.0]), x, x + 1).item()   # slope 5 everywhere
    16.0
    """
    if real.shape != fake.shape:
        raise ShapeError("real and fake rows differ in shape", got=f"{tuple(real.shape)} and {tuple(fake.shape)}",
                         expected="equal shapes", do="pass as many fakes as real rows")
    n = len(real)
    if generator is None:
        u = (torch.arange(n, dtype=real.dtype, device=real.device) + 0.5) / n
    else:
        u = torch.rand(n, generator=generator, device=generator.device, dtype=real.dtype).to(real.device)
    return PENALTIES[one_of(kind, PENALTIES, "gradient penalty")](slopes(critic, real, fake, u)).mean()


def slopes(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, u: Tensor) -> Tensor:
    """|grad D| at u real + (1 - u) fake, (n,), differentiable by the parameters of the critic; u: (n,) or (n, 1)."""
    with torch.enable_grad():
        y = torch.lerp(fake.detach(), real.detach(), u.reshape(-1, *[1] * (real.ndim - 1))).requires_grad_()
        (gradient,) = torch.autograd.grad(critic(y).sum(), y, create_graph=True)
        return torch.linalg.vector_norm(gradient.flatten(1), dim=1)


@dataclass(frozen=True)
class GANOptions(Options):
    """Options of `WassersteinGAN`: those at None are chosen by the preset."""

    preset: str | None = option(None, "the settings that stand in for None: by the data when None itself, or ``mmdl``, "
                                "layers, initial weights and rates of the published microwave-sky GAN", words=PRESETS)
    latent: int = option(None, "numbers in z; 2 d and at least 4 for vectors", least=1)
    hidden: tuple[int, ...] = option((128, 128, 128), "widths of the perceptrons", least=1, only=("data", "vectors"))
    width: int = option(None, "channels of the convolutions nearest to the image", least=1)
    normalisation: str = option(None, "of the convolutions", words=("none", "group", "batch"))
    upsampling: str = option("transposed", "of the convolutions", words=("transposed", "nearest"),
                             only=("data", "images"))
    bound: float | None = option(None, "a of the scaled tanh behind the convolutions", above=0)
    initial: str = option(None, "weights of the convolutions", words=("he", "dcgan"))
    penalty: str = option("two-sided", "kind of gradient penalty", words=PENALTIES)
    penalty_weight: float = option(None, "lambda", above=0)
    lazy: int = option(1, "the penalty, half of the work of a critic's step, is taken on every lazy-th row", least=1)
    critic_steps: int = option(5, "steps of the critic per step of the generator", least=1)
    learning_rate: float = option(None, "of both networks", above=0)
    betas: tuple[float, float] = option(None, "of Adam, both networks", least=0, below=1)

    def for_data(self, shape: tuple[int, ...], context_dim: int) -> GANOptions:
        own = {"latent": max(4, 2 * shape[0]), **PRESETS[self.preset or ("vectors" if len(shape) == 1 else "images")]}
        options = replace(self, **{name: value for name, value in own.items()
                                   if hasattr(self, name) and getattr(self, name) is None})
        if not options.hidden:
            raise OptionError("hidden layers", got="none", expected="at least one width", do="pass hidden=(128, 128)")
        if options.normalisation == "batch" and context_dim:
            raise OptionError("batch normalisation with a context", got=f"{context_dim} numbers",
                              expected="none: the statistics would be those of one mixture of contexts",
                              do="use normalisation='group'")
        return options


class WassersteinGAN(Model):
    """Wasserstein GAN on vectors (n, d) or square images (n, [channels,] 2^k, 2^k); no density.

    The generator sees the context beside z, the critic beside x (constant planes beside an image).

    Example
    -------
    >>> model = WassersteinGAN((8, 8), 0, width=2)
    >>> model.sample(5, None, torch.Generator().manual_seed(0)).shape
    torch.Size([5, 8, 8])
    """

    family: ClassVar[str] = "gan"
    takes: ClassVar[type[Options]] = GANOptions
    draws: ClassVar[tuple[str, ...]] = ("vectors", "square images")
    default_steps: ClassVar[int] = 3000
    options: GANOptions

    def __init__(self, shape: Sequence[int], context_dim: int = 0, **options: Any) -> None:
        super().__init__(shape, context_dim, **options)
        o = self.options
        preset = PRESETS[o.preset or ("vectors" if len(shape) == 1 else "images")]
        self.latent, self.default_batch = o.latent, preset["batch"]
        self.optimiser: dict[str, Any] = {"learning_rate": o.learning_rate, "betas": o.betas}
        self.over_batch = o.normalisation == "batch" and len(shape) > 1
        self.generator: nn.Module
        self.critic: nn.Module
        if len(shape) == 1:
            self.generator = mlp(o.latent + context_dim, shape[0], o.hidden)
            trunk = mlp(shape[0] + context_dim, o.hidden[-1], o.hidden[:-1])
            self.critic = nn.Sequential(trunk, nn.SiLU(), nn.Linear(o.hidden[-1], 1, bias=False))
        else:
            channels, _, size = self.grid
            layers: dict[str, Any] = {"width": o.width, "initial": o.initial}
            self.generator = DCGenerator(size, channels=channels, latent=o.latent + context_dim, bound=o.bound,
                                         normalisation=o.normalisation, upsampling=o.upsampling, **layers)
            self.critic = DCCritic(size, channels=channels + context_dim, bias=preset["critic_bias"], **layers)

    def objectives(self) -> list[Objective]:
        return [
            Objective("critic", list(self.critic.parameters()), self.critic_loss, repeats=self.options.critic_steps,
                      **self.optimiser),
            Objective("generator", list(self.generator.parameters()), self.generator_loss, **self.optimiser),
        ]

    def generate(self, z: Tensor, context: Tensor | None) -> Tensor:
        """G(z, context): (n, *shape) from z (n, latent)."""
        return self.generator(beside(z, context)).reshape(-1, *self.shape)

    def criticise(self, x: Tensor, context: Tensor | None) -> Tensor:
        """D(x, context): (n,), large where the critic sees data."""
        return self.critic(beside(x.reshape(-1, *self.grid), context))[:, 0]

    def critic_loss(self, batch: Batch, noise: Noise) -> Tensor:
        """E D(fake) - E D(real) + lambda E P(|grad D|)."""
        with torch.no_grad():
            fake = self.generate(noise.normal(self.latent), batch.context)
        some = slice(None, None, self.options.lazy)
        context = None if batch.context is None else batch.context[some]
        steepness = slopes(lambda x: self.criticise(x, context), batch.x[some], fake[some], noise.uniform(1)[some])
        real, unreal = (self.criticise(x, batch.context) for x in (batch.x, fake))
        gap = _fake_mean(batch, unreal) - batch.mean(real)
        return gap + self.options.penalty_weight * PENALTIES[self.options.penalty](steepness).mean()

    def generator_loss(self, batch: Batch, noise: Noise) -> Tensor:
        """-E D(fake)."""
        fake = self.generate(noise.normal(self.latent), batch.context)
        return -_fake_mean(batch, self.criticise(fake, batch.context))

    def settle(self) -> None:
        """Batch normalisation takes the statistics of a reference batch that never changes."""
        if self.over_batch:
            training = self.generator.training
            self.generator.train()
            with torch.no_grad():
                self.generate(self.row_noise(REFERENCE_ROWS, 0).normal(self.latent), None)
            self.generator.train(training)

    def draw(self, noise: RowNoise, context: Tensor | None) -> Tensor:
        """G(z, context) of standard normal z: (n, *shape); a fake depends on its own z alone."""
        training = self.generator.training
        self.generator.eval()
        fakes = self.generate(noise.normal(self.latent), context)
        self.generator.train(training)
        return fakes

    def score(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Energy distance of held-out rows and as many fakes from noise that never changes, each beside its context.

        The critic's own loss cannot choose a state: it is relative to a critic that moves.
        """
        x, context = x[:SCORED_ROWS], None if context is None else context[:SCORED_ROWS]
        fake = self.sample(len(x), context, torch.Generator(x.device).manual_seed(0))
        told = [] if context is None else [context]
        # On the CPU: distances are measured in float64, which Apple's devices lack.
        real, fake = (torch.cat([part.flatten(1), *told], 1).cpu() for part in (x, fake))
        return energy_distance(real, fake)


def _fake_mean(batch: Batch, value: Tensor) -> Tensor:
    """Mean over fakes: a fake carries the weight of the row whose context it borrowed, otherwise none."""
    return value.mean() if batch.context is None else batch.mean(value)

