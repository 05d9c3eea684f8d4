"""fit fits a scaling one column after the other: the numbers are those of all columns at once."""

import json

import pytest
import torch

from sundog import Dataset
from sundog.data.scaling import Asinh, Chain, LogModulus, Standard, named_scaling
from sundog.errors import SundogError
from sundog.train.scaled import _fitted

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
