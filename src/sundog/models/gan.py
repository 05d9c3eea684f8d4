"""Wasserstein GAN with gradient penalty: a generator G moves noise to data, a critic D measures the way left.

L_D = E D(G(z)) - E D(x) + lambda E P(|grad D(y)|),    y = u x + (1 - u) G(z),    L_G = -E D(G(z))

with z standard normal and u uniform, one per row. Without the penalty term, -L_D of a critic of slope 1 is a lower
bound of the Wasserstein-1 distance of data and fakes.

Source: Arjovsky et al. 2017, eq. 2 (dual distance); Gulrajani et al. 2017, eq. 3 and algorithm 1 (penalty).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sundog.errors import OptionError, ShapeError
from sundog.models.base import Batch, Model, Noise, Objective
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
    return PENALTIES[_known(kind)](slopes(critic, real, fake, u)).mean()


def slopes(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, u: Tensor) -> Tensor:
    """|grad D| at u real + (1 - u) fake, (n,), differentiable by the parameters of the critic; u: (n,) or (n, 1)."""
    with torch.enable_grad():
        y = torch.lerp(fake.detach(), real.detach(), u.reshape(-1, *[1] * (real.ndim - 1))).requires_grad_()
        (gradient,) = torch.autograd.grad(critic(y).sum(), y, create_graph=True)
        return torch.linalg.vector_norm(gradient.flatten(1), dim=1)


class WassersteinGAN(Model):
    """Wasserstein GAN on vectors (n, d) or square images (n, [channels,] 2^k, 2^k); no density.

    Parameters
    ----------
    shape : (d,), (size, size) or (channels, size, size)
    context_dim : c, 0 for none. The generator sees the context beside z, the critic beside x (constant planes
        beside an image).
    preset : what stands in for the settings left at None: ``vectors`` or ``images`` when None itself, or ``mmdl``,
        the layers, initial weights and rates of the published microwave-sky GAN (``PRESETS``)
    latent : numbers in z; 2 d and at least 4 for vectors
    hidden : widths of the perceptrons, for vectors
    width, normalisation, upsampling, bound, initial : of the convolutions, for images (``sundog.nets.convnets``)
    penalty, penalty_weight : kind of gradient penalty, and lambda
    lazy : the penalty, half of the work of a critic's step, is taken on every lazy-th row of a batch
    critic_steps : steps of the critic per step of the generator
    learning_rate, betas : of both

    Example
    -------
    >>> model = WassersteinGAN((8, 8), 0, width=2)
    >>> model.sample(5, None, torch.Generator().manual_seed(0)).shape
    torch.Size([5, 8, 8])
    """

    family: ClassVar[str] = "gan"
    default_steps: ClassVar[int] = 3000
    default_batch: ClassVar[int] = 256

    def __init__(
        self,
        shape: Sequence[int],
        context_dim: int = 0,
        *,
        preset: str | None = None,
        latent: int | None = None,
        hidden: Sequence[int] = (128, 128, 128),
        width: int | None = None,
        normalisation: str | None = None,
        upsampling: str = "transposed",
        bound: float | None = None,
        initial: str | None = None,
        penalty: str = "two-sided",
        penalty_weight: float | None = None,
        lazy: int = 1,
        critic_steps: int = 5,
        learning_rate: float | None = None,
        betas: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        given = {"latent": latent, "width": width, "normalisation": normalisation, "bound": bound, "initial": initial,
                 "penalty_weight": penalty_weight, "learning_rate": learning_rate, "betas": betas}
        chosen = _settings(preset, shape, {name: value for name, value in given.items() if value is not None})
        self._config = {
            "shape": list(shape), "context_dim": context_dim, "preset": preset, "hidden": list(hidden),
            "upsampling": upsampling, "penalty": _known(penalty), "lazy": lazy, "critic_steps": critic_steps,
            **{name: chosen[name] for name in given}, "betas": list(chosen["betas"]),
        }
        _check(self._config)
        self.shape, self.latent, self.penalty = tuple(shape), chosen["latent"], penalty
        self.penalty_weight, self.lazy, self.critic_steps = chosen["penalty_weight"], lazy, critic_steps
        self.optimiser = {"learning_rate": chosen["learning_rate"], "betas": tuple(chosen["betas"])}
        self.grid = self.shape if len(shape) != 2 else (1, *self.shape)  # images have channels inside
        self.over_batch = chosen["normalisation"] == "batch" and len(shape) > 1
        self.default_batch = chosen["batch"]  # type: ignore[misc]
        self.generator: nn.Module
        self.critic: nn.Module
        if len(shape) == 1:
            self.generator = mlp(self.latent + context_dim, shape[0], hidden)
            trunk = mlp(shape[0] + context_dim, hidden[-1], hidden[:-1])
            self.critic = nn.Sequential(trunk, nn.SiLU(), nn.Linear(hidden[-1], 1, bias=False))
        else:
            channels, _, size = self.grid
            layers = {"width": chosen["width"], "initial": chosen["initial"]}
            self.generator = DCGenerator(size, channels=channels, latent=self.latent + context_dim,
                                         normalisation=chosen["normalisation"], upsampling=upsampling,
                                         bound=chosen["bound"], **layers)
            self.critic = DCCritic(size, channels=channels + context_dim, bias=chosen["critic_bias"], **layers)

    def config(self) -> dict[str, Any]:
        return dict(self._config)

    def objectives(self) -> list[Objective]:
        return [
            Objective("critic", list(self.critic.parameters()), self.critic_loss, repeats=self.critic_steps,
                      **self.optimiser),
            Objective("generator", list(self.generator.parameters()), self.generator_loss, **self.optimiser),
        ]

    def generate(self, z: Tensor, context: Tensor | None) -> Tensor:
        """G(z, context): (n, *shape) from z (n, latent)."""
        told = z if context is None else torch.cat([z, context], 1)
        return self.generator(told).reshape(-1, *self.shape)

    def criticise(self, x: Tensor, context: Tensor | None) -> Tensor:
        """D(x, context): (n,), large where the critic sees data."""
        x = x.reshape(-1, *self.grid)
        if context is not None:
            beside = context.reshape(*context.shape, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])
            x = torch.cat([x, beside], 1)
        return self.critic(x)[:, 0]

    def critic_loss(self, batch: Batch, noise: Noise) -> Tensor:
        """E D(fake) - E D(real) + lambda E P(|grad D|)."""
        with torch.no_grad():
            fake = self.generate(noise.normal(self.latent), batch.context)
        some = slice(None, None, self.lazy)
        context = None if batch.context is None else batch.context[some]
        steepness = slopes(lambda x: self.criticise(x, context), batch.x[some], fake[some], noise.uniform(1)[some])
        real, unreal = (self.criticise(x, batch.context) for x in (batch.x, fake))
        gap = _fake_mean(batch, unreal) - batch.mean(real)
        return gap + self.penalty_weight * PENALTIES[self.penalty](steepness).mean()

    def generator_loss(self, batch: Batch, noise: Noise) -> Tensor:
        """-E D(fake)."""
        fake = self.generate(noise.normal(self.latent), batch.context)
        return -_fake_mean(batch, self.criticise(fake, batch.context))

    def sample(self, n: int, context: Tensor | None, generator: torch.Generator) -> Tensor:
        """G(z, context) of standard normal z: (n, *shape).

        Batch normalisation wears the statistics of a reference batch that never changes, so a fake depends on its
        own z alone.
        """
        p = next(self.parameters())
        z = torch.randn(n, self.latent, generator=generator, device=generator.device, dtype=p.dtype)
        if not self.over_batch:
            return self.generate(z, context)
        training = self.generator.training
        with torch.no_grad():
            fixed = torch.Generator(p.device).manual_seed(0)
            reference = torch.randn(REFERENCE_ROWS, self.latent, generator=fixed, device=p.device, dtype=p.dtype)
            self.generator.train()
            self.generate(reference, None)
        self.generator.eval()
        fakes = self.generate(z, None)
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


def _known(kind: str) -> str:
    if kind not in PENALTIES:
        raise OptionError("unknown gradient penalty", got=kind, expected=" | ".join(PENALTIES),
                          do="choose one of these")
    return kind


def _settings(preset: str | None, shape: Sequence[int], given: dict[str, Any]) -> dict[str, Any]:
    """The settings of a preset, those given put in their place."""
    preset = preset or ("vectors" if len(shape) == 1 else "images")
    if preset not in PRESETS:
        raise OptionError("unknown preset", got=preset, expected=" | ".join(PRESETS), do="choose one of these")
    return {"latent": max(4, 2 * shape[0]), **PRESETS[preset], **given}


def _check(config: dict[str, Any]) -> None:
    shape = config["shape"]
    if len(shape) not in (1, 2, 3) or (len(shape) > 1 and shape[-1] != shape[-2]):
        raise OptionError("a GAN draws vectors or square images", got=f"samples of shape {tuple(shape)}",
                          expected="(d,), (size, size) or (channels, size, size)", do="cut the images to squares")
    if not config["hidden"]:
        raise OptionError("hidden layers", got="none", expected="at least one width", do="pass hidden=(128, 128)")
    numbers = {name: config[name] for name in ("penalty_weight", "critic_steps", "lazy")}
    if not numbers["penalty_weight"] > 0 or min(numbers["critic_steps"], numbers["lazy"]) < 1:
        raise OptionError("settings of the critic", got=", ".join(f"{name}={value}" for name, value in numbers.items()),
                          expected="all positive", do="leave them at 10, 5 and 1")
    if config["normalisation"] == "batch" and config["context_dim"]:
        raise OptionError("batch normalisation with a context", got=f"{config['context_dim']} numbers",
                          expected="none: the statistics would be those of one mixture of contexts",
                          do="use normalisation='group'")
