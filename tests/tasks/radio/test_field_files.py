"""Mosaics, cut-outs and catalogues as surveys write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from sundog.errors import FileError, OptionError
from sundog.tasks.radio import read_catalogue, read_cutouts, read_mosaic
from sundog.tasks.radio.cutouts import cut, per_beam

CARDS = {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CDELT1": -10 / 3600, "CDELT2": 10 / 3600, "CUNIT1": "deg",
         "CUNIT2": "deg", "CRPIX1": 100.0, "CRPIX2": 100.0, "CRVAL1": 180.0, "CRVAL2": 45.0, "BUNIT": "JY/BEAM"}


def _image(path: Path, x: np.ndarray, **cards: object) -> Path:
    fits.PrimaryHDU(x.astype("f4"), fits.Header(list({**CARDS, **cards}.items()))).writeto(path)
    return path


@pytest.mark.parametrize("cards", [
    {}, {"RADESYS": "ICRS"}, {"EQUINOX": 2000.0}, {"CTYPE1": "GLON-SIN", "CTYPE2": "GLAT-SIN"},
    {"RADESYS": "FK4", "EQUINOX": 1950.0}, {"RADESYS": "FK5", "EQUINOX": 1975.0},
    {"CTYPE1": "ELON-SIN", "CTYPE2": "ELAT-SIN"}])
def test_positions_are_icrs_in_mosaics_of_any_frame(tmp_path: Path, cards: dict) -> None:
    x = np.zeros((200, 200))
    x[120, 50] = 1.0
    path = _image(tmp_path / "m.fits", x, **cards)
    place = WCS(fits.getheader(path)).pixel_to_world(50, 120).icrs
    mosaic = read_mosaic(path)
    taken = cut(mosaic, place.ra.deg, place.dec.deg, 50.0)
    assert taken is not None
    assert taken.values[2, 2] == 1000
    back = [float(v) for v in mosaic.position_of(50, 120)]
    assert back == pytest.approx([place.ra.deg, place.dec.deg], abs=1e-4)


@pytest.mark.parametrize(("text", "factor"), [
    ("Jy/beam", 1e3), ("JY/BEAM", 1e3), ("Jy beam-1", 1e3), ("Jy/bm", 1e3), ("beam-1 Jy", 1e3), ("mJy/beam", 1),
    ("mJy beam^-1", 1), ("uJy/beam", 1e-3), ("UJY/BEAM", 1e-3), ("MJy/beam", 1e9), ("Jy", None), ("K", None),
    ("", None), ("Jy/sr", None)])
def test_units_of_brightness(text: str, factor: float | None) -> None:
    assert per_beam(text) == factor


def test_units_that_contradict_or_hide(tmp_path: Path) -> None:
    path = _image(tmp_path / "a.fits", np.ones((20, 20)), BUNIT="MJY/BEAM")
    with pytest.raises(FileError, match="milli or mega"):
        read_mosaic(path)
    assert read_mosaic(path, unit="mJy/beam").values[0, 0] == 1
    path = _image(tmp_path / "b.fits", np.ones((20, 20)))
    with pytest.raises(OptionError, match="says another unit"):
        read_mosaic(path, unit="mJy/beam")
    assert read_mosaic(path, unit="Jy/beam").values[0, 0] == 1000


def test_cutouts_of_one_object_keep_their_own_names(tmp_path: Path) -> None:
    for name in ("S0.fits", "S1.FITS", "S2.fit"):
        _image(tmp_path / name, np.full((20, 20), int(name[1])), OBJECT="field 7")
    assert [(taken.name, taken.values.max()) for taken in read_cutouts(tmp_path)] == [
        ("S0", 0), ("S1", 1000), ("S2", 2000)]


def test_catalogues_state_their_units(tmp_path: Path) -> None:
    columns = [fits.Column("Source_Name", "4A", array=["S0", "S1"]),
               fits.Column("RA", "D", unit="deg", array=[180.0, -30.0]), fits.Column("DEC", "D", array=[45.0, 1.0]),
               fits.Column("LAS", "D", unit="deg", array=[30 / 3600, 0.01]),
               fits.Column("Total_flux", "D", unit="Jy", array=[0.01, np.nan]),
               fits.Column("Peak_flux", "D", unit="Jy/beam", array=[0.01, 0.02])]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "c.fits")
    rows = read_catalogue(tmp_path / "c.fits")
    assert (rows.flux_mjy[0], rows.peak_mjy.tolist(), rows.las_arcsec[0]) == (10, [10, 20], pytest.approx(30))
    assert [v.tolist() for v in rows.position()] == [[180, 330], [45, 1]]
    columns[4] = fits.Column("Total_flux", "D", unit="K", array=[1.0, 2.0])
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "k.fits")
    with pytest.raises(FileError, match="another kind of unit: got 'K', expected mJy"):
        read_catalogue(tmp_path / "k.fits")


@pytest.mark.parametrize("text", [
    "Source_Name,RA,DEC,Total_flux [Jy]\nS0,-120.5,1.25,0.01\n", "Source_Name,RA,DEC,Total_flux\nS0,239.5,1.25,10\n",
    "Source_Name,RA,DEC,Total_flux\nS0,15:58:00.0,+01:15:00,10\n", "# made\nSource_Name,RA,DEC,Total_flux\n"
    "S0,15h58m00s,1d15m,10\n", "Source_Name,RA,DEC,Total_flux\nS0,15 58 00,1 15 00,10\n"])
def test_positions_as_people_write_them(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.csv").write_text(text)
    rows = read_catalogue(tmp_path / "c.csv")
    assert [v[0] for v in rows.position()] == pytest.approx([239.5, 1.25])
    assert (rows.flux_mjy[0], rows.name[0]) == (pytest.approx(10), "S0")
    (tmp_path / "d.csv").write_text("RA,DEC\nsomewhere,here\n")
    with pytest.raises(FileError, match="no position"):
        read_catalogue(tmp_path / "d.csv")
