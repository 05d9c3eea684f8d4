"""Features: orthonormal on the candidates, the whole polynomial space, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from sundog.design import christoffel_density, orthonormal_features, polynomial_features
from sundog.errors import DataError, OptionError, SampleSizeError, ShapeError

RNG = np.random.default_rng(0)
BOX = [(0, 1), (50, 90), (-2, 2)]
X = RNG.uniform(size=(400, 3)) * [1, 40, 4] + [0, 50, -2]


@pytest.mark.parametrize("degree", [0, 1, 2, 4])
def test_orthonormal_on_the_candidates(degree: int) -> None:
    phi = polynomial_features(X, degree, BOX)
    assert phi.shape == (400, math.comb(3 + degree, degree))
    assert np.allclose(phi.T @ phi / 400, np.eye(phi.shape[1]), atol=1e-10)
    assert np.allclose(phi[:, 0], 1)


def test_total_degree_is_the_span() -> None:
    phi = polynomial_features(X, 3, BOX)

    def left(f: np.ndarray) -> float:
        return float(np.abs(f - phi @ (phi.T @ f) / 400).max())

    assert left(X[:, 0] ** 2 * X[:, 2] + X[:, 1]) < 1e-9
    assert left(X[:, 0] ** 2 * X[:, 2] ** 2) > 1e-3  # degree 4


def test_other_points_are_in_the_same_basis() -> None:
    assert np.allclose(polynomial_features(X[:7], 3, BOX, candidates=X), polynomial_features(X, 3, BOX)[:7])


def test_legendre_where_the_candidates_are_dense() -> None:
    x = np.linspace(-1, 1, 20_001)
    legendre = np.stack([np.sqrt(2 * k + 1) * np.polynomial.Legendre.basis(k)(x) for k in range(6)], axis=1)
    assert np.allclose(polynomial_features(x, 5), legendre, atol=0.01)


def test_christoffel_density_is_of_the_span() -> None:
    raw = np.stack([np.ones(400), X[:, 0], X[:, 1]], axis=1)
    k = christoffel_density(raw)
    assert np.isclose(k.mean(), 1)
    assert np.allclose(k, christoffel_density(raw @ RNG.normal(size=(3, 3))))
    leverage = np.diag(raw @ np.linalg.inv(raw.T @ raw) @ raw.T)
    assert np.allclose(3 * k / 400, leverage)


def test_christoffel_density_is_constant_for_fourier() -> None:
    t = 2 * np.pi * np.arange(64) / 64
    phi = np.stack([np.ones(64), *(f(j * t) for j in (1, 2, 3) for f in (np.cos, np.sin))], axis=1)
    assert np.allclose(christoffel_density(phi), 1)


BAD = {
    "NaN": (lambda: polynomial_features(np.where(np.arange(400)[:, None] == 5, np.nan, X), 1), DataError, "first 5"),
    "constant": (lambda: polynomial_features(np.c_[X, np.ones(400)], 1), DataError, r"constant.*\[3\]"),
    "twice": (lambda: polynomial_features(np.r_[X, X[:2]], 1), DataError, "duplicated candidates.*2 repeated"),
    "outside": (lambda: polynomial_features(X, 1, [(0, 1), (50, 60), (-2, 2)]), DataError, "outside the bounds"),
    "few": (lambda: polynomial_features(X[:5], 2), SampleSizeError, "fewer candidates than features.*5.*10"),
    "levels": (lambda: polynomial_features(np.c_[np.arange(40) % 2, np.arange(40)], 2), DataError, "rank 5"),
    "bounds": (lambda: polynomial_features(X, 1, [(0, 1)]), OptionError, "bounds do not fit"),
    "cube": (lambda: polynomial_features(np.zeros((2, 2, 2)), 1), ShapeError, "no table"),
    "columns": (lambda: polynomial_features(X[:, :2], 1, candidates=X), ShapeError, "2 parameters"),
    "degree": (lambda: polynomial_features(X, -1), OptionError, "degree"),
    "dependent": (lambda: orthonormal_features(np.c_[X, X[:, 0]]), DataError, "rank 3"),
}


@pytest.mark.parametrize("name", BAD)
def test_refuses(name: str, refused: Callable[..., None]) -> None:
    refused(*BAD[name])
