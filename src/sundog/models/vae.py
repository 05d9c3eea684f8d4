"""Variational autoencoder: a latent code z explains each row, an encoder guesses the code from the row.

p(z) = N(0, 1),   p(x|z) = N(f(z), s^2),   q(z|x) = N(m(x), diag exp l(x)),   z = m + exp(l / 2) e,  e standard normal

ELBO(x) = E_q log p(x|z) - beta KL(q(z|x) | p(z)) <= log p(x) for beta = 1
KL = 1/2 sum_j (m_j^2 + exp l_j - 1 - l_j)
log p(x) = lim_K log 1/K sum_k p(x, z_k) / q(z_k|x),   z_k from q

Source: Kingma & Welling 2014, eq. 3, 7, 10 and appendix B (ELBO); Higgins et al. 2017, eq. 4 (beta); Burda et al. 2016,
eq. 8 (importance weights) and section 5.2 (active units).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sundog.checks import at_least
from sundog.errors import SampleSizeError
from sundog.models.base import Batch, Model, Noise, Objective, RowNoise, beside
from sundog.models.options import Options, option
from sundog.nets.convnets import DCCritic, DCGenerator
from sundog.nets.mlp import mlp

LOG_2PI = math.log(2 * math.pi)
# Adam moves every number by about the learning rate per step: ln s^2 would need thousands of steps to fall by 3,
# and codes stay silent as long as s^2 is too large. Its parameter is therefore 30 times smaller than itself.
VARIANCE_PACE = 30.0
ACTIVE = 0.01  # variance of a code's mean over the data, above which Burda et al. call the code active


@dataclass(frozen=True)
class VAEOptions(Options):
    """Options of `VAE`; those of the convolutions are explained in ``sundog.nets.convnets``."""

    latent: int = option(None, "numbers in z; 8 for vectors, 32 for images when None", least=1)
    hidden: tuple[int, ...] = option((128, 128), "widths of both perceptrons; () makes both maps linear (probabilistic "
                                     "PCA)", least=1, only=("data", "vectors"))
    width: int = option(16, "channels of the last hidden convolution", least=1, only=("data", "images"))
    normalisation: str = option("none", "of the convolutions", words=("none", "group", "batch"),
                                only=("data", "images"))
    upsampling: str = option("transposed", "of the convolutions", words=("transposed", "nearest"),
                             only=("data", "images"))
    beta: float = option(1.0, "weight of the KL term; 1 bounds the likelihood", least=0)
    decoder_variance: float | str = option("learned", "s^2 in standardised units, or ``learned``: one number for all "
                                           "pixels or columns", above=0, words=("learned",))
    learning_rate: float = option(5e-3, "of all parameters", above=0)

    def for_data(self, shape: tuple[int, ...], context_dim: int) -> VAEOptions:
        return replace(self, latent=self.latent or (8 if len(shape) == 1 else 32))


class VAE(Model):
    """Variational autoencoder on vectors (n, d) or square images (n, [channels,] 2^k, 2^k).

    Its density is bounded from below, not known: ``elbo`` and ``log_likelihood`` instead of ``log_prob``. The decoder
    sees the context beside z, the encoder beside x (constant planes beside an image).

    Example
    -------
    >>> model = VAE((4,), latent=2, hidden=(16,))
    >>> model.sample(5, None, torch.Generator().manual_seed(0)).shape
    torch.Size([5, 4])
    """

    family: ClassVar[str] = "vae"
    takes: ClassVar[type[Options]] = VAEOptions
    draws: ClassVar[tuple[str, ...]] = ("vectors", "square images")
    default_steps: ClassVar[int] = 2000
    options: VAEOptions

    def __init__(self, shape: Sequence[int], context_dim: int = 0, **options: Any) -> None:
        super().__init__(shape, context_dim, **options)
        o = self.options
        self.latent, self.beta, self.default_batch = o.latent, o.beta, 256
        self.encoder: nn.Module
        self.decoder: nn.Module
        if len(shape) == 1:
            self.encoder = mlp(shape[0] + context_dim, 2 * o.latent, o.hidden)
            self.decoder = mlp(o.latent + context_dim, shape[0], o.hidden[::-1])
        else:
            channels, _, size = self.grid
            self.encoder = DCCritic(size, channels=channels + context_dim, outputs=2 * o.latent, width=o.width)
            self.decoder = DCGenerator(size, channels=channels, latent=o.latent + context_dim, width=o.width,
                                       normalisation=o.normalisation, upsampling=o.upsampling)
        learned = isinstance(o.decoder_variance, str)
        start = 0.0 if learned else math.log(float(o.decoder_variance))
        self.slow_log_variance = nn.Parameter(torch.tensor(start / VARIANCE_PACE), requires_grad=learned)

    @property
    def log_variance(self) -> Tensor:
        """ln s^2 of the decoder, a scalar."""
        return VARIANCE_PACE * self.slow_log_variance

    def objectives(self) -> list[Objective]:
        parameters = [p for p in self.parameters() if p.requires_grad]
        return [Objective("negative ELBO", parameters, self.loss, self.options.learning_rate)]

    def encode(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """(m, l): mean and log-variance of z given x, each (n, latent)."""
        mean, log_variance = self.encoder(beside(x.reshape(-1, *self.grid), context)).chunk(2, 1)
        return mean, log_variance

    def decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        """f(z): mean of x given z, (n, *shape)."""
        return self.decoder(beside(z, context)).reshape(-1, *self.shape)

    def elbo(self, x: Tensor, context: Tensor | None, e: Tensor) -> Tensor:
        """Evidence lower bound of each row (n,), in nats and standardised units, from one e (n, latent) per row."""
        mean, log_variance = self.encode(x, context)
        z = mean + (0.5 * log_variance).exp() * e
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        return log_normal(x, self.decode(z, context), self.log_variance) - self.beta * kl

    def loss(self, batch: Batch, noise: Noise) -> Tensor:
        """Mean of -ELBO over the batch, one draw of z per row."""
        return -batch.mean(self.elbo(batch.x, batch.context, noise.normal(self.latent)))

    def log_likelihood(self, x: Tensor, context: Tensor | None, generator: torch.Generator, *,
                       draws: int = 64) -> Tensor:
        """log 1/K sum_k p(x, z_k) / q(z_k|x) of each row (n,), z_k drawn from q: log p(x), low by less the larger K.

        In nats and standardised units; ``draws`` is K. Source: Burda et al. 2016, eq. 8.
        """
        at_least(draws, 1, "draws")
        mean, log_variance = self.encode(x, context)
        ratios = []
        for _ in range(draws):
            e = torch.randn(mean.shape, generator=generator, device=generator.device, dtype=x.dtype).to(x.device)
            z = mean + (0.5 * log_variance).exp() * e
            # log p(z) - log q(z|x): the constants of the two normals cancel.
            prior = 0.5 * (e.square() + log_variance - z.square()).sum(1)
            ratios.append(log_normal(x, self.decode(z, context), self.log_variance) + prior)
        return torch.logsumexp(torch.stack(ratios), 0) - math.log(draws)

    def activity(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Variance over the rows of the mean of each code, (latent,): below 0.01 a code has collapsed to the prior.

        Source: Burda et al. 2016, section 5.2.
        """
        if len(x) < 2:
            raise SampleSizeError("a variance over rows", got=f"{len(x)} rows", expected="at least 2", do="pass more")
        return self.encode(x, context)[0].var(0)

    def active_units(self, x: Tensor, context: Tensor | None, *, threshold: float = ACTIVE) -> int:
        """How many codes carry anything about x; 0 is the collapse of the posterior."""
        return int((self.activity(x, context) > threshold).sum())

    def draw(self, noise: RowNoise, context: Tensor | None) -> Tensor:
        """n draws (n, *shape) of p(x): f(z) and the decoder's noise of variance s^2; ``decode`` gives f alone."""
        centre = self.decode(noise.normal(self.latent), context)
        return centre + (0.5 * self.log_variance).exp() * noise.normal(*self.shape)

    def score(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Held-out mean of -ELBO at noise that never changes."""
        generator = torch.Generator(x.device).manual_seed(0)
        e = torch.randn(len(x), self.latent, generator=generator, device=x.device, dtype=x.dtype)
        return -self.elbo(x, context, e).mean()


def log_normal(x: Tensor, centre: Tensor, log_variance: Tensor) -> Tensor:
    """log N(x; centre, exp log_variance) of each row, summed over all axes but the first: (n,)."""
    square = (x - centre).square() * (-log_variance).exp()
    return -0.5 * (square + log_variance + LOG_2PI).flatten(1).sum(1)
