"""Variational autoencoder with a mixture as prior: clusters in the space of codes, found without labels.

p(k) = w_k,   p(z|k) = N(m_k, diag s_k^2),   p(x|z) = N(f(z), v),   q(z|x) = N(m(x), diag exp l(x))

ELBO(x) = E_q [log p(x|z) + log sum_k w_k p(z|k) - log q(z|x)] <= log p(x)
q(k|x)  = E_q [w_k p(z|k) / sum_k' w_k' p(z|k')]

Encoder and decoder are principal components plus a perceptron that starts at zero, and the prior starts as a mixture
fitted to the principal components: without this start clusters merge before the networks have learned to tell them
apart.

Source: Jiang et al. 2017, IJCAI, eq. 7 and 16 (prior and responsibilities); Siahkoohi et al. 2023, arXiv 2305.16189
(clusters of scattering vectors for source separation).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sundog.errors import SampleSizeError
from sundog.models.base import Batch, Model, Noise, Objective, RowNoise
from sundog.models.options import Options, option
from sundog.models.vae import LOG_2PI, log_normal
from sundog.nets.mlp import mlp, still

RESTARTS = 10  # of the mixture that the prior starts from
ROUNDS = 60  # of expectation and maximisation in each
NARROWEST = 0.05  # standard deviation of a component, in units of that of a principal component


@dataclass(frozen=True)
class MixtureVAEOptions(Options):
    """Options of `MixtureVAE`."""

    clusters: int = option(3, "K, components of the prior", least=1)
    latent: int = option(6, "numbers in z, at most d", least=1)
    hidden: tuple[int, ...] = option((64,), "widths of both perceptrons", least=1)
    learning_rate: float = option(1e-3, "of all parameters", above=0)

    def for_data(self, shape: tuple[int, ...], context_dim: int) -> MixtureVAEOptions:
        return replace(self, latent=min(self.latent, shape[0]))


class MixtureVAE(Model):
    """Variational autoencoder of vectors with a Gaussian mixture as prior; `responsibilities` says which cluster.

    Example
    -------
    >>> model = MixtureVAE((4,), clusters=2, latent=2, hidden=(16,))
    >>> x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)) + 5 * (torch.arange(40) % 2)[:, None]
    >>> model.prepare(x, None)
    >>> model.responsibilities(x).argmax(1).unique().tolist()
    [0, 1]
    """

    family: ClassVar[str] = "mixture-vae"
    takes: ClassVar[type[Options]] = MixtureVAEOptions
    draws: ClassVar[tuple[str, ...]] = ("vectors",)
    takes_context: ClassVar[bool] = False
    default_steps: ClassVar[int] = 1000
    options: MixtureVAEOptions
    principal: Tensor
    back: Tensor
    centre: Tensor

    def __init__(self, shape: Sequence[int], context_dim: int = 0, **options: Any) -> None:
        super().__init__(shape, context_dim, **options)
        self.default_batch = 256
        d, latent, clusters = self.shape[0], self.options.latent, self.options.clusters
        self.latent = latent
        self.encoder, self.decoder = mlp(d, 2 * latent, self.options.hidden), mlp(latent, d, self.options.hidden)
        for net in (self.encoder, self.decoder):
            still(net[-1])
        self.register_buffer("principal", torch.eye(d)[:, :latent].clone())
        self.register_buffer("back", torch.eye(d)[:latent].clone())
        self.register_buffer("centre", torch.zeros(d))
        self.logits = nn.Parameter(torch.zeros(clusters))
        self.means = nn.Parameter(torch.zeros(clusters, latent))
        self.log_widths = nn.Parameter(torch.zeros(clusters, latent))
        self.log_variance = nn.Parameter(torch.zeros(()))
        self.spread = nn.Parameter(torch.full((latent,), -4.0))

    def objectives(self) -> list[Objective]:
        return [Objective("negative ELBO", list(self.parameters()), self.loss, self.options.learning_rate)]

    def prepare(self, x: Tensor, context: Tensor | None) -> None:
        """Start the codes as principal components of x (n, d), and the prior as a mixture fitted to them."""
        K = self.options.clusters
        if len(x) < 2 * K:
            raise SampleSizeError("too few rows for the clusters", got=len(x), expected=f"at least {2 * K}",
                                  do="pass more rows, or ask for fewer clusters")
        with torch.no_grad():
            centre = x.mean(0)
            _, size, axes = torch.linalg.svd((x - centre).double(), full_matrices=False)
            width = (size / max(1, len(x) - 1) ** 0.5).clamp_min(1e-6)[: self.latent]
            some = len(width)
            principal, back = self.principal.clone(), self.back.clone()
            principal[:, :some] = (axes[:some] / width[:, None]).T.to(x)
            back[:some] = (axes[:some] * width[:, None]).to(x)
            self._buffers.update(principal=principal, back=back, centre=centre)
            z = (x - centre) @ principal
            rest = ((x - centre) - z @ back).square().mean().clamp_min(1e-3)
            self.log_variance.fill_(float(rest.log()))
            weights, means, widths = fit_mixture(z, K)
            self.logits.copy_(weights.log())
            self.means.copy_(means)
            self.log_widths.copy_(widths.log())

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(m, l): mean and log-variance of z given x, each (n, latent)."""
        mean, spread = self.encoder(x).chunk(2, 1)
        return (x - self.centre) @ self.principal + mean, self.spread + spread

    def decode(self, z: Tensor) -> Tensor:
        """f(z): mean of x given z, (n, d)."""
        return self.centre + z @ self.back + self.decoder(z)

    def log_prior(self, z: Tensor) -> Tensor:
        """log w_k + log N(z; m_k, s_k^2), (n, K)."""
        pulls = (z[:, None] - self.means) * (-self.log_widths).exp()
        normal = -0.5 * (pulls.square() + 2 * self.log_widths + LOG_2PI).sum(2)
        return self.logits.log_softmax(0) + normal

    def elbo(self, x: Tensor, e: Tensor) -> Tensor:
        """Evidence lower bound of each row (n,), in nats, from one e (n, latent) per row."""
        mean, log_variance = self.encode(x)
        z = mean + (0.5 * log_variance).exp() * e
        likelihood = log_normal(x, self.decode(z), self.log_variance)
        return likelihood + self.log_prior(z).logsumexp(1) - log_normal(z, mean, log_variance)

    def loss(self, batch: Batch, noise: Noise) -> Tensor:
        """Mean of -ELBO over the batch, one draw of z per row."""
        return -batch.mean(self.elbo(batch.x, noise.normal(self.latent)))

    def responsibilities(self, x: Tensor, *, draws: int = 16) -> Tensor:
        """q(k|x) (n, K): probability of each cluster, averaged over ``draws`` codes that never change."""
        with torch.no_grad():
            mean, log_variance = self.encode(x)
            e = self._fixed(draws, x)
            z = mean + (0.5 * log_variance).exp() * e[:, None]
            return self.log_prior(z.flatten(0, 1)).softmax(1).view(draws, len(x), -1).mean(0)

    def draw(self, noise: RowNoise, context: Tensor | None) -> Tensor:
        """n draws (n, d) of p(x): cluster, code, and the decoder's noise."""
        k = noise.choice(self.logits.softmax(0))
        z = self.means[k] + self.log_widths[k].exp() * noise.normal(self.latent)
        return self.decode(z) + (0.5 * self.log_variance).exp() * noise.normal(*self.shape)

    def score(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Held-out mean of -ELBO at noise that never changes."""
        return -torch.stack([self.elbo(x, e) for e in self._fixed(8, x)[:, None]]).mean()

    def _fixed(self, draws: int, like: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(draws, self.latent, generator=generator, dtype=like.dtype).to(like.device)


def fit_mixture(z: Tensor, K: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (K,), means and standard deviations (K, q) of a diagonal Gaussian mixture, by expectation maximisation.

    The best of several starts from rows drawn at random, always the same ones; starts from k-means end worse where
    clusters have unequal widths.

    Example
    -------
    >>> z = torch.cat([torch.zeros(50, 1), torch.ones(50, 1)]) + 1e-4 * torch.arange(100.0)[:, None]
    >>> sorted(round(float(m), 1) for m in fit_mixture(z, 2)[1])
    [0.0, 1.0]
    """
    from sklearn.mixture import GaussianMixture

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a start need not converge: training goes on from it
        law = GaussianMixture(K, covariance_type="diag", n_init=RESTARTS, max_iter=ROUNDS, reg_covar=NARROWEST**2,
                              init_params="random_from_data", random_state=0).fit(z.double().cpu().numpy())
    weights, means, variances = (torch.from_numpy(part).to(z) for part in (law.weights_, law.means_, law.covariances_))
    return weights, means, variances.sqrt()
