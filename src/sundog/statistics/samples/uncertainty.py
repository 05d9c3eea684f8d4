"""Error bars by resampling: bootstrap for independent samples, delete-one-block jackknife for ordered ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sundog.checks import at_least
from sundog.errors import SampleSizeError
from sundog.random import stream


@dataclass(frozen=True)
class Estimate:
    """A measured value with its standard error and a 68 % interval, all of the statistic's own shape."""

    value: Tensor
    error: Tensor
    low: Tensor
    high: Tensor


def bootstrap(statistic: Callable[[Tensor], Tensor], x: Tensor, *, n_resamples: int = 200, seed: int = 0) -> Estimate:
    """Return the statistic of x with error bars from resampling the first axis with replacement.

    error = standard deviation over the resamples; low, high = their 16 % and 84 % quantiles.

    Parameters
    ----------
    statistic: a function of a sample (n, ...) that returns a tensor of any fixed shape.
    x: (n, ...) independent samples; events, maps, or vectors measured on each of them (which is fastest).

    Errors: SampleSizeError below 2 samples; OptionError below 2 resamples.
    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch. 6 and 13.

    Example
    -------
    >>> x = torch.randn(400, generator=torch.Generator().manual_seed(0))
    >>> 0.04 < bootstrap(lambda s: s.mean(0), x).error.item() < 0.06
    True
    """
    _enough(len(x), 2, "a bootstrap")
    at_least(n_resamples, 2, "n_resamples")
    generator = stream(seed, "bootstrap")
    value = statistic(x)
    draws = [statistic(x[torch.randint(len(x), (len(x),), generator=generator)]) for _ in range(n_resamples)]
    resampled = torch.stack(draws)
    low, high = resampled.quantile(torch.tensor([0.16, 0.84]).to(resampled), dim=0)
    return Estimate(value, resampled.std(0), low, high)


def jackknife(statistic: Callable[[Tensor], Tensor], x: Tensor, *, n_blocks: int = 20) -> Estimate:
    """Return the statistic of x with error bars from leaving out one block of neighbouring samples at a time.

    error^2 = (B - 1)/B sum_b (t_b - <t>)^2 for B blocks; low, high = value -+ error. Blocks are contiguous, so that
    samples that belong together (patches of one map) leave together. Meant for smooth statistics, not for medians.

    Errors: SampleSizeError with fewer samples than blocks; OptionError below 2 blocks.
    Source: Künsch 1989, Ann. Stat. 17, 1217; Norberg et al. 2009, MNRAS 396, 19, eq. 3.

    Example
    -------
    >>> x = torch.randn(400, generator=torch.Generator().manual_seed(0))
    >>> 0.03 < jackknife(lambda s: s.mean(0), x).error.item() < 0.07
    True
    """
    at_least(n_blocks, 2, "n_blocks")
    _enough(len(x), n_blocks, f"{n_blocks} jackknife blocks")
    value = statistic(x)
    blocks = torch.tensor_split(torch.arange(len(x)), n_blocks)
    keep = torch.ones(len(x), dtype=torch.bool)
    left_out = []
    for block in blocks:
        keep[block] = False
        left_out.append(statistic(x[keep]))
        keep[block] = True
    t = torch.stack(left_out)
    error = ((n_blocks - 1) / n_blocks * (t - t.mean(0)).square().sum(0)).sqrt()
    return Estimate(value, error, value - error, value + error)


def _enough(n: int, needed: int, purpose: str) -> None:
    if n < needed:
        raise SampleSizeError(f"too few samples for {purpose}", got=n, expected=f"at least {needed}",
                              do="pass more samples")
