"""Refinement: a residual network that moves the maps of a generator towards real ones, with a critic as judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sundog.errors import OptionError
from sundog.models.base import Batch, Noise, Objective, RowNoise, Translator
from sundog.models.options import Options, option
from sundog.models.translate.adversarial import KEPT, SCORED_ROWS, AdversarialOptions, adversarial, kept
from sundog.nets.convnets import DCCritic
from sundog.nets.unet import UNet, levels_for


@dataclass(frozen=True)
class RefinerOptions(AdversarialOptions):
    """Options of `ResidualRefiner`."""

    bound: float | None = option(None, "a; fakes are cut to 0.999 a, where the inverse of the tanh is finite; None for "
                                 "no bound", above=0)
    learning_rate: float = option(2e-4, "of Adam, both networks", above=0)

    def for_data(self, shape: tuple[int, ...], context_dim: int) -> RefinerOptions:
        if shape[0] % 2:
            raise OptionError("a refiner needs pairs of maps", got=f"{shape[0]} channels",
                              expected="as many real channels as fake ones",
                              do="stack the fakes and the real maps along the channels")
        return self


class ResidualRefiner(Translator):
    """Corrects maps of a generator: y = x + F(x), trained on fakes and real maps that are not paired.

    One training row holds a fake and any real map behind it: (2 channels, size, size), size a power of two. The critic
    sees the refined and the real maps alone. ``run.translate(fakes)`` refines.

        y = a tanh(2 / a ((a / 2) atanh(x / a) + F(x)))        within a bound a, or x + F(x) without one

    Source: Han et al. 2021, section 3.3 (there called VAEGAN; nothing in it is variational).

    Example
    -------
    >>> model = ResidualRefiner((2, 8, 8), parameters=5e4, width=2)
    >>> x = torch.randn(3, 1, 8, 8)
    >>> torch.equal(model.refine(x), x)     # untrained, it changes nothing
    True
    """

    family: ClassVar[str] = "refine"
    takes: ClassVar[type[Options]] = RefinerOptions
    draws: ClassVar[tuple[str, ...]] = ("square maps",)
    takes_context: ClassVar[bool] = False
    options: RefinerOptions

    def __init__(self, shape: Sequence[int], context_dim: int = 0, **options: Any) -> None:
        super().__init__(shape, context_dim, **options)
        o, (ny, nx) = self.options, self.shape[1:]
        self.known = self.wanted = self.shape[0] // 2
        self.bound, self.default_batch = o.bound, 32
        self.register_buffer("seen", torch.zeros(KEPT, self.known, ny, nx))
        self.network = UNet(self.known, self.wanted, parameters=o.parameters, levels=levels_for(ny, nx), line=ny == 1,
                            periodic=o.periodic)
        self.critic = DCCritic(nx, channels=self.wanted, width=o.width, bias=False)

    def prepare(self, x: Tensor, context: Tensor | None) -> None:
        """Keep a few fakes."""
        self.seen.copy_(kept(x[:, : self.known]))

    def objectives(self) -> list[Objective]:
        return adversarial(self.options, self.options.learning_rate, (self.critic, self.critic_loss),
                           (self.network, self.refiner_loss), "refiner")

    def refine(self, x: Tensor) -> Tensor:
        """y (n, channels, ny, nx) of fakes x of that shape."""
        change = self.network(x, x.new_zeros(len(x), 1), None)
        if self.bound is None:
            return x + change
        a = self.bound
        return a * torch.tanh(torch.atanh((x / a).clamp(-0.999, 0.999)) + 2 * change / a)

    def complete(self, k: Tensor, noise: RowNoise) -> Tensor:
        """The refined maps; nothing is drawn."""
        return self.refine(k)

    def critic_loss(self, batch: Batch, noise: Noise) -> Tensor:
        """E D(refined) - E D(real) + lambda E P(|grad D|)."""
        fake, real = batch.x.chunk(2, 1)
        with torch.no_grad():
            fake = self.refine(fake)
        return self.options.critic_loss(lambda z: self.critic(z)[:, 0], real, fake, batch, noise)

    def refiner_loss(self, batch: Batch, noise: Noise) -> Tensor:
        """-E D(refined) + weight x distance of the variances of images."""
        raw, real = batch.x.chunk(2, 1)
        fake = self.refine(raw)
        return self.options.variance_loss(fake, real, batch) - batch.mean(self.critic(fake)[:, 0])

    def score(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Energy distance of refined and real held-out maps."""
        fake, real = x[:SCORED_ROWS].chunk(2, 1)
        a, b = (part.flatten(1).double().cpu() for part in (self.refine(fake), real))
        n = len(a)
        within = (torch.cdist(a, a).sum() + torch.cdist(b, b).sum()) / max(1, n * (n - 1))
        return 2 * torch.cdist(a, b).mean() - within
