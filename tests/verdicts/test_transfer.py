"""A classifier carries over between real and fake exactly as far as the classes agree."""

from __future__ import annotations

import math

import pytest
import torch

from sundog import Dataset
from sundog.errors import DataError, SampleSizeError, ShapeError
from sundog.verdicts.transfer import transfer


def two_classes(n: int, seed: int, apart: float = 1.0) -> Dataset:
    """Two Gaussian classes in two columns, ``apart`` standard deviations from each other along the first."""
    g = torch.Generator().manual_seed(seed)
    y = (torch.arange(n) % 2).float()
    x = torch.randn(n, 2, generator=g)
    x[:, 0] += apart * y
    return Dataset.from_arrays(x, y, context_names=["kind"])


# AUC of two unit Gaussians a distance d apart is Phi(d / sqrt 2).
BEST = 0.5 * (1 + math.erf(1 / 2))


@pytest.mark.slow
def test_equal_laws_carry_over_in_both_directions() -> None:
    found = transfer(two_classes(800, 0), two_classes(600, 1), two_classes(800, 2), "kind", repeats=4)
    for value in (found.real_real, found.fake_real, found.real_fake):
        assert BEST - 0.06 < value < BEST + 4 * found.error  # trees on 400 rows lose a little
    assert found.n == 400 and found.asked == 600 and "from fakes" in str(found)


def test_fakes_whose_classes_are_alike_teach_nothing() -> None:
    found = transfer(two_classes(800, 0), two_classes(600, 1), two_classes(800, 2, apart=0.0), "kind", repeats=4)
    assert found.fake_real < found.low - 4 * found.error
    assert abs(found.real_fake - 0.5) < 0.08


@pytest.mark.slow
def test_exaggerated_fakes_are_too_easy() -> None:
    found = transfer(two_classes(800, 0), two_classes(600, 1), two_classes(800, 2, apart=3.0), "kind", repeats=4)
    assert found.real_fake > found.high + 4 * found.error


def test_bad_input_is_explained() -> None:
    real = two_classes(100, 0)
    with pytest.raises(ShapeError, match="no such class"):
        transfer(real, real, real, "type")
    three = Dataset.from_arrays(real.values, torch.arange(100) % 3, context_names=["kind"])
    with pytest.raises(DataError, match="not two classes"):
        transfer(real, real, three, "kind")
    with pytest.raises(SampleSizeError, match="too few fake"):
        transfer(real, real, real[:30], "kind")
