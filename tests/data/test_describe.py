"""describe: the numbers of the table are those of the data, and oddities are flagged."""

from __future__ import annotations

import numpy as np
import pytest

from sundog.data.dataset import Dataset


def _table(data: Dataset) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in data.describe().splitlines()[2:]}


def test_events_with_context_weights_zeros_constants_and_copies() -> None:
    x = np.array([[0.0, 5], [2, 5], [4, 5], [4, 5]])
    data = Dataset.from_arrays(x, x[:, 0], ("m", "k"), ("TeV", ""), weights=np.ones(4), context_names=("z",),
                               held_out_fraction=0.25)
    table = _table(data)
    assert table["m"] == ["TeV", "0", "3", "4", "2.5", "1.66", "25%"]
    assert table["k"] == ["5", "5", "5", "5", "0", "0%", "constant"]
    assert table["|"][0] == "z"
    assert "1 of 4 rows are exact copies" in data.describe()
    assert data.describe().startswith("events: 4 rows, 2 features, 1 held out")


def test_a_single_zero_is_seen() -> None:
    x = np.arange(1000.0)[:, None]
    assert _table(Dataset.from_arrays(x))["x"][-2:] == ["<1%", "integer"]
    assert _table(Dataset.from_arrays(x + 1))["x"][-2:] == ["0%", "integer"]


def test_copies_need_equal_context_and_minus_zero_is_zero() -> None:
    assert "copies" not in Dataset.from_arrays([[1.0], [1.0]], [1.0, 2.0]).describe()
    assert "1 of 2 rows" in Dataset.from_arrays([[0.0], [-0.0]]).describe()


def test_images_and_a_constant_that_float_sums_miss() -> None:
    data = Dataset.from_arrays(np.full((3, 7, 7), 0.1), units="uK", pixel_arcmin=0.5, periodic=True)
    text = data.describe()
    assert "images: 3 rows, 7 x 7 pixels" in text
    assert "pixel 0.5 arcmin, periodic" in text
    assert _table(data)["map"] == ["uK", "0.1", "0.1", "0.1", "0.1", "0", "0%", "constant"]
    channels = Dataset.from_arrays(np.random.default_rng(0).normal(size=(4, 2, 5, 5)), names=("I", "Q"))
    assert set(_table(channels)) == {"I", "Q"}


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.25, 0.3, 0.5])
def test_the_rows_said_to_be_held_out_are_those_that_are(fraction: float) -> None:
    for n in range(2, 40):
        data = Dataset.from_arrays(np.arange(float(n))[:, None], held_out_fraction=fraction)
        said = int(data.describe().split(" held out")[0].split()[-1])
        assert said == n - len(data.train)


def test_statistics_are_weighted_and_say_so() -> None:
    """Whole-number weights give the numbers of repeated rows; rows of weight zero give none."""
    rng = np.random.default_rng(1)
    x, w = np.concatenate([rng.normal(size=200), [1e9], [0.0]]), np.concatenate([rng.integers(1, 4, 200), [0], [2]])
    weighted, plain = Dataset.from_arrays(x[:, None], weights=w), Dataset.from_arrays(np.repeat(x, w)[:, None])
    assert _table(weighted)["x"] == _table(plain)["x"]
    assert "weighted statistics" in weighted.describe().splitlines()[0]
    assert "weighted" not in plain.describe()
    assert _table(Dataset.from_arrays(x[:, None]))["x"] != _table(plain)["x"]  # the control


def test_kinds_are_named() -> None:
    rng = np.random.default_rng(2)
    gauss, wait = rng.normal(size=500), rng.exponential(size=500)
    columns = {"gauss": gauss, "wait": np.where(rng.random(500) < 0.2, 0.0, wait), "jets": rng.poisson(3, 500),
               "u": rng.random(500), "adc": gauss.clip(max=1.0), "mm": gauss.round(1)}
    table = _table(Dataset.from_arrays(np.stack(list(columns.values()), 1), names=tuple(columns)))
    assert {name: table[name][-1] for name in columns if name != "gauss"} == {
        "wait": "zero-inflated", "jets": "integer", "u": "bounded", "adc": "saturated", "mm": "rounded"}
    assert table["gauss"][-1] == "0%"
