"""Covariances of ensembles against the closed form of Gaussian maps; ensembles that were stopped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ducc0")

from sundog.cli import main
from sundog.data.sky.sphere import angular_spectrum, gaussian_alm
from sundog.errors import FileError, RunError, SampleSizeError
from sundog.simulate.sky import NAMES, SkyMaps
from sundog.tasks.sky import simulate_skies, skies_in, sky_covariance
from sundog.tasks.sky.measure import SkySpectra, binned

EDGES = np.array([5, 12, 25, 40])
POWER = 1 / (5 + np.arange(40.0)) ** 2


def spectra(seed: int, loud: float = 0.0) -> SkySpectra:
    """Two maps with correlation 0.6, their power going up and down together by a share ``loud`` from sky to sky."""
    rng = np.random.default_rng(seed)
    a, b = (gaussian_alm(POWER, rng) for _ in range(2))
    gain = np.exp(loud * rng.standard_normal())
    alm = [gain * a, gain * (0.6 * a + 0.8 * b)]
    power = np.array([[binned(angular_spectrum(x, y), EDGES) for y in alm] for x in alm])
    return SkySpectra(("kappa", "cib"), EDGES, power, np.add.reduceat(2 * np.arange(40) + 1, EDGES[:-1]).astype(float))


def test_gaussian_skies_have_the_gaussian_covariance_and_others_not() -> None:
    n = 400
    found = sky_covariance((spectra(seed) for seed in range(n)), EDGES)
    assert found.names == ("kappa x kappa", "kappa x cib", "cib x cib") and found.count == n
    assert (np.abs(found.excess - 1) < 4.5 / np.sqrt(2 * (n - 1))).all()
    sigma = np.sqrt(np.diag(found.gaussian))
    wanted = found.gaussian / np.outer(sigma, sigma)
    assert np.abs(found.correlation - wanted).max() < 4.5 / np.sqrt(n - 1)
    assert wanted[0, 3] > 0.6  # the auto- and the cross-spectrum share the map
    assert (np.abs(found.between_bins - 1 / np.sqrt(n - 1)) < 0.06).all()
    loud = sky_covariance((spectra(seed, 0.1) for seed in range(100)), EDGES)
    assert (loud.excess[:, -1] > 2).all() and (loud.between_bins > 0.5).all()
    at_once = np.cov([spectra(seed).power[np.triu_indices(2)].ravel() for seed in range(20)], rowvar=False)
    assert np.allclose(sky_covariance(map(spectra, range(20)), EDGES).covariance, at_once)
    with pytest.raises(SampleSizeError, match="no scatter of one sky"):
        sky_covariance([spectra(0)], EDGES)
    with pytest.raises(RunError, match="spectra of other bins"):
        sky_covariance(map(spectra, range(3)), EDGES + 1)


def small(path: Path, key: str, options: dict) -> None:
    """A sky of noise; the last of them cannot be made at first."""
    seed = int(key.rpartition("_")[2])
    if seed == 3 and not (path.parent / "allowed").exists():
        raise FileError("stopped", got="1", expected="2", do="3")
    values = np.random.default_rng(seed).normal(size=(5, 768)).astype(np.float32)
    SkyMaps(dict(zip(NAMES, values)), provenance={"seed": seed}).save(path)


def test_an_ensemble_goes_on_and_is_not_mixed_with_another(tmp_path: Path, capsys: pytest.CaptureFixture,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sundog.tasks.sky.ensemble._one", small)
    with pytest.raises(FileError):
        simulate_skies(range(4), tmp_path, 8)
    first = [(tmp_path / f"sky_{seed:04d}" / "sky.json").stat().st_mtime_ns for seed in range(3)]
    (tmp_path / "allowed").touch()
    made = simulate_skies(range(4), tmp_path, 8)
    assert [path.name for path in made] == ["sky_0000", "sky_0001", "sky_0002", "sky_0003"] == \
        [path.name for path in skies_in([tmp_path])]
    assert first == [(path / "sky.json").stat().st_mtime_ns for path in made[:3]]
    with pytest.raises(RunError, match="pieces of other options"):
        simulate_skies(range(4), tmp_path, 16)
    assert simulate_skies(range(4), tmp_path, 8, threads=2) == made  # the same bits
    out = tmp_path / "covariance.npz"
    assert main(["sky", "covariance", str(tmp_path), "--lmin", "2", "--lmax", "12", "--bins", "2", "-o", str(out),
                 "--json", "-q"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["skies"] == 4 and len(told["names"]) == 15
    for words, said in ((["--lmin", "0"], "--lmin"), (["--lmin", "20", "--lmax", "10"], "no multipoles between")):
        assert main(["sky", "covariance", str(tmp_path), *words, "-o", str(tmp_path / "c.npz"), "-q"]) == 2
        assert said in capsys.readouterr().err
    assert np.load(out)["covariance"].shape == (30, 30)
    with pytest.raises(FileError, match="no sky in"):
        skies_in([out.parent / "sky_0000" / "nowhere"])


def test_wrong_ensembles_are_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = ["--out", str(tmp_path)]
    for words, said in ((["--seeds", "5"], "cannot read --seeds"), (["--workers", "2"], "one seed is one piece"),
                        (["--seeds", "0:3", "--seed", "4"], "exclude each other"),
                        (["--seeds", "0:3", "--index", "3"], "no such piece")):
        assert main(["sky", "simulate", "--nside", "16", *words, *out]) == 2
        assert said in capsys.readouterr().err
    assert main(["sky", "simulate", "--nside", "16", "--seeds", "0:7", "--jobs", "slurm", *out]) == 0
    assert "--array=0-6" in (tmp_path / "jobs.sh").read_text()
