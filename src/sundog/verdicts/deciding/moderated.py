"""Few objects, many numbers: t-statistics with moderated variances, and one p-value for all of them.

Each of a few objects (skies, simulations) is described by many numbers. The scatter of one number over few objects is
badly known; that of all numbers together is well known. Smyth's prior shrinks the one towards the other; the p-value of
all comes from exchanging the labels "real" and "fake", which is exact whatever the numbers have to do with each other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, polygamma
from scipy.stats import t as student

from sundog.errors import SampleSizeError
from sundog.random import numpy_stream

Array = NDArray[Any]
LEVEL = 0.01
_MOST = 1999  # relabellings; all of them, where there are fewer


@dataclass(frozen=True, eq=False)
class Moderated:
    """Comparison of two groups of objects, number by number and as a whole.

    Attributes
    ----------
    pull : (r,) (fake - real) / error, moderated
    error : (r,) standard error of the difference
    p_value : (r,) two-sided, Student's t with ``freedom`` degrees
    band : (r,) the size of pull that 95 % of the relabellings stay below
    freedom : n - 2 of the objects and what the prior adds; infinite where all numbers scatter alike
    p_global : share of labellings whose freedom times the mean of ln(1 + pull^2 / freedom), the freedom being that of
        the labelling, is as large as that of the true one; the mean of pull^2 where it is infinite
    """

    pull: Array
    error: Array
    p_value: Array
    band: Array
    freedom: float
    p_global: float


def moderated(real: Array, fake: Array, scale: Array, groups: Sequence[Any], seed: int = 0) -> Moderated:
    """Whether two groups of objects differ, from r numbers of each.

    With s^2 the pooled variance of a number over its scale, of d = n + m - 2 degrees of freedom, and a prior
    1/sigma^2 ~ chi^2_d0 / (d0 s0^2) whose s0 belongs to a group of numbers and d0 to all,
    s~^2 = (d0 s0^2 + d s^2) / (d0 + d) and t = difference / (s~ sqrt(1/n + 1/m)) has d0 + d degrees of freedom.

    Parameters
    ----------
    real, fake : (n, r) and (m, r)
    scale : (r,) what the scatter of each number is expected to be, up to a factor for each group
    groups : (r,) any label: numbers whose scatter over scale should be alike

    Raises
    ------
    SampleSizeError : too few objects for a p-value below `LEVEL`; says how many are needed.

    Source: Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3, 3, eq. 1-7 and section 6.2.

    Example
    -------
    >>> rng = np.random.default_rng(0)
    >>> real, fake = rng.normal(size=(2, 6, 40))
    >>> found = moderated(real, fake, np.ones(40), [0] * 40)
    >>> found.p_global > 0.01, moderated(real, fake + 3, np.ones(40), [0] * 40).p_global < 0.01
    (True, True)
    """
    n, m = len(real), len(fake)
    check_numbers(n, m)
    x = np.concatenate([real, fake]) / scale
    # Moved and stretched alike for every labelling; keeps sums of squares from losing digits.
    x = x - x.mean(0)
    names = {name: i for i, name in enumerate(dict.fromkeys(groups))}
    member = np.array([names[name] for name in groups])
    labellings = _labellings(n, m, seed)
    shown = [_fit(x, chosen, member) for chosen in labellings]
    pull, error, freedom, _ = shown[0]
    scores = np.array([fit[3] for fit in shown])
    band = np.quantile(np.abs([fit[0] for fit in shown[1:]]), 0.95, axis=0)
    return Moderated(pull, error * scale, 2 * student.sf(np.abs(pull), freedom), band, freedom,
                     float((scores >= scores[0] * (1 - 1e-12)).mean()))


def check_numbers(n: int, m: int) -> None:
    """Nothing, if n real and m fake objects have labellings enough for a p-value of `LEVEL`.

    Raises
    ------
    SampleSizeError : not; says how many are needed.
    """
    if min(n, m) < 1 or _distinct(n, m) * LEVEL < 1:
        more = next(k for k in itertools.count(max(m, 1)) if _distinct(k, max(m, 1)) * LEVEL >= 1 or k > 200)
        raise SampleSizeError(
            "too few to tell a difference", got=f"{n} real, {m} fake", do="simulate more: seeds 0, 1, 2 ...",
            expected=f"{_distinct(n, m)} ways to exchange them give no p below {1 / max(_distinct(n, m), 1):.2g}: 5 "
                     f"real and 5 fake, or {more} real for {max(m, 1)} fake")


def _distinct(n: int, m: int) -> int:
    """Labellings that give different differences up to a sign."""
    return math.comb(n + m, m) // (2 if n == m else 1)


def _labellings(n: int, m: int, seed: int) -> Array:
    """(labellings, n + m) whether an object is called fake, the true labelling first; all, or a random choice."""
    true = np.arange(n + m) >= n
    if _distinct(n, m) <= _MOST:
        sets = itertools.combinations(range(n + m), m)
        rows = np.zeros((math.comb(n + m, m), n + m), bool)
        for row, chosen in zip(rows, sets):
            row[list(chosen)] = True
        others = rows[(rows != true).any(1)]
        others = others[others[:, -1]] if n == m else others
    else:
        others = numpy_stream(seed, "labellings").permuted(np.broadcast_to(true, (_MOST, n + m)), axis=1)
    return np.concatenate([true[None], others])


def _fit(x: Array, fake: Array, member: Array) -> tuple[Array, Array, float, float]:
    """Pull, error, degrees of freedom and score of one labelling."""
    a, b = x[~fake], x[fake]
    d = len(x) - 2
    difference = b.mean(0) - a.mean(0)
    variance = (((a - a.mean(0)) ** 2).sum(0) + ((b - b.mean(0)) ** 2).sum(0)) / d
    variance = np.maximum(variance, 1e-12 * variance.mean() + 1e-300)
    d0, prior = _prior(np.log(variance), d, member)
    shrunk = variance if d0 == 0 else prior if math.isinf(d0) else (d0 * prior + d * variance) / (d0 + d)
    error = np.sqrt(shrunk * (1 / len(a) + 1 / len(b)))
    pull = difference / error
    freedom = d0 + d
    square = pull**2
    score = square.mean() if math.isinf(freedom) else np.log1p(square / freedom).mean() * freedom
    return pull, error, freedom, float(score)


def _prior(log_variance: Array, d: int, member: Array) -> tuple[float, Array]:
    """Degrees of freedom of the prior, and its variance for each number: moments of ln s^2."""
    count = np.bincount(member)
    e = log_variance - digamma(d / 2) + math.log(d / 2)
    mean = np.bincount(member, e) / count
    left = len(e) - len(count)
    spread = ((e - mean[member]) ** 2).sum() / left - float(polygamma(1, d / 2)) if left else 0.0
    if spread <= 0:
        return math.inf, np.exp(mean)[member]
    d0 = 2 * _inverse_trigamma(spread)
    return d0, np.exp(mean + digamma(d0 / 2) - math.log(d0 / 2))[member]


def _inverse_trigamma(x: float) -> float:
    """y with trigamma(y) = x, by Newton's method on 1/trigamma (Smyth 2004, appendix)."""
    y = 0.5 + 1 / x
    for _ in range(50):
        trigamma = float(polygamma(1, y))
        step = trigamma * (1 - trigamma / x) / float(polygamma(2, y))
        y += step
        if -step / y < 1e-8:
            break
    return y
