"""Flow matching on sets of varying size: particles of an event, padded with rows of zeros that are no particles.

x_t = (1 - t) x_0 + t x_1,   loss = mean over the particles that are there of |v(x_t, t) - (x_1 - x_0)|^2

with v a transformer that knows no positions: the law of a set does not depend on the order of its particles. Padding is
neither seen by attention nor counted in the loss. A fake has as many particles as a training set drawn at random.

Source: Buhmann et al. 2023, arXiv 2310.00049 (flow matching on clouds of particles); Lipman et al. 2023, eq. 20-23.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sundog.errors import DataError
from sundog.models.base import Batch, Model, Noise, Objective, RowNoise
from sundog.models.options import Options, option
from sundog.nets.transformer import Transformer
from sundog.solve.ode import integrate


@dataclass(frozen=True)
class SetOptions(Options):
    """Options of `SetMatching`."""

    parameters: float = option(150_000, "of the transformer", above=0)
    attention: bool = option(True, "False: every particle moves by itself")
    solver: str = option("midpoint", "of the sampler, see ``sundog.solve.ode.integrate``")
    sampling_steps: int = option(25, "of the sampler", least=1)
    learning_rate: float = option(1e-3, "of AdamW", above=0)


class SetMatching(Model):
    """Flow matching on sets: series (n, particles, features) in which a row of zeros is no particle.

    Features are standardised over the particles that are there; give them of order one, a momentum by its logarithm.

    Example
    -------
    >>> model = SetMatching((3, 1, 5), parameters=5e3, sampling_steps=2)
    >>> x = torch.randn(8, 3, 1, 5, generator=torch.Generator().manual_seed(0))
    >>> x[:, :, :, 3:] = 0
    >>> model.prepare(x, None)
    >>> fakes = model.sample(4, None, torch.Generator().manual_seed(0))
    >>> fakes.shape, bool((fakes[..., 3:] == 0).all())
    (torch.Size([4, 3, 1, 5]), True)
    """

    family: ClassVar[str] = "sets"
    takes: ClassVar[type[Options]] = SetOptions
    draws: ClassVar[tuple[str, ...]] = ("series",)
    takes_context: ClassVar[bool] = False
    default_scaling: ClassVar[str | None] = "identity"  # zeros must stay zeros
    default_batch: int = 128
    options: SetOptions
    mean: Tensor
    std: Tensor
    sizes: Tensor

    def __init__(self, shape: Sequence[int], context_dim: int = 0, **options: Any) -> None:
        super().__init__(shape, context_dim, **options)
        features, _, most = self.grid
        self.register_buffer("mean", torch.zeros(features, 1, 1))
        self.register_buffer("std", torch.ones(features, 1, 1))
        self.register_buffer("sizes", torch.ones(most + 1))  # how often each number of particles occurs
        self.velocity = Transformer(features, features, parameters=self.options.parameters, reach=0,
                                    attention=self.options.attention)

    def prepare(self, x: Tensor, context: Tensor | None) -> None:
        """Mean and width of the features of particles, and how many there are."""
        x = x.reshape(-1, *self.grid)
        there = present(x)
        rows = x.permute(0, 2, 3, 1)[there[:, None]]
        if len(rows) < 2 or bool((rows.std(0) == 0).any()):
            raise DataError("particles do not vary", got=f"{len(rows)} particles", expected="features that vary",
                            do="drop what is constant; a row of zeros is no particle")
        self.mean.copy_(rows.mean(0)[:, None, None])
        self.std.copy_(rows.std(0)[:, None, None])
        self.sizes.copy_(torch.bincount(there.sum(1), minlength=len(self.sizes)).to(self.sizes))

    def objectives(self) -> list[Objective]:
        return [Objective("set matching", list(self.parameters()), self.loss, self.options.learning_rate)]

    def loss(self, batch: Batch, noise: Noise) -> Tensor:
        """Mean squared difference of the network and the velocity of the straight path, over particles."""
        return batch.mean(self._mismatch(batch.x.reshape(-1, *self.grid), noise.normal(*self.grid), noise.uniform(1)))

    def _mismatch(self, x: Tensor, x_0: Tensor, t: Tensor) -> Tensor:
        there = present(x)
        u = (x - self.mean) / self.std - x_0
        x_t = x_0 + t[:, :, None, None] * u
        square = (self.velocity(x_t, t, None, there) - u).square().mean(1)[:, 0] * there
        return square.sum(1) / there.sum(1).clamp_min(1)

    def draw(self, noise: RowNoise, context: Tensor | None) -> Tensor:
        """x(1) of dx/dt = v(x, t) from standard normal particles, as many as in a training set: (n, *shape)."""
        x = noise.normal(*self.grid)
        there = torch.arange(x.shape[-1], device=x.device) < noise.choice(self.sizes)[:, None]

        def v(t: float, x: Tensor) -> Tensor:
            return self.velocity(x, x.new_full((len(x), 1), t), None, there)

        x = integrate(v, x, 0.0, 1.0, method=self.options.solver, steps=self.options.sampling_steps)
        return ((self.mean + self.std * x) * there[:, None, None]).reshape(-1, *self.shape)

    def score(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Held-out matching loss at noise and times that never change."""
        x = x.reshape(-1, *self.grid)
        generator = torch.Generator(x.device).manual_seed(0)
        x_0 = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        t = ((torch.arange(len(x), device=x.device, dtype=x.dtype) + 0.5) / len(x))[:, None]
        parts = zip(x.split(256), x_0.split(256), t.split(256))
        return torch.cat([self._mismatch(*part) for part in parts]).mean()


def present(x: Tensor) -> Tensor:
    """(n, l) whether each particle of x (n, features, 1, l) is there: one with all features zero is not."""
    return (x != 0).any(1)[:, 0]
