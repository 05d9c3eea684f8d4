"""Modes: does a generator repeat itself (collapse), and does it leave kinds of data out (dropping)?

The two failures of adversarial training that a loss does not show. Both are read from samples alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy.stats import poisson
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import SampleSizeError
from sundog.random import short
from sundog.statistics.samples.neighbours import precision_recall_density_coverage
from sundog.verdicts.settling import FEWEST_LOSSES, Oscillation, oscillation, settled_at

FEWEST_ROWS = 200
MODES = 16  # clusters that the data are cut into
RARE = 0.25  # a mode with less than this share of what it should hold is dropped, if chance does not explain it
CHANCE = 1e-4  # per mode
SOME_ROWS = 2000  # of each side for coverage, which costs their product


@dataclass(frozen=True)
class ModeReport:
    """How varied fakes are beside real data.

    Attributes
    ----------
    diversity, diversity_error : mean distance of two fakes over that of two real rows: 1 for equal laws, 0 for copies
    coverage, coverage_null : share of real rows with a fake as near as their fifth neighbour, and the same with
        other real rows in place of the fakes
    dropped : indices of the clusters that (nearly) no fake belongs to
    missing : share of the real rows in these clusters
    shares : (real, fake) share of each cluster
    """

    diversity: float
    diversity_error: float
    coverage: float
    coverage_null: float
    dropped: tuple[int, ...]
    missing: float
    shares: tuple[tuple[float, float], ...]

    @property
    def collapsed(self) -> bool:
        """Whether fakes are less than half as far apart as real rows, beyond four standard errors."""
        return self.diversity + 4 * self.diversity_error < 0.5

    def __str__(self) -> str:
        lost = (f"{len(self.dropped)} of {len(self.shares)} modes DROPPED, with {100 * self.missing:.1f} % of the data"
                if self.dropped else f"no mode of {len(self.shares)} dropped")
        return (f"diversity {self.diversity:.3f} +- {self.diversity_error:.3f} (1 is right"
                f"{', COLLAPSED' if self.collapsed else ''}); coverage {self.coverage:.3f} (real data "
                f"{self.coverage_null:.3f}); {lost}")


@dataclass(frozen=True)
class AdversarialReport:
    """What to look at after an adversarial training.

    Attributes
    ----------
    oscillations : objective -> its strongest period, None with too few records
    settled : objective -> records until the rule of convergence held, or None
    modes : variety of the fakes
    """

    oscillations: Mapping[str, Oscillation | None]
    settled: Mapping[str, int | None]
    modes: ModeReport

    def __str__(self) -> str:
        lines = []
        for name, found in self.oscillations.items():
            cycle = "too few records" if found is None else (
                f"OSCILLATES with period {found.period:.1f}" if found else "no oscillation")
            when = self.settled[name]
            lines.append(f"{name}: {cycle}; " + ("not settled" if when is None else f"settled after {when}"))
        return "\n".join([*lines, str(self.modes)])


def adversarial_report(losses: Mapping[str, Sequence[float]], real: Dataset | Tensor, fake: Dataset | Tensor, *,
                       seed: int = 0, window: int = 50) -> AdversarialReport:
    """Oscillation, convergence, collapse and dropping in one report.

    Parameters
    ----------
    losses : objective -> recorded losses, ``run.history.losses`` (``Plan(validate_every=...)`` sets how often)
    real, fake : rows, images or Datasets; the real ones held out from training
    seed : of the clusters and pairs
    window : of the rule of convergence, in records

    Example
    -------
    >>> g = torch.Generator().manual_seed(0)
    >>> real, fake = torch.randn(600, 2, generator=g), torch.randn(600, 2, generator=g)
    >>> found = adversarial_report({"critic": [0.0, 0.1] * 4}, real, fake, window=2)
    >>> print(str(found).splitlines()[0])
    critic: too few records; settled after 4
    >>> found.modes.collapsed, found.modes.dropped
    (False, ())
    """
    return AdversarialReport(
        {name: oscillation(series) if len(series) >= FEWEST_LOSSES else None for name, series in losses.items()},
        {name: settled_at(series, window) for name, series in losses.items()}, mode_report(real, fake, seed=seed))


def mode_report(real: Dataset | Tensor, fake: Dataset | Tensor, *, seed: int = 0, modes: int = MODES) -> ModeReport:
    """How varied fakes are beside real rows, with the scale of each column taken from the latter.

    Clusters are those of k-means on half of the real rows; the other half says how many fakes each should hold.
    A cluster is dropped when it holds less than a quarter of that, with a Poisson probability below 1e-4.

    Raises
    ------
    SampleSizeError : fewer than 200 rows on a side.
    """
    x, y = (_rows(part) for part in (real, fake))
    if min(len(x), len(y)) < FEWEST_ROWS:
        raise SampleSizeError("too few rows to look for modes", got=f"{len(x)} real, {len(y)} fake",
                              expected=f"at least {FEWEST_ROWS} each", do="draw more")
    g = torch.Generator().manual_seed(short(seed, 64, "halves"))
    x, y = x[torch.randperm(len(x), generator=g)], y[torch.randperm(len(y), generator=g)]
    half = len(x) // 2
    first, second = x[:half], x[half : 2 * half]
    (wide, wide_error), (narrow, narrow_error) = _distance(x), _distance(y)
    ratio = narrow / wide
    centres = _centres(first, modes, g)
    expected = torch.bincount(torch.cdist(second, centres).argmin(1), minlength=len(centres)).double() / half
    counts = torch.bincount(torch.cdist(y, centres).argmin(1), minlength=len(centres))
    dropped = tuple(j for j in range(len(centres)) if counts[j] < RARE * expected[j] * len(y)
                    and poisson.cdf(int(counts[j]), float(expected[j]) * len(y)) < CHANCE)
    n = min(half, len(y), SOME_ROWS)
    cover = [precision_recall_density_coverage(second[:n], part[:n]).coverage for part in (y, first)]
    return ModeReport(ratio, ratio * ((narrow_error / max(narrow, 1e-300)) ** 2 + (wide_error / wide) ** 2) ** 0.5,
                      cover[0], cover[1], dropped, float(expected[list(dropped)].sum()),
                      tuple((float(p), float(c) / len(y)) for p, c in zip(expected, counts)))


def _rows(part: Dataset | Tensor) -> Tensor:
    values = part.values if isinstance(part, Dataset) else part
    return values.flatten(1).double()


def _distance(x: Tensor) -> tuple[float, float]:
    """Mean distance of two rows with its standard error, from disjoint pairs."""
    half = len(x) // 2
    apart = (x[:half] - x[half : 2 * half]).norm(dim=1)
    return float(apart.mean()), float(apart.std() / half**0.5)


def _centres(x: Tensor, modes: int, g: torch.Generator, rounds: int = 25) -> Tensor:
    """Centres of k-means, started far apart (Arthur & Vassilvitskii 2007)."""
    centres = x[torch.randint(len(x), (1,), generator=g)]
    for _ in range(modes - 1):
        square = torch.cdist(x, centres).amin(1).square()
        if not square.sum() > 0:
            break  # fewer distinct rows than modes
        centres = torch.cat([centres, x[torch.multinomial(square, 1, generator=g)]])
    for _ in range(rounds):
        member = torch.nn.functional.one_hot(torch.cdist(x, centres).argmin(1), len(centres)).double()
        counts = member.sum(0)
        centres = torch.where(counts[:, None] > 0, member.T @ x / counts.clamp_min(1)[:, None], centres)
    return centres
