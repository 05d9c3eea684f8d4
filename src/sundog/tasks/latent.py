"""Looking into an autoencoder: where the rows of each class lie among the codes, what a code does, what has collapsed.

All of it in the units of the data, from a run fitted with family ``vae``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import OptionError, SampleSizeError
from sundog.models.vae import ACTIVE, VAE
from sundog.random import stream
from sundog.train.run import Run

ROWS = 1024  # encoded at once: bounds memory


@dataclass(frozen=True)
class LatentReport:
    """What an autoencoder learned of held-out rows, per row in nats, in standardised units.

    Attributes
    ----------
    elbo, elbo_error : mean evidence lower bound and its standard error over rows
    log_likelihood, log_likelihood_error : mean importance-weighted estimate of log p(x), and its error over rows
    draws : importance draws per row
    divergences : (latent,) mean KL divergence of each code from its prior, most informative code first
    codes : (latent,) the code that each divergence belongs to
    active : codes whose mean varies over the rows by more than 0.01
    spread : standard deviation of f(z) over draws of z, over that of the rows: 0 when the decoder ignores the codes
    rows : how many were looked at
    """

    elbo: float
    elbo_error: float
    log_likelihood: float
    log_likelihood_error: float
    draws: int
    divergences: tuple[float, ...]
    codes: tuple[int, ...]
    active: int
    spread: float
    rows: int

    @property
    def gap(self) -> float:
        """log p(x) - ELBO: what the encoder's approximate posterior costs, nats per row."""
        return self.log_likelihood - self.elbo

    @property
    def posterior_collapsed(self) -> bool:
        """No code tells anything about the row."""
        return self.active == 0

    @property
    def model_collapsed(self) -> bool:
        """The decoder gives (nearly) one and the same row whatever the code."""
        return self.spread < 0.1

    def __str__(self) -> str:
        states = [("POSTERIOR COLLAPSED", self.posterior_collapsed), ("DECODER COLLAPSED", self.model_collapsed)]
        said = ", ".join(name for name, holds in states if holds) or "no collapse"
        return (f"log p(x) {self.log_likelihood:.2f} +- {self.log_likelihood_error:.2f} ({self.draws} draws), ELBO "
                f"{self.elbo:.2f} +- {self.elbo_error:.2f} nats per row on {self.rows} rows; {self.active} of "
                f"{len(self.codes)} codes active; decoder spread {self.spread:.2f}; {said}")


def latent_report(run: Run, dataset: Dataset, *, draws: int = 64, seed: int = 0) -> LatentReport:
    """Likelihood and collapse of an autoencoder on rows that it has not seen.

    Source: Burda et al. 2016, eq. 8 (importance weights) and section 5.2 (active codes).

    Example
    -------
    >>> import sundog
    >>> moons = sundog.simulate.densities.TwoMoons().sample(500, seed=0)
    >>> run = sundog.fit("vae", moons, plan=sundog.Plan(steps=5), latent=2, hidden=(8,))
    >>> report = latent_report(run, moons.held_out, draws=4)
    >>> report.log_likelihood > report.elbo, len(report.codes)
    (True, 2)
    """
    model = _autoencoder(run)
    if len(dataset) < 2:
        raise SampleSizeError("too few rows for an error bar", got=len(dataset), expected="at least 2", do="pass more")
    elbos, weighted, means, divergences = [], [], [], []
    for i, (x, c) in enumerate(_standardised(run, dataset)):
        g = stream(seed, "importance", i, device=run.device)
        with torch.no_grad():
            mean, log_variance = model.encode(x, c)
            e = torch.randn(mean.shape, generator=g, device=x.device, dtype=x.dtype)
            # beta = 1 whatever the training used: the bound on log p(x).
            elbos.append(model.elbo(x, c, e) + (model.beta - 1) * _divergence(mean, log_variance).sum(1))
            weighted.append(model.log_likelihood(x, c, g, draws=draws))
            divergences.append(_divergence(mean, log_variance))
            means.append(mean)
    elbo, log_p = torch.cat(elbos).double(), torch.cat(weighted).double()
    kl = torch.cat(divergences).double().mean(0)
    order = kl.argsort(descending=True)
    error = len(dataset) ** -0.5
    return LatentReport(
        float(elbo.mean()), float(elbo.std()) * error, float(log_p.mean()), float(log_p.std()) * error, draws,
        tuple(kl[order].tolist()), tuple(order.tolist()), int((torch.cat(means).var(0) > ACTIVE).sum()),
        _spread(run, dataset, seed), len(dataset))


def codes_of(run: Run, dataset: Dataset) -> Tensor:
    """Mean of the code of each row, (n, latent), float32: where the encoder puts it.

    Example
    -------
    >>> import sundog
    >>> moons = sundog.simulate.densities.TwoMoons().sample(500, seed=0)
    >>> run = sundog.fit("vae", moons, plan=sundog.Plan(steps=5), latent=2, hidden=(8,))
    >>> codes_of(run, moons[:7]).shape
    torch.Size([7, 2])
    """
    model = _autoencoder(run)
    with torch.no_grad():
        return torch.cat([model.encode(x, c)[0].float().cpu() for x, c in _standardised(run, dataset)])


def decoded(run: Run, z: Tensor, context: Tensor | None = None) -> Dataset:
    """f(z) in the units of the data, without the decoder's noise; z: (n, latent), context (n, c) in physical units."""
    model = _autoencoder(run)
    if z.ndim != 2 or z.shape[1] != model.latent:
        raise OptionError("codes do not fit the run", got=tuple(z.shape), expected=f"(n, {model.latent})",
                          do="pass one number per code")
    given = None
    if context is not None and run.context_scaling is not None:
        given = run.context_scaling.forward(context).to(model.log_variance)
    with torch.no_grad():
        rows = model.decode(z.to(model.log_variance), given).float().cpu()
    rows = run.scaling.inverse(rows.double() if run.precise else rows)
    return Dataset(values=rows, context=context, held_out_fraction=0.0,
                   provenance={"decoded_by": run.family, "run": run.identity}, **run.labels)


def traversal(run: Run, codes: Sequence[int], values: Sequence[float] = (-2.5, -1.5, -0.5, 0.5, 1.5, 2.5), *,
              centre: Tensor | None = None) -> Dataset:
    """Rows in which one code at a time takes the values, the others at the centre: len(codes) len(values) rows.

    Code by code, each in the order of the values; ``centre`` (latent,) is 0, the middle of the prior, when None.

    Example
    -------
    >>> import sundog
    >>> moons = sundog.simulate.densities.TwoMoons().sample(500, seed=0)
    >>> run = sundog.fit("vae", moons, plan=sundog.Plan(steps=5), latent=2, hidden=(8,))
    >>> len(traversal(run, [0, 1], [-1, 0, 1]))
    6
    """
    latent = _autoencoder(run).latent
    wrong = [j for j in codes if not 0 <= j < latent]
    if wrong or not len(codes) or not len(values):
        raise OptionError("no such code", got=wrong or "nothing to vary", expected=f"0 to {latent - 1}",
                          do="take the first of latent_report(...).codes")
    z = torch.zeros(latent) if centre is None else centre.float()
    rows = z.repeat(len(codes) * len(values), 1)
    for i, j in enumerate(codes):
        rows[i * len(values) : (i + 1) * len(values), j] = torch.tensor(list(values), dtype=rows.dtype)
    return decoded(run, rows)


def plane(run: Run, first: int, second: int, values: Sequence[float] = (-2.0, -1.0, 0.0, 1.0, 2.0)) -> Dataset:
    """Rows over the plane of two codes, the others 0: len(values)^2 rows, the first code along each line."""
    latent = _autoencoder(run).latent
    if first == second or not all(0 <= j < latent for j in (first, second)):
        raise OptionError("no plane of codes", got=(first, second), expected=f"two different ones of 0 to {latent - 1}",
                          do="take the first two of latent_report(...).codes")
    steps = torch.tensor(list(values), dtype=torch.float32)
    z = torch.zeros(len(steps) ** 2, latent)
    z[:, first], z[:, second] = steps.repeat(len(steps)), steps.flip(0).repeat_interleave(len(steps))
    return decoded(run, z)


def _autoencoder(run: Run) -> VAE:
    if not isinstance(run.model, VAE):
        raise OptionError(f"family '{run.family}' has no codes", got=run.family, expected="vae",
                          do="fit a variational autoencoder")
    return run.model


def _standardised(run: Run, dataset: Dataset) -> Iterator[tuple[Tensor, Tensor | None]]:
    for first in range(0, len(dataset), ROWS):
        part = dataset[slice(first, first + ROWS)]
        c = None
        if part.context is not None and run.context_scaling is not None:
            c = run.context_scaling.forward(part.context).to(_autoencoder(run).log_variance)
        yield run.scaling.forward(part.values).to(_autoencoder(run).log_variance), c


def _divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of each code's posterior from the standard normal, (n, latent)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def _spread(run: Run, dataset: Dataset, seed: int) -> float:
    model, (x, c) = _autoencoder(run), next(_standardised(run, dataset))
    z = torch.randn(len(x), model.latent, generator=stream(seed, "spread", 0, device=run.device), device=x.device,
                    dtype=x.dtype)
    with torch.no_grad():
        f = model.decode(z, c)
    return float((f.var(0).mean() / x.var(0).mean()).sqrt())
