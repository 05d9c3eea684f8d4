"""Maps of the whole sky as others write them: HEALPix whole and partial, CAR, FITS images with coordinates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.wcs import WCS

import sundog
from sundog.data.dataset import Dataset
from sundog.data.files import load
from sundog.data.sky import car
from sundog.data.sky.car import car_map, write_car
from sundog.data.sky.healpix import UNSEEN, frame_of, read_healpix, reordered
from sundog.data.sky.sphere import pixelisation
from sundog.errors import DataError, FileError, OptionError

NSIDE, N = 8, 768
SKY = np.random.default_rng(0).normal(size=(3, N)).astype("f4")
CARDS = {"PIXTYPE": "HEALPIX", "ORDERING": "RING", "NSIDE": NSIDE, "COORDSYS": "G"}


def _table(path: Path, columns: dict[str, np.ndarray], unit: str = "K_CMB", **cards: object) -> Path:
    kinds = {"i": "J", "f": "E"}
    found = [fits.Column(name, kinds[x.dtype.kind], unit=unit, array=x) for name, x in columns.items()]
    table = fits.BinTableHDU.from_columns(found)
    table.header.update({**CARDS, **cards})
    table.writeto(path)
    return path


@pytest.mark.parametrize("index", ["PIXEL", "PIX", "HPXPIXEL", "pixel"])
def test_partial_maps_are_spread_out(tmp_path: Path, index: str) -> None:
    pixels = np.arange(100, 300)[::-1]
    path = _table(tmp_path / "p.fits", {index: pixels, "T": SKY[0, pixels], "Q": SKY[1, pixels]}, INDXSCHM="EXPLICIT")
    for field, right in ((0, SKY[0]), ("Q", SKY[1])):
        found = read_healpix(path, field)
        assert (found.observed.sum(), found.unit, found.frame) == (200, "K_CMB", "galactic")
        assert np.array_equal(found.values[100:300], right[100:300])
        assert np.all(found.values[:100] == np.float32(UNSEEN))
    with pytest.raises(DataError, match=r"got 1136 of 1536 NaN, infinite or UNSEEN.*mask='missing'"):
        load(path)
    data = load(path, mask="missing", columns=["Q"])
    assert tuple(data.values.shape) == (1, 1, N)
    assert np.array_equal(data.values.ravel().numpy()[100:300], SKY[1, 100:300])
    assert "200 of 768 pixels are in the file" in " ".join(data.provenance["notes"])


def test_partial_maps_that_contradict_themselves(tmp_path: Path) -> None:
    pixels = np.array([1, 5, 900])
    path = _table(tmp_path / "a.fits", {"PIXEL": pixels, "T": SKY[0, :3]}, INDXSCHM="EXPLICIT")
    with pytest.raises(FileError, match="pixels 1 to 900, expected 0 to 767"):
        read_healpix(path)
    path = _table(tmp_path / "b.fits", {"PIXEL": np.array([1, 5, 5]), "T": SKY[0, :3]}, INDXSCHM="EXPLICIT")
    with pytest.raises(FileError, match="names a pixel twice"):
        read_healpix(path)
    path = _table(tmp_path / "c.fits", {"NUMBER": pixels, "T": SKY[0, :3]}, INDXSCHM="EXPLICIT")
    with pytest.raises(FileError, match="no column of pixel numbers"):
        read_healpix(path)


@pytest.mark.parametrize(("word", "frame"), [
    ("C", "icrs"), ("CEL", "icrs"), ("Q", "icrs"), ("ICRS", "icrs"), ("EQUATORIAL", "icrs"), ("equ", "icrs"),
    ("G", "galactic"), ("Galactic", "galactic"), ("E", "ecliptic"), ("ECLIPTIC", "ecliptic"), ("", ""), ("CMB", "")])
def test_frames(word: str, frame: str) -> None:
    assert frame_of({"COORDSYS": word}) == frame


def test_polarisation_missing_pixels_and_order(tmp_path: Path) -> None:
    sky = SKY.copy()
    sky[0, :5] = UNSEEN
    sky[1, :7] = np.nan
    nested = {name: reordered(x, "NESTED") for name, x in zip(("I_STOKES", "Q_STOKES", "U_STOKES"), sky)}
    for convention, sign in (("COSMO", 1), ("IAU", -1)):
        path = _table(tmp_path / f"{convention}.fits", nested, ORDERING="NESTED", POLCCONV=convention)
        data = load(path, mask="missing")
        assert data.names == ("I_STOKES", "Q_STOKES", "U_STOKES")
        assert np.array_equal(data.values[0, 2, 0].numpy(), sign * SKY[2])
        assert np.array_equal(read_healpix(path, 2).values, sign * SKY[2])
        assert [int((~read_healpix(path, i).observed).sum()) for i in range(3)] == [5, 7, 0]
    assert "12 of 2304 pixels hold no number" in " ".join(data.provenance["notes"])


def test_vectors_of_numpy(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", reordered(SKY[0], "NESTED"))
    found = read_healpix(tmp_path / "v.npy", unit="uK", ordering="NESTED")
    assert (found.unit, np.array_equal(found.values, SKY[0])) == ("uK", True)
    np.save(tmp_path / "v.npy", SKY)
    with pytest.raises(FileError, match="not one HEALPix map"):
        read_healpix(tmp_path / "v.npy")


def test_files_of_healpy(tmp_path: Path) -> None:
    healpy = pytest.importorskip("healpy")
    partial = np.where(np.arange(N) < 300, SKY[0], np.float32(healpy.UNSEEN))
    for partly in (True, False):
        path = tmp_path / f"{partly}.fits"
        healpy.write_map(str(path), partial, coord="G", column_units="uK", partial=partly, dtype=np.float32)
        found = read_healpix(path)
        assert (found.observed.sum(), found.unit, found.frame) == (300, "uK", "galactic")
        assert np.array_equal(found.values[:300], SKY[0, :300])


@pytest.mark.parametrize("frame", ["icrs", "galactic"])
def test_astropy_finds_every_pixel_of_a_car_file(tmp_path: Path, frame: str) -> None:
    v = pixelisation(32).pix2vec(np.arange(12288))
    lon, lat = np.radians(266.4), np.radians(-28.9)
    bump = np.exp(40 * (v @ [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)] - 1))
    values = car_map(bump.astype("f4"), 180.0)
    path = write_car(tmp_path / "c.fits", values, "uK", frame)
    wcs = WCS(fits.getheader(path))
    y, x = np.mgrid[: values.shape[0], : values.shape[1]]
    found = wcs.wcs_pix2world(x.ravel(), y.ravel(), 0)
    assert np.isfinite(found).all()
    peak = values.argmax()
    assert abs(found[0][peak] - 266.4) < 2 and abs(found[1][peak] + 28.9) < 2
    assert load(path).values.shape == (1, 60, 120)


@pytest.mark.parametrize(("cards", "right"), [
    ({"CD1_1": -1 / 60, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1 / 60}, 1.0),
    ({"CD1_1": 0.0, "CD1_2": 1 / 60, "CD2_1": 1 / 60, "CD2_2": 0.0}, 1.0),
    ({"PC1_1": -1 / 60, "PC2_2": 1 / 60, "CDELT1": 1.0, "CDELT2": 1.0}, 1.0),
    ({"CDELT1": -30.0, "CDELT2": 30.0, "CUNIT1": "arcsec", "CUNIT2": "arcsec"}, 0.5),
    ({"CDELT1": -1.0, "CDELT2": 1.0, "CUNIT1": "arcmin", "CUNIT2": "arcmin"}, 1.0),
    ({"CDELT1": 1e-3, "CDELT2": 1e-3, "CUNIT1": "rad", "CUNIT2": "rad", "CRVAL2": 0.3}, 3.4377467707849),
    ({"CDELT1": 0.0, "CDELT2": 0.0}, None),
    ({"CDELT1": -1 / 60}, None),
    ({"CDELT1": -1 / 60, "CDELT2": 2 / 60}, None),
    ({}, None),
])
def test_pixel_sizes_are_those_of_the_coordinates(tmp_path: Path, cards: dict, right: float | None) -> None:
    image = fits.PrimaryHDU(np.ones((8, 8), "f4"))
    image.header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 20.0, **cards})
    image.writeto(tmp_path / "a.fits")
    found = load(tmp_path / "a.fits")
    assert found.pixel_arcmin == (None if right is None else pytest.approx(right, rel=1e-9))
    assert bool(found.provenance.get("notes")) == (right is None and bool(cards))


def test_the_coordinates_travel_along(tmp_path: Path) -> None:
    image = fits.PrimaryHDU(np.ones((8, 8), "f4"))
    image.header.update({"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "CRVAL1": 120.0, "CRVAL2": 30.0, "CRPIX1": 4.0,
                         "CRPIX2": 4.0, "CDELT1": -1 / 60, "CDELT2": 1 / 60})
    image.writeto(tmp_path / "a.fits")
    header = fits.getheader(load(tmp_path / "a.fits").save(tmp_path / "b.fits"))
    assert [header[key] for key in ("CTYPE1", "CRVAL1", "CRPIX1")] == ["GLON-TAN", 120.0, 4.0]
    assert load(tmp_path / "b.fits").pixel_arcmin == pytest.approx(1)


def test_planes_are_channels_by_name(tmp_path: Path) -> None:
    cube = np.arange(2 * 3 * 4 * 4, dtype="f4").reshape(3, 2, 4, 4)
    image = fits.PrimaryHDU(cube)
    image.header.update({"CTYPE3": "FREQ", "CUNIT3": "Hz", "CRVAL3": 1.4e9, "CDELT3": 1e8, "CRPIX3": 1.0,
                         "CTYPE4": "STOKES", "CRVAL4": 1.0, "CDELT4": 1.0, "CRPIX4": 1.0})
    image.writeto(tmp_path / "a.fits")
    data = load(tmp_path / "a.fits")
    assert data.names[:3] == ("I FREQ 1.4e+09 Hz", "I FREQ 1.5e+09 Hz", "Q FREQ 1.4e+09 Hz")
    assert np.array_equal(data.values[0].numpy(), cube.reshape(6, 4, 4))
    one = load(tmp_path / "a.fits", columns=["U FREQ 1.5e+09 Hz"])
    assert np.array_equal(one.values[0, 0].numpy(), cube[2, 1])
    fits.PrimaryHDU(cube[:1, :1], image.header).writeto(tmp_path / "b.fits")
    assert load(tmp_path / "b.fits").names == ("map",)
    fits.PrimaryHDU(cube[0]).writeto(tmp_path / "c.fits")
    assert load(tmp_path / "c.fits").values.shape == (2, 4, 4)


def test_scaled_and_empty_cells(tmp_path: Path) -> None:
    columns = [fits.Column("a", "I", array=np.array([1, 2, 4])),
               fits.Column("b", "I", bzero=32768, array=np.array([1, 40000, 65535], np.uint16)),
               fits.Column("c", "J", null=-99, array=np.array([1, 2, 3]))]
    table = fits.BinTableHDU.from_columns(columns)
    table.header["TSCAL1"], table.header["TZERO1"] = 0.5, 10.0
    table.writeto(tmp_path / "t.fits")
    assert load(tmp_path / "t.fits").values.tolist() == [[10.5, 1, 1], [11, 40000, 2], [12, 65535, 3]]
    columns[2] = fits.Column("c", "J", null=-99, array=np.array([1, -99, 3]))
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "n.fits")
    with pytest.raises(DataError, match="NaN or Inf: got 1 of 3 rows"):
        load(tmp_path / "n.fits")
    image = fits.PrimaryHDU(np.array([[1, 2], [3, -1]], "i2"))
    image.header.update({"BSCALE": 0.1, "BZERO": 5.0, "BLANK": -1})
    image.writeto(tmp_path / "i.fits")
    assert np.allclose(load(tmp_path / "i.fits", mask="missing").values[0].numpy(), [[5.1, 5.2], [5.3, 0]])


@pytest.mark.parametrize("name", ["x.fits.fz", "x.fit.gz", "x.fts", "X.FITS", "renamed.fits"])
def test_suffixes_of_fits(tmp_path: Path, name: str) -> None:
    x = np.random.default_rng(0).normal(size=(16, 16)).astype("f4")
    unit = fits.CompImageHDU(x, compression_type="GZIP_2", quantize_level=0) if name[0] == "r" or "fz" in name \
        else fits.ImageHDU(x)
    fits.HDUList([fits.PrimaryHDU(), unit]).writeto(tmp_path / "y.fits")
    import gzip
    content = (tmp_path / "y.fits").read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert np.array_equal(load(tmp_path / name).values[0].numpy(), x)


def test_a_changed_number_is_noticed_a_changed_header_is_told(tmp_path: Path) -> None:
    path = Dataset.from_arrays(np.ones((1, 8, 8)), units="K").save(tmp_path / "a.fits")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"'sundog  '", b"'sundug  '", 1))
    assert "header was changed" in " ".join(load(path, key="0").provenance["notes"])
    broken = bytearray(content)
    broken[content.index(np.ones(64, ">f4").tobytes()) + 5] ^= 1
    path.write_bytes(broken)
    with pytest.raises(FileError, match="cannot read"):
        load(path)


def test_a_car_map_of_a_healpix_map_is_twice_as_wide_as_high() -> None:
    """1 + x in the sky: 1 + sin(theta) cos(phi) at the centres of the pixels, columns from longitude 0 to the east."""
    x = pixelisation(32).pix2vec(np.arange(12288))[:, 0]
    found = car_map((1 + x).astype("f4"), 600.0)
    theta, phi = (np.arange(18) + 0.5) * np.pi / 18, np.arange(36) * np.pi / 18
    assert found.shape == (18, 36)
    assert np.abs(found - 1 - np.sin(theta)[:, None] * np.cos(phi)).max() < 1e-3


@pytest.mark.parametrize(("pixel", "rows"), [(0.5, 21600), (1.0, 10800), (180.0, 60)])
def test_small_pixels_are_as_good_as_large_ones(monkeypatch: pytest.MonkeyPatch, pixel: float, rows: int) -> None:
    asked = []  # a map of 21,600 rows takes 4 GB: only what is asked of the harmonics is looked at
    monkeypatch.setattr(car, "ring_values", lambda alm, theta, n_phi, threads: asked.append((len(theta), n_phi)))
    car_map(np.zeros(6, complex), pixel)
    assert asked == [(rows, 2 * rows)]
    for wrong in (0.0, -1.0, 7000.0, 0.7001):
        with pytest.raises(OptionError, match="do not fill the sphere"):
            car_map(np.zeros(6, complex), wrong)


def test_unseen_pixels_without_a_mask_are_refused_wherever_maps_enter() -> None:
    maps = np.random.default_rng(0).normal(size=(3, 16, 16)).astype("f4")
    maps[1, 2, 3:5] = UNSEEN
    with pytest.raises(DataError, match=r"maps hold UNSEEN pixels: got 2 of 768 .* mask="):
        sundog.Dataset.from_arrays(maps)
    for entry in (lambda: sundog.load(maps), lambda: sundog.fit("scattering", maps[1:2]),
                  lambda: sundog.separate(maps[1], maps[[0, 2]]),
                  lambda: sundog.statistics.power_spectrum(torch.from_numpy(maps))):
        with pytest.raises(DataError, match="mask="):
            entry()
    assert sundog.load(maps, mask="missing").values[1, 2, 3] == 0
    events = sundog.Dataset.from_arrays(np.array([[UNSEEN, 1.0], [2.0, 3.0]]))  # a table may mean it
    assert len(events) == 2
