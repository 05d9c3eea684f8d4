"""Find the components of a pile of unlabelled maps: clusters of their scattering statistics.

No map is labelled and no component was ever seen alone. Windows are cut from the maps; their scattering statistics are
the rows of a variational autoencoder with a mixture as prior (`models.mixture_vae`); each cluster is a component or a
mixture of components. A cluster that is nothing but contamination then feeds `separate`.

Source: Siahkoohi, Morel, Balestriero, Allys, Sainton, Kawamura, de Hoop 2023, arXiv 2305.16189.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import OptionError, SampleSizeError, ShapeError
from sundog.random import stream
from sundog.statistics.scattering.covariance import ScatteringCovariance
from sundog.tasks.separation.sources import as_maps
from sundog.train.fit import fit
from sundog.train.plan import Plan

FEWEST_WINDOWS = 20  # per cluster


@dataclass(frozen=True, eq=False)
class Clusters:
    """Windows of unlabelled maps, and which cluster each belongs to.

    Attributes
    ----------
    windows : (n, w, w) cut-outs
    origin : (n, 3) map, row and column of their first pixel
    probabilities : (n, K) of each cluster
    held_out : (h,) ELBO of each window that was not trained on, in nats; always the same windows for one seed
    """

    windows: Tensor
    origin: Tensor
    probabilities: Tensor
    held_out: Tensor

    @property
    def labels(self) -> Tensor:
        """(n,) most probable cluster, 0 the most frequent one."""
        return self.probabilities.argmax(1)

    def members(self, k: int, *, at_least: float = 0.5) -> Tensor:
        """Windows (m, w, w) that belong to cluster k with this probability or more; contaminations for `separate`."""
        return self.windows[(self.labels == k) & (self.probabilities[:, k] >= at_least)]

    def variances(self) -> Tensor:
        """Mean variance of the windows of each cluster (K,): pure noise is often the least of them."""
        found = [self.members(k, at_least=0).var((-2, -1)).mean() for k in range(self.probabilities.shape[1])]
        return torch.stack(found)

    def gain(self, over: Clusters) -> tuple[float, float]:
        """Mean gain in held-out ELBO over another number of clusters, nats per window, and its standard error.

        A cluster more that gains less than a few errors is one too many.
        """
        if len(self.held_out) != len(over.held_out):
            raise ShapeError("clusters of other maps", got=len(over.held_out), expected=len(self.held_out),
                             do="find both with the same maps, window and seed")
        gain = self.held_out - over.held_out
        return float(gain.mean()), float(gain.std()) / math.sqrt(len(gain))

    def agreement(self, truth: Tensor) -> float:
        """Adjusted Rand index with true labels (n,): 1 for the same partition, 0 for an unrelated one.

        Source: Hubert & Arabie 1985, J. Classification 2, 193.
        """
        if len(truth) != len(self.windows):
            raise ShapeError("labels and windows differ", got=len(truth), expected=len(self.windows),
                             do="pass one label per window")
        from sklearn.metrics import adjusted_rand_score

        return float(adjusted_rand_score(truth.numpy(), self.labels.numpy()))


def find_clusters(
    maps: Any, clusters: int = 3, *, window: int = 64, J: int | None = None, L: int = 4, latent: int = 6,
    steps: int = 300, seed: int = 0,
) -> Clusters:  # fmt: skip
    """Return the clusters of the windows of unlabelled maps.

    Parameters
    ----------
    maps : (n, ny, nx), or a Dataset of them; larger maps are cut into disjoint windows
    clusters : how many kinds to look for
    window : side of a window, pixels
    J, L : of the scattering statistics; J is floor(log2(window)) - 2
    latent : codes of the autoencoder
    steps : of its training
    seed : of its start and training

    Errors: SampleSizeError for fewer than 20 windows per cluster; ShapeError for maps smaller than a window.

    Example
    -------
    >>> x = torch.randn(60, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> x[::2] = x[::2].cumsum(1)
    >>> found = find_clusters(x, 2, window=16, steps=20)
    >>> found.agreement(torch.arange(60) % 2)
    1.0
    """
    windows, origin = cut_windows(as_maps(maps, None, "maps").float(), window)
    if clusters < 1 or len(windows) < FEWEST_WINDOWS * clusters:
        raise SampleSizeError("too few windows for the clusters", got=f"{len(windows)} windows, {clusters} clusters",
                              expected=f"at least {FEWEST_WINDOWS} windows per cluster, one cluster or more",
                              do="pass more maps, or smaller windows")
    rows = scattering_rows(windows, J, L)
    data = Dataset.from_arrays(rows, held_out_fraction=0.2)
    run = fit("mixture-vae", data, plan=Plan(steps=steps, batch=min(256, len(rows))), seed=seed, scaling="standard",
              device="cpu", clusters=clusters, latent=min(latent, rows.shape[1]))  # fmt: skip
    model: Any = run.model
    held = run.scaling.forward(data.held_out.values)
    with torch.no_grad():
        generator = stream(0, "elbo")
        e = torch.randn(16, len(held), model.latent, generator=generator)
        scores = torch.stack([model.elbo(held, part) for part in e]).mean(0)
    shares = model.responsibilities(run.scaling.forward(data.values))
    order = shares.sum(0).argsort(descending=True)
    return Clusters(windows, origin, shares[:, order], scores)


def cut_windows(maps: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Disjoint windows (n, w, w) of maps (m, ny, nx), and (n, 3) the map, row and column of each.

    Example
    -------
    >>> cut_windows(torch.zeros(2, 20, 33), 10)[1].tolist()[-1]
    [1, 10, 20]
    """
    if window < 8 or window > min(maps.shape[-2:]):
        raise ShapeError("windows do not fit the maps", got=f"{window} pixels", expected=f"8 to {min(maps.shape[-2:])}",
                         do="pass another window")
    rows, columns = maps.shape[1] // window, maps.shape[2] // window
    cut = maps[:, : rows * window, : columns * window].unflatten(2, (columns, window)).unflatten(1, (rows, window))
    m, i, j = torch.meshgrid(torch.arange(len(maps)), torch.arange(rows), torch.arange(columns), indexing="ij")
    origin = torch.stack([m, i * window, j * window], -1).flatten(0, 2)
    return cut.transpose(2, 3).flatten(0, 2), origin


def scattering_rows(windows: Tensor, J: int | None, L: int) -> Tensor:
    """Reduced scattering statistics (n, K) of windows, edges left out.

    S1 / sqrt(S2), log S2 per octave; S3 and S4 per set of octaves, averaged over all angles and weighted by the cosine
    of twice the angle between the first and the last wavelet: a few tens of numbers with little noise.
    """
    size = (int(windows.shape[-2]), int(windows.shape[-1]))
    J = max(1, int(math.log2(min(size))) - 3) if J is None else J
    if min(size) < 2 ** (J + 2) + 1:
        raise OptionError("windows too small for the octaves", got=f"J={J} in {size[0]} pixels",
                          expected=f"2^(J + 1) below {min(size) // 2}", do=f"pass J={J - 1} or larger windows")
    phi = ScatteringCovariance(size, J, L, isotropic=True, boundary="edge-mask", accuracy="fast")
    with torch.no_grad():
        full = torch.cat([phi(part).normalised().vector for part in windows.split(32)])
    labels = phi.labels
    kept = np.flatnonzero(np.isin(labels.kind, ["S1", "S2", "S3", "S4"]))
    number = np.unique(labels.kind[kept], return_inverse=True)[1]
    keys, group = np.unique(np.column_stack([number, labels.scales[kept]]), axis=0, return_inverse=True)
    where = torch.from_numpy(group.ravel())
    count = torch.bincount(where).to(full)
    turn = torch.from_numpy(np.cos(2 * np.pi * labels.angles[kept, 2] / L)).to(full)
    chosen = full[:, torch.from_numpy(kept)]
    mean, twice = (full.new_zeros(len(full), len(keys)).index_add(1, where, v) / count for v in (chosen, chosen * turn))
    return torch.cat([mean, twice[:, torch.from_numpy(keys[:, 3] >= 0)]], 1)
