"""Features of candidate runs, orthonormal on the candidates: Phi^T Phi / N = 1, whatever law the candidates follow."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.polynomial import legendre

from sundog.checks import whole
from sundog.errors import DataError, OptionError, SampleSizeError, ShapeError

RANK_EPS = 1e-10  # of the largest singular value: below, a feature is a combination of the others


def polynomial_features(points: Any, degree: int, bounds: Any = None, candidates: Any = None) -> np.ndarray:
    """Polynomials up to a total degree at the points, orthonormal on the candidates: (N, m), m = C(d + degree, d).

    Legendre products P_a1(u_1) ... P_ad(u_d), a_1 + ... + a_d <= degree, u in [-1, 1], made orthonormal by a QR
    decomposition on the candidates: Phi^T Phi / N = 1 there. Column 0 is the constant 1.

    Parameters
    ----------
    points : (n, d) or (n,) parameters, any units
    degree : largest total degree
    bounds : (d, 2) lower and upper end of each parameter; those of the candidates unless given
    candidates : (N, d) where the features are orthonormal; the points themselves unless given

    Raises
    ------
    DataError : NaN, a constant parameter, a candidate given twice or outside the bounds, or candidates on so few
        distinct values that the polynomials cannot be told apart.
    SampleSizeError : fewer candidates than features.

    Example
    -------
    >>> phi = polynomial_features(np.random.default_rng(0).uniform(size=(500, 2)), degree=3)
    >>> phi.shape, bool(np.allclose(phi.T @ phi / 500, np.eye(10)))
    ((500, 10), True)
    """
    degree = whole(degree, "degree", least=0)
    x = matrix(points, "points")
    pool = x if candidates is None else matrix(candidates, "candidates")
    if x.shape[1] != pool.shape[1]:
        raise ShapeError("points and candidates differ", got=f"{x.shape[1]} parameters",
                         expected=f"{pool.shape[1]}, as the candidates", do="pass the same parameters in that order")
    box = _box(pool, bounds)
    _check_candidates(pool, box)
    m = math.comb(pool.shape[1] + degree, degree)
    if len(pool) < m:
        raise SampleSizeError("fewer candidates than features", got=f"{len(pool)} candidates",
                              expected=f"{m} or more for degree {degree} in {pool.shape[1]} parameters",
                              do="give more candidates, or a lower degree")
    q, r = _qr(_products(pool, degree, box), "the polynomials of this degree")
    return q * math.sqrt(len(pool)) if candidates is None else _solve(_products(x, degree, box), r, len(pool))


def orthonormal_features(features: Any) -> np.ndarray:
    """Any feature matrix (N, m) turned into one of the same span with Phi^T Phi / N = 1.

    Raises
    ------
    SampleSizeError : more features than candidates. DataError : NaN, or columns that depend on each other.
    """
    phi = matrix(features, "features")
    if len(phi) < phi.shape[1]:
        raise SampleSizeError("fewer candidates than features", got=f"{len(phi)} candidates",
                              expected=f"{phi.shape[1]} or more", do="give more candidates, or fewer features")
    return _qr(phi, "the features")[0] * math.sqrt(len(phi))


def christoffel_density(features: Any) -> np.ndarray:
    """Density (N,) of optimal sampling with respect to the uniform law on the candidates: k(x) = |phi(x)|^2 / m.

    Its mean over the candidates is 1; m k / N are the leverage scores. Depends on the span of the features alone.

    Source: Cohen and Migliorati, Optimal weighted least-squares methods (2017).

    Example
    -------
    >>> k = christoffel_density(polynomial_features(np.linspace(-1, 1, 1001), degree=9))
    >>> round(float(k.mean()), 6), bool(k[0] > 5 * k[500])
    (1.0, True)
    """
    phi = orthonormal_features(features)
    return (phi**2).mean(axis=1)


def matrix(values: Any, what: str) -> np.ndarray:
    """The numbers as (n, d) float64; (n,) becomes one column.

    Raises
    ------
    ShapeError : neither one nor two axes, or empty. DataError : NaN or Inf.
    """
    x = np.asarray(values, dtype=np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or 0 in x.shape:
        raise ShapeError(f"{what} are no table", got=f"shape {x.shape}", expected="(n, d), nothing empty",
                         do="pass one row per candidate")
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(bad):
        raise DataError(f"{what} hold NaN or Inf", got=f"{len(bad)} such rows, first {bad[0]}",
                        expected="finite numbers", do="drop these rows")
    return x


def _box(pool: np.ndarray, bounds: Any) -> np.ndarray:
    """Bounds (d, 2), checked."""
    found = np.stack([pool.min(axis=0), pool.max(axis=0)], axis=1)
    if (flat := np.flatnonzero(found[:, 0] == found[:, 1])).size:
        raise DataError("constant parameters", got=f"columns {flat.tolist()} with one value",
                        expected="two values or more in every column", do="leave these columns out")
    if bounds is None:
        return found
    box = np.asarray(bounds, dtype=np.float64)
    box = box[None] if box.ndim == 1 else box
    if box.shape != found.shape or not (np.isfinite(box).all() and (box[:, 0] < box[:, 1]).all()):
        raise OptionError("bounds do not fit", got=f"{box.tolist()}",
                          expected=f"{len(found)} pairs, lower end below upper end", do="pass [(low, high), ...]")
    return box


def _check_candidates(pool: np.ndarray, box: np.ndarray) -> None:
    slack = 1e-9 * (box[:, 1] - box[:, 0])
    outside = ((pool < box[:, 0] - slack) | (pool > box[:, 1] + slack)).any(axis=1)
    if outside.any():
        raise DataError("candidates outside the bounds", got=f"{outside.sum()} rows, first {outside.argmax()}",
                        expected=f"rows within {box.tolist()}", do="drop these rows, or widen the bounds")
    first = np.unique(pool, axis=0, return_index=True)[1]
    if len(first) < len(pool):
        twice = np.setdiff1d(np.arange(len(pool)), first)
        raise DataError("duplicated candidates", got=f"{len(twice)} repeated rows, first {twice[0]}",
                        expected="distinct rows", do="drop them, e.g. numpy.unique(candidates, axis=0)")


def _products(x: np.ndarray, degree: int, box: np.ndarray) -> np.ndarray:
    """Legendre products (n, m), lower total degrees first."""
    u = (2 * x - box.sum(axis=1)) / (box[:, 1] - box[:, 0])
    table = legendre.legvander(u, degree)  # (n, d, degree + 1)
    powers = [np.bincount(np.array(some, dtype=int), minlength=x.shape[1]) for total in range(degree + 1)
              for some in combinations_with_replacement(range(x.shape[1]), total)]
    return np.stack([np.prod([table[:, j, a] for j, a in enumerate(row) if a] or [np.ones(len(x))], axis=0)
                     for row in powers], axis=1)


def _qr(phi: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Q and R with a positive diagonal.

    Raises
    ------
    DataError : columns that depend on each other.
    """
    scale = np.linalg.norm(phi, axis=0)
    q, r = np.linalg.qr(phi / np.where(scale > 0, scale, 1))
    spread = np.linalg.svd(r, compute_uv=False)
    rank = int((spread > RANK_EPS * spread[0]).sum())
    if rank < phi.shape[1]:
        raise DataError(f"{what} depend on each other on these candidates", got=f"rank {rank}",
                        expected=f"rank {phi.shape[1]}", do="give candidates with more distinct values, or fewer "
                        "features (a lower degree)")
    sign = np.where(np.diag(r) < 0, -1.0, 1.0)
    return q * sign, r * sign[:, None] * scale


def _solve(raw: np.ndarray, r: np.ndarray, n: int) -> np.ndarray:
    """The orthonormal features of other points, from their Legendre products."""
    return np.linalg.solve(r.T, raw.T).T * math.sqrt(n)
