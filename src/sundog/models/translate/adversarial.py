"""What translators of maps share: options, the maps kept to draw from, and the loss of a critic of maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sundog.models.base import Batch, Noise, Objective
from sundog.models.gan import PENALTIES, slopes
from sundog.models.options import Options, option

Loss = Callable[[Batch, Noise], Tensor]
KEPT = 64  # known maps of the training data kept with the model, so that it can draw whole samples on its own
SCORED_ROWS = 512  # of the held-out maps, for the score of a GAN


@dataclass(frozen=True)
class AdversarialOptions(Options):
    """Options of a U-Net on maps, and of a critic beside it."""

    parameters: float = option(600_000, "of the U-Net, 0.4e6 to 30e6", above=0)
    periodic: bool = option(False, "maps that wrap around at their edges")
    width: int = option(16, "of the critic", least=1, only=("method", "gan"))
    critic_steps: int = option(3, "steps of the critic per step of the other network", least=1, only=("method", "gan"))
    penalty: str = option("two-sided", "kind of gradient penalty", words=PENALTIES, only=("method", "gan"))
    penalty_weight: float = option(10.0, "factor of the gradient penalty", above=0, only=("method", "gan"))
    variance_weight: float = option(100.0, "factor of the distance between variances of fake and real images",
                                    least=0, only=("method", "gan"))

    def critic_loss(self, critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, batch: Batch, noise: Noise
                    ) -> Tensor:
        """E D(fake) - E D(real) + weight E P(|grad D|)."""
        steepness = PENALTIES[self.penalty](slopes(critic, real, fake, noise.uniform(1)))
        return batch.mean(critic(fake) - critic(real)) + self.penalty_weight * steepness.mean()

    def variance_loss(self, fake: Tensor, real: Tensor, batch: Batch) -> Tensor:
        """Wasserstein distance between the `variances` of fakes and of real maps, times its weight, mean over channels.

        Not image by image: the least mean of |var fake - var real| is at the median of what is possible, without tails.
        """
        values, order = torch.cat([variances(fake), variances(real)]).sort(0)
        weights = fake.new_ones(len(fake)) if batch.weights is None else batch.weights
        share = torch.cat([weights, -weights]) / weights.sum()
        return self.variance_weight * (share[order].cumsum(0)[:-1].abs() * values.diff(dim=0)).sum(0).mean()


def adversarial(options: AdversarialOptions, rate: float, critic: tuple[nn.Module, Loss], other: tuple[nn.Module, Loss],
                name: str) -> list[Objective]:
    """The objectives of a critic and of the network that it judges, each given with its loss."""
    return [Objective(word, list(net.parameters()), loss, rate, (0.5, 0.9), repeats=repeats)
            for word, (net, loss), repeats in (("critic", critic, options.critic_steps), (name, other, 1))]


def variances(x: Tensor) -> Tensor:
    """Variance of each channel of each image, (n, channels)."""
    return x.flatten(2).var(2)


def kept(k: Tensor) -> Tensor:
    """Maps to keep with a model, (`KEPT`, channels, ny, nx): the first ones, again from the start where they end."""
    return k[torch.arange(KEPT, device=k.device) % len(k)]
