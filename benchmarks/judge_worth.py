"""How often the interval of `amplification` holds the known worth of fakes: fitted Gaussians, and the events again.

    python benchmarks/judge_worth.py --toys 100
"""

from __future__ import annotations

import argparse
from types import SimpleNamespace

import numpy as np
import torch
from scipy.stats import binomtest, norm

from sundog import Dataset
from sundog.random import stream
from sundog.tasks.worth import amplification

N, EDGES = 1000, norm.ppf(np.arange(1, 10) / 10)


def drawn(n: int, *purpose: str | int) -> torch.Tensor:
    """Rows (n, 1) of the standard normal law."""
    return torch.randn(n, 1, generator=stream(0, *purpose))


def gaussian(events: Dataset, seed: int) -> SimpleNamespace:
    """A generator that knows that the law is Gaussian."""
    mean, std = events.values.mean(0), events.values.std(0)
    return SimpleNamespace(sample=lambda m, seed: Dataset.from_arrays(mean + std * drawn(m, "fakes", seed)))


def resample(events: Dataset, seed: int) -> SimpleNamespace:
    """A generator that knows nothing."""
    return SimpleNamespace(sample=lambda m, seed: events[torch.randint(
        len(events), (m,), generator=stream(seed, "rows"))])


def true_worth() -> float:
    """Of the Gaussian: from the shares of 4000 fits around the known ones."""
    x = drawn(4000 * N, "truth").double().numpy().reshape(4000, N)
    ends = norm.cdf((EDGES - x.mean(1, keepdims=True)) / x.std(1, ddof=1, keepdims=True))
    shares = np.diff(np.concatenate([np.zeros((4000, 1)), ends, np.ones((4000, 1))], 1), axis=1)
    return float(0.9 / ((shares - 0.1) ** 2).mean(0).sum())


def main() -> None:
    """Print a row of the table for each generator and number of fits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toys", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| generator | fits | true worth / n | median found | inside (68 % asked) | 95 % interval | below | above |")
    print("|---|---|---|---|---|---|---|---|")
    for name, fit, truth in (("Gaussian", gaussian, true_worth()), ("the events again", resample, float(N))):
        for generators in (4, 8, 16):
            found = [amplification(fit, Dataset.from_arrays(drawn(N, "events", name, toy)), generators=generators,
                                   seed=1000 * toy) for toy in range(options.toys)]
            below, above = (sum(f.high < truth for f in found), sum(f.low > truth for f in found))
            inside = options.toys - below - above
            low, high = binomtest(inside, options.toys).proportion_ci(0.95)
            print(f"| {name} | {generators} | {truth / N:.2f} | {np.median([f.factor for f in found]):.2f} | "
                  f"{inside / options.toys:.0%} | {low:.0%} to {high:.0%} | {below / options.toys:.0%} | "
                  f"{above / options.toys:.0%} |", flush=True)


if __name__ == "__main__":
    main()
