"""The published preparation: every cut is made where it should be, counted, and reversible in flux."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import sundog
from sundog.errors import DataError, FileError, OptionError, SampleSizeError, ShapeError
from sundog.tasks.radio import Catalogue, Cutout, FluxMemory, Preparation, prepare, read_catalogue, write_catalogue
from sundog.tasks.radio.cutouts import resized
from sundog.tasks.radio.preparation import clipped, signal_to_noise

WHOLE = Preparation(side="image", size=24)


def source(seed: int = 0, size: int = 24, peak: float = 30.0, rms: float = 0.2) -> np.ndarray:
    """A Gaussian source in the middle of white noise."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return peak * np.exp(-(x**2 + y**2) / 18) + np.random.default_rng(seed).normal(scale=rms, size=(size, size))


def cutouts(*images: np.ndarray) -> list[Cutout]:
    return [Cutout(f"s{i}", image, 1.5) for i, image in enumerate(images)]


def spoiled() -> dict[str, np.ndarray]:
    """One image for every reason that looks at pixels."""
    missing, repeated, edge = source(1), source(2), source(3)
    missing[0, :3] = np.nan
    repeated[:2] = repeated.min()
    edge[0, 5] = 29.0
    return {"NaN": missing, "constant": np.zeros((24, 24)), "broken": repeated, "cut off": edge,
            "faint": source(4, peak=1.5)}


@pytest.mark.parametrize("reason", spoiled())
def test_every_bad_image_is_dropped_for_its_own_reason(reason: str) -> None:
    found = prepare(cutouts(source(9), spoiled()[reason]), None, WHOLE)
    assert {name: count for name, count in found.report.dropped.items() if count} == {reason: 1}
    assert (found.report.given, found.report.kept, len(found.dataset)) == (2, 1, 1)
    assert reason in str(found.report) and json.loads(found.report.to_json())["dropped"][reason] == 1
    with pytest.raises(DataError, match="no image is left"):
        prepare(cutouts(spoiled()[reason]), None, WHOLE)


def test_catalogue_rows_that_cannot_be_used_are_counted() -> None:
    nan = np.nan
    rows = Catalogue.of({"name": ["s0", "gone", "s1", "s2", "s3"], "ra": [1.0] * 5, "dec": [0.0] * 5,
                         "las_arcsec": [20.0, 20.0, -3.0, nan, 900.0]})
    images = [*cutouts(*(source(i, 40) for i in range(4))), Cutout("stranger", source(7, 40), 1.5)]
    found = prepare(images, rows, Preparation(size=20))
    counted = {name: count for name, count in found.report.dropped.items() if count}
    assert counted == {"no image": 1, "negative size": 2, "beyond the edge": 1, "no catalogue row": 1}
    assert found.report.given == 6 and found.catalogue.name.tolist() == ["s0"]


def test_ranges_of_the_catalogue() -> None:
    rows = Catalogue.of({"name": [f"s{i}" for i in range(4)], "ra": [1.0] * 4, "dec": [0.0] * 4,
                         "las_arcsec": [20.0] * 4, "flux_mjy": [1.0, 5.0, 50.0, np.nan]})
    images = cutouts(*(source(i, 30) for i in range(4)))
    found = prepare(images, rows, Preparation(size=20, flux_range=(2.0, 10.0)))
    assert found.catalogue.name.tolist() == ["s1"] and found.report.dropped["out of range"] == 3


def test_images_of_mixed_size_and_pixel_show_the_same_angle() -> None:
    # A source of 6 arcsec width at pixels of 1 and of 2 arcsec: after the cut both look the same.
    def seen(pixel: float, n: int) -> Cutout:
        y, x = (np.mgrid[:n, :n] - (n - 1) / 2) * pixel
        return Cutout(f"p{pixel}", 10 * np.exp(-(x**2 + y**2) / 72) + 1e-6 * source(1, n), pixel)

    found = prepare([seen(1.0, 100), seen(2.0, 60)], None, Preparation(
        side="fixed", side_arcsec=60, size=30, negatives="keep", min_snr=0))
    a, b = found.dataset.values.numpy()
    assert np.abs(a - b).max() < 0.03  # halving the pixels smooths a little
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.998


def test_small_sizes_are_the_published_ones() -> None:
    rows = Catalogue.of({"name": ["s0", "s1", "s2"], "ra": [1.0] * 3, "dec": [0.0] * 3, "las_arcsec": [0.0, 4.0, 40.0]})
    found = prepare(cutouts(*(source(i, 60) for i in range(3))), rows, Preparation(size=20, max_edge=2, min_snr=0))
    assert found.memory.pixels(found.dataset).round(6).tolist() == [1.5 * las / 20 for las in (15.0, 10.0, 40.0)]


def test_negatives_are_clipped_folded_or_kept() -> None:
    image = source(3)
    sigma = clipped(image)[1]
    for settings, expected in ((WHOLE, np.maximum(image, 1.5 * sigma)),
                               (Preparation(side="image", size=24, clip_sigma=0), np.maximum(image, 0)),
                               (Preparation(side="image", size=24, negatives="absolute"), np.abs(image)),
                               (Preparation(side="image", size=24, negatives="keep"), image)):
        found = prepare(cutouts(image), None, settings)
        assert np.allclose(found.memory.restored(found.dataset).values[0], expected, atol=1e-5)
        assert (float(found.dataset.values.min()), float(found.dataset.values.max())) == (0.0, 1.0)


@pytest.mark.parametrize("negatives", ["clip", "keep", "absolute"])
def test_flux_comes_back_in_mjy(negatives: str) -> None:
    images = [source(i, peak=10.0 ** (0.5 + 0.1 * i)) for i in range(20)]
    settings = Preparation(side="image", size=24, negatives=negatives)
    found = prepare(cutouts(*images), None, settings)
    back = found.memory.restored(found.dataset)
    assert back.units == ("mJy/beam",)
    wanted = prepare(cutouts(*images), None, Preparation(side="image", size=24, negatives=negatives, scale="set"))
    assert wanted.memory.restored(wanted.dataset) is wanted.dataset
    peak = wanted.dataset.values.amax((1, 2), keepdim=True)
    assert float(((back.values - wanted.dataset.values) / peak).abs().max()) < 1e-5  # context is float32


def test_box_cox_makes_peaks_gaussian() -> None:
    g = np.random.default_rng(0)
    high = (1 + 0.3 * g.normal(size=4000).clip(-3, 3)) ** (1 / 0.3)  # Box-Cox of 0.3 undoes this
    memory, context = FluxMemory.measured(np.zeros(4000), high, None)
    assert memory.power == pytest.approx(0.3, abs=0.05) and memory.columns == ("box_cox_peak",)
    few, numbers = FluxMemory.measured(np.zeros(3), np.array([20.0, 20.1, 20.05]), None)  # nearly alike: no runaway
    assert abs(few.power) <= 2 and numbers is not None and np.abs(numbers).max() < 1e3
    assert context is not None and context.shape == (4000, 1) and memory.floor == 0.0


@pytest.mark.slow
def test_samples_of_a_run_come_back_in_mjy(tmp_path: Path) -> None:
    images = [source(i, peak=10.0 ** (0.7 + 0.03 * i)) for i in range(40)]
    found = prepare(cutouts(*images), None, WHOLE)
    path = found.dataset.save(tmp_path / "prepared.npz")
    loaded = sundog.load(path)
    assert FluxMemory.of(loaded) == found.memory
    run = sundog.fit("diffusion", loaded, plan=sundog.Plan(steps=2, batch=4), parameters=2e4, sampling_steps=3)
    fakes = run.sample(5, seed=0)
    back = FluxMemory.of(run).restored(fakes)
    peaks = found.memory.restored(loaded).values.amax((1, 2))
    scale = back.values.amax((1, 2)) / fakes.values.amax((1, 2))
    assert back.units == ("mJy/beam",) and scale.min() >= 0.5 * peaks.min() and scale.max() <= 1.01 * peaks.max()
    assert FluxMemory.of(run).pixels(fakes).tolist() == [1.5] * 5
    stranger = sundog.Dataset.from_arrays(torch.rand(3, 24, 24))
    with pytest.raises(DataError, match="no flux memory"):
        FluxMemory.of(stranger)
    with pytest.raises(ShapeError, match="flux of these images is unknown"):
        found.memory.restored(stranger)


def test_one_single_image_is_prepared_and_not_trained_on() -> None:
    found = prepare(cutouts(source()), None, WHOLE)
    assert found.dataset.context is None and found.memory.peak == pytest.approx(source().max())
    with pytest.raises(SampleSizeError, match="too few rows"):
        sundog.fit("diffusion", found.dataset, parameters=2e4)


def test_nan_may_be_filled() -> None:
    found = prepare(cutouts(spoiled()["NaN"]), None, Preparation(side="image", size=24, nan="fill", broken=False))
    assert found.report.filled == 1 and "filled" in str(found.report) and bool(found.dataset.values.isfinite().all())


def test_resize_is_that_of_scikit_image() -> None:
    transform = pytest.importorskip("skimage.transform")
    image = source(5, 50)
    for size in (20, 33, 80):
        assert np.abs(resized(image, size) - transform.resize(image, (size, size))).max() < 1e-12


def test_signal_to_noise_by_hand() -> None:
    image = np.full((10, 10), 2.0)
    image[0, 0], image[5, 5] = 0.0, 4.0  # brought to 0 .. 1: 98 times 0.5, one 0, one 1
    assert signal_to_noise(image) == pytest.approx(1 / (98 * 0.5 / 99))
    assert signal_to_noise(source(peak=0.0)) < 5 < signal_to_noise(source())


def test_clipping_equals_astropy() -> None:
    stats = pytest.importorskip("astropy.stats")
    _, median, std = stats.sigma_clipped_stats(source(), sigma=3, maxiters=10)
    assert clipped(source()) == pytest.approx((median, std), rel=1e-9)


def test_settings_and_missing_tables_are_explained() -> None:
    with pytest.raises(OptionError, match="no sizes"):
        prepare(cutouts(source()), None)
    for wrong in ({"side": "disc"}, {"negatives": "drop"}, {"scale": "log"}, {"nan": "keep"}, {"size": 2}):
        with pytest.raises(OptionError):
            Preparation(**wrong)  # type: ignore[arg-type]


# -- catalogues ------------------------------------------------------------------------------------------------------


def lotss_rows() -> dict[str, list[object]]:
    """Columns of the LoTSS-DR2 catalogue of optical identifications, with a gap as its files have it."""
    return {"Source_Name": ["ILTJ000010.05+250000.1", "ILTJ000020.10+250000.2"], "RA": [0.0418, 0.0837],
            "E_RA": [0.1, 0.2], "DEC": [25.0, 25.1], "Total_flux": [12.5, 3.25], "Peak_flux": [6.0, 3.0],
            "S_Code": ["M", "S"], "Mosaic_ID": ["P000+23", "P000+23"], "ID_RA": [0.0420, np.nan],
            "ID_DEC": [25.001, np.nan], "LAS": [48.0, 11.5], "Resolved": [True, False]}


@pytest.mark.parametrize("form", ["csv", "fits"])
def test_lotss_catalogue(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"catalogue.{form}"
    if form == "csv":
        pytest.importorskip("pandas").DataFrame(lotss_rows()).to_csv(path, index=False)
    else:
        pytest.importorskip("astropy.table").Table(lotss_rows()).write(path)
    rows = read_catalogue(path)
    assert rows.name.tolist() == lotss_rows()["Source_Name"]
    assert rows.flux_mjy.tolist() == [12.5, 3.25] and rows.las_arcsec.tolist() == [48.0, 11.5]
    ra, dec = rows.position()
    assert ra.tolist() == [0.0420, 0.0837] and dec.tolist() == [25.001, 25.1]


def test_catalogue_round_trip(tmp_path: Path) -> None:
    rows = Catalogue.of({"name": ["a", "b"], "ra": [1.5, 2.5], "dec": [-3.0, 4.0], "flux_mjy": [1.0, np.nan]})
    again = read_catalogue(write_catalogue(rows, tmp_path / "c.csv"))
    assert again.name.tolist() == ["a", "b"] and again.ra.tolist() == [1.5, 2.5]
    assert again.flux_mjy[0] == 1.0 and np.isnan(again.flux_mjy[1]) and np.isnan(again.optical_ra).all()


def test_catalogue_errors(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FileError, match="no positions"):
        read_catalogue(tmp_path / "c.csv")
    for name in ("none.csv", "none.fits"):
        with pytest.raises(FileError, match="cannot read"):
            read_catalogue(tmp_path / name)
    with pytest.raises(ShapeError, match="differ in length"):
        Catalogue.of({"ra": [1.0], "dec": [1.0, 2.0]})
