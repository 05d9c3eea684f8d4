"""Separation: statistics of the truth are recovered where a Wiener filter fails; losses mean what they say."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import DataError, OptionError, SampleSizeError, ShapeError
from sundog.solve.descend import descend
from sundog.statistics.maps.bands import BandPowers
from sundog.statistics.maps.spectra import correlation_coefficient, power_spectrum
from sundog.tasks.separation import Domain, Match, Report, Residual, Statistics, separate
from sundog.tasks.separation.result import trust

DATA = Path(os.environ.get("SUNDOG_DATA", "../shared/data")) / "fields"


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def red_lognormal(side: int, seed: int = 0) -> Tensor:
    x = torch.randn(side, side, generator=generator(seed))
    k = (torch.fft.fftfreq(side)[:, None] ** 2 + torch.fft.rfftfreq(side)[None] ** 2).sqrt().clamp_min(1 / side)
    x = torch.fft.irfft2(torch.fft.rfft2(x) * k**-1.5, s=(side, side))
    x = (0.8 * x / x.std()).exp()
    return (x - x.mean()) / x.std()


def wiener(d: Tensor, truth: Tensor, sigma: float) -> Tensor:
    """The filter that knows the true spectrum; it loses power where the noise wins."""
    bands = BandPowers((d.shape[0], d.shape[1]))
    power = bands(truth[None])[0]
    share = bands.spread(power / (power + sigma**2)).reshape(d.shape[0], -1)
    return torch.fft.irfft2(torch.fft.rfft2(d) * share, s=tuple(d.shape))


def kurtosis(x: Tensor) -> float:
    return float((((x - x.mean()) / x.std()) ** 4).mean())


def test_power_and_tails_come_back_where_a_wiener_filter_loses_them() -> None:
    truth, sigma = red_lognormal(96), 0.7
    d = truth + sigma * torch.randn(96, 96, generator=generator(1))
    found = separate(d, lambda n, g: sigma * torch.randn(n, 96, 96, generator=g), draws=40, eras=3, polish=0)
    true, power = power_spectrum(truth, bins=8).power, power_spectrum(found.signal, bins=8).power
    filtered = power_spectrum(wiener(d, truth, sigma), bins=8).power
    noisy = (true / sigma**2 > 0.1) & (true / sigma**2 < 1)
    assert noisy.any()
    assert ((power / true)[noisy] > 0.6).all()
    assert ((power / true)[noisy] < 1.6).all()
    assert not ((filtered / true)[noisy] > 0.6).any()  # the same test fails for the filter
    assert abs(kurtosis(found.signal) - kurtosis(truth)) < abs(kurtosis(wiener(d, truth, sigma)) - kurtosis(truth))
    assert torch.allclose(found.signal + found.residual, d, atol=1e-5)
    assert correlation_coefficient(found.signal, truth, bins=8).power[:3].min() > 0.9


def test_clean_pixels_stay_and_help_while_masks_say_where_statistics_are_taken() -> None:
    truth, dirty, seen = red_lognormal(48), torch.zeros(48, 48), torch.ones(48, 48)
    dirty[:, 16:] = 1
    seen[40:, :20] = 0  # neither mask holds the other
    noise = torch.randn(41, 48, 48, generator=generator(1)) * dirty
    d = truth + noise[0]
    quick = {"eras": 2, "iterations": 10, "polish": 0, "mask": seen, "J": 3}
    found, plain = (separate(d, noise[1:], update=update, **quick) for update in (dirty, None))
    kept = (dirty == 0) & (seen > 0)
    assert torch.equal(found.signal[kept], d[kept])
    assert not torch.equal(plain.signal[kept], d[kept])  # without the second mask they move
    errors = [(x.signal - truth)[seen > 0].square().mean() for x in (found, plain)]
    assert errors[0] < errors[1] < (d - truth)[seen > 0].square().mean()
    with pytest.raises(OptionError, match="add their draws up"):
        separate(d, {"a": noise[1:], "b": noise[1:]}, update=dirty, **quick)


def test_every_loss_is_one_at_the_truth_and_large_elsewhere() -> None:
    """Mean over 12 mixtures of a loss at the truth is 1 within 4 standard errors; at the mixture it is far off."""
    truth, g = red_lognormal(32)[None], generator(2)
    phi = Statistics(Domain((32, 32)), 2, 4, 6)
    at_truth, at_mixture = {Match: [], Residual: []}, {Match: [], Residual: []}
    for _ in range(12):
        noise = torch.randn(41, 1, 32, 32, generator=g)
        d = truth + noise[0]
        for kind in (Match, Residual):
            loss = kind().in_era(phi, d, truth, noise[1:])
            at_truth[kind].append(float(loss(truth)))
            at_mixture[kind].append(float(loss(d)))
    for kind, values in at_truth.items():
        values = torch.tensor(values)
        assert (
            abs(values.mean() - 1) < 4 * values.std() / 12**0.5 + 0.15
        )  # 40 draws: E[1/s^2] is 5 % over 1/sigma^2, the mean adds 1/40
        assert torch.tensor(at_mixture[kind]).mean() > 2


def test_averaging_and_bias_schemes_agree_where_they_were_set() -> None:
    truth = red_lognormal(32)[None]
    phi = Statistics(Domain((32, 32)), 3, 4, 6, accuracy="default")
    noise = torch.randn(40, 1, 32, 32, generator=generator(3))
    d = truth + torch.randn(32, 32, generator=generator(4))
    bias, average = Match().in_era(phi, d, truth, noise), Match().averaged(phi, d, truth, noise, 16)
    assert torch.allclose(bias(truth), average(truth), rtol=1e-3)


def test_same_seed_same_map_and_repeats_differ() -> None:
    d = red_lognormal(32) + torch.randn(32, 32, generator=generator(5))
    maps = torch.randn(30, 32, 32, generator=generator(6))
    options = {"eras": 1, "iterations": 5, "polish": 3, "draws": 20}
    first = separate(d, maps, repeats=1, seed=3, **options)
    second = separate(d.numpy(), maps.numpy(), seed=3, **options)
    assert torch.equal(first.signal, second.signal)
    assert first.repeats.shape == (1, 32, 32)
    assert not torch.allclose(first.signal, first.repeats[0])
    report = first.report
    assert report.agreement[0] > report.agreement[-2]
    assert set(report.losses) == {"Match"}
    assert set(report.endings) <= {"target", "iterations", "converged", "line search"}
    assert f"each era ended by: {report.endings[0]}" in str(report)
    assert "deterministic" in str(report)
    assert report.deterministic_down_to > 0


def test_units_and_means_do_not_matter() -> None:
    d = red_lognormal(32) + torch.randn(32, 32, generator=generator(5))
    maps = torch.randn(30, 32, 32, generator=generator(6))
    options = {"eras": 1, "iterations": 5, "polish": 0, "draws": 20}
    plain = separate(d, maps, **options).signal
    scaled = separate(1e-6 * d + 1e-4, 1e-6 * maps, **options).signal
    assert torch.allclose((scaled - 1e-4) / 1e-6, plain, atol=2e-2)


def test_data_sets_and_fitted_runs_are_taken() -> None:
    class FittedRun:
        def sample(self, n: int, seed: int) -> Dataset:
            return Dataset.from_arrays(torch.randn(n, 32, 32, generator=generator(seed)), units="uK")

    mixture = Dataset.from_arrays((red_lognormal(32) + 0.1)[None], units="uK")
    found = separate(mixture, FittedRun(), eras=1, iterations=2, polish=0, draws=12)
    assert found.signal.shape == (32, 32)
    with pytest.raises(ShapeError):
        separate(mixture, Dataset.from_arrays(torch.randn(12, 32, 32), units="MJy/sr"))


def test_bad_input_is_named() -> None:
    d, maps = torch.randn(16, 16, generator=generator(0)), torch.randn(12, 16, 16, generator=generator(1))
    for bad, error in (
        ((d, maps[:, :8]), ShapeError),
        ((d, maps[:5]), SampleSizeError),
        ((torch.ones(16, 16), maps), DataError),
        ((d * float("nan"), maps), DataError),
        ((maps, maps), ShapeError),
        ((d, maps, []), OptionError),
    ):
        with pytest.raises(error):
            separate(*bad)


@pytest.mark.slow
@pytest.mark.parametrize("snr", [1.0, 0.5])
@pytest.mark.skipif(not (DATA / "mhd_dust_I_1.npy").exists(), reason="needs the dust maps of SUNDOG_DATA")
def test_dust_under_white_noise(snr: float) -> None:
    dust = torch.from_numpy(np.load(DATA / "mhd_dust_I_1.npy")).reshape(256, 2, 256, 2).mean((1, 3))
    dust, sigma = (dust - dust.mean()) / dust.std(), 1 / snr
    d = dust + sigma * torch.randn(256, 256, generator=generator(7))
    found = separate(d, lambda n, g: sigma * torch.randn(n, 256, 256, generator=g))
    true = power_spectrum(dust, bins=20).power
    ratio = power_spectrum(found.signal, bins=20).power / true
    strong, weak = true / sigma**2 > 0.25, true / sigma**2 > 0.1
    assert (ratio[strong] > 0.8).all()
    assert (ratio[strong] < 1.25).all()
    assert (ratio[weak] > 0.6).all()
    assert (ratio[weak] < 1.5).all()
    assert abs(kurtosis(found.signal) - kurtosis(dust)) < abs(kurtosis(wiener(d, dust, sigma)) - kurtosis(dust))


def test_a_scale_is_called_what_its_errors_allow() -> None:
    """Agreement over 0.7 by more than its error, power over two of its errors; the sentence counts the table."""
    ones = torch.ones(5)
    report = Report(
        k=ones, signal_to_noise=torch.tensor([9.0, 2.0, 3.0, 0.5, 0.1]), chance=0 * ones,
        agreement=torch.tensor([0.9, 0.75, 0.75, 0.5, 0.1]), agreement_error=torch.tensor([0.1, 0.1, 0.01, 0.0, 0.0]),
        power_error=torch.tensor([0.6, 0.6, 0.1, 0.4, 0.5]), losses={}, endings=(), eras=1, evaluations=1, seconds=0.0,
    )  # fmt: skip
    assert report.regimes == ["deterministic", "lost", "deterministic", "statistical", "lost"]
    assert report.summary().startswith("Of 5 scales 2 come back structure by structure, 1 in")
    assert report.deterministic_down_to == 3.0
    assert report.statistical_down_to == 3.0  # the scale of 2 is lost, whatever those below it are


@pytest.mark.parametrize(("known", "allowed"), [(64, 0.0), (24, 0.15)])
def test_the_chance_bound_is_that_of_the_modes(known: int, allowed: float) -> None:
    """2 / sqrt(S/N modes) for white noise, exact on whole maps; the scatter of 400 draws is known to 4 %."""
    mask = (torch.arange(64) < known).float().expand(64, 64)
    phi = Statistics(Domain((64, 64), mask=None if known == 64 else mask), J=2, bins=8)
    facts = trust(phi, [red_lognormal(64)[None]], 0.7 * torch.randn(400, 1, 64, 64, generator=generator(1)))
    ratio = facts["chance"] / (2 / (facts["signal_to_noise"] * phi.modes).sqrt())
    assert ((ratio - 1).abs()[3:] < 4 / (2 * 399) ** 0.5 + allowed).all(), ratio
    agreement = facts["signal_to_noise"] / (1 + facts["signal_to_noise"])
    assert torch.allclose(facts["agreement_error"], (1 - agreement**2) / phi.modes.to(agreement).sqrt(), rtol=1e-4)


@pytest.mark.slow
def test_errors_of_the_power_and_agreement_are_calibrated() -> None:
    """Twelve mixtures: pulls have a root mean square of 1, and solutions agree as they do with the truth."""
    pulls, controls, claimed, true = [], [], [], []
    for seed in range(12):
        truth = red_lognormal(64, seed)
        d = truth + 0.7 * torch.randn(64, 64, generator=generator(100 + seed))
        found = separate(d, lambda n, g: 0.7 * torch.randn(n, 64, 64, generator=g), seed=seed, repeats=1, eras=3)
        quiet = separate(d, lambda n, g: 0.5 * torch.randn(n, 64, 64, generator=g), seed=seed, eras=3)
        pulls.append(found.pulls(truth))
        controls.append(quiet.pulls(truth))
        claimed.append(found.report.agreement)
        kept = [found.spectrum(x) for x in (found.signal, truth, found.signal + truth)]
        true.append((kept[2] - kept[0] - kept[1]) / 2 / (kept[0] * kept[1]).sqrt())
        assert (found.report.chance < 1.5 * found.report.power_error).all()
    rms, control = (float(torch.stack(p).square().mean().sqrt()) for p in (pulls, controls))
    assert 0.7 < rms < 1.3
    assert control > 2  # negative control: draws of half the power
    assert (torch.stack(claimed).mean(0) - torch.stack(true).mean(0)).abs().max() < 0.15


@pytest.mark.parametrize("method", ["bias", "diffusive"])
def test_a_stopped_separation_goes_on_to_the_same_bits(method: str, tmp_path, monkeypatch) -> None:
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(20, 16, 16, generator=rng, dtype=torch.float64)
    d = torch.randn(16, 16, generator=rng, dtype=torch.float64).cumsum(0) + noise[0]
    how = {"J": 2, "method": method, "draws": 10, "eras": 2, "iterations": 2, "polish": 1, "seed": 3}
    whole = separate(d, noise[1:], **how)
    calls: list[int] = []

    def stopping(*given, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return descend(*given, **options)

    monkeypatch.setattr("sundog.tasks.separation.descent.descend", stopping)
    with pytest.raises(KeyboardInterrupt):
        separate(d, noise[1:], **how, keep=tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == 2
    found = separate(d, noise[1:], **how, keep=tmp_path / "kept")
    assert len(calls) == 4  # the third descent alone was left
    assert torch.equal(found.signal, whole.signal) and found.report.losses == whole.report.losses
    assert not (tmp_path / "kept").exists()
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        separate(d, noise[1:], **how, keep=tmp_path / "kept")
    calls.extend([1] * 9)
    separate(d + 1e-9 * noise[1], noise[1:], **how, keep=tmp_path / "kept")
    assert len(calls) == 12 + 3  # another mixture takes nothing of it
