"""Mosaics and cut-outs keep coordinates, beam and flux; a mock survey holds what its catalogue says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sundog.errors import FileError, OptionError, ShapeError
from sundog.tasks.radio import (
    Beam,
    Cutout,
    Mosaic,
    Preparation,
    cut,
    find_sources,
    mock_survey,
    prepare,
    read_catalogue,
    read_cutouts,
    read_mosaic,
    source_numbers,
    write_catalogue,
    write_cutouts,
    write_mosaic,
)
from sundog.tasks.radio.cutouts import crop, empty_sky

fits = pytest.importorskip("astropy.io.fits")


def blob(size: int = 16, width: float = 2.0) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return np.exp(-(x**2 + 2 * y**2) / (2 * width**2))


def lotss_mosaic(path: Path, *, unit: str = "JY/BEAM", size: int = 60) -> tuple[float, float]:
    """A file of the layout of LoTSS-DR2 mosaics: two empty axes, SIN projection; the position of its one source."""
    values = np.full((1, 1, size, size), 1e-4, np.float32)
    values[0, 0, 40, 22] = 0.05
    header = fits.Header({"CTYPE1": "RA---SIN", "CRVAL1": 210.0, "CRPIX1": 30.5, "CDELT1": -1.5 / 3600, "CUNIT1": "deg",
                          "CTYPE2": "DEC--SIN", "CRVAL2": 52.0, "CRPIX2": 30.5, "CDELT2": 1.5 / 3600, "CUNIT2": "deg",
                          "CTYPE3": "FREQ", "CRVAL3": 1.44e8, "CRPIX3": 1.0, "CDELT3": 1.0,
                          "CTYPE4": "STOKES", "CRVAL4": 1.0, "CRPIX4": 1.0, "CDELT4": 1.0,
                          "BUNIT": unit, "BMAJ": 6 / 3600, "BMIN": 6 / 3600, "BPA": 90.0})
    fits.PrimaryHDU(values, header).writeto(path)
    wcs = pytest.importorskip("astropy.wcs").WCS(header).celestial
    return tuple(float(v) for v in wcs.pixel_to_world_values(22, 40))  # type: ignore[return-value]


def test_a_mosaic_of_lotss_is_read_in_mjy(tmp_path: Path) -> None:
    ra, dec = lotss_mosaic(tmp_path / "m.fits")
    mosaic = read_mosaic(tmp_path / "m.fits")
    assert mosaic.values.shape == (60, 60) and mosaic.pixel_arcsec == pytest.approx(1.5)
    assert mosaic.beam == Beam(pytest.approx(6.0), pytest.approx(6.0), 90.0)  # type: ignore[arg-type]
    taken = cut(mosaic, ra, dec, 15.0, "a")
    assert taken is not None and taken.complete and taken.values.shape == (10, 10)
    assert np.unravel_index(taken.values.argmax(), (10, 10)) in [(4, 4), (4, 5), (5, 4), (5, 5)]
    assert taken.values.max() == pytest.approx(50.0)  # 0.05 Jy/beam


def test_cuts_at_the_edge_and_beyond(tmp_path: Path) -> None:
    lotss_mosaic(tmp_path / "m.fits")
    mosaic = read_mosaic(tmp_path / "m.fits")
    ra, dec = (float(v) for v in mosaic.wcs.pixel_to_world_values(1, 30))
    taken = cut(mosaic, ra, dec, 15.0)
    assert taken is not None and not taken.complete and np.isnan(taken.values[:, :4]).any()
    assert cut(mosaic, ra + 5, dec, 15.0) is None
    assert cut(mosaic, (ra + 180) % 360, -dec, 15.0) is None


def test_units_are_asked_for(tmp_path: Path) -> None:
    lotss_mosaic(tmp_path / "k.fits", unit="K")
    with pytest.raises(FileError, match="not a brightness per beam"):
        read_mosaic(tmp_path / "k.fits")
    lotss_mosaic(tmp_path / "none.fits", unit="")
    assert read_mosaic(tmp_path / "none.fits", unit="mJy/beam").values.max() == pytest.approx(0.05)
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(tmp_path / "plain.fits")
    with pytest.raises(FileError, match="no celestial coordinates"):
        read_mosaic(tmp_path / "plain.fits")
    (tmp_path / "half.fits").write_bytes((tmp_path / "k.fits").read_bytes()[:4000])
    with pytest.raises(FileError):
        read_mosaic(tmp_path / "half.fits")


def test_cutouts_round_trip_through_one_file_and_through_a_folder(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(size=(3, 20, 20))
    path = write_cutouts(images, tmp_path / "all.fits", pixel_arcsec=[1.0, 1.5, 2.0], beam=Beam(6.0, 5.0, 30.0),
                         names=["a", "b", "c"], ra=[10.0, 20.0, 30.0], dec=[0.0, 50.0, -80.0])
    found = read_cutouts(path)
    assert [taken.name for taken in found] == ["a", "b", "c"]
    assert [taken.pixel_arcsec for taken in found] == pytest.approx([1.0, 1.5, 2.0])
    assert np.allclose(found[1].values, images[1], atol=1e-6)
    assert found[2].beam == Beam(pytest.approx(6.0), pytest.approx(5.0), 30.0)  # type: ignore[arg-type]
    wcs = pytest.importorskip("astropy.wcs").WCS(fits.getheader(path, 2))
    assert [float(v) for v in wcs.pixel_to_world_values(9.5, 9.5)] == pytest.approx([20.0, 50.0])
    assert fits.getheader(path, 2)["BUNIT"] == "JY/BEAM"
    (tmp_path / "folder").mkdir()
    for i in range(2):
        write_cutouts(images[i : i + 1], tmp_path / "folder" / f"{i}.fits", pixel_arcsec=1.5, names=[f"n{i}"])
    assert [taken.name for taken in read_cutouts(tmp_path / "folder")] == ["n0", "n1"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="no cut-outs"):
        read_cutouts(tmp_path / "empty")


def test_a_cutout_smaller_than_the_square_is_not_complete() -> None:
    assert crop(Cutout("a", np.ones((9, 9)), 1.0), 9.0).complete
    small = crop(Cutout("a", np.ones((9, 9)), 1.0), 12.0)
    assert not small.complete and np.isnan(small.values).any()


# -- the mock survey -------------------------------------------------------------------------------------------------


def test_the_sky_holds_the_flux_of_the_catalogue() -> None:
    survey = mock_survey(blob()[None], 12, size=300, rms_mjy=0.0, las_arcsec=(10, 30), seed=1)
    assert survey.mosaic.beam is not None
    area = survey.mosaic.beam.area_arcsec2() / survey.mosaic.pixel_arcsec**2
    lost = survey.clean.sum() / area / survey.truth.flux_mjy.sum() - 1
    assert -0.02 < lost < 1e-6  # smoothing loses what runs over the edge, and adds nothing
    assert np.array_equal(survey.mosaic.values, survey.clean)


def test_noise_and_laws_are_those_asked_for() -> None:
    survey = mock_survey(blob()[None], 1000, size=300, rms_mjy=0.3, flux_mjy=(1.0, 100.0), slope=-2.0,
                         las_arcsec=(3.0, 6.0), seed=2)
    assert (survey.mosaic.values - survey.clean).std() == pytest.approx(0.3, rel=1e-9)
    # dN/dS ~ S^-2 between 1 and 100: P(S > 2) = (1/2 - 1/100) / (1 - 1/100)
    share, expected = (survey.truth.flux_mjy > 2).mean(), 0.49 / 0.99
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / 1000)
    same = mock_survey(blob()[None], 1000, size=300, rms_mjy=0.3, flux_mjy=(1.0, 100.0), slope=-2.0,
                       las_arcsec=(3.0, 6.0), seed=2)
    assert np.array_equal(survey.mosaic.values, same.mosaic.values)
    other = mock_survey(blob()[None], 9, size=200, seed=3)
    assert not np.array_equal(other.mosaic.values, mock_survey(blob()[None], 9, size=200, seed=4).mosaic.values)


def test_impossible_surveys_are_explained() -> None:
    with pytest.raises(ShapeError, match="not usable"):
        mock_survey(np.zeros((2, 8, 8)), 3)
    with pytest.raises(OptionError, match="larger than the sky"):
        mock_survey(blob()[None], 3, size=50, las_arcsec=(80.0, 90.0))
    with pytest.raises(OptionError, match="impossible range"):
        mock_survey(blob()[None], 3, flux_mjy=(5.0, 1.0))
    with pytest.raises(ShapeError, match="does not fit"):
        mock_survey(blob()[None], 3, flux_mjy=np.ones(4))
    with pytest.raises(OptionError, match="impossible survey"):
        mock_survey(blob()[None], 0)


def test_survey_to_files_to_training_images(tmp_path: Path) -> None:
    survey = mock_survey(blob()[None], 15, size=400, flux_mjy=(50.0, 500.0), las_arcsec=(20.0, 40.0), seed=5)
    mosaic = read_mosaic(write_mosaic(survey.mosaic, tmp_path / "sky.fits"))
    truth = read_catalogue(write_catalogue(survey.truth, tmp_path / "truth.csv"))
    found = prepare(mosaic, truth, Preparation(size=32))
    assert found.report.given == 15 and found.report.kept >= 8
    back = found.memory.restored(found.dataset).values
    seen = dict(zip(truth.name, truth.peak_mjy))
    peaks = np.array([seen[name] for name in found.catalogue.name])
    # The resize smooths, neighbours and noise (0.1) add: the peak comes back within a fifth.
    assert np.median(np.abs(back.amax((1, 2)).numpy() / peaks - 1)) < 0.2


# -- the source finder -----------------------------------------------------------------------------------------------


def isolated(fluxes: list[float], rms: float = 0.05) -> tuple[Mosaic, list[tuple[int, int]]]:
    """Point sources on a grid, far from each other."""
    mosaic = empty_sky(240, 1.5, beam=Beam(6.0, 6.0))
    places = [(30 + 60 * (i // 4), 30 + 60 * (i % 4)) for i in range(len(fluxes))]
    y, x = np.mgrid[:240, :240]
    sigma = 6.0 / np.sqrt(8 * np.log(2)) / 1.5
    for (py, px), flux in zip(places, fluxes):
        mosaic.values[:] += flux * np.exp(-((y - py) ** 2 + (x - px) ** 2) / (2 * sigma**2))
    mosaic.values[:] += np.random.default_rng(0).normal(scale=rms, size=mosaic.values.shape)
    return mosaic, places


@pytest.mark.slow
def test_the_finder_finds_fluxes_and_places() -> None:
    pytest.importorskip("photutils")
    fluxes = [5.0, 10.0, 20.0, 40.0, 80.0]
    mosaic, places = isolated(fluxes)
    found = find_sources(mosaic)
    assert len(found) == 5
    x, y = mosaic.wcs.world_to_pixel_values(found.ra, found.dec)
    order = [int(np.argmin([(a - px) ** 2 + (b - py) ** 2 for a, b in zip(x, y)])) for py, px in places]
    for i, flux, (py, px) in zip(order, fluxes, places):
        assert abs(x[i] - px) < 0.2 and abs(y[i] - py) < 0.2
        # Above 5 sigma = 0.25 a Gaussian of peak S keeps 1 - 0.25 / S of its flux; noise adds 1 % of 5 mJy.
        assert found.flux_mjy[i] == pytest.approx(flux - 0.25, abs=0.15)
        assert found.peak_mjy[i] == pytest.approx(flux, abs=4 * 0.05)


@pytest.mark.slow
def test_the_finder_keeps_quiet_on_noise_and_joins_lobes() -> None:
    pytest.importorskip("photutils")
    quiet, _ = isolated([])
    assert len(find_sources(quiet)) == 0
    pair, _ = isolated([20.0, 20.0])
    assert len(find_sources(pair, join_arcsec=10.0)) == 2
    joined = find_sources(pair, join_arcsec=90.0)
    assert len(joined) == 1 and joined.flux_mjy[0] == pytest.approx(39.5, abs=0.3)
    assert joined.las_arcsec[0] > 90
    with pytest.raises(OptionError, match="beam"):
        find_sources(Mosaic(quiet.values, quiet.wcs, 1.5))


@pytest.mark.slow
def test_numbers_of_images_are_those_of_the_finder() -> None:
    pytest.importorskip("photutils")
    mosaic, _ = isolated([10.0, 20.0])
    empty = np.random.default_rng(1).normal(scale=0.05, size=(240, 240))
    numbers = source_numbers(np.stack([mosaic.values, empty]), beam_pixel=4.0, rms_mjy=0.05)
    assert numbers["sources"].tolist() == [2.0, 0.0] and numbers["flux"][1] == 0.0
    assert numbers["flux"][0] == pytest.approx(29.5, abs=0.3) and numbers["peak"][0] == pytest.approx(20.0, abs=0.3)
