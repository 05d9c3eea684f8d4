"""HEALPix maps that are wrong in the usual ways are refused with the right words."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ducc0")

from sundog.data.sky.healpix import (
    UNSEEN,
    HealpixMap,
    checked_map,
    checked_mask,
    filled,
    looks_misordered,
    read_healpix,
    reordered,
    write_healpix,
)
from sundog.data.sky.sphere import gaussian_alm, synthesis
from sundog.errors import DataError, FileError, OptionError, ShapeError, SundogError

DATA = Path(os.environ.get("SUNDOG_DATA", "../shared/data"))


@pytest.fixture(scope="module")
def smooth() -> np.ndarray:
    return synthesis(gaussian_alm(1 / (1 + np.arange(33.0)) ** 2, np.random.default_rng(0)), 16)


def test_a_nested_map_is_found_out_and_white_noise_is_not(smooth: np.ndarray) -> None:
    assert not looks_misordered(smooth)
    assert looks_misordered(reordered(smooth, "NESTED"))
    with pytest.raises(DataError, match="NESTED order"):
        checked_map(reordered(smooth, "NESTED"))
    noise = np.random.default_rng(1).normal(size=(20, 3072))
    assert not any(looks_misordered(x) for x in noise)


@pytest.mark.parametrize(("values", "kind", "word"), [
    (np.zeros(12 * 12**2), ShapeError, "power of two"),
    (np.zeros(1000), ShapeError, "not a HEALPix map"),
    (np.zeros((5, 768)), ShapeError, "not one HEALPix map"),
    (np.where(np.arange(768) == 3, UNSEEN, 1.0).astype(np.float32), DataError, "without a number"),
    (np.where(np.arange(768) == 3, np.nan, 1.0), DataError, "without a number"),
])
def test_bad_maps(values: np.ndarray, kind: type[SundogError], word: str) -> None:
    with pytest.raises(kind, match=word):
        checked_map(values)


def test_unequal_nside_masks_and_fillings(smooth: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="unequal NSIDE"):
        checked_map(smooth, "tsz", nside=32)
    with pytest.raises(ShapeError, match="mask and map differ"):
        checked_mask(np.ones(768), 16)
    with pytest.raises(DataError, match="not a mask"):
        checked_mask(np.full(3072, 0.5), 16)
    with pytest.raises(DataError, match="hides everything"):
        checked_mask(np.zeros(3072), 16)
    with pytest.raises(OptionError, match="pixel order"):
        reordered(smooth, "nest")
    mask = np.arange(3072) > 100
    assert np.allclose(filled(smooth, mask)[:101], smooth[101:].mean())


def test_files_come_back_and_broken_ones_are_named(smooth: np.ndarray, tmp_path: Path) -> None:
    from astropy.io import fits

    path = write_healpix(tmp_path / "m.fits", HealpixMap(smooth.astype(np.float32), "uK_CMB", "galactic"))
    back = read_healpix(path)
    assert back.values.tobytes() == smooth.astype(np.float32).tobytes()
    assert (back.unit, back.frame, back.nside) == ("uK_CMB", "galactic", 16)
    with pytest.raises(FileError, match="another TUNIT1"):
        read_healpix(path, unit="K_CMB")
    with pytest.raises(FileError, match="no such map"):
        read_healpix(path, field=3)
    whole = path.read_bytes()
    (tmp_path / "short.fits").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match=r"cannot read|truncated"):
        read_healpix(tmp_path / "short.fits")
    with fits.open(path) as units:
        units[1].header["ORDERING"] = "NESTED"
        units[1].data["SIGNAL"] = reordered(smooth, "NESTED")
        units.writeto(tmp_path / "nested.fits")
        units[1].header["NSIDE"] = 32
        units.writeto(tmp_path / "contradiction.fits")
    assert np.allclose(read_healpix(tmp_path / "nested.fits").values, smooth, atol=1e-6)
    with pytest.raises(FileError, match="contradicts itself"):
        read_healpix(tmp_path / "contradiction.fits")
    with pytest.raises(FileError, match="cannot read"):
        read_healpix(tmp_path / "absent.fits")


@pytest.mark.skipif(not DATA.exists(), reason=f"no {DATA}")
def test_real_maps() -> None:
    path = DATA / "sky" / "wmap_band_iqumap_r9_7yr_V_v4_udgraded32.fits"
    with pytest.raises(FileError, match="does not say its TUNIT1"):
        read_healpix(path)
    wmap = read_healpix(path, unit="mK_CMB")
    assert checked_map(wmap.values).shape == (12288,)
    matter = np.load(DATA / "fields" / "lss_sphere_nside128_nest.npy").ravel()
    with pytest.raises(DataError, match="NESTED"):
        checked_map(matter)
    checked_map(reordered(matter, "RING"))
