"""The rows that decide a verdict: few, fixed beforehand, each a function of label-blind features.

    means          Hotelling's T^2 of the columns
    pairs          Hotelling's T^2 of x, x^2 and x_i x_j
    column shapes  Hotelling's T^2 of x, x^2, x^3, x^4 and |x| of each column
    kernel         Hotelling's T^2 of random Fourier features of whitened columns, lambda = 1e-2; fine: 1e-3
    mixture        Hotelling's T^2 of the Fisher vector of a mixture of Gaussians, lambda = 1e-2; coarse: 1e-1
    largest width  largest z^2 of a column's variance
    widths         sum of z^2 of the columns' variances
    narrow kernel  squared difference of smoothed densities, a tenth of the median distance wide, summed over 300 rows

Few, because each further independent row costs every other one: a maximum over N costs 1.10, 1.19, 1.26 in the
smallest error seen for N = 3, 10, 25.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from sundog.random import numpy_stream
from sundog.verdicts.deciding.labels import Labels, Table, hotelling, pulls
from sundog.verdicts.deciding.mixture import mixture

MOST_FEATURES = 600  # with a whole covariance; above, or above a quarter of the rows, only its diagonal is used
MOST_COMPONENTS = 100  # whose products are looked at
FREQUENCIES, SCALES = 128, (0.7, 2.0)  # of the kernel rows; scales in units of the median distance
NEAR = (0.005, 0.02, 0.1)  # shares of the pooled rows that count as near to the training data
CENTRES, NARROW = 300, 0.1  # of the narrow kernel; its width in median distances
FEWEST_BEYOND = 20.0
FAR = 6.0  # standard deviations at which powers are cut off


@dataclass(frozen=True, eq=False)
class Deciding:
    """A deciding row before the labels are known: a table, and the statistic of its D, nearly Gaussian, large is bad.

    Attributes
    ----------
    name, about : what the row is
    table : features
    statistic : table -> (columns,)
    shown : table -> (columns,) the number shown, such as T^2
    """

    name: str
    about: str
    table: Table
    statistic: Callable[[Table], Tensor]
    shown: Callable[[Table], Tensor]


def standardised(x: np.ndarray) -> np.ndarray:
    """Columns (N, d) of the pooled rows over their standard deviation, float32; constant columns left out."""
    x = np.asarray(x, float)
    spread = x.std(0)
    moving = spread > 1e-9 * (np.abs(x).max(0) + 1e-300)
    return ((x[:, moving] - x[:, moving].mean(0)) / spread[moving]).astype(np.float32)


def cut(z: np.ndarray, effective: float) -> np.ndarray:
    """Columns cut off where twenty effective rows lie beyond: random signs are honest only if many rows count."""
    far = np.quantile(np.abs(z), max(0.5, 1 - FEWEST_BEYOND / effective), axis=0)
    return standardised(np.clip(z, -far, far))


def whitened(z: np.ndarray) -> np.ndarray:
    """Leading principal components of z (N, d), unit variance, float32: at most 100 and a tenth of the rows."""
    values, vectors = np.linalg.eigh(np.cov(z.T, dtype=np.float64).reshape(z.shape[1], -1))
    count = max(1, min(MOST_COMPONENTS, len(z) // 10, int((values > 1e-4 * values[-1]).sum())))
    return (z @ (vectors[:, -count:] / np.sqrt(values[-count:]))).astype(np.float32)


def deciding_rows(z: np.ndarray, labels: Labels) -> list[Deciding]:
    """The rows on standardised columns z (N, d) of the pooled sample."""
    z = z if labels.weights is None else cut(z, min(labels.effective))
    total, d = z.shape
    few = min(MOST_FEATURES, total // 4)
    x, w = torch.from_numpy(z), torch.from_numpy(whitened(z))
    whole = 2 * d + d * (d - 1) // 2 <= few
    i, j = np.triu_indices(d if whole else w.shape[1], 1)
    base = x if whole else w

    def pairs(rows: np.ndarray) -> Tensor:
        part = base[rows]
        return torch.cat([part, part.square(), part[:, i] * part[:, j]], 1)

    def shapes(rows: np.ndarray) -> Tensor:
        part, cut = x[rows], x[rows].clamp(-FAR, FAR)
        return torch.cat([part, part.square(), cut**3 - 3 * cut, (cut.square() - 3).square(), cut.abs()], 1)

    square = Table(shapes, full=5 * d <= few)
    kernel, parts = (Table(make, full=True) for make in (fourier(w, labels.seed), mixture(w.numpy(), few, labels.seed)))
    line = Table(lambda rows: x[rows], full=d <= few)
    product = Table(pairs, full=whole)

    def widths(table: Table) -> Tensor:
        return pulls(table)[d : 2 * d].square()

    rows = [
        _quadratic("means", "Hotelling's T² of the columns.", line, _t2),
        _quadratic("pairs", "Hotelling's T² of x, x² and all products x_i x_j.", product, _t2),
        _quadratic("column shapes", "Hotelling's T² of x, x², x³, x⁴ and |x| of every column.", square, _t2),
        *(_quadratic(name, f"Hotelling's T² of random Fourier features at two bandwidths, ridge {ridge}.", kernel,
                     partial(hotelling, ridge=ridge)) for name, ridge in (("kernel", 0.01), ("fine kernel", 0.001))),
        *(_quadratic(name, "Hotelling's T² of shares, places and widths of the parts of a mixture of Gaussians, "
                     f"ridge {ridge}.", parts, partial(hotelling, ridge=ridge))
          for name, ridge in (("mixture", 0.01), ("coarse mixture", 0.1))),
        _quadratic("largest width", "Largest z² of a column's variance.", square, lambda t: widths(t).amax(0)),
        _quadratic("widths", "Sum of z² of the columns' variances.", square, lambda t: widths(t).sum(0)),
    ]
    if labels.weights is None:  # with weights, too few rows count within so short a distance
        about = "Difference of the densities, a tenth of the median distance wide, squared and summed over 300 rows."
        near = Table(near_centres(w, labels.seed))
        rows.append(_quadratic("narrow kernel", about, near, lambda table: table.difference.square().sum(0)))
    return rows


def _quadratic(name: str, about: str, table: Table, t2: Callable[[Table], Tensor]) -> Deciding:
    """A squared distance; its cube root is nearly Gaussian (Wilson & Hilferty 1931)."""
    return Deciding(name, about, table, lambda t: t2(t).pow(1 / 3), t2)


def _t2(table: Table) -> Tensor:
    return hotelling(table) if table.full else pulls(table).square().sum(0)


def fourier(w: Tensor, seed: int) -> Callable[[np.ndarray], Tensor]:
    """cos and sin of random projections of whitened columns: the features of Gaussian kernels (Rahimi & Recht 2007)."""
    rng, d = numpy_stream(seed, "frequencies"), w.shape[1]
    omega = torch.from_numpy(np.concatenate(
        [rng.normal(size=(d, FREQUENCIES)) / (scale * np.sqrt(d)) for scale in SCALES], 1).astype(np.float32))

    def make(rows: np.ndarray) -> Tensor:
        angle = w[rows] @ omega
        return torch.cat([angle.cos(), angle.sin()], 1)

    return make


def near_centres(w: Tensor, seed: int) -> Callable[[np.ndarray], Tensor]:
    """Gaussian kernels about rows of whitened columns, drawn without a look at the labels."""
    centre = w[torch.from_numpy(numpy_stream(seed, "narrow").permutation(len(w))[:CENTRES])]
    width = NARROW * torch.pdist(centre).median().clamp_min(1e-6)
    return lambda rows: (-(torch.cdist(w[rows], centre) / width).square()).exp()


def memory_row(distance: np.ndarray, name: str = "memorisation", of: str = "rows") -> Deciding:
    """Whether more fakes than real rows lie on top of the training data; ``distance`` (N,) to the nearest of them."""
    levels = np.quantile(distance, NEAR)
    near = torch.from_numpy((distance[:, None] <= levels).astype(np.float32))

    def largest(table: Table) -> Tensor:
        return pulls(table).amax(0)

    return Deciding(name, f"Largest z, fakes against real, of the share of {of} nearer to the training data "
                    "than the nearest 0.5, 2 and 10 % of all.", Table(lambda rows: near[rows]), largest, largest)


def twin_rows(groups: np.ndarray, labels: Labels) -> list[Deciding]:
    """Whether fakes repeat themselves, or real rows, more often than chance; nothing where no row is repeated.

    ``groups`` (N,) numbers equal rows. Pairs of equal rows are counted under every labelling.
    """
    size = np.bincount(groups)
    if size.max() == 1 or labels.weights is not None:
        return []
    number = np.where(size > 1, np.cumsum(size > 1), 0)
    cell, count = torch.from_numpy(number[groups][:, None]), torch.from_numpy(size[size > 1]).double()[:, None]
    table = Table(lambda rows: cell[rows], cells=len(count) + 1, marks=True)

    def repeats(table: Table) -> Tensor:
        s = table.difference[1:].double()
        return (s * (s - 1) / 2).sum(0)

    def copies(table: Table) -> Tensor:
        s = table.difference[1:].double()
        return (s * (count - s)).sum(0)

    return [Deciding("repeats", "Pairs of equal rows among the fakes.", table, repeats, repeats),
            Deciding("copies", "Pairs of equal rows, one real and one fake.", table, copies, copies)]
