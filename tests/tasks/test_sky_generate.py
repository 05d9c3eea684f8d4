"""Stitched skies: an identity network gives the sky back, noise keeps its variance, a stopped sky goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("ducc0")

from sundog.data.sky.sphere import analysis, angular_spectrum, gaussian_alm, pixelisation, synthesis
from sundog.data.sky.tiles import TileLayout
from sundog.errors import OptionError, RunError, ShapeError, TrainingError
from sundog.tasks.sky import apply_transfer, assemble, generate_sky, transfer_function

SMALL = TileLayout(32, 60.0, 12)
POWER = 1 / (10 + np.arange(50.0)) ** 2


def identity(kappa: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return kappa


def with_noise(kappa: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(kappa.shape, generator=generator)
    return torch.cat([kappa, noise], 1)


@pytest.mark.slow
def test_an_identity_network_gives_the_sky_back_everywhere() -> None:
    """Band limit 0.3 of the Nyquist frequency of the tiles; rms error 1e-3, spectrum within 1 %."""
    layout, nside = TileLayout(64, 30.0, 20), 128
    lmax = int(0.3 * np.pi / layout.pixel)
    alm = gaussian_alm(1 / (10 + np.arange(lmax + 1.0)) ** 1.5, np.random.default_rng(0), np.complex64)
    truth = synthesis(alm, nside)
    sky = assemble(identity, alm, nside, layout=layout, names=("kappa",))
    error = (sky["kappa"] - truth) / truth.std()
    theta = pixelisation(nside).pix2ang(np.arange(len(truth)))[:, 0]
    for where in (theta < 0.1, theta > np.pi - 0.1, np.abs(theta - 1) < 0.1, np.full(len(theta), True)):
        assert error[where].std() < 1e-3
    ratio = angular_spectrum(analysis(sky["kappa"], lmax)) / angular_spectrum(alm)
    assert np.abs(ratio[2 : lmax // 2] - 1).max() < 0.01
    shifted = assemble(lambda k, g: torch.roll(k, 1, -1), alm, nside, layout=layout, names=("kappa",))
    assert ((shifted["kappa"] - truth) / truth.std()).std() > 1e-2  # the check can fail


def test_same_seed_same_bits_also_when_stopped(tmp_path: Path) -> None:
    options = {"layout": SMALL, "names": ("kappa", "noise")}
    whole = generate_sky(with_noise, POWER, 16, seed=5, **options)
    calls = 0

    def failing(kappa: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > 12:
            raise KeyboardInterrupt
        return with_noise(kappa, generator)

    with pytest.raises(KeyboardInterrupt):
        generate_sky(failing, POWER, 16, seed=5, out=tmp_path / "sky", **options)
    resumed = generate_sky(with_noise, POWER, 16, seed=5, out=tmp_path / "sky", **options)
    other = generate_sky(with_noise, POWER, 16, seed=6, **options)
    for name in ("kappa", "noise"):
        assert whole[name].tobytes() == np.asarray(resumed[name]).tobytes()
        assert abs(np.corrcoef(whole[name], other[name])[0, 1]) < 0.3
    with pytest.raises(RunError, match="another sky"):
        generate_sky(with_noise, POWER, 16, seed=6, out=tmp_path / "sky", **options)
    assert whole.provenance["noise"] is True


def test_point_like_channels_hold_only_values_of_the_tiles() -> None:
    def dots(kappa: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return (torch.rand(kappa.shape, generator=generator) > 0.9).float() * 7

    sky = generate_sky(dots, POWER, 16, layout=SMALL, names=("radio",), point_like=("radio",))
    assert set(np.unique(sky["radio"])) == {0.0, 7.0}
    share, n = float((sky["radio"] > 0).mean()), len(sky["radio"])
    assert abs(share - 0.1) < 5 * np.sqrt(0.09 / n) + 0.005


def test_transfer_functions_repair_the_spectrum_and_raw_maps_stay() -> None:
    skies = [{"kappa": synthesis(gaussian_alm(POWER, np.random.default_rng(s)), 32).astype(np.float32)}
             for s in range(4)]
    faint = [{"kappa": 0.8 * sky["kappa"]} for sky in skies]
    transfer = transfer_function(skies[:2], faint[:2], 48)
    assert np.allclose(transfer["kappa"][4:45], 1.25, rtol=1e-3)
    bright = apply_transfer({"kappa": faint[3]["kappa"] + 40}, transfer)["kappa"]
    assert bright.mean() == pytest.approx(40 + faint[3]["kappa"].mean(), abs=1e-3)  # a mean is no spectrum
    repaired = apply_transfer(faint[3], transfer)
    assert np.abs(repaired["kappa"] - skies[3]["kappa"]).std() < 0.05 * skies[3]["kappa"].std()
    sky = assemble(lambda k, g: 0.8 * k, skies[3]["kappa"], 32, layout=SMALL, names=("kappa",), transfer=transfer)
    assert sky.corrected["kappa"].std() > 1.2 * sky["kappa"].std()


def test_bad_translators_and_arguments_are_named() -> None:
    options = {"layout": SMALL, "names": ("kappa",)}
    with pytest.raises(ShapeError, match="another shape"):
        generate_sky(lambda k, g: k[:, :, 1:], POWER, 16, **options)
    with pytest.raises(TrainingError, match="NaN"):
        generate_sky(lambda k, g: k * float("nan"), POWER, 16, **options)
    with pytest.raises(OptionError, match="unknown blend"):
        generate_sky(identity, POWER, 16, blend="sqrt", **options)
    with pytest.raises(OptionError, match="power of two"):
        generate_sky(identity, POWER, 24, **options)
    with pytest.raises(OptionError, match="channel names"):
        generate_sky(identity, POWER, 16, layout=SMALL, names=("kappa",), point_like=("cib",))
    with pytest.raises(OptionError, match="not a spectrum"):
        generate_sky(identity, np.array([1.0, np.nan, 1.0]), 16, **options)


def test_a_run_that_translates_is_a_translator_and_kappa_passes_through() -> None:
    class Wrapped:
        def translate(self, kappa: torch.Tensor, seed: int) -> torch.Tensor:
            return kappa + torch.randn(kappa.shape, generator=torch.Generator().manual_seed(seed))

    sky = generate_sky(Wrapped(), POWER, 16, layout=SMALL, names=("kappa", "tsz"))
    alone = generate_sky(identity, POWER, 16, layout=SMALL, names=("kappa",))
    assert np.allclose(sky["kappa"], alone["kappa"], atol=1e-4)
    assert 0.8 < (sky["tsz"] - sky["kappa"]).std() < 1.05  # white noise loses some variance between its pixels


def test_a_folder_begun_with_another_translator_is_refused(tmp_path: Path) -> None:
    options = {"layout": SMALL, "names": ("kappa",)}
    first = generate_sky(identity, POWER, 16, out=tmp_path / "sky", **options)
    again = generate_sky(identity, POWER, 16, out=tmp_path / "sky", **options)
    assert np.array_equal(first["kappa"], again["kappa"])
    with pytest.raises(RunError, match="another sky: got other translator"):
        generate_sky(lambda k, g: 1.1 * k, POWER, 16, out=tmp_path / "sky", **options)
    with pytest.raises(RunError, match="other translator"):
        generate_sky(lambda k, g: k.roll(1, -1), POWER, 16, out=tmp_path / "sky", **options)


@pytest.mark.parametrize("text", ["", "[]", '{"facts": 1}', '{"facts": {}, "done": ["x"]}', "\x00\xff"])
def test_damaged_notes_of_a_sky_are_named(text: str, tmp_path: Path) -> None:
    options = {"layout": SMALL, "names": ("kappa",), "out": tmp_path}
    generate_sky(identity, POWER, 16, **options)
    (tmp_path / "generated.json").write_text(text)
    with pytest.raises(RunError):
        generate_sky(identity, POWER, 16, **options)
