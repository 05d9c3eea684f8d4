"""DeepONet: an operator from inputs to functions, read at any point of their domain.

    y(c)(p) = m + s (sum_k b_k(c) t_k(p) + b_0),     p in [0, 1]^dims: the places of the output on its grid

with a branch network b of the input and a trunk network t of the point. Outputs of all runs on one grid make a batch
one matrix product B T^T; runs with points of their own are a row per point, place first among the inputs.

Source: Lu, Jin, Pang, Zhang and Karniadakis 2021 (arXiv 1910.03193), the unstacked form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sundog.errors import OptionError
from sundog.models.base import Batch, Noise, Objective, RowNoise
from sundog.models.emulators.base import Emulator
from sundog.models.options import Options, option
from sundog.nets.mlp import mlp


@dataclass(frozen=True)
class DeepONetOptions(Options):
    """Options of `DeepONet`."""

    hidden: tuple[int, ...] = option((64, 64), "widths of branch and trunk", least=1)
    terms: int = option(40, "products b_k t_k that are summed", least=1)
    harmonics: int = option(4, "cos and sin of so many multiples of the place beside it in the trunk", least=0)
    periodic: bool = option(False, "the trunk sees cos and sin alone: outputs wrap around")
    learning_rate: float = option(3e-3, "of all parameters", above=0)
    places: int = option(0, "so many of the first inputs are the place that a row was read at: runs with points of "
                         "their own, a row per point", least=0)

    def for_data(self, shape: tuple[int, ...], context_dim: int) -> DeepONetOptions:
        if self.periodic and not self.harmonics:
            raise OptionError("a periodic trunk without harmonics", got="harmonics=0", expected="1 or more",
                              do="pass harmonics=4")
        if self.places and (shape != (1,) or self.places >= context_dim or self.periodic):
            raise OptionError("runs with points of their own need a number a row, its place and its input",
                              got=f"outputs of shape {shape}, {context_dim} inputs, places={self.places}"
                              + ", periodic" * self.periodic, expected="outputs (n, 1), more inputs than places, "
                              "periodic=False", do="pass Dataset.from_arrays(values, context, points=points)")
        return self


class DeepONet(Emulator):
    """Branch and trunk trained together; the error is that on the validation rows.

    places: (d, dims) of the numbers of an output; level: (2,) m and s; residuals: (r, d) over sqrt(r)
    """

    family: ClassVar[str] = "deeponet"
    takes: ClassVar[type[Options]] = DeepONetOptions
    default_steps: ClassVar[int] = 6000
    options: DeepONetOptions
    places: Tensor
    level: Tensor
    residuals: Tensor

    def __init__(self, shape: tuple[int, ...], context_dim: int = 0, **options: Any) -> None:
        super().__init__(shape, context_dim, **options)
        self.default_batch = 256
        o, axes = self.options, self.options.places or len(self.shape)
        width = axes * (2 * o.harmonics + (not o.periodic))
        self.branch = mlp(self.context_dim - o.places, o.terms, o.hidden)
        self.trunk = mlp(width, o.terms, o.hidden)
        self.offset = nn.Parameter(torch.zeros(()))
        self.register_buffer("places", grid(self.shape, o.periodic), persistent=False)
        self.register_buffer("level", torch.tensor([0.0, 1.0]))
        self.register_buffer("residuals", torch.zeros(0, math.prod(self.shape)))

    def learn(self, context: Tensor, y: Tensor, weights: Tensor) -> None:
        raw = self.centre + self.unit * y
        self.level = torch.stack([raw.mean(), raw.std().clamp(min=1e-300)]).to(self.level)
        self._keep_errors((raw - raw.mean()).to(self.residuals))  # untrained, all is error

    def objectives(self) -> list[Objective]:
        return [Objective("mean square error", list(self.parameters()), self.loss, self.options.learning_rate)]

    def loss(self, batch: Batch, noise: Noise) -> Tensor:
        """Mean square error over s^2; uses no noise."""
        assert batch.context is not None
        wanted = (batch.x.flatten(1) - self.level[0]) / self.level[1]
        return batch.mean((self._answers(batch.context) - wanted).square().mean(1))

    def _answers(self, context: Tensor) -> Tensor:
        """Outputs (n, d) over s, on the grid or at the place that each row names."""
        k = self.options.places
        if not k:
            return self._terms(context, self.places)
        places = ((context[:, :k] - self.low[:k]) / (self.high - self.low)[:k]).to(context)
        terms = self.branch(context[:, k:]) * self.trunk(self._seen(places))
        return terms.sum(1, keepdim=True) / math.sqrt(self.options.terms) + self.offset

    def _terms(self, context: Tensor, places: Tensor) -> Tensor:
        return self.branch(context) @ self.trunk(self._seen(places)).T / math.sqrt(self.options.terms) + self.offset

    def _seen(self, places: Tensor) -> Tensor:
        """What the trunk is shown of places (k, dims)."""
        turns = torch.arange(1, self.options.harmonics + 1, dtype=places.dtype, device=places.device)
        angle = (math.tau if self.options.periodic else math.pi) * (places[:, :, None] * turns).flatten(1)
        return torch.cat([*([] if self.options.periodic else [places]), angle.cos(), angle.sin()], 1)

    def at(self, context: Tensor, places: Tensor) -> Tensor:
        """The output (n, k) at any places (k, dims) of the unit square, for inputs (n, c)."""
        return self.level[0] + self.level[1] * self._terms(context.to(self.level), places.to(self.level))

    def predict(self, context: Tensor) -> tuple[Tensor, Tensor]:
        mean = (self.level[0] + self.level[1] * self._answers(context.to(self.level))).reshape(-1, *self.shape)
        return mean, self.residuals.square().sum(0).sqrt().reshape(self.shape).expand_as(mean)

    def calibrate(self, x: Tensor, context: Tensor | None) -> None:
        assert context is not None
        with torch.no_grad():
            self._keep_errors((x - self.predict(context)[0]).flatten(1))

    def _keep_errors(self, errors: Tensor) -> None:
        """Of outputs of one number only the size is kept: points may be many."""
        self.residuals = errors / math.sqrt(len(errors))
        if errors.shape[1] == 1:
            self.residuals = self.residuals.norm(dim=0, keepdim=True)

    def draw(self, noise: RowNoise, context: Tensor | None) -> Tensor:
        """Mean and a normal error with the covariance of the errors on validation rows."""
        assert context is not None
        mean, _ = self.predict(context)
        return mean + (noise.normal(len(self.residuals)) @ self.residuals).reshape(-1, *self.shape)


def grid(shape: tuple[int, ...], periodic: bool) -> Tensor:
    """Places (prod(shape), dims) of the numbers of an output in [0, 1]^dims; periodic ones stop a step before 1.

    Example
    -------
    >>> grid((3,), periodic=False).flatten().tolist()
    [0.0, 0.5, 1.0]
    """
    axes = [torch.arange(n) / max(1, n - (not periodic)) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(shape))
