"""Moved copies: fakes with a patch that stands in the training images, wherever, however turned, with some noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor

from sundog.statistics.samples.moved import TURNS, Places, moved_copies
from sundog.verdicts.deciding.rows import Deciding, memory_row
from sundog.verdicts.pooled.sample import Pooled
from sundog.verdicts.verdict import Row

ONE_FAKE = 1e-3  # probability that any fake of a verdict is taken for a copy: a tenth of all false alarms
SUREST = 1e-6  # the tail is not trusted beyond
NAMED = 5  # copies named in the note
FEWEST_KNOWN = 20  # real rows with something to compare, below which nothing is known of chance
MEDIAN, TENTH = math.log(math.log(2)), math.log(-math.log(0.9))  # of a standard Gumbel law of minima


@dataclass(frozen=True, eq=False)
class Moved:
    """What the search found for all rows, the real ones first, and the chance (N,) that a new image is as like.

    Likeness is a minimum over many places, so that its lower tail falls as e^(x / width) (Gumbel); the width is that
    between the median and the lowest tenth of the real rows. Blank images, whose likeness is 0, say nothing about it.
    """

    places: Places
    real: int
    chance: Tensor

    @staticmethod
    def of(pooled: Pooled) -> Moved:
        """Search the training images of a pooled sample for every row."""
        assert pooled.train is not None  # asked for only where there is one
        n, seed = pooled.labels.real, pooled.labels.seed
        places = moved_copies(_single(pooled.values, pooled.shape), _single(pooled.train, pooled.shape), seed=seed)
        known = places.likeness[:n][places.likeness[:n] != 0].numpy()
        if len(known) < FEWEST_KNOWN:
            return Moved(places, n, torch.ones(len(places.likeness)))
        middle, low = np.quantile(known, [0.5, 0.1])
        width = max((middle - low) / (MEDIAN - TENTH), 1e-6)
        return Moved(places, n, ((places.likeness.double() - middle) / width + MEDIAN).exp())

    def row(self) -> Deciding:
        """The row that decides: more fakes than real rows among the likest."""
        return memory_row(self.places.likeness.numpy(), "moved copies", "images with a patch")

    def told(self, row: Row) -> Row:
        """The row with the number of fakes that are copies for its value, and where they come from."""
        p, n = self.places, self.real
        fakes = max(1, int(p.searched[n:].sum()))
        found = fakes * self.chance < ONE_FAKE
        chance = float((fakes * self.chance[n:]).min().clamp(SUREST, 1)) if found[n:].any() else 1.0
        copies = found[n:].nonzero().flatten()
        first = copies[p.likeness[n + copies].argsort()][:NAMED].tolist()
        named = [f"fake {i} is training image {int(p.image[n + i])}"
                 + (f" {TURNS[int(p.turn[n + i])]}" if p.turn[n + i] else "")
                 + f", {100 * float(p.differing[n + i]):.0f} % of symbols differ" for i in first]
        left = [] if bool(p.searched.all()) and p.trained == 1 else [
            f"to bound the cost {int(p.searched[n:].sum())} of {len(p.searched) - n} fakes were sought in "
            f"{p.trained:.0%} of the training images"]
        usual = float(found[:n].sum()) * (len(found) - n) / n
        if named and not found[:n].any():  # the truth has no such likeness: see docs/judge.md
            row = replace(row, p_value=min(row.p_value, chance), passed=False,
                          pull=max(row.pull, float(norm.isf(chance))))
        return replace(row, value=float(len(copies)), null=usual, null_low=usual, null_high=usual,
                       worst=f"fake {first[0]}" if first else "", note="; ".join(named + left),
                       about="Fakes with a patch that stands in a training image, at any shift, turned or mirrored, "
                       "with noise. Decides by one that neither chance nor the truth explains, or by their number.")


def _single(x: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    """(n, ny, nx) mean over the channels."""
    images = torch.from_numpy(x).view(len(x), *shape)
    return images if images.ndim == 3 else images.mean(1)
