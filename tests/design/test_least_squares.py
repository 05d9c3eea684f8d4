"""Weighted least squares: the minimiser, several outputs, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sundog.design import WeightedLeastSquares
from sundog.errors import DataError, SampleSizeError, ShapeError

RNG = np.random.default_rng(0)
PHI, Y, W = RNG.normal(size=(12, 3)), RNG.normal(size=(12, 5)), RNG.uniform(0.1, 3, size=12)


def test_it_solves_the_normal_equations() -> None:
    expected = np.linalg.solve((PHI.T * W) @ PHI, (PHI.T * W) @ Y)
    fit = WeightedLeastSquares().fit(PHI, Y, W)
    assert np.allclose(fit.coefficients_, expected)
    assert np.allclose(WeightedLeastSquares().fit(PHI, Y[:, 0], W).predict(PHI), (PHI @ expected)[:, 0])
    assert not np.allclose(WeightedLeastSquares().fit(PHI, Y).coefficients_, expected)
    spread = np.linalg.svd(np.sqrt(W / 12)[:, None] * PHI, compute_uv=False)
    assert np.isclose(fit.smallest_singular_value_, spread[-1])


NAN = np.where(np.arange(12)[:, None] == 7, np.nan, Y)
BAD = {
    "few": (lambda: WeightedLeastSquares().fit(PHI[:2], Y[:2]), SampleSizeError, "fewer runs than features: got 2"),
    "failed": (lambda: WeightedLeastSquares().fit(PHI, NAN), DataError, r"runs with NaN or Inf: got rows \[7\]"),
    "lengths": (lambda: WeightedLeastSquares().fit(PHI, Y[:5]), ShapeError, "differ"),
    "weights": (lambda: WeightedLeastSquares().fit(PHI, Y, W - 5), DataError, "weights are not positive"),
    "rank": (lambda: WeightedLeastSquares().fit(PHI[[0, 0, 0, 1]], Y[:4]), DataError, "rank 2"),
    "columns": (lambda: WeightedLeastSquares().fit(PHI, Y).predict(PHI[:, :2]), ShapeError, "2 columns"),
}


@pytest.mark.parametrize("name", BAD)
def test_refuses(name: str, refused: Callable[..., None]) -> None:
    refused(*BAD[name])
