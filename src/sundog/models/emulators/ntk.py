"""Emulator by the tangent kernel of wide ReLU networks: a Gaussian process in closed form.

    mean(c) = k(c) A y,     variance(c) ~ k(c, c) - k(c) A k(c)^T + noise,     A = V f(e) V^T,     K = V diag(e) V^T
    f(e) = 1 / (e + noise),  or  (1 - exp(-e t)) / e  of training that stops at time t

It is what the mean of infinitely many wide networks, trained from the runs, would answer.

Source: Jacot et al. 2018 (arXiv 1806.07572), section 5; leave-one-out: Rasmussen and Williams 2006, section 5.4.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sundog.models.emulators.base import LinearEmulator, LinearOptions
from sundog.models.kernel import ntk
from sundog.models.options import Options, option

NOISES = [10.0**k for k in range(-12, 1)]  # tried when none is given, in units of the mean of k(c, c)


@dataclass(frozen=True)
class NTKOptions(LinearOptions):
    """Options of `NTKEmulator`."""

    depth: int = option(3, "layers of weights, one more than hidden layers", least=1)
    noise: float = option(None, "variance of the noise over the mean of k(c, c); the one with the least leave-one-out "
                          "error when None", least=0)
    time: float = option(None, "of training under gradient flow, in units of 1 / mean of k(c, c); without end when "
                         "None", above=0)
    bias: float = option(1.0, "a constant beside the standardised inputs: where kinks of the networks lie", least=0)


class NTKEmulator(LinearEmulator):
    """Gaussian process with the tangent kernel of networks of ``depth`` layers, shared by all numbers of an output.

    inputs: (n, c) of the runs; inverse: A (n, n); level: noise, ()

    Example
    -------
    >>> c = torch.linspace(-1, 1, 30, dtype=torch.float64)[:, None]
    >>> emulator = NTKEmulator((1,), 1)
    >>> emulator.prepare(c.square(), c)
    >>> round(float(emulator.predict(torch.tensor([[0.5]]))[0]), 2)
    0.25
    """

    family: ClassVar[str] = "ntk"
    takes: ClassVar[type[Options]] = NTKOptions
    options: NTKOptions
    inputs: Tensor
    inverse: Tensor
    level: Tensor

    def __init__(self, shape: tuple[int, ...], context_dim: int = 0, **options: Any) -> None:
        super().__init__(shape, context_dim, **options)
        self.register_buffer("inputs", torch.zeros(0, self.context_dim))
        self.register_buffer("inverse", torch.zeros(0, 0))
        self.register_buffer("level", torch.zeros(()))

    def learn(self, context: Tensor, y: Tensor, weights: Tensor) -> None:
        """Noise of variance noise / weight: rows times sqrt(weight) have noise alike."""
        self.inputs, root = context, weights.sqrt()
        kernel = self.features(context)
        typical = float(kernel.diagonal().mean())
        kernel, y = root[:, None] * kernel * root, root[:, None] * y
        e, v = torch.linalg.eigh(kernel)
        e = e.clamp(min=torch.finfo(e.dtype).eps * float(e[-1]))
        tried = NOISES if self.options.noise is None else [self.options.noise]
        levels = tried if self.options.time is None else [0.0]
        self._keep_best([self._fitted(e, v, y, typical, level) for level in levels])
        self.inverse, self.coefficients = root[:, None] * self.inverse * root, root[:, None] * self.coefficients

    def _fitted(self, e: Tensor, v: Tensor, y: Tensor, typical: float, noise: float) -> dict[str, Tensor]:
        """A, A y and the leave-one-out residuals: alpha_i / A_ii, of variance 1 / A_ii."""
        if self.options.time is None:
            f, level = 1 / (e + noise * typical), noise * typical
        else:
            t = self.options.time / typical
            f, level = -torch.expm1(-e * t) / e, 1 / t  # e / (1 - exp(-e t)) - e -> 1 / t: the noise it stands for
        inverse = (v * f) @ v.T
        alpha, own = inverse @ y, inverse.diagonal()[:, None]
        return {"inverse": inverse, "level": e.new_tensor(level), "coefficients": alpha,
                "residuals": alpha / own.sqrt() / math.sqrt(len(y)), "error": (alpha / own).square().sum(0)}

    def _with_bias(self, context: Tensor) -> Tensor:
        return torch.cat([context, context.new_full((len(context), 1), self.options.bias)], 1)

    def features(self, context: Tensor) -> Tensor:
        """k(c), the kernel with every run."""
        return ntk(self._with_bias(context), self._with_bias(self.inputs), self.options.depth)

    def inflation(self, features: Tensor, context: Tensor) -> Tensor:
        """Standard deviation of the process given the runs, before its scale."""
        depth = self.options.depth
        own = self._with_bias(context).square().sum(1) * depth / 2 ** (depth - 1)
        known = (features @ self.inverse * features).sum(1)
        return ((own - known).clamp(min=0) + self.level).sqrt()
