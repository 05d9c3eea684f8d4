"""One column: the kind that its numbers speak for, and its map to smooth numbers and back."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from sundog.data.scaling.edges import edges_of, natural
from sundog.errors import DataError

KINDS = ("continuous", "bounded", "integer", "rounded", "discrete", "zero-inflated", "saturated")
FEWEST = 40  # rows below which nothing but a continuous column is recognised
MOST_LEVELS = 64  # a column of at most so many values is a list of values
MOST_ATOMS = 8
SHARED = 0.005  # of the rows share a value that gets a cell in a smooth column ...
STANDS_OUT = 5  # ... and it must have so many times the rows of its neighbours
THIN = 5  # rows: a level with fewer is a tail, and its neighbour may be seen next time
FARTHEST = 1e300
SINGLE = 1.2e-7  # spacing of float32: numbers that differ by less are the same


@dataclass(frozen=True)
class Column:
    """Map of one column: y = x + shift between the atoms, a cell [start, stop] of y for each atom.

    Attributes
    ----------
    kind : one of KINDS
    low, high : where fakes are clipped; None for nowhere
    support : where the density is zero beyond: a hair farther out, if that end is not a round number
    step, offset : of a grid, 0 for none
    atoms, cells : values with a cell of their own, rising, and their intervals
    borders : what becomes the atom again; the cell itself, or more where nothing lies beside it
    shifts : of the smooth numbers below, between and above the atoms
    levels : whether there are atoms only
    narrow : whether the density hardly changes across a step of the grid
    """

    kind: str = "continuous"
    low: float | None = None
    high: float | None = None
    support: tuple[float, float] = (-FARTHEST, FARTHEST)
    step: float = 0.0
    offset: float = 0.0
    atoms: tuple[float, ...] = ()
    cells: tuple[tuple[float, float], ...] = ()
    borders: tuple[tuple[float, float], ...] = ()
    shifts: tuple[float, ...] = (0.0,)
    levels: bool = False
    narrow: bool = True

    def spread(self, x: Tensor, at: Tensor) -> Tensor:
        """y of each number, shared values at the place ``at`` (0 to 1) of their cell."""
        smooth = x.clamp(*self.support)
        if self.step:
            smooth = self._on_grid(smooth) + self.step * (at - 0.5)
        if not self.atoms:
            return smooth
        which, is_atom = self._atom(x)
        cells = torch.tensor(self.cells, dtype=x.dtype)[which]
        inside = cells[:, 0] + at * (cells[:, 1] - cells[:, 0])
        if self.levels:
            return inside
        piece = torch.searchsorted(torch.tensor(self.atoms, dtype=x.dtype), x)
        return torch.where(is_atom, inside, smooth + torch.tensor(self.shifts, dtype=x.dtype)[piece])

    def gathered(self, y: Tensor) -> Tensor:
        """The number that y stands for: undo ``spread``."""
        if self.levels:
            ends = torch.tensor([stop for _, stop in self.cells[:-1]], dtype=y.dtype)
            return torch.tensor(self.atoms, dtype=y.dtype)[torch.searchsorted(ends, y)]
        borders = torch.tensor(self.borders, dtype=y.dtype).flatten()
        place = torch.searchsorted(borders, y)
        smooth = y - torch.tensor(self.shifts, dtype=y.dtype)[place // 2]
        if self.step:
            smooth = self._on_grid(smooth)
        smooth = self._inside(smooth)
        if not self.atoms:
            return smooth
        atoms = torch.tensor(self.atoms, dtype=y.dtype)[(place // 2).clamp(max=len(self.atoms) - 1)]
        return torch.where(place % 2 == 1, atoms, smooth)

    def log_width(self, x: Tensor) -> Tensor:
        """Logarithm of the width of each number's cell, 0 for smooth numbers; -inf where x cannot be."""
        grid = self._on_grid(x) if self.step else x
        off = (grid - x).abs() > 1e-3 * self.step + 2 * SINGLE * x.abs()
        low, high = self.support
        off = off | (x < low - SINGLE * abs(low)) | (x > high + SINGLE * abs(high))
        width = torch.full_like(x, math.log(self.step) if self.step else 0.0)
        if self.atoms:
            which, is_atom = self._atom(x)
            cells = torch.tensor(self.cells, dtype=x.dtype)
            width = torch.where(is_atom, cells.diff(dim=1).log()[which, 0], width)
            off = ~is_atom if self.levels else off & ~is_atom
        return width.masked_fill(off, -math.inf)

    def wide(self, x: Tensor) -> Tensor:
        """Whether the density may change across the cell of each number."""
        is_atom = self._atom(x)[1] if self.atoms else torch.zeros_like(x, dtype=torch.bool)
        return is_atom | (not self.narrow)

    def _inside(self, x: Tensor) -> Tensor:
        """Smooth numbers that passed an end are reflected at it, those of a grid stop there."""
        low = -FARTHEST if self.low is None else self.low
        high = FARTHEST if self.high is None else self.high
        if not self.step:
            x = torch.where(x < low, 2 * low - x, torch.where(x > high, 2 * high - x, x))
        return x.clamp(low, high)

    def _on_grid(self, x: Tensor) -> Tensor:
        return self.offset + self.step * ((x - self.offset) / self.step).round()

    def _atom(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest atom, and whether x is it, to the digits of float32."""
        atoms = torch.tensor(self.atoms, dtype=x.dtype)
        right = torch.searchsorted(atoms, x).clamp(1, len(atoms) - 1) if len(atoms) > 1 else None
        if right is None:
            which = torch.zeros_like(x, dtype=torch.long)
        else:
            which = right - (x - atoms[right - 1] < atoms[right] - x).long()
        return which, (x - atoms[which]).abs() <= 2 * SINGLE * atoms[which].abs()


class _Shares(NamedTuple):
    """The different numbers of a column, the share of each, and the rows that count."""

    values: Tensor
    share: Tensor
    rows: float

    @property
    def counts(self) -> Tensor:
        return self.share * self.rows

    def without(self, atoms: list[float]) -> _Shares:
        """The other numbers, their shares among themselves."""
        if not atoms:
            return self
        rest = ~torch.isin(self.values, torch.tensor(atoms, dtype=self.values.dtype))
        total = float(self.share[rest].sum())
        return _Shares(self.values[rest], self.share[rest] / total, self.rows * total)


def found_column(x: Tensor, weights: Tensor | None, kind: str = "", name: str = "the column") -> Column:
    """The map of a column (n,) float64: of the kind given, else of the kind that its numbers speak for.

    Raises
    ------
    DataError : a kind that the numbers contradict, such as integers with fractions.
    """
    if kind == "continuous" or (not kind and len(x) < FEWEST):
        return Column()
    held = _shares(x, weights)
    step, offset = (0.0, 0.0) if kind in ("bounded", "discrete") else grid(held.values)
    whole = bool((held.values == held.values.round()).all())
    if (kind == "integer" and not whole) or (kind == "rounded" and not step):
        raise DataError(f"{name} is not of kind {kind}", got=f"e.g. {float(held.values[0]):.9g}, "
                        f"{float(held.values[1]):.9g}", expected="multiples of one step", do="leave its kind out")
    few = len(held.values) <= min(MOST_LEVELS, held.rows / (5 if step else 10))
    if kind == "discrete" or (kind in ("", "integer", "rounded") and few):
        return _levels(held, step, kind or ("discrete" if not step else "integer" if whole else "rounded"), whole)
    atoms = [] if kind in ("integer", "rounded", "bounded") else _atoms(held, kind, name)
    low, high, support = _ends(held, kind, atoms, step, whole)
    if atoms:
        word = kind or ("zero-inflated" if 0.0 in atoms else "saturated")
        return _with_atoms(held, atoms, Column(word, low, high, support, step, offset))
    if step and kind != "bounded":
        narrow = step < 0.02 * _half_width(held)
        return Column(kind or ("integer" if whole else "rounded"), low, high, support, step, offset,
                      narrow=narrow)
    return Column("continuous" if low is None and high is None else "bounded", low, high, support)


def _shares(x: Tensor, weights: Tensor | None) -> _Shares:
    if weights is None:
        values, counts = x.unique(return_counts=True)
        return _Shares(values, counts.to(x).div_(len(x)), float(len(x)))
    share = weights / weights.sum()
    values, which = x.unique(return_inverse=True)
    return _Shares(values, torch.zeros_like(values).index_add_(0, which, share), 1 / float(share @ share))


def grid(values: Tensor) -> tuple[float, float]:
    """Step and offset of rising numbers that are all multiples of one step; step 0 if they are not."""
    largest, some = max(-float(values[0]), float(values[-1])), values[:64]
    for digits in range(7):
        slack = 1e-3 + SINGLE * largest * 10**digits
        if largest * 10**digits > 2**53 or (digits and slack > 0.1):
            break
        # Most columns are no grid: a few numbers show it.
        if all(_off_whole(part * 10.0**digits) <= (slack if digits else 0.0) for part in (some, values)):
            whole = (values * 10.0**digits).round_().long()
            step = _common_step(whole.diff())
            return step / 10**digits, int(whole[0]) / 10**digits
    gap = float(values.diff().min())
    if len(values) < 8 or SINGLE * largest > 0.05 * gap:
        return 0.0, 0.0
    if any(_off_whole((part - values[0]) / gap) > 0.02 + 2 * SINGLE * largest / gap for part in (some, values)):
        return 0.0, 0.0
    return float((values[-1] - values[0]) / ((values[-1] - values[0]) / gap).round()), float(values[0])


def _off_whole(x: Tensor) -> float:
    """Largest distance to a whole number."""
    return float(x.sub_(x.round()).abs_().max())


def _common_step(gaps: Tensor) -> int:
    return math.gcd(*gaps.unique().tolist())


def _levels(held: _Shares, step: float, kind: str, whole: bool) -> Column:
    """Each value a cell of [0, 1], as wide as its share; thin tails and holes get half a row."""
    share = dict(zip(held.values.tolist(), held.share.tolist()))
    if step and len(held.values) > 2:
        share |= _unseen(held, step, whole)
    values = sorted(share)
    width = torch.tensor([share[v] for v in values], dtype=torch.float64)
    ends = [0.0, *(width / width.sum()).cumsum(0).tolist()]
    cells = tuple(zip(ends[:-1], ends[1:]))
    return Column(kind, atoms=tuple(values), cells=cells, levels=True)


def _unseen(held: _Shares, step: float, whole: bool) -> dict[float, float]:
    """Values that a larger sample would hold: holes beside thinly filled levels, and a few beyond thin ends."""
    values, count, half = held.values.tolist(), held.counts.tolist(), 0.5 / held.rows
    found: dict[float, float] = {}
    for k in range(len(values) - 1):
        holes = round((values[k + 1] - values[k]) / step) - 1
        if 0 < holes <= MOST_LEVELS and min(count[k], count[k + 1]) <= THIN:
            found |= {values[k] + step * (i + 1): half / holes for i in range(holes)}
    for end, rows, way in ((values[0], count[0], -1), (values[-1], count[-1], 1)):
        if rows <= THIN and held.rows > 10 * THIN:
            found |= {end + way * step * i: half * 0.5**i for i in range(1, 9)
                      if not (whole and values[0] >= 0 > end + way * step * i)}
    return {float(f"{v:.12g}"): share for v, share in found.items()}


def _atoms(held: _Shares, kind: str, name: str) -> list[float]:
    """Values that far more rows share than their neighbours do."""
    if kind == "zero-inflated":
        if not bool((held.values == 0).any()):
            raise DataError(f"{name} is not of kind {kind}", got="no zero", expected="exact zeros",
                            do="leave its kind out")
        return [0.0]
    count, near = held.counts, 5
    if kind != "saturated" and not bool((count >= 10).any()):
        return []
    sums = torch.nn.functional.pad(count, (near, near)).unfold(0, 2 * near + 1, 1).sum(1)
    beside = (sums - count) / max(1, min(2 * near, len(count) - 1))
    enough = (count >= 10) & (held.share >= SHARED) & (count > STANDS_OUT * beside)
    if kind == "saturated" and not enough.any():
        enough = count == count.max()
    most = held.share.where(enough, torch.zeros_like(held.share)).argsort(descending=True)[:MOST_ATOMS]
    return sorted(float(held.values[i]) for i in most if enough[i])


def _ends(held: _Shares, kind: str, atoms: list[float], step: float, whole: bool
          ) -> tuple[float | None, float | None, tuple[float, float]]:
    """Where fakes are clipped, None at a soft end, and where the density ends."""
    rest = held.without(atoms)
    if rest.rows < FEWEST:
        low, high = float(held.values[0]), float(held.values[-1])
        return low, high, (low, high)
    ends: list[float | None] = []
    support = [-FARTHEST, FARTHEST]
    extremes = float(rest.values[0]), float(rest.values[-1])
    for i, ((edge, hard), extreme) in enumerate(zip(edges_of(*rest), extremes)):
        steps = (edge - extreme) / step if step else 0.0
        end = natural(edge, extreme) if hard and abs(steps - round(steps)) < 1e-6 else extreme
        ends.append(end if hard or kind == "bounded" else None)
        support[i] = edge if hard else support[i]
    if step and whole and float(rest.values[0]) >= 0 and ends[0] is None:
        ends[0] = support[0] = 0.0  # a count
    return ends[0], ends[1], (support[0], support[1])


def _half_width(held: _Shares) -> float:
    """Half the distance of the quantiles at 16 and 84 %; of wider ones where these are equal."""
    below = held.share.cumsum(0)
    for q in (0.16, 0.02, 0.0):
        ranks = torch.searchsorted(below, torch.tensor([q, 1 - q], dtype=below.dtype)).clamp(max=len(below) - 1)
        low, high = held.values[ranks].tolist()
        if high > low:
            return 0.5 * (high - low)
    return 1.0


def _with_atoms(held: _Shares, atoms: list[float], column: Column) -> Column:
    """The column with a cell for each atom among the smooth numbers."""
    is_atom = torch.isin(held.values, torch.tensor(atoms, dtype=held.values.dtype))
    rest, total = held.without(atoms), float(held.share[~is_atom].sum())
    if len(rest.values) < 2:
        return _levels(held, 0.0, "discrete", whole=False)
    spread = _half_width(rest)
    widths = [min(max(p / total / _density(rest, a, spread), 0.05 * spread), 4 * spread)
              for a, p in zip(atoms, held.share[is_atom].tolist())]
    first, last = float(rest.values[0]), float(rest.values[-1])
    below = sum(a < first - spread for a in atoms)  # far from the smooth numbers: moved close to them
    above = sum(a > last + spread for a in atoms)
    cells, shifts = [], [0.0]
    for a, width in zip(atoms[below : len(atoms) - above], widths[below:]):
        start = a - 0.5 * column.step + shifts[-1]
        cells.append((start, start + width))
        shifts.append(shifts[-1] + width - column.step)
    borders = list(cells)
    for width in reversed(widths[:below]):
        stop = (cells[0][0] if borders and cells[0][0] < first else first) - 2 * spread
        cells.insert(0, (stop - width, stop))
        borders.insert(0, (stop - width - spread, stop + spread))
    for width in widths[len(atoms) - above :]:
        end = last + shifts[-1]
        start = (cells[-1][1] if cells and cells[-1][1] > end else end) + 2 * spread
        cells.append((start, start + width))
        borders.append((start - spread, start + width + spread))
    if atoms[0] <= first:  # nothing lies beyond the outermost
        borders[0] = (-FARTHEST, borders[0][1])
    if atoms[-1] >= last:
        borders[-1] = (borders[-1][0], FARTHEST)
    shifts = [0.0] * below + shifts + [shifts[-1]] * above
    return replace(column, atoms=tuple(atoms), cells=tuple(cells), borders=tuple(borders), shifts=tuple(shifts))


def _density(rest: _Shares, a: float, spread: float) -> float:
    """Share of the smooth numbers per unit beside a: within the nearest twentieth of them, at least 20."""
    distance, order = (rest.values - a).abs().sort()
    below = rest.share[order].cumsum(0)
    k = int(torch.searchsorted(below, max(0.05, min(0.5, 20 / rest.rows))).clamp(max=len(below) - 1))
    return float(below[k]) / max(float(distance[k]), 1e-3 * spread)
