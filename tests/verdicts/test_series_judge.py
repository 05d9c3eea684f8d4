"""The judge on series: nulls pass, planted faults are caught by the rows that name them, unusable input is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import sundog
from sundog.errors import DataError, SampleSizeError, ShapeError
from sundog.simulate.processes import fractional_brownian_motion, ornstein_uhlenbeck


def series(x: torch.Tensor, step: float = 1.0, **facts: object) -> sundog.Dataset:
    return sundog.Dataset.from_arrays(x, time_step=step, **facts)


def rough(hurst: float, seed: int, n: int = 80) -> torch.Tensor:
    return fractional_brownian_motion(n, 95, hurst, seed=seed)


def volatile(seed: int, leverage: float, n: int = 100, t: int = 128) -> torch.Tensor:
    """Steps of fluctuating size; with leverage a fall announces large steps."""
    z = torch.randn(n, t, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    w = ornstein_uhlenbeck(n, t - 1, rate=0.05, scale=0.2, seed=seed + 100)
    for i in range(1, 9):
        w[:, i:] -= leverage * 0.75**i * z[:, :-i]
    return (z * w.exp()).cumsum(1)


def equal_spectrum(x: torch.Tensor) -> torch.Tensor:
    steps = torch.fft.rfft(x.diff(dim=1, prepend=torch.zeros_like(x[:, :1])))
    phase = torch.rand(steps.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turned = torch.polar(torch.ones_like(phase), 2 * torch.pi * phase)
    return torch.fft.irfft(steps.abs() * turned, n=x.shape[1]).cumsum(1)


def test_equal_laws_pass() -> None:
    verdict = sundog.judge(series(rough(0.7, 0)), series(rough(0.7, 1)), splits=4,
                           statistics=("Hurst exponent", "scattering", "flatness"))
    assert verdict.passed
    assert verdict.kind == "series"


@pytest.mark.slow
def test_the_page_shows_lines(tmp_path: Path) -> None:
    x = [torch.stack([rough(0.5, i), rough(0.5, i + 2)], 2) for i in range(2)]
    verdict = sundog.judge(*(series(part, units="m/s") for part in x), splits=4)
    page = verdict.report(tmp_path / "page.html").read_text()
    assert "Real beside fake: x1 [m/s]" in page
    assert "Hurst exponent" in page


@pytest.mark.parametrize(("real", "fake", "row"), [
    (lambda: rough(0.7, 0), lambda: rough(0.6, 1), "Hurst exponent"),
    (lambda: rough(0.7, 0), lambda: rough(0.6, 1), "power spectrum"),
    (lambda: volatile(0, 0.0), lambda: equal_spectrum(volatile(1, 0.0)), "flatness"),
    (lambda: volatile(0, 0.3), lambda: volatile(1, 0.3).flip(1), "leverage"),
], ids=["wrong roughness", "wrong spectrum", "wrong flatness, equal spectrum", "time reversed"])
def test_planted_faults_are_caught_by_the_row_that_names_them(real, fake, row) -> None:  # type: ignore[no-untyped-def]
    verdict = sundog.judge(series(real()), series(fake()), splits=4, statistics=(row,))
    assert not verdict.passed
    assert not verdict[row].passed


def test_rows_blind_to_a_fault_do_not_see_it() -> None:
    x = volatile(0, 0.3)
    verdict = sundog.judge(series(x), series(volatile(1, 0.3).flip(1)), splits=4,
                           statistics=("flatness", "memory of sizes"))
    assert verdict["flatness"].passed
    assert verdict["memory of sizes"].passed


def test_coupling_of_channels_decides() -> None:
    x, y = rough(0.5, 0), rough(0.5, 1)
    together, apart = torch.stack([x, 0.9 * x + 0.3 * y], 2), torch.stack([rough(0.5, 2), rough(0.5, 3)], 2)
    verdict = sundog.judge(series(together), series(apart), splits=4, statistics=("cross spectra",))
    assert not verdict.passed
    assert not verdict["cross spectra"].passed


def test_unusable_series_are_refused() -> None:
    x = rough(0.5, 0)
    for bad, error, words in (
        (series(x[:1]), SampleSizeError, "windows"), (series(x, 2.0), ShapeError, "time step"),
        (series(x[:, :40]), ShapeError, "differ in size"), (sundog.Dataset.from_arrays(x), ShapeError, "same kind"),
        (series(torch.where(torch.arange(80)[:, None] == 3, 1.0, x)), DataError, "constant series"),
        (series(x * torch.where(torch.arange(96) == 3, torch.nan, 1.0)), DataError, "takes no gaps"),
    ):
        with pytest.raises(error, match=words):
            sundog.judge(series(x), bad)
    with pytest.raises(SampleSizeError, match="too short to judge"):
        sundog.judge(series(x[:, :20]), series(x[:, :20]))


def test_arrays_and_generators_take_the_time_step_of_the_truth() -> None:
    x = rough(0.5, 0)
    assert sundog.judge(series(x), rough(0.5, 1).numpy(), statistics="deciding", splits=4).passed
    run = sundog.fit("scattering", series(x), iterations=2)
    assert sundog.judge(series(x), run, draws=1, statistics="deciding", splits=4).n_fake == 80


@pytest.mark.slow
def test_false_alarms_over_200_nulls() -> None:
    p = np.array([sundog.judge(series(volatile(2 * i, 0.3, 40, 64)), series(volatile(2 * i + 1, 0.3, 40, 64)), splits=4,
                               statistics="deciding").p_value for i in range(200)])
    assert (p <= 0.05).sum() <= 10 + 4 * (200 * 0.05 * 0.95) ** 0.5
    assert (p <= 0.01).sum() <= 2 + 4 * (200 * 0.01 * 0.99) ** 0.5
