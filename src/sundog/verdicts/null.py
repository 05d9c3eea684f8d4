"""The null band: what real against real looks like, and how far outside it a number lies.

The truth is cut R times at random into two disjoint halves A, B of n rows; a statistic T(B, A) gives the band, and
T(F, A) with n fakes F the number to be judged. Halves of one sample of 2 n rows scatter as two fresh samples of
n would: Var(mean A - mean B) = 4 s^2/n (1 - n/2n) = 2 s^2/n. This is the permutation law of the statistic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor

SPREAD_FLOOR = 1e-9  # keeps a statistic that never varies from dividing by zero
GAUSSIAN_SPREAD = 0.43  # standard deviation of |z|^(2/3) for a standard Gaussian z
PULL_LIMIT = 999.0


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of one split: disjoint halves of the truth and as many fakes, (n,) each."""

    real: Tensor
    other: Tensor
    fake: Tensor

    def head(self, n: int) -> Split:
        """The first n rows of each part; still disjoint and random."""
        return Split(self.real[:n], self.other[:n], self.fake[:n])


def disjoint_splits(n_real: int, n_fake: int, n: int, splits: int, seed: int) -> list[Split]:
    """Random splits of n rows of fakes and two disjoint times n rows of the truth.

    Example
    -------
    >>> split = disjoint_splits(10, 7, 5, 1, seed=0)[0]
    >>> sorted(torch.cat([split.real, split.other]).tolist()) == list(range(10)), len(split.fake)
    (True, 5)
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for _ in range(splits):
        real = torch.randperm(n_real, generator=generator)
        drawn.append(Split(real[:n], real[n : 2 * n], torch.randperm(n_fake, generator=generator)[:n]))
    return drawn


def cube_root(x: np.ndarray) -> np.ndarray:
    """x^(1/3): makes a squared distance, a sum of weighted chi-squares, nearly Gaussian (Wilson & Hilferty 1931)."""
    return np.cbrt(x)


def two_thirds(x: np.ndarray) -> np.ndarray:
    """x^(2/3): the same for a distance that is the root of such a sum."""
    return np.cbrt(np.asarray(x) ** 2)


def arcsine(x: np.ndarray) -> np.ndarray:
    """arcsin sqrt(x): gives a share the same scatter wherever it lies."""
    return np.arcsin(np.sqrt(np.clip(x, 0, 1)))


@dataclass(frozen=True, eq=False)
class Excess:
    """How far numbers lie above their null: ``pull`` in null standard deviations, and one-sided log p-values."""

    pull: np.ndarray
    log_p: np.ndarray


def excess(fake: np.ndarray, null: np.ndarray, scale: Callable[[np.ndarray], np.ndarray] = np.asarray,
           least_spread: np.ndarray | float = 0.0) -> Excess:
    """Excess of the median fake number (R, ...) over null numbers (R', ...), on a scale where the null is Gaussian.

        pull = [ median g(T_fake) - mean g(T_null) ] / ( s_null sqrt(1 + 1/R') ),   p from Student's t, R' - 1 degrees

    ``least_spread`` is a floor under s_null, for statistics that so few rows decide that the splits show no spread.
    The median of the splits scatters less than one split does, so the p-value errs on the careful side.

    Example
    -------
    >>> null = np.random.default_rng(0).normal(size=25)
    >>> bool(excess(np.array([6.0]), null).pull > 4)
    True
    """
    g_fake, g_null = scale(np.asarray(fake, dtype=float)), scale(np.asarray(null, dtype=float))
    count = len(g_null)
    centre = g_null.mean(0)
    floor = np.maximum(least_spread, SPREAD_FLOOR * (1 + np.abs(centre)))
    spread = np.maximum(g_null.std(0, ddof=1), floor) * np.sqrt(1 + 1 / count)
    pull = np.clip((np.median(g_fake, 0) - centre) / spread, -PULL_LIMIT, PULL_LIMIT)
    return Excess(pull, student.logsf(pull, count - 1))
