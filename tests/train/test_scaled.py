"""fit fits a scaling one column after the other: the numbers are those of all columns at once."""

import json
import math

import pytest
import torch

from sundog import Dataset
from sundog.data.scaling import Asinh, Chain, LogModulus, Standard, named_scaling
from sundog.errors import SundogError
from sundog.train.scaled import _fitted, log_density

WORDS = ["auto", "standard", "logit", "asinh", "log-modulus", "normal-scores", "identity"]


def events(weights):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(3000, 3, generator=g) * torch.tensor([1.0, 50.0, 1e-3]) + torch.tensor([0.0, 7.0, 1.0])
    return Dataset.from_arrays(x, names=("a", "b", "c"), weights=torch.rand(3000, generator=g) if weights else None)


def numbers(facts):
    """All numbers of a scaling, in order."""
    if isinstance(facts, dict):
        return [n for key in sorted(facts) for n in numbers(facts[key])]
    if isinstance(facts, list | tuple):
        return [n for part in facts for n in numbers(part)]
    return [float(facts)] if isinstance(facts, int | float) else []


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("scaling", [*map(named_scaling, WORDS), Chain([Asinh((2.0, 3.0, 4.0)), Standard()])],
                         ids=[*WORDS, "given"])
def test_column_by_column_is_all_at_once(scaling, weights):
    data = events(weights)
    found, wanted = _fitted(scaling, data), scaling.fit(data.values, data.weights, data.names)
    assert type(found) is type(wanted)
    a, b = (numbers(json.loads(json.dumps(s.to_json()))) for s in (found, wanted))
    assert a == pytest.approx(b, rel=1e-12, abs=1e-15)
    other = _fitted(scaling, Dataset.from_arrays(2 * data.values, names=("a", "b", "c")))
    assert scaling == named_scaling("identity") or numbers(other.to_json()) != pytest.approx(b, rel=1e-3)


def test_numbers_for_another_count_of_columns_are_refused():
    with pytest.raises(SundogError):
        _fitted(LogModulus((1.0, 2.0)), events(False))


class Cells:
    """Whole numbers, each spread over a cell of length 1."""

    def forward(self, x, at=0.5):
        return x + at

    def log_abs_det(self, x, at=0.5):
        return torch.zeros(len(x), dtype=torch.float64)

    def celled(self, x):
        return torch.ones(len(x), dtype=torch.bool)


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_the_density_in_a_cell_is_the_mean_over_it(columns):
    """p = 3/4 + 3 (u - 1/2)^2 in each column, u the place in the cell: its mean is 1, in the middle it is 3/4."""
    def model(z, rows):
        log_p = (0.75 + 3 * (z - z.floor() - 0.5) ** 2).log().sum(1)
        return log_p, torch.full_like(log_p, 0.1)

    x = torch.arange(4 * columns, dtype=torch.float64).reshape(4, columns)
    found, error = log_density(Cells(), x, model)
    assert found.abs().max() < 0.02 < 0.1 * abs(columns * math.log(0.75))
    assert torch.allclose(error, torch.full_like(error, 0.1))
