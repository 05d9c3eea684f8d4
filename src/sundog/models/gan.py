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
from sundog.statistics.distance import energy_distance

PENALTIES: dict[str, Callable[[Tensor], Tensor]] = {
    "two-sided": lambda slope: (slope - 1).square(),
    "one-sided": lambda slope: (slope - 1).clamp_min(0).square(),
    "norm": lambda slope: slope,
}
SCORED_ROWS = 2048  # of the held-out rows: the energy distance costs their square


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
    latent : numbers in z; 2 d and at least 4 for vectors, 64 for images when None
    hidden : widths of the perceptrons, for vectors
    width, normalisation, upsampling, bound : of the convolutions, for images (``sundog.nets.convnets``)
    penalty, penalty_weight : kind of gradient penalty, and lambda: 1 for vectors, 10 for images when None
    critic_steps : steps of the critic per step of the generator
    learning_rate : of both; 3e-3 for vectors, 1e-3 for images when None

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
        latent: int | None = None,
        hidden: Sequence[int] = (128, 128, 128),
        width: int = 16,
        normalisation: str = "none",
        upsampling: str = "transposed",
        bound: float | None = None,
        penalty: str = "two-sided",
        penalty_weight: float | None = None,
        critic_steps: int = 5,
        learning_rate: float | None = None,
    ) -> None:
        super().__init__()
        vectors = len(shape) == 1
        penalty_weight = (1.0 if vectors else 10.0) if penalty_weight is None else penalty_weight
        _check(shape, hidden, _known(penalty), penalty_weight, critic_steps)
        latent = latent or (max(4, 2 * shape[0]) if vectors else 64)
        learning_rate = learning_rate or (3e-3 if vectors else 1e-3)
        self._config = {
            "shape": list(shape), "context_dim": context_dim, "latent": latent, "hidden": list(hidden),
            "width": width, "normalisation": normalisation, "upsampling": upsampling, "bound": bound,
            "penalty": penalty, "penalty_weight": penalty_weight, "critic_steps": critic_steps,
            "learning_rate": learning_rate,
        }
        self.shape, self.latent, self.penalty, self.penalty_weight = tuple(shape), latent, penalty, penalty_weight
        self.critic_steps, self.learning_rate = critic_steps, learning_rate
        self.grid = self.shape if len(shape) != 2 else (1, *self.shape)  # images have channels inside
        self.default_batch = 256 if vectors else 64  # type: ignore[misc]
        self.generator: nn.Module
        self.critic: nn.Module
        if vectors:
            self.generator = mlp(latent + context_dim, shape[0], hidden)
            trunk = mlp(shape[0] + context_dim, hidden[-1], hidden[:-1])
            self.critic = nn.Sequential(trunk, nn.SiLU(), nn.Linear(hidden[-1], 1, bias=False))
        else:
            channels, _, size = self.grid
            self.generator = DCGenerator(size, channels=channels, latent=latent + context_dim, width=width,
                                         normalisation=normalisation, upsampling=upsampling, bound=bound)
            self.critic = DCCritic(size, channels=channels + context_dim, width=width, bias=False)

    def config(self) -> dict[str, Any]:
        return dict(self._config)

    def objectives(self) -> list[Objective]:
        settings: dict[str, Any] = {"learning_rate": self.learning_rate, "betas": (0.0, 0.9)}
        return [
            Objective("critic", list(self.critic.parameters()), self.critic_loss, repeats=self.critic_steps,
                      **settings),
            Objective("generator", list(self.generator.parameters()), self.generator_loss, **settings),
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

        def critic(x: Tensor) -> Tensor:
            return self.criticise(x, batch.context)

        steepness = PENALTIES[self.penalty](slopes(critic, batch.x, fake, noise.uniform(1)))
        gap = _fake_mean(batch, critic(fake)) - batch.mean(critic(batch.x))
        return gap + self.penalty_weight * steepness.mean()

    def generator_loss(self, batch: Batch, noise: Noise) -> Tensor:
        """-E D(fake)."""
        fake = self.generate(noise.normal(self.latent), batch.context)
        return -_fake_mean(batch, self.criticise(fake, batch.context))

    def sample(self, n: int, context: Tensor | None, generator: torch.Generator) -> Tensor:
        """G(z, context) of standard normal z: (n, *shape)."""
        p = next(self.parameters())
        z = torch.randn(n, self.latent, generator=generator, device=generator.device, dtype=p.dtype)
        return self.generate(z, context)

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


def _check(shape: Sequence[int], hidden: Sequence[int], penalty: str, weight: float, critic_steps: int) -> None:
    if len(shape) not in (1, 2, 3) or (len(shape) > 1 and shape[-1] != shape[-2]):
        raise OptionError("a GAN draws vectors or square images", got=f"samples of shape {tuple(shape)}",
                          expected="(d,), (size, size) or (channels, size, size)", do="cut the images to squares")
    if not hidden:
        raise OptionError("hidden layers", got="none", expected="at least one width", do="pass hidden=(128, 128)")
    if not weight > 0 or critic_steps < 1:
        raise OptionError("settings of the critic", got=f"penalty_weight={weight}, critic_steps={critic_steps}",
                          expected="both positive", do="leave them at 10 and 5")
