"""Where? Boxes of feature space that hold too many or too few fakes, found on one half and measured on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from sundog.random import numpy_stream
from sundog.verdicts.deciding.labels import Labels

EDGES = 20  # equal shares of the rows between which a box may end
SIDES = 3  # of a box
LEAST = 0.01  # share of the rows that a box holds
WIDEST = 200  # columns looked at


@dataclass(frozen=True)
class Region:
    """A box of feature space in which fakes are over- or under-represented.

    Attributes
    ----------
    sides : (column, above, up to) of each condition; None where it has no such side
    real, fake : share of each sample inside, of the half that did not choose the box
    local_p : one-sided probability of so large a difference in this box, if the laws agree
    p_value : the same for any box that could have been named: two are
    kind : of the rows
    """

    sides: tuple[tuple[str, float | None, float | None], ...]
    real: float
    fake: float
    local_p: float
    p_value: float
    kind: str = "events"

    @property
    def words(self) -> str:
        """Such as "tau21 <= 0.1 and 3.6 < m <= 4.2"."""
        return " and ".join(f"{name} > {low:.3g}" if high is None else
                            (f"{low:.3g} < " if low is not None else "") + f"{name} <= {high:.3g}"
                            for name, low, high in self.sides)

    def __str__(self) -> str:
        p = "p < 1e-99" if self.p_value < 1e-99 else f"p = {self.p_value:.2g}"
        real = f"{100 * self.real:.3g} % of the real {self.kind}"
        return f"{real} have {self.words}; {100 * self.fake:.3g} % of the fakes ({p})"


def regions(x: np.ndarray, names: Sequence[str], labels: Labels, kind: str) -> tuple[Region, ...]:
    """The boxes with most too many and most too few fakes, the surer first.

    A box grows on one half of the rows: it begins with two cuts at any of twenty quantiles of two columns, then adds
    the cut that raises z = (f - r) / sd most. Its shares and its p-value come from the other half, which knows nothing
    of the choice.

    Parameters
    ----------
    x : (n + m, d) columns, real rows first
    names : of the columns
    """
    rng, share = numpy_stream(labels.seed, "where"), labels.shares
    half = np.concatenate([rng.permutation(n) % 2 for n in (labels.real, labels.fake)]).astype(bool)
    fake = np.arange(len(x)) >= labels.real
    column = np.arange(min(x.shape[1], WIDEST))
    edges = [np.unique(np.quantile(x[:, i], np.arange(1, EDGES) / EDGES, method="inverted_cdf")) for i in column]
    cell = np.stack([np.searchsorted(e, x[:, i], side="left") for i, e in zip(column, edges)], 1)
    found = []
    for sign in (1, -1):
        search = _Search(cell, [len(e) for e in edges], half, fake, share, sign)
        inside, cuts = np.ones(len(x), bool), []
        for step in range(SIDES):
            for i, cut, below in search.corner() if step == 0 else search.side(inside):
                inside &= (cell[:, i] <= cut) == below
                cuts.append((i, cut, below))
        if cuts:
            r, f, z = _excess(inside & ~half, ~half, fake, share)
            p = float(norm.sf(sign * z))
            found.append(Region(_sides(cuts, names, edges), r, f, p, min(1.0, 2 * p), kind))
    return tuple(sorted(found, key=lambda region: region.p_value))


Cut = tuple[int, int, bool]  # column, edge, below?


def _sides(cuts: Sequence[Cut], names: Sequence[str], edges: Sequence[np.ndarray],
           ) -> tuple[tuple[str, float | None, float | None], ...]:
    """One condition per column, whatever cuts made it."""
    found = []
    for i in dict.fromkeys(column for column, _, _ in cuts):
        above = [cut for column, cut, below in cuts if column == i and not below]
        under = [cut for column, cut, below in cuts if column == i and below]
        found.append((names[i], float(edges[i][max(above)]) if above else None,
                      float(edges[i][min(under)]) if under else None))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class _Search:
    """Cuts that raise sign * z on the searching half."""

    cell: np.ndarray
    edges: list[int]
    half: np.ndarray
    fake: np.ndarray
    share: np.ndarray
    sign: int

    def corner(self) -> list[Cut]:
        """The best two cuts of two columns (of the first twenty), or of one."""
        best, chosen = 0.0, self.side(np.ones(len(self.cell), bool))
        if chosen:
            rows = (self.cell[:, chosen[0][0]] <= chosen[0][1]) == chosen[0][2]
            best = self.sign * _excess(rows & self.half, self.half, self.fake, self.share)[2]
        several = [i for i, k in enumerate(self.edges[:EDGES]) if k]
        for a, i in enumerate(several):
            for j in several[a + 1 :]:
                held = [self._held(i, j, s) for s in (~self.fake, self.fake)]
                for left in (True, False):
                    for right in (True, False):
                        r, f = (_quadrant(c, left, right) for c in held)
                        z = self._z(r, f)
                        if z.max() > best + 1e-9:
                            best, at = float(z.max()), np.unravel_index(int(z.argmax()), z.shape)
                            chosen = [(i, int(at[0]), left), (j, int(at[1]), right)]
        return chosen

    def _held(self, i: int, j: int, sample: np.ndarray) -> np.ndarray:
        """Share of a sample below each pair of edges, the last beyond all."""
        rows, width = self.half & sample, self.edges[j] + 1
        cell, size = self.cell[rows, i] * width + self.cell[rows, j], (self.edges[i] + 1) * width
        count = np.bincount(cell, self.share[rows], size)
        return (count.reshape(-1, width) / self.share[rows].sum()).cumsum(0).cumsum(1)

    def side(self, inside: np.ndarray) -> list[Cut]:
        """The best further cut, or none."""
        best = max(0.0, self.sign * _excess(inside & self.half, self.half, self.fake, self.share)[2]) + 1e-9
        chosen: list[Cut] = []
        for i in (i for i, k in enumerate(self.edges) if k):
            below = []
            for s in (~self.fake, self.fake):
                rows, whole = inside & self.half & s, self.share[self.half & s].sum()
                below.append(np.bincount(self.cell[rows, i], self.share[rows], self.edges[i] + 1).cumsum() / whole)
            for under in (True, False):
                r, f = (c[:-1] if under else c[-1] - c[:-1] for c in below)
                z = self._z(r, f)
                if z.max() > best:
                    best, chosen = float(z.max()), [(i, int(z.argmax()), under)]
        return chosen

    def _z(self, r: np.ndarray, f: np.ndarray) -> np.ndarray:
        z = self.sign * _z(r, f, self.half, self.fake, self.share)
        return np.where((r + f) / 2 < LEAST, -np.inf, z)


def _quadrant(c: np.ndarray, left: bool, right: bool) -> np.ndarray:
    """Shares on one side of each edge of two columns, from the cumulative table with the totals last."""
    if left:
        return c[:-1, :-1] if right else c[:-1, -1:] - c[:-1, :-1]
    return (c[-1:, :-1] - c[:-1, :-1]) if right else c[-1, -1] - c[:-1, -1:] - c[-1:, :-1] + c[:-1, :-1]


def _excess(inside: np.ndarray, among: np.ndarray, fake: np.ndarray, share: np.ndarray) -> tuple[float, float, float]:
    """Shares of real rows and fakes inside, and z of their difference."""
    r, f = (float(share[inside & s].sum() / share[among & s].sum()) for s in (~fake, fake))
    return r, f, float(_z(np.array(r), np.array(f), among, fake, share))


def _z(r: np.ndarray, f: np.ndarray, among: np.ndarray, fake: np.ndarray, share: np.ndarray) -> np.ndarray:
    scatter = [(share[among & s] ** 2).sum() / share[among & s].sum() ** 2 for s in (~fake, fake)]
    p = np.clip((r / scatter[0] + f / scatter[1]) / (1 / scatter[0] + 1 / scatter[1]), 1e-6, 1 - 1e-6)
    return np.asarray((f - r) / np.sqrt(p * (1 - p) * sum(scatter)))


def telling(z: np.ndarray, labels: Labels, count: int = 3) -> tuple[int, ...]:
    """Numbers of the fakes furthest along the direction that separates the samples best (Fisher's discriminant)."""
    gap = z[labels.real :].mean(0) - z[: labels.real].mean(0)
    cov = np.cov(z.T, dtype=np.float64).reshape(z.shape[1], -1)
    direction = np.linalg.solve(cov + 0.01 * np.trace(cov) / len(cov) * np.eye(len(cov)), gap)
    return tuple(int(i) for i in np.argsort(-(z[labels.real :] @ direction), kind="stable")[:count])
