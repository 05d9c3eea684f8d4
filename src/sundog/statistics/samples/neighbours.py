"""Nearest neighbours: fidelity and variety of a fake sample (PRDC), and whether it memorised its training data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sundog.checks import at_least
from sundog.errors import SampleSizeError
from sundog.statistics.samples.admission import checked_pair

BLOCK = 1024  # rows of a distance matrix held at once


@dataclass(frozen=True)
class PRDC:
    """Precision and density judge fidelity, recall and coverage judge variety; all near 1 for equal laws.

    Precision, recall and coverage lie in [0, 1]; density may exceed 1.
    """

    precision: float
    recall: float
    density: float
    coverage: float


@dataclass(frozen=True)
class Memorisation:
    """How close fakes lie to the training data, in units of how close unseen real data lie.

    ratio: median distance fake -> nearest training sample, over the same for held-out real samples; about 1 when
    nothing is memorised, towards 0 for copies. share_closer: share of fakes closer to a training sample than any
    held-out sample is. duplicates: number of fakes equal to a training sample, up to 1e-9 of the usual distance
    (features measured in another batch may differ in their last digit).
    """

    ratio: float
    share_closer: float
    duplicates: int


def precision_recall_density_coverage(real: Tensor, fake: Tensor, *, k: int = 5) -> PRDC:
    """Return precision, recall, density and coverage from k-nearest-neighbour balls.

    With B(r) the ball around r that reaches its k-th nearest neighbour in its own sample:
    precision = share of fakes in some B(real); recall = share of reals in some B(fake);
    density = mean number of B(real) around a fake / k; coverage = share of B(real) that hold a fake.

    Parameters
    ----------
    real, fake: (n, d) and (m, d) features on a common scale.

    Errors: OptionError for k < 1; SampleSizeError when a sample has no k-th neighbour.
    Source: Kynkäänniemi et al. 2019, eq. 1-2; Naeem et al. 2020, ICML, eq. 5-6.

    Example
    -------
    >>> g = torch.Generator().manual_seed(0)
    >>> far = precision_recall_density_coverage(torch.randn(99, 2, generator=g), 50 + torch.randn(99, 2, generator=g))
    >>> far.precision, far.coverage
    (0.0, 0.0)
    """
    real, fake = checked_pair(real, fake)
    at_least(k, 1, "k")
    if min(len(real), len(fake)) <= k:
        raise SampleSizeError("too few samples for their k-th neighbour", got=f"{len(real)} real, {len(fake)} fake",
                              expected=f"more than k = {k} each", do="pass more samples or a smaller k")  # fmt: skip
    centre = real.mean(0)
    real, fake = real - centre, fake - centre
    real_reach, fake_reach = _reach(real, k), _reach(fake, k)
    in_real = torch.zeros(len(fake), dtype=torch.long)
    recalled = torch.zeros(len(real), dtype=torch.bool)
    covered = torch.zeros(len(real), dtype=torch.bool)
    for start in range(0, len(real), BLOCK):
        part = slice(start, start + BLOCK)
        distance = torch.cdist(real[part], fake)
        inside = distance <= real_reach[part, None]
        in_real += inside.sum(0)
        covered[part] = inside.any(1)
        recalled[part] = (distance <= fake_reach).any(1)
    return PRDC(
        precision=float((in_real > 0).double().mean()), recall=float(recalled.double().mean()),
        density=float(in_real.double().mean() / k), coverage=float(covered.double().mean()),
    )  # fmt: skip


def nearest_neighbour_memorisation(train: Tensor, held_out: Tensor, fake: Tensor) -> Memorisation:
    """Return how much closer fakes lie to the training sample than unseen real data do.

    ratio = median_j min_i |fake_j - train_i| / median_j min_i |held_out_j - train_i|. Use features, or the flattened
    pixels of images; all three must be on the same scale.

    Parameters
    ----------
    train, held_out, fake: (n, d), (m, d), (l, d) or any (n, ...), which is flattened.

    Example
    -------
    >>> g = torch.Generator().manual_seed(0)
    >>> train, held_out = torch.randn(200, 2, generator=g), torch.randn(100, 2, generator=g)
    >>> nearest_neighbour_memorisation(train, held_out, train[:50]).duplicates
    50
    """
    train, held_out, fake = (x.flatten(1) if x.ndim > 2 else x for x in (train, held_out, fake))
    train, held_out = checked_pair(train, held_out)
    train, fake = checked_pair(train, fake)
    unseen, ours = nearest_distance(held_out, train), nearest_distance(fake, train)
    usual = float(unseen.median())
    ratio = float(ours.median()) / usual if usual > 0 else 1.0
    return Memorisation(ratio, float((ours < unseen.min()).double().mean()), int((ours <= 1e-9 * usual).sum()))


def nearest_distance(x: Tensor, reference: Tensor) -> Tensor:
    """Return the distance from each x to its nearest reference sample: (n,), exactly 0 only for equal samples.

    Example
    -------
    >>> nearest_distance(torch.tensor([[0.0], [2.0]]), torch.tensor([[2.0], [5.0]]))
    tensor([2., 0.])
    """
    centre = reference.mean(0)
    near = torch.empty(len(x), dtype=torch.long)
    for start in range(0, len(x), BLOCK):
        part = slice(start, start + BLOCK)
        near[part] = torch.cdist(x[part] - centre, reference - centre).argmin(1)
    # cdist rounds near zero when it goes through a matrix product: measure the winner again, directly.
    return (x - reference[near]).norm(dim=1)


def _reach(x: Tensor, k: int) -> Tensor:
    """Distance from each sample to its k-th nearest other sample; its own zero distance stands first."""
    parts = [
        torch.cdist(x[s : s + BLOCK], x).topk(k + 1, dim=1, largest=False).values[:, k] for s in range(0, len(x), BLOCK)
    ]
    return torch.cat(parts)
