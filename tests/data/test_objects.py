"""What users hold becomes the same Dataset, and goes back: names, units, masks and index columns understood."""

import astropy.units as u
import awkward as ak
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from astropy.table import Table

import sundog
from sundog.data.files import as_dataset
from sundog.errors import DataError, ShapeError

M, TAU = np.array([3.4, 3.5, 3.625]), np.array([0.5, 0.25, 0.125])
FRAME = pd.DataFrame({"m": M, "tau": TAU}, index=[7, 3, 5])
STRUCTURED = np.array(list(zip(M, TAU)), dtype=[("m", "f8"), ("tau", "f4")])


def polars():
    return pytest.importorskip("polars").DataFrame({"m": M, "tau": TAU})


def xarray():
    return pytest.importorskip("xarray").Dataset({"m": ("row", M), "tau": ("row", TAU)})


HELD = {
    "structured": lambda: STRUCTURED, "masked without masks": lambda: np.ma.array(STRUCTURED), "pandas": lambda: FRAME,
    "nullable": lambda: FRAME.convert_dtypes(), "filtered frame": lambda: FRAME[FRAME.m > 0],
    "pyarrow": lambda: pa.table({"m": M, "tau": TAU}), "mapping": lambda: {"m": M, "tau": torch.tensor(TAU)},
    "astropy": lambda: Table({"m": M, "tau": TAU}), "awkward": lambda: ak.Array({"m": M, "tau": TAU}),
    "polars": polars, "xarray": xarray,
}  # fmt: skip


@pytest.mark.parametrize("kind", HELD)
def test_every_kind_gives_the_same_columns(kind):
    data = as_dataset(HELD[kind]())
    assert data.names == ("m", "tau")
    np.testing.assert_allclose(data["m"], M, rtol=1e-7)
    np.testing.assert_allclose(data["tau"], TAU, rtol=1e-7)


def test_options_of_load_hold_for_objects_too():
    data = sundog.load(FRAME.assign(w=[1.0, 2.0, 0.5]), context="m", weights="w", units={"m": "TeV"})
    assert data.names == ("tau",) and data.context_names == ("m",) and data.context_units == ("TeV",)
    assert data.weights.tolist() == [1.0, 2.0, 0.5]


@pytest.mark.parametrize(("held", "units"), [
    ({"m [TeV]": M, "tau": TAU}, ("TeV", "")),
    ({"m": M * u.TeV, "tau": TAU}, ("TeV", "")),
    (Table({"m": M * u.TeV, "tau": TAU}), ("TeV", "")),
])
def test_units_are_kept(held, units):
    data = as_dataset(held)
    assert data.names == ("m", "tau") and data.units == units
    assert as_dataset(data.to_table()).units == units  # and find their way back


def test_the_unit_of_a_map():
    assert as_dataset(np.ones((2, 8, 8)) * u.uK).units == ("uK",)
    assert sundog.Dataset.from_arrays(np.ones((2, 8, 8)) * u.uK).units == ("uK",)


@pytest.mark.parametrize("held", [
    np.ma.array(np.ones((4, 2)), mask=[[0, 0], [0, 1], [0, 0], [0, 0]]),
    np.ma.array(STRUCTURED, mask=[(0, 0), (1, 0), (0, 0)]),
    Table({"m": np.ma.array(M, mask=[0, 1, 0]), "tau": TAU}, masked=True),
    {"m": np.ma.array(M, mask=[0, 1, 0]), "tau": TAU},
])
def test_masked_entries_are_refused(held):
    for door in (as_dataset, sundog.Dataset.from_arrays):
        with pytest.raises(DataError, match="masked"):
            door(held)


@pytest.mark.parametrize(("held", "error", "match"), [
    ({"m": M, "name": ["a", "b", "c"]}, DataError, "name"),
    (FRAME.assign(day=pd.Timestamp("2020-01-01")), DataError, "day"),
    (FRAME.astype({"m": "Float64"}).replace({3.5: pd.NA}), DataError, "NaN"),
    ({"m": M, "tau": TAU[:2]}, ShapeError, "side by side"),
    (ak.Array([{"m": 1.0, "jets": [1.0, 2.0]}, {"m": 2.0, "jets": []}]), ShapeError, "jagged"),
    (pd.DataFrame(np.ones((3, 2)), columns=pd.MultiIndex.from_product([["a"], ["b", "c"]])), DataError, "levels"),
    (object(), ShapeError, "unusable shape"),
    ([[1.0, 2.0], [3.0]], DataError, "do not form an array"),
])
def test_what_is_no_table_is_named(held, error, match):
    with pytest.raises(error, match=match):
        as_dataset(held)


def test_out_again():
    data = sundog.load({"m [TeV]": M, "tau": TAU}, context="m")
    frame = data.to_pandas()
    assert list(frame) == ["tau", "m"] and frame.attrs["units"] == {"m": "TeV"}
    np.testing.assert_allclose(frame.m, M, rtol=1e-7)
    assert np.asarray(data).shape == (3, 1) and data.to_numpy().dtype == np.asarray(data).dtype
    data.to_numpy()[:] = 0
    assert data["tau"][0] == 0.5  # a copy
    assert len(list(data)) == 3 and "tau" in data._repr_html_()
    with pytest.raises(ShapeError, match="did you mean tau"):
        data["taw"]


def test_concat_matches_columns_by_name():
    one, two = as_dataset({"m": M, "tau": TAU}), as_dataset({"tau": TAU, "m": M + 1})
    both = sundog.Dataset.concat([one, two])
    np.testing.assert_allclose(both["m"], [*M, *(M + 1)], rtol=1e-7)
    with pytest.raises(ShapeError, match="other columns"):
        sundog.Dataset.concat([one, as_dataset({"m": M})])
    with pytest.raises(ShapeError, match="weights"):
        sundog.Dataset.concat([one, sundog.Dataset.from_arrays(FRAME, weights=TAU)])


def test_a_frame_is_fitted_as_it_is():
    x = np.random.default_rng(0).normal(size=(400, 2))
    run = sundog.fit("flow", pd.DataFrame(x, columns=["a", "b"]), steps=3, layers=1, hidden=(8,))
    assert run.plan.steps == 3 and run.sample(5, seed=0).names == ("a", "b")


def test_what_was_left_out_of_a_frame_is_noted_wherever_it_enters():
    frame = pd.DataFrame({"index": [0, 1, 2], "m": M})
    for data in (as_dataset(frame), sundog.Dataset.from_arrays(frame), sundog.Dataset.from_arrays(TAU[:, None], frame)):
        assert data.provenance["notes"] == ["left out the row numbers in column 'index'"]
    assert "notes" not in sundog.Dataset.from_arrays(FRAME).provenance


def test_a_feature_called_weight_is_not_overwritten_by_the_weights():
    data = sundog.Dataset.from_arrays(FRAME.rename(columns={"m": "weight"}), weights=[1.0, 2.0, 3.0])
    assert list(data.columns()) == ["weight", "tau", "weight_"]
    assert data.column("weight").tolist() == M.astype("f4").tolist()


def test_concat_refuses_what_is_no_whole():
    maps = [sundog.Dataset.from_arrays(np.ones((2, n, n)), periodic=n == 9) for n in (8, 9)]
    for parts in (maps, [maps[0], sundog.Dataset.from_arrays(np.ones((2, 8, 8)), periodic=True)]):
        with pytest.raises(ShapeError, match="other units or pixels"):
            sundog.Dataset.concat(parts)
    with pytest.raises(ShapeError, match="no data sets"):
        sundog.Dataset.concat([])
