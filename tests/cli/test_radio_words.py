"""sundog radio: from a mock survey to training images, to a run, to fakes with coordinates, and to a survey again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import sundog
from sundog import cli
from sundog.demos import run_demo
from sundog.tasks.radio import read_catalogue, read_cutouts, read_mosaic

SKY = ["radio", "mock", "-n", "40", "--size", "500", "--las", "20", "40", "--flux", "50", "500", "--out", "mock.fits"]
TINY = ["--steps", "2", "--set", "parameters=2e4", "--set", "sampling_steps=4", "--set", "components=8"]


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("survey")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert cli.main([*SKY, "-q"]) == 0
    return folder


@pytest.fixture
def here(survey: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(survey)
    return survey


def prepared(*words: str) -> dict[str, object]:
    assert cli.main(["radio", "prepare", "mock.fits", "--catalogue", "mock.csv", "--size", "32", *words, "-q",
                     "--report", "report.json"]) == 0
    return json.loads(Path("report.json").read_text())  # type: ignore[no-any-return]


def test_prepare_counts_every_source(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = prepared("--min-snr", "0")
    assert report["given"] == 40 == report["kept"] + sum(report["dropped"].values())  # type: ignore[operator, attr-defined]
    assert len(sundog.load("prepared.npz")) == report["kept"]
    assert cli.main(["radio", "prepare", "mock.fits", "--catalogue", "mock.csv", "--min-snr", "1000"]) == 2
    assert "faint" in capsys.readouterr().err


def test_a_mosaic_without_catalogue_says_what_to_do(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["radio", "prepare", "mock.fits", "--side", "fixed"]) == 2
    assert "find_sources" in capsys.readouterr().err
    assert cli.main(["radio", "prepare", "nowhere.fits"]) == 2
    assert cli.main(["radio", "mock", "mock.fits"]) == 2
    assert "cut it first" in capsys.readouterr().err


@pytest.mark.slow
def test_from_the_survey_to_fakes_and_to_a_survey(here: Path) -> None:
    prepared("--min-snr", "0")
    assert cli.main(["radio", "train", "prepared.npz", "-o", "run", *TINY, "-q"]) == 0
    ask = ["radio", "sample", "run", "-n", "5", "--peak", "20", "--las", "30", "-q"]
    assert cli.main([*ask, "--out", "fakes.fits", "--film", "film.npz", "--sheet", "sheet.png"]) == 0
    fakes = read_cutouts("fakes.fits")
    assert [taken.pixel_arcsec for taken in fakes] == pytest.approx([1.5 * 30 / 32] * 5)
    assert fakes[0].beam is not None and fakes[0].beam.major_arcsec == pytest.approx(6.0)
    assert cli.main([*ask, "--out", "scaled.npz", "--scaled"]) == 0
    scaled = sundog.load("scaled.npz")
    # 20 mJy/beam is where 1 of the scaled image lies, the floor where 0 does.
    floor = scaled.context[:, scaled.context_names.index("floor")].numpy()
    for i, taken in enumerate(fakes):
        expected = floor[i] + scaled.values[i].numpy() * (20 - floor[i])
        assert np.allclose(taken.values, expected, rtol=1e-4, atol=1e-3)
    assert cli.main([*ask, "--to-las", "120", "--out", "grow.fits"]) == 0
    sides = [taken.pixel_arcsec * 32 / 1.5 for taken in read_cutouts("grow.fits")]
    assert sides == pytest.approx([30 * 2 ** (i / 2) for i in range(5)], rel=1e-4)  # even in the logarithm
    with np.load("film.npz") as film:
        assert np.array_equal(film["frames"][-1], scaled.values[:4].numpy())
    assert Path("sheet.png").stat().st_size > 10_000
    assert cli.main(["radio", "mock", "fakes.fits", "-n", "4", "--size", "300", "--out", "again.fits", "-q"]) == 0
    assert len(read_catalogue("again.csv")) == 4 and read_mosaic("again.fits").values.shape == (300, 300)


@pytest.mark.slow
def test_conditions_that_were_not_learned_are_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepared("--min-snr", "0", "--scale", "set", "--side", "fixed", "--side-arcsec", "60")
    assert cli.main(["radio", "train", "prepared.npz", "-o", "plain", *TINY, "-q"]) == 0
    assert cli.main(["radio", "sample", "plain", "-n", "2", "--peak", "5"]) == 2
    assert "cannot ask for box_cox_peak" in capsys.readouterr().err
    assert cli.main(["radio", "sample", "plain", "-n", "2", "--to-las", "5"]) == 2
    assert "cannot ask for log10_las" in capsys.readouterr().err
    assert cli.main(["radio", "sample", "plain", "-n", "2", "--out", "f.fits", "-q"]) == 0
    assert read_cutouts("f.fits")[0].pixel_arcsec == pytest.approx(60 / 32, rel=0.03)


@pytest.mark.slow
def test_cutouts_of_first_come_from_their_archive(here: Path) -> None:
    g = np.random.default_rng(0)
    y, x = np.mgrid[:40, :40] - 19.5
    images = 20 * np.exp(-(x**2 + y**2) / 20) + g.normal(scale=0.15, size=(6, 40, 40))
    np.savez("mirabest.npz", images=images.astype(np.float16), ra=np.arange(6.0), dec=np.zeros(6),
             size_arcsec=np.full(6, 30.0))
    assert cli.main(["radio", "prepare", "mirabest.npz", "--out", "m.npz", "--size", "20", "-q"]) == 0
    data = sundog.load("m.npz")
    assert len(data) == 6 and data.provenance["radio"]["memory"]["beam_arcsec"] == [5.4, 5.4, 0.0]
    sundog.simulate.radio.radio_galaxies(3, size=32).save("galaxies.npz")
    assert cli.main(["radio", "prepare", "galaxies.npz", "--out", "g.npz", "--side", "image", "--size", "32", "-q",
                     "--min-snr", "0"]) == 0


@pytest.mark.slow
def test_the_demo_leaves_what_it_says(tmp_path: Path) -> None:
    said = "\n".join(run_demo("radio", tmp_path, quick=True))
    for name in ("report.html", "quiz.html", "film.gif", "fakes.fits", "fakes.npz", "survey.fits", "survey.csv"):
        assert (tmp_path / name).stat().st_size > 1000
    assert "you should see" in said and "judge" in said and str(tmp_path / "quiz.html") in said
    assert len(read_cutouts(tmp_path / "fakes.fits")) == len(sundog.load(tmp_path / "fakes.npz"))
