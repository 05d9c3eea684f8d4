"""Labels: the observed labelling of a pooled sample and its relabellings, as columns of one matrix.

A statistic that is a function of D = sum_i l_i F_i, with F_i features that do not look at the labels, is known for
all labellings after one matrix product. If both laws agree, the observed column is one among equals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.sparse as sparse
import torch
from torch import Tensor

from sundog.random import numpy_stream

RELABELLINGS = 999  # with the observed labelling 1000: the ten largest are exactly 1 %
SPLITS = 24  # real against real, for the bands
EXPLAINING = 299  # relabellings behind a row that does not decide
BLOCK = 2048  # rows held at once; labels are exchanged inside a block only, which is as exact and needs no memory
SMALLEST_EIGENVALUE = 1e-5  # of a correlation matrix, over the largest: below, float32 sums are rounding


@dataclass(frozen=True, eq=False)
class Labels:
    """The labellings of n real rows followed by m fakes.

    Column 0 is the observed one, l = w/sum(w) for fakes and -w/sum(w) for real rows, so that D is the difference of
    the means, fake - real. The next ``splits`` columns set one half of the real rows against the other, scaled to
    the variance of column 0. The rest is the null: labels exchanged at random; with weights, for which labels are not
    exchangeable, each sample resampled about its own mean with random signs.

    Attributes
    ----------
    real, fake : rows of each sample
    seed : of the blocks and the relabellings
    weights : (n + m,) event weights of either sign, or None
    """

    real: int
    fake: int
    seed: int = 0
    weights: np.ndarray | None = None
    relabellings: int = RELABELLINGS
    splits: int = SPLITS

    @property
    def null(self) -> slice:
        """The columns of the null, the observed one not among them."""
        return slice(1 + self.splits, None)

    @property
    def shares(self) -> np.ndarray:
        """w / sum(w) within each sample, (n + m,)."""
        w = np.ones(self.real + self.fake) if self.weights is None else self.weights
        return np.concatenate([w[: self.real] / w[: self.real].sum(), w[self.real :] / w[self.real :].sum()])

    @property
    def effective(self) -> tuple[float, float]:
        """Effective rows (sum w)^2 / sum w^2 of real and fake."""
        s = self.shares
        return float(1 / (s[: self.real] ** 2).sum()), float(1 / (s[self.real :] ** 2).sum())

    @property
    def variance(self) -> np.ndarray:
        """v (n + m,): the covariance of D under the null is sum_i v_i (F_i - mean)(F_i - mean)^T."""
        total = self.real + self.fake
        if self.weights is None:
            return np.full(total, (1 / self.real + 1 / self.fake) / (total - 1))
        return self.shares**2

    @property
    def centre(self) -> np.ndarray:
        """c (n + m,), sum 1: the common mean sum_i c_i F_i about which labels are exchanged or signs drawn."""
        if self.weights is None:
            return np.full(self.real + self.fake, 1 / (self.real + self.fake))
        rows = np.array(self.effective)
        return self.shares * np.repeat(rows / rows.sum(), (self.real, self.fake))

    def blocks(self) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Row numbers of a block with equal shares of both samples, and its labels (rows, columns), float32."""
        rng = numpy_stream(self.seed, "labels")
        count = -(-(self.real + self.fake) // BLOCK)
        real = np.array_split(rng.permutation(self.real), count)
        fake = np.array_split(self.real + rng.permutation(self.fake), count)
        for a, b in zip(real, fake):
            yield np.concatenate([a, b]), torch.from_numpy(self._columns(a, b, rng))

    def _columns(self, real: np.ndarray, fake: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        shares = self.shares.astype(np.float32)
        label = np.zeros((len(real) + len(fake), 1 + self.splits + self.relabellings), np.float32)
        label[:, 0] = np.concatenate([-shares[real], shares[fake]])
        a, b = self.effective
        signs = np.where(np.arange(len(real)) < len(real) // 2, 1, -1) * (np.arange(len(real)) < 2 * (len(real) // 2))
        halves = rng.permuted(np.broadcast_to(signs, (self.splits, len(real))), axis=1).T
        label[: len(real), 1 : 1 + self.splits] = halves * shares[real, None] * np.sqrt(1 + a / b)
        if self.weights is None:
            label[:, 0] -= label[:, 0].mean()  # where a block's shares are off by less than a row
            same = np.broadcast_to(label[:, 0], (self.relabellings, len(label)))
            label[:, self.null] = rng.permuted(same, axis=1).T
        else:
            signs = 2 * rng.integers(0, 2, (len(label), self.relabellings), np.int8) - 1
            label[:, self.null] = signs * label[:, :1]
        return label


@dataclass(eq=False)
class Table:
    """Features of the pooled rows and what the labels make of them.

    Attributes
    ----------
    make : row numbers -> (rows, F) float32 features; or, with ``cells``, (rows, R) whole numbers below ``cells``,
        which stand for R times ``cells`` indicators
    cells : 0 for features
    columns : how many labellings are wanted
    marks : count fakes in the cells, in place of sums of labels
    full : whether the whole covariance is wanted, or its diagonal
    difference : (F, columns) D for every labelling
    covariance : (F, F) or (F,) of D under the null
    """

    make: Callable[[np.ndarray], Tensor]
    cells: int = 0
    columns: int | None = None
    marks: bool = False
    full: bool = False
    difference: Tensor = field(default_factory=lambda: torch.zeros(0))
    covariance: Tensor = field(default_factory=lambda: torch.zeros(0))

    @cached_property
    def axes(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues of the correlations, and the squares (kept, columns) of D along their axes, both in units of
        the standard deviations. Of a filled table."""
        scale = _root(self.covariance.diagonal())
        moving = torch.isfinite(scale)
        values, vectors = torch.linalg.eigh((self.covariance / torch.outer(scale, scale))[moving][:, moving])
        kept = values > SMALLEST_EIGENVALUE * values.max()
        return values[kept], (vectors[:, kept].T @ (self.difference / scale[:, None])[moving]).square()


def fill(labels: Labels, tables: Sequence[Table]) -> None:
    """Fill every table in one pass over the rows."""
    variance, centre = (torch.from_numpy(x).float() for x in (labels.variance, labels.centre))
    sums = [_Sums() for _ in tables]
    for rows, label in labels.blocks():
        at = torch.from_numpy(rows)
        for table, total in zip(tables, sums):
            total.add(table, rows, label[:, : table.columns], variance[at], centre[at])
    for table, total in zip(tables, sums):
        total.close(table)


class _Sums:
    """Running sums of one table: products with the labels, and moments for the covariance."""

    def __init__(self) -> None:
        self.d = self.g = self.a = self.b = self.v = self.marks = torch.zeros(())

    def add(self, table: Table, rows: np.ndarray, label: Tensor, v: Tensor, centre: Tensor) -> None:
        f = table.make(rows)
        self.marks = self.marks + label.sum(0).double()
        if table.cells:
            counted = torch.cat([(label > 0).float() if table.marks else label, centre[:, None]], 1)
            both = torch.from_numpy(_indicators(f.numpy(), table.cells).T @ counted.numpy())
            self.d = self.d + both[:, :-1]  # float32: there may be many cells, and sums of labels are small
            self.b = self.b + both[:, -1].double()
            return
        weighed = f * v[:, None]
        self.d = self.d + (f.T @ label).double()
        self.g = self.g + (f.T @ weighed if table.full else (f * weighed).sum(0)).double()
        self.a, self.b = self.a + weighed.sum(0).double(), self.b + (centre @ f).double()
        self.v = self.v + v.sum().double()

    def close(self, table: Table) -> None:
        if table.full:
            self.g = self.g - torch.outer(self.a, self.b) - torch.outer(self.b, self.a) + self.v * torch.outer(
                self.b, self.b)
        elif not table.cells:
            self.g = self.g - 2 * self.a * self.b + self.v * self.b**2
        if not table.marks:  # labels about the common mean; their sum is 0 but where signs are drawn
            self.d = self.d - torch.outer(self.b, self.marks).to(self.d.dtype)
        table.difference, table.covariance = self.d, self.g


def _indicators(cell: np.ndarray, cells: int) -> sparse.csr_matrix:
    n, r = cell.shape
    where = (cell + cells * np.arange(r)).ravel()
    return sparse.csr_matrix((np.ones(n * r, np.float32), where, np.arange(0, n * r + 1, r)), shape=(n, r * cells))


def pulls(table: Table) -> Tensor:
    """D over its standard deviation under the null, (F, columns); 0 where nothing varies."""
    variance = table.covariance.diagonal() if table.full else table.covariance
    return table.difference / _root(variance)[:, None]


def hotelling(table: Table, ridge: float = 0.0) -> Tensor:
    """T^2 = D^T (C + ridge tr(C) / F)^+ D of every labelling, on features scaled to unit variance: (columns,).

    Source: Hotelling 1931; with a ridge, the kernel test of Harchaoui, Bach & Moulines 2008.
    """
    values, squares = table.axes
    return (squares / (values + ridge * values.sum())[:, None]).sum(0)


def _root(variance: Tensor) -> Tensor:
    """Standard deviations, infinite where the variance is rounding."""
    least = 1e-9 * variance.max()
    return torch.where(variance > least, variance, torch.inf).sqrt()
