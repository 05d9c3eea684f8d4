"""``sundog sky``: skies on disk, at other frequencies, and the errors of the words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ducc0")

from sundog.cli import main
from sundog.data.sky.healpix import read_healpix
from sundog.simulate.sky import NAMES, SkyMaps
from sundog.tasks.sky import sz_spectrum


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).normal(size=(5, 768)).astype(np.float32)
    return SkyMaps(dict(zip(NAMES, values)), provenance={"seed": 0}).save(tmp_path / "sky")


def test_rescale_writes_maps_and_files_in_the_unit_asked_for(folder: Path, capsys: pytest.CaptureFixture) -> None:
    out = folder.parent / "out"
    assert main(["sky", "rescale", str(folder), "--ghz", "90", "--out", str(out), "--fits", "--unit", "Jy/sr",
                 "--car", "600", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    made, first = SkyMaps.load(out), SkyMaps.load(folder)
    assert np.allclose(made.tsz, first.tsz * float(sz_spectrum(90) / sz_spectrum(148)))
    stored = read_healpix(out / "tsz.fits")
    assert stored.unit == "Jy/sr"
    assert np.allclose(stored.values, made.tsz * 202.7177, rtol=1e-5)
    assert str(out / "kappa_car.fits") in told["files"]
    from astropy.io import fits
    from astropy.wcs import WCS

    with fits.open(out / "radio_car.fits") as units:
        assert units[0].data.shape == (18, 36)
        assert np.allclose(WCS(units[0].header).pixel_to_world_values(3, 4), (30.0, 45.0))


def test_wrong_words_exit_with_two(folder: Path, capsys: pytest.CaptureFixture) -> None:
    for words, said in ((["sky", "simulate", "--nside", "100"], "cannot simulate this NSIDE"),
                        (["sky", "simulate", "--nside", "16", "--cap", "10", "--cmb", "-o", str(folder.parent / "c")],
                         "a cap has no CMB"),
                        (["sky", "rescale", str(folder), "--ghz", "1e12"], "20 to 500 GHz"),
                        (["sky", "rescale", str(folder.parent), "--ghz", "90"], "no finished sky"),
                        (["sky", "generate", str(folder)], "no tiles known")):
        assert main(words) == 2
        assert said in capsys.readouterr().err


@pytest.mark.slow
def test_simulate_on_the_command_line(tmp_path: Path) -> None:
    pytest.importorskip("camb")
    assert main(["sky", "simulate", "--nside", "16", "--cmb", "--out", str(tmp_path / "sky"), "-q"]) == 0
    sky = SkyMaps.load(tmp_path / "sky")
    assert sky.nside == 16
    assert 40 < np.load(tmp_path / "sky" / "cmb.npy").std() < 150  # uK


@pytest.mark.slow
def test_train_and_generate_on_the_command_line(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("camb")
    run, out = tmp_path / "run", tmp_path / "made"
    assert main(["sky", "train", str(folder), "--out", str(run), "--size", "32", "--pixel", "60", "--patches", "60",
                 "--steps", "2", "-q"]) == 0
    words = ["sky", "generate", str(run), "--nside", "16", "--blend", "linear", "--seed", "2", "-q"]
    assert main([*words, "--out", str(out)]) == 0
    assert main([*words, "--out", str(tmp_path / "again")]) == 0
    for name in ("kappa", "tsz", "ksz", "cib", "radio"):
        first, second = np.load(out / f"{name}.npy"), np.load(tmp_path / "again" / f"{name}.npy")
        assert np.isfinite(first).all()
        assert first.tobytes() == second.tobytes()
        assert first.std() > 0
