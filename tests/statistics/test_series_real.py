"""Series that packages ship: the roughness of volatility, the memory of the Nile."""

from __future__ import annotations

import math

import pytest
import torch

from sundog.statistics.series import hurst_exponent


def test_volatility_is_rough() -> None:
    vix = pytest.importorskip("arch.data.vix", reason="package arch").load()["vix"].dropna()
    value, low, high = hurst_exponent(torch.tensor([math.log(v) for v in vix], dtype=torch.float64))
    assert 0.3 < low < value < high < 0.5  # rougher than Brownian motion


def test_the_nile_remembers() -> None:
    nile = pytest.importorskip("statsmodels.datasets.nile", reason="package statsmodels").load_pandas().data["volume"]
    flow = torch.tensor(nile.tolist(), dtype=torch.float64)
    value, low, _ = hurst_exponent((flow - flow.mean()).cumsum(0))
    assert low > 0.5  # Hurst 1951: about 0.7 to 0.9
    assert value < 1


def test_el_nino_remembers() -> None:
    warmth = torch.from_numpy(pytest.importorskip("pywt.data", reason="package PyWavelets").nino()[1].astype(float))
    _, low, _ = hurst_exponent((warmth - warmth.mean()).cumsum(0))
    assert low > 0.5  # seasons of one sign last
