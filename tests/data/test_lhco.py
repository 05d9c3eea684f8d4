"""LHC Olympics files in their published layout: pandas tables in HDF5, features and particles."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from sundog.data.public.lhco import read_features, read_particles
from sundog.errors import DataError, FileError, OptionError

LHCO = Path(os.environ.get("SUNDOG_DATA", "../shared/data")) / "lhco"


def pandas_table(path, names, values):
    """What frame.to_hdf(format='fixed') leaves."""
    with h5py.File(path, "w") as file:
        group = file.create_group("df")
        group.attrs["pandas_type"], group.attrs["nblocks"] = "frame", 1
        labels = np.array(names, "S12") if isinstance(names[0], str) else np.array(names)
        group["axis0"] = group["block0_items"] = labels
        group["axis1"], group["block0_values"] = np.arange(len(values)), values
    return path


def test_features(tmp_path):
    names = [f"{stem}j{j}" for j in (1, 2) for stem in ("px", "py", "pz", "m", "tau1", "tau2", "tau3")] + ["label"]
    row = dict(zip(names, [1500.0, 0, 0, 100, 0.5, 0.1, 0, -1500.0, 0, 0, 500, 0.4, 0.2, 0, 1]))
    path = pandas_table(tmp_path / "f.h5", names, np.array([list(row.values())] * 3))
    events, label = read_features(path)
    m_jj = (1500**2 + 100**2) ** 0.5 + (1500**2 + 500**2) ** 0.5
    assert np.allclose(events.context, m_jj / 1e3) and label.tolist() == [1, 1, 1]
    assert np.allclose(events.values[0], [0.1, 0.4, 0.2, 0.5])
    assert events.context_names == ("m_jj",) and events.context_units == ("TeV",)
    with pytest.raises(DataError, match="no LHC Olympics feature file"):
        read_features(pandas_table(tmp_path / "g.h5", ["a", "b"], np.ones((2, 2))))


def test_particles_in_pieces(tmp_path):
    values = np.arange(5 * 13, dtype=float).reshape(5, 13)
    path = pandas_table(tmp_path / "p.h5", list(range(13)), values)
    pieces = list(read_particles(path, piece=2))
    assert [len(label) for _, label in pieces] == [2, 2, 1]
    particles = np.concatenate([p for p, _ in pieces])
    assert particles.shape == (5, 4, 3) and particles[1, 2].tolist() == [19.0, 20.0, 21.0]
    assert np.concatenate([label for _, label in pieces]).tolist() == values[:, -1].tolist()


def test_wrong_files(tmp_path):
    with pytest.raises(DataError, match="no LHC Olympics particle file"):
        next(read_particles(pandas_table(tmp_path / "g.h5", ["a", "b"], np.ones((2, 2)))))
    (tmp_path / "half.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(FileError, match="cannot read"):
        next(read_particles(tmp_path / "half.h5"))
    with pytest.raises(OptionError, match="piece is unusable"):
        next(read_particles(tmp_path / "half.h5", piece=0))


@pytest.mark.slow
@pytest.mark.skipif(not LHCO.exists(), reason="needs the LHC Olympics data in SUNDOG_DATA")
def test_real_particles_through_the_file(tmp_path):
    pytest.importorskip("fastjet")
    from sundog.simulate.jets import jet_table

    with np.load(LHCO / "lhco_rd_particles_1000.npz") as file:
        particles, label = file["particles"][:60], file["label"][:60]
    path = pandas_table(tmp_path / "p.h5", list(range(482 * 3 + 1)),
                        np.column_stack([particles.reshape(60, -1), label]))
    tables = [(jet_table(p), kind) for p, kind in read_particles(path, piece=25)]
    assert np.allclose(np.concatenate([t for t, _ in tables]), jet_table(particles), equal_nan=True)
    assert np.concatenate([kind for _, kind in tables]).tolist() == label.tolist()


def test_a_file_with_one_jet_is_said_to_lack_the_other(tmp_path):
    names = [f"{stem}j1" for stem in ("px", "py", "pz", "m", "tau1", "tau2")]
    with pytest.raises(DataError, match=r"no LHC Olympics feature file.*pxj2.*tau2j2"):
        read_features(pandas_table(tmp_path / "one.h5", names, np.ones((3, 6))))
