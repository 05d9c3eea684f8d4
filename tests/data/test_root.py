"""ROOT trees come in by branch name, with the units the user declares; what cannot be read is named."""

import numpy as np
import pytest

import sundog
from sundog.errors import DataError, FileError, ShapeError

uproot = pytest.importorskip("uproot")
awkward = pytest.importorskip("awkward")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("root")
    generator = np.random.default_rng(0)
    events = {"dijet_mass": generator.uniform(3000, 4600, 500).astype("f4"), "n_tracks": generator.integers(0, 99, 500),
              "tau21": generator.uniform(size=500)}
    with uproot.recreate(place / "one.root") as file:
        file["Events"] = events
    with uproot.recreate(place / "two.root") as file:
        file["Events"] = {**events, "jet_pt": awkward.Array([[1.0]] * 250 + [[1.0, 2.0]] * 250)}
        file["Runs"] = {"run": np.arange(3)}
    np.savez(place / "events.npz", **events)
    return place


def test_branches_become_columns(folder):
    data = sundog.load(folder / "one.root", context="dijet_mass", units={"dijet_mass": "GeV"})
    with np.load(folder / "events.npz") as truth:
        assert np.array_equal(data.context[:, 0].numpy(), truth["dijet_mass"])
        assert np.array_equal(data.values[:, 0].numpy(), truth["n_tracks"].astype("f4"))
    assert data.names == ("n_tracks", "tau21") and data.context_units == ("GeV",) and data.units == ("", "")
    assert "GeV" in str(data)


def test_a_tree_among_several_and_branches_among_many(folder):
    data = sundog.load(folder / "two.root", key="Events", columns=["tau21", "dijet_mass"])
    assert data.names == ("tau21", "dijet_mass") and len(data) == 500
    with pytest.raises(FileError, match=r"several trees.*Events.*Runs"):
        sundog.load(folder / "two.root", columns=["tau21"])
    with pytest.raises(DataError, match="not numbers: got jet_pt"):
        sundog.load(folder / "two.root", key="Events")
    with pytest.raises(ShapeError, match=r"no branch 'tau2'.*did you mean tau21"):
        sundog.load(folder / "one.root", columns=["tau2"])
    with pytest.raises(FileError, match="no tree 'Event'"):
        sundog.load(folder / "one.root", key="Event")


def test_declared_units_must_name_columns(folder):
    with pytest.raises(ShapeError, match="no column 'm_jj'"):
        sundog.load(folder / "one.root", units={"m_jj": "GeV"})


def test_damaged_files(folder, tmp_path):
    whole = (folder / "one.root").read_bytes()
    for name, content in (("half.root", whole[: len(whole) // 2]), ("text.root", b"not a tree" * 50)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FileError, match=r"cannot read|no tree"):
            sundog.load(tmp_path / name)
    with uproot.recreate(tmp_path / "empty.root") as file:
        file["h"] = np.histogram([1.0, 2.0])
    with pytest.raises(FileError, match="holds no tree"):
        sundog.load(tmp_path / "empty.root")


def test_root_events_of_the_wrong_unit_are_told(folder):
    from sundog.tasks.anomaly import SignalRegion

    with pytest.raises(DataError, match="GeV for TeV"):
        SignalRegion(3.3, 3.7).check(sundog.load(folder / "one.root", context="dijet_mass"))
    with pytest.raises(ShapeError, match="another unit than the signal region: got GeV"):
        from sundog.tasks.anomaly.regions import gather

        gather(sundog.load(folder / "one.root", context="dijet_mass", units={"dijet_mass": "GeV"}), unit="TeV")


def test_named_units_in_other_files(tmp_path):
    (tmp_path / "e.csv").write_text("m [GeV],x\n1.5,2\n2.5,3\n")
    assert sundog.load(tmp_path / "e.csv", units={"x": "cm"}).units == ("GeV", "cm")
    data = sundog.load(tmp_path / "e.csv", context="m")
    data.save(tmp_path / "e.npz")
    again = sundog.load(tmp_path / "e.npz", units={"m": "TeV"})
    assert again.context_units == ("TeV",) and again.units == ("",)
