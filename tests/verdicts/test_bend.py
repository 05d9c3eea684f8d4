"""Tails without a variance neither cry wolf nor hide a difference."""

import pytest
import torch

from sundog import Dataset, judge
from sundog.verdicts.pooled.bend import Bend

ROWS = ("marginals", "pair projections", "radius")


def cauchy(n, seed, scale=1.0):
    z = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    return Dataset.from_arrays(scale * z[:, :2] / z[:, 2:].abs().clamp(min=1e-6), names=["a", "b"], units="GeV")


def test_only_wild_columns_are_bent():
    z = torch.randn(5000, 3, generator=torch.Generator().manual_seed(0))
    columns = torch.stack([z[:, 0], z[:, 0].exp(), z[:, 1] / z[:, 2]], 1)
    data = Dataset.from_arrays(columns, names=["gauss", "log", "wild"])
    curve = Bend.of(data)
    assert curve.names == ("wild",)
    assert torch.equal(curve(data).values[:, :2], data.values[:, :2])
    assert (curve(data).values[:, 2].argsort() == data.values[:, 2].argsort()).all()
    precise = Dataset(values=columns.double(), names=data.names, units=data.units)
    assert torch.allclose(curve(precise).values.float(), curve(data).values)


def test_a_wider_cauchy_still_fails_and_says_how_it_was_judged():
    verdict = judge(cauchy(1000, 0), cauchy(500, 1, scale=1.5), statistics=ROWS)
    assert not verdict.passed
    assert any("wild tails" in note for note in verdict.notes)


@pytest.mark.slow
def test_equal_cauchy_laws_pass():
    """At the nominal 1 % more than 3 of 60 fail with probability 0.003; labels exchanged make the rate exact."""
    pairs = [(cauchy(600, 2 * s), cauchy(300, 2 * s + 1)) for s in range(60)]
    assert sum(not judge(*pair, statistics="deciding").passed for pair in pairs) <= 3
