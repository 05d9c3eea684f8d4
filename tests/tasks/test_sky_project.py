"""Maps of the sphere cut into flat patches and put together again; on the command line as they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("ducc0")

import sundog
from sundog.cli import main
from sundog.data.sky.car import car_map, write_car
from sundog.data.sky.healpix import UNSEEN, HealpixMap, read_healpix, write_healpix
from sundog.data.sky.sphere import gaussian_alm, pixelisation, synthesis
from sundog.data.sky.tiles import TileLayout
from sundog.errors import DataError, ShapeError
from sundog.tasks.sky.project import flat_patches, on_sphere, projected, stitched, write_sphere

POWER = np.where(np.arange(33) > 0, 1 / (1 + np.arange(33.0)) ** 2.5, 0)
LAYOUT = TileLayout(32, 60.0, 12)


def alm(seed: int) -> np.ndarray:
    return gaussian_alm(POWER, np.random.default_rng(seed))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The same sky as a HEALPix and as a CAR file."""
    healpix = write_healpix(tmp_path / "h.fits", HealpixMap(synthesis(alm(0), 32).astype(np.float32), "uK", "galactic"))
    return healpix, write_car(tmp_path / "c.fits", car_map(alm(0), 90.0), "uK", "galactic")


def test_what_is_cut_is_the_same_from_both_and_comes_back(files: tuple[Path, Path]) -> None:
    skies = [sundog.load(file) for file in files]
    assert all(map(on_sphere, skies))
    cut = [flat_patches(sky, LAYOUT) for sky in skies]
    assert cut[0].values.shape == (LAYOUT.number, 32, 32) and cut[0].pixel_arcmin == 60
    assert (cut[0].values - cut[1].values).abs().max() < 2e-3 * cut[0].values.std()
    for sky, patches in zip(skies, cut):
        truth = sky.values.numpy().reshape(sky.values.shape[-2:])
        again = stitched(patches)[0].reshape(truth.shape)
        assert np.abs(again - truth).max() < 2e-3 * truth.std()  # poles and seams too
    swapped = stitched(cut[0][[1, 0, *range(2, len(cut[0]))]])[0]
    assert np.abs(swapped - skies[0].values.numpy().ravel()).max() > truth.std()  # the check can fail


def test_holes_cost_tiles_and_come_back_as_holes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = synthesis(alm(1), 32).astype(np.float32)
    hidden = pixelisation(32).pix2vec(np.arange(len(values)))[:, 2] < 0.1
    file = write_healpix(tmp_path / "p.fits", HealpixMap(np.where(hidden, np.float32(UNSEEN), values), "uK", "icrs"))
    out, again = tmp_path / "patches.npz", tmp_path / "again.fits"
    words = ["sky", "project", str(file), "--size", "32", "--pixel", "60", "--overlap", "12", "--mask", "missing", "-o"]
    assert main([*words[:6], "0", *words[7:], str(out)]) == 2
    assert "pixels without a size" in capsys.readouterr().err
    assert main([*words, str(out), "--nearest", "-q"]) == 0
    assert f"taken for missing: {hidden.sum()} of {hidden.size}" in capsys.readouterr().err
    assert 0 < len(sundog.load(out)) < LAYOUT.number // 2
    assert main(["sky", "project", str(out), "--back", "--out", str(again), "-q"]) == 0
    found = read_healpix(again)
    assert found.unit == "uK" and found.frame == "icrs"
    assert not found.observed[hidden].any() and found.observed[~hidden].mean() > 0.5
    error = (found.values - values)[found.observed]
    assert error.std() < 0.2 * values.std()  # the nearest pixel, twice


def test_separated_patches_find_their_places_by_another_file(files: tuple[Path, Path], tmp_path: Path) -> None:
    cut = flat_patches(sundog.load(files[1]), LAYOUT)
    cut.save(tmp_path / "cut.npz")
    np.save(tmp_path / "twice.npy", 2 * cut.values.numpy())
    assert main(["sky", "project", str(tmp_path / "twice.npy"), "--back", "--like", str(tmp_path / "cut.npz"),
                 "--out", str(tmp_path / "map.fits"), "-q"]) == 0
    made, first = (sundog.load(file).values for file in (tmp_path / "map.fits", files[1]))
    assert (made - 2 * first).abs().max() < 5e-3 * first.std()
    assert on_sphere(sundog.load(tmp_path / "map.fits"))
    with pytest.raises(DataError, match="not known where these patches lie"):
        stitched(sundog.load(tmp_path / "twice.npy"))
    with pytest.raises(ShapeError, match="not the patches that were cut"):
        stitched(cut[:5])
    with pytest.raises(DataError, match="not a map of the sphere"):
        flat_patches(cut)


@pytest.mark.slow
def test_one_patch_is_no_sky_and_wrong_masks_and_channels_are_told(files: tuple[Path, Path], tmp_path: Path) -> None:
    cut = flat_patches(sundog.load(files[0]), LAYOUT)
    assert not on_sphere(cut[:1])
    with pytest.raises(ShapeError, match="mask and map differ in size"):
        flat_patches(sundog.load(files[0]), LAYOUT, mask=np.ones(768))
    assert main(["sky", "project", str(files[0]), "--overlap", "0", "-o", str(tmp_path / "p.npz"), "-q"]) == 2
    with pytest.raises(ShapeError, match="got 2 channels"):  # the second one was dropped
        write_sphere(tmp_path / "m.fits", np.zeros((2, 12288), np.float32), cut)


def test_files_of_the_sphere_go_through_the_words_as_they_are(files: tuple[Path, Path], tmp_path: Path,
                                                               capsys: pytest.CaptureFixture) -> None:
    other = write_healpix(tmp_path / "o.fits", HealpixMap(synthesis(alm(5), 32).astype(np.float32), "uK", "galactic"))
    loud = write_car(tmp_path / "l.fits", car_map(2 * alm(6), 90.0), "uK", "galactic")
    judged = ["-s", "power spectrum", "--strict", "-q"]
    assert main(["info", str(files[1])]) == 0
    assert main(["judge", str(files[0]), str(other), *judged]) == 0
    assert "was cut into" in capsys.readouterr().err
    assert main(["judge", str(files[0]), str(loud), *judged]) == 1
    assert main(["judge", str(files[0]), str(other), "--train", str(files[0]), *judged]) == 0
    assert main(["bias", str(files[0]), str(other), "-a", "flux"]) == 0
    assert main(["fit", "gan", str(files[0]), "--steps", "2", "--out", str(tmp_path / "gan"), "-q"]) == 0
    assert main(["judge", str(files[0]), str(tmp_path / "gan"), *judged]) == 1  # and the draws of a run beside patches
    assert main(["fit", "scattering", str(files[1]), "--out", str(tmp_path / "run"), "-q"]) == 0
    for file in files:
        assert main(["separate", str(file), "-c", str(other), "--out", str(tmp_path / "s.fits")]) == 2
        assert "sundog sky project" in capsys.readouterr().err


def test_a_sky_is_judged_beside_the_galaxy_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    height = pixelisation(16).pix2vec(np.arange(3072))[:, 2]
    seen = np.abs(height) > 0.3
    skies = [synthesis(gaussian_alm(np.ones(33), np.random.default_rng(seed)), 16).astype(np.float32)
             for seed in range(2)]
    made = {"real": skies[0], "honest": skies[1],
            "hidden": np.where(seen, skies[1], np.float32(50)), "missing": np.where(seen, skies[1], np.float32(UNSEEN)),
            "shown": np.where(height > 0.3, 2 * skies[1], skies[1])}
    place = {name: write_healpix(tmp_path / f"{name}.fits", HealpixMap(x, "", "icrs")) for name, x in made.items()}
    loaded = {name: sundog.load(place[name]) for name in ("real", "honest", "hidden", "shown")}

    def p(fake: str, mask: np.ndarray | None) -> float:
        (a, b), shown = projected(loaded["real"], loaded[fake], mask=mask, apart=True, sizes=(32,))
        return sundog.judge(a, b, mask=shown, splits=4, statistics="deciding").p_value

    honest = p("honest", seen)
    assert honest > 0.01 and p("hidden", seen) == honest
    assert p("shown", seen) < 0.01
    assert main(["judge", str(place["real"]), str(place["missing"]), "--mask", "missing", "-s", "deciding", "--json",
                 "-", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["p_value"] == pytest.approx(honest, rel=0.2)


def test_means_of_tiles_of_two_skies_are_left_out_and_said() -> None:
    x = torch.randn(80, 16, 16, generator=torch.Generator().manual_seed(0))
    seen = torch.rand(40, 16, 16, generator=torch.Generator().manual_seed(1)) > 0.2
    places, notes, p = {"tiles": {}}, [], {}

    def judged(real: torch.Tensor, fake: torch.Tensor, facts: dict[str, object], copied: bool = False) -> float:
        sets = [sundog.Dataset.from_arrays(y, provenance=facts) for y in (real, fake)]
        found = sundog.judge(*sets, mask=seen, splits=4, statistics="deciding", train=sets[1] if copied else None)
        notes.extend(note for note in found.notes if "means (" in note)
        return found.p_value

    for name, fake in (("flat", x[40:]), ("high", x[40:] + 0.3), ("loud", 1.3 * x[40:] + 0.3)):
        p[name] = judged(x[:40], fake, places)
    assert p["high"] == pytest.approx(p["flat"], abs=0.1) and p["high"] > 0.01 > p["loud"]
    assert judged(x[:40], x[40:] + 0.3, {}) < 0.01 and len(notes) == 3 and "0.289" in notes[1]
    assert judged(x[:40], x[40:], places, copied=True) < 0.01


def test_tiles_apart_share_no_pixels_and_masks_lie_as_they_do() -> None:
    values = np.arange(3072, dtype=np.float32)[None, None]
    sky = sundog.Dataset.from_arrays(values, provenance={"sphere": {"nside": 16}})
    mask = np.arange(3072) > 1000
    (tiles,), shown = projected(sky, mask=mask, sizes=(32,))
    (alone,), beside = projected(sky, mask=mask, apart=True, sizes=(32,))
    assert shown is not None and beside is not None and len(tiles) > len(alone) == len(beside)
    told = alone.provenance["tiles"]
    layout = TileLayout(told["size"], told["pixel_arcmin"], told["overlap"])
    read = [layout.directions(row) for row, _ in told["places"]]
    places = [np.stack([a, np.mod(b + layout.longitudes(row)[k], 2 * np.pi)], -1)
              for (a, b), (row, k) in zip(read, told["places"])]
    assert all((mask[pixelisation(16).ang2pix(place)] == part).all() for place, part in zip(places, beside))
    fine = [set(pixelisation(64).ang2pix(place).ravel()) for place in places]
    assert max(len(one & other) / len(one) for i, one in enumerate(fine) for other in fine[:i]) < 0.2  # corners
