"""Dataset: what crosses every door keeps its labels, and unusable numbers stop at the door."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from sundog.data.dataset import Dataset
from sundog.errors import DataError, OptionError, ShapeError, SundogError


def _events(n: int = 100) -> Dataset:
    rng = np.random.default_rng(0)
    return Dataset.from_arrays(rng.normal(size=(n, 3)), rng.normal(size=n), ("a", "b", "c"), ("m", "", "s"),
                               weights=rng.random(n), context_names=("mass",), context_units=("TeV",))


def test_pandas_brings_names() -> None:
    frame = pd.DataFrame({"m": [1.0, 2.0], "tau": [0.1, 0.2]})
    data = Dataset.from_arrays(frame, context=pd.Series([3.0, 4.0], name="z"))
    assert (data.names, data.context_names, data.kind) == (("m", "tau"), ("z",), "events")


@pytest.mark.parametrize("make", [lambda x: x, torch.from_numpy], ids=["numpy", "torch"])
def test_the_callers_array_is_never_shared(make) -> None:
    array = np.zeros((2, 2), np.float32)
    data = Dataset.from_arrays(make(array))
    array[:] = 7
    assert data.values.sum() == 0


def test_train_and_held_out_share_no_row_and_repeat() -> None:
    data = Dataset.from_arrays(np.arange(1000.0)[:, None], np.arange(1000.0), weights=np.arange(1000.0))
    train, held = data.train, data.held_out
    assert (len(train), len(held)) == (800, 200)
    assert sorted(torch.cat([train.values, held.values])[:, 0].tolist()) == list(range(1000))
    assert torch.equal(data.held_out.values, held.values)
    assert torch.equal(held.values, held.context)
    assert torch.equal(held.values[:, 0], held.weights)
    assert len(train.train) == 800  # a part is not split again
    with pytest.raises(DataError, match="nothing is held out"):
        _ = train.held_out


def test_split_depends_on_its_seed_alone() -> None:
    data = _events()
    torch.manual_seed(1)
    first = data.split((0.5, 0.3), seed=1)
    torch.manual_seed(2)
    again, other = data.split((0.5, 0.3), seed=1), data.split((0.5, 0.3), seed=2)
    assert [len(part) for part in first] == [50, 30]
    assert torch.equal(first[1].values, again[1].values)
    assert not torch.equal(first[1].values, other[1].values)


@pytest.mark.parametrize("rows", [slice(2, 5), [2, 3, 4], torch.tensor([2, 3, 4]), np.arange(2, 5)], ids=str)
def test_rows_take_context_and_weights_along(rows) -> None:
    data = _events()
    part = data[rows]
    assert torch.equal(part.values, data.values[2:5])
    assert part.context is not None
    assert part.weights is not None
    assert torch.equal(part.context, data.context[2:5])  # type: ignore[index]
    assert torch.equal(part.weights, data.weights[2:5])  # type: ignore[index]
    assert torch.equal(data[3].values, data.values[3:4])


def test_context_moves_with_names_and_units() -> None:
    data = _events().with_context(["c", "a"])
    assert (data.names, data.context_names, data.context_units) == (("b",), ("mass", "c", "a"), ("TeV", "s", "m"))
    assert data.context is not None
    assert torch.equal(data.context[:, 1], _events().values[:, 2])


def test_fingerprint_sees_every_part() -> None:
    data = _events()
    prints = {d.fingerprint() for d in (
        data, data[1:], Dataset.from_arrays(data.values, data.context), Dataset.from_arrays(data.values),
        Dataset.from_arrays(data.values.reshape(-1, 1)))}
    assert len(prints) == 5
    assert data.fingerprint() == _events().fingerprint()


@pytest.mark.parametrize(("call", "error", "match"), [
    (lambda: Dataset.from_arrays(np.zeros(3)), ShapeError, "unusable shape"),
    (lambda: Dataset.from_arrays(np.zeros((0, 3))), DataError, "empty"),
    (lambda: Dataset.from_arrays([["a"]]), DataError, "not real numbers"),
    (lambda: Dataset.from_arrays(np.zeros((2, 2), complex)), DataError, "not real numbers"),
    (lambda: Dataset.from_arrays([[0.0], [np.nan]]), DataError, "1 of 2 rows.*row 1"),
    (lambda: Dataset.from_arrays([[1e39]]), DataError, "too large for float32"),
    (lambda: Dataset.from_arrays([[0.0]], [np.inf]), DataError, "context contain"),
    (lambda: Dataset.from_arrays([[0.0]], names=("a", "b")), ShapeError, "names do not fit"),
    (lambda: Dataset.from_arrays([[0.0, 1.0]], names=("a", "a")), ShapeError, "share a name"),
    (lambda: Dataset.from_arrays([[0.0]], [[1.0], [2.0]]), ShapeError, "context does not fit"),
    (lambda: Dataset.from_arrays([[0.0]], weights=[-1.0]), DataError, "weights are negative"),
    (lambda: Dataset.from_arrays([[0.0]], held_out_fraction=1.0), OptionError, "held_out_fraction"),
    (lambda: _events().with_context("d"), ShapeError, "no such column"),
    (lambda: _events().with_context(("a", "b", "c")), ShapeError, "every column"),
    (lambda: _events().split((0.9, 0.2)), OptionError, "cannot split"),
    (lambda: _events(3).split((0.9, 0.1)), DataError, "would be empty"),
])
def test_unusable_input_stops_at_the_door(call, error: type[SundogError], match: str) -> None:
    with pytest.raises(error, match=match) as caught:
        call()
    assert all((caught.value.what, caught.value.got is not None, caught.value.expected, caught.value.do))


def test_a_single_map_is_learned_whole_and_has_nothing_to_hold_out():
    one = Dataset.from_arrays(np.random.default_rng(0).normal(size=(1, 8, 8)))
    assert torch.equal(one.train.values, one.values)
    with pytest.raises(DataError, match="empty"):
        _ = one.held_out
    assert len(Dataset.from_arrays(np.zeros((3, 8, 8))).train) == 2


@pytest.mark.parametrize("module", ["sundog.data.dataset", "sundog.data.files", "sundog.train.run"])
def test_whatever_brings_a_dataset_brings_all_it_can_do(module):
    code = (f"import {module} as m, sundog; D = sundog.Dataset; "
            "print(D.from_arrays([[1.0], [2.0]]).describe().count('rows'), callable(D.load), callable(D.save))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["1", "True", "True"], done.stderr
