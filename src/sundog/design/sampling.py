"""Designs: which candidates to run, with the weights that make least squares on them stable and unbiased."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import qmc

from sundog.checks import one_of, positive, whole
from sundog.design.features import matrix, orthonormal_features
from sundog.errors import OptionError, SampleSizeError, ShapeError
from sundog.random import numpy_stream

Design = tuple[np.ndarray, np.ndarray]
SEQUENCES = {"latin-hypercube": qmc.LatinHypercube, "sobol": qmc.Sobol}


def sample_projection_dpp(features: Any, n: int, seed: int) -> Design:
    """Indices (n,) of distinct candidates from determinantal point processes, and weights (n,).

    n = m: one projection process with kernel K = Q Q^T, Q an orthonormal basis of the features on the candidates:
    P(S) = det(K_S), so the chance of a candidate is its leverage score K_ii, and its weight is m / (N K_ii) =
    1 / k(x), k the Christoffel density. Drawn by the chain rule, candidate i next with probability proportional to
    K_ii minus the part of row i within the span of the rows already drawn.

    n > m: the candidates are cut at random into n/m equal parts and each part has its own process, so no run is bought
    twice; what is left of n is the beginning of one more. Weights n / (N P(i)), with P the chance within the part,
    keep E[Phi^T W Phi / n] = 1 exact. With many candidates this is the repeated process.

    Parameters
    ----------
    features : (N, m) of the candidates; only their span matters

    Raises
    ------
    SampleSizeError : fewer runs than features, or more than candidates. DataError : see `orthonormal_features`.

    Source: Derezinski, Warmuth, Hsu (2018); Nouy and Michel, Weighted least-squares approximation with determinantal
    point processes and generalized volume sampling (2023), arXiv:2312.14057.

    Example
    -------
    >>> from sundog.design import polynomial_features
    >>> rows, weights = sample_projection_dpp(polynomial_features(np.linspace(0, 1, 500), 4), 10, seed=0)
    >>> len(set(rows.tolist())), weights.shape
    (10, (10,))
    """
    phi, n = _checked(features, n, distinct=True)
    rng = numpy_stream(seed, "design", "projection-dpp")
    counts = _counts(n, phi.shape[1])
    parts = [np.arange(len(phi))] if len(counts) == 1 else np.array_split(rng.permutation(len(phi)), len(counts))
    drawn = [_draw_part(phi[part], count, rng) for part, count in zip(parts, counts)]
    rows = np.concatenate([part[some] for part, (some, _) in zip(parts, drawn)])
    chances = np.concatenate([chance for _, chance in drawn])
    return rows, n / (len(phi) * chances)


def sample_christoffel(features: Any, n: int, seed: int) -> Design:
    """Indices (n,) drawn independently with the Christoffel density k, a candidate possibly twice; weights 1 / k.

    Raises
    ------
    SampleSizeError, DataError : as `sample_projection_dpp`, save that n may exceed the candidates.

    Source: Cohen and Migliorati (2017).
    """
    phi, n = _checked(features, n)
    k = (phi**2).mean(axis=1)
    rows = numpy_stream(seed, "design", "christoffel").choice(len(phi), size=n, p=k / k.sum())
    return rows, 1 / k[rows]


def sample_volume_rescaled(features: Any, n: int, seed: int) -> Design:
    """Indices (n,) with probability proportional to det(Phi^T W Phi) times the product of k; weights 1 / k.

    Drawn as one projection process of m candidates and n - m independent draws of the Christoffel density, shuffled.
    Weighted least squares on it is an unbiased estimate of the best approximation on the candidates, for any f.
    A candidate may come twice.

    Raises
    ------
    SampleSizeError, DataError : as `sample_christoffel`.

    Source: Derezinski, Warmuth, Hsu, Leveraged volume sampling for linear regression (2018); arXiv:2312.14057.
    """
    phi, n = _checked(features, n)
    k = (phi**2).mean(axis=1)
    rng = numpy_stream(seed, "design", "volume-rescaled")
    first, _ = _draw_part(phi, phi.shape[1], rng)
    rest = rng.choice(len(phi), size=n - phi.shape[1], p=k / k.sum())
    rows = rng.permutation(np.concatenate([first, rest]))
    return rows, 1 / k[rows]


def sample_conditioned(sampler: Callable[[Any, int, int], Design], features: Any, n: int, seed: int,
                       delta: float = 0.5, *, attempts: int = 200) -> Design:
    """The first design of ``sampler`` with |G - 1| <= delta in spectral norm, G = Phi^T W Phi / n.

    On it weighted least squares has condition number at most (1 + delta) / (1 - delta).

    Raises
    ------
    SampleSizeError : no such design in so many attempts; the message names the nearest.

    Example
    -------
    >>> from sundog.design import polynomial_features
    >>> phi = polynomial_features(np.linspace(0, 1, 500), 4)
    >>> rows, weights = sample_conditioned(sample_projection_dpp, phi, 40, seed=0, delta=0.6)
    >>> bool(gram_distance(phi[rows], weights) <= 0.6)
    True
    """
    delta, best = positive(delta, "delta"), np.inf
    phi, n = _checked(features, n)
    for attempt in range(whole(attempts, "attempts", least=1)):
        rows, weights = sampler(phi, n, seed if attempt == 0 else int(numpy_stream(seed, attempt).integers(2**62)))
        if (distance := gram_distance(phi[rows], weights)) <= delta:
            return rows, weights
        best = min(best, distance)
    raise SampleSizeError("no design so well conditioned", got=f"|G - 1| = {best:.3g} at best of {attempts}",
                          expected=f"{delta:g} or less", do="take more runs, fewer features or a larger delta")


def gram_distance(features: Any, weights: Any) -> float:
    """Spectral norm of Phi^T W Phi / n - 1 of a design, from the orthonormal features (n, m) of its rows."""
    phi, w = matrix(features, "features"), np.asarray(weights, dtype=np.float64)
    return float(np.linalg.norm((phi * w[:, None]).T @ phi / len(phi) - np.eye(phi.shape[1]), 2))


def d_optimal(features: Any, n: int, after: Any = None) -> np.ndarray:
    """Indices (n,) of distinct candidates, each the one that a polynomial emulator knows least about; no draw.

    Greedy det(Phi^T Phi): next is the largest variance phi^T (A + eps 1)^-1 phi, A the Gram matrix of the runs
    chosen so far and of those ``after`` which the new ones come.

    Parameters
    ----------
    features : (N, m) of the candidates
    after : (n_done, m) of the runs already made, in the same columns, or None

    Raises
    ------
    SampleSizeError : more runs than candidates. ShapeError : ``after`` has other columns.

    Example
    -------
    >>> from sundog.design import polynomial_features
    >>> sorted(np.linspace(-1, 1, 201)[d_optimal(polynomial_features(np.linspace(-1, 1, 201), 1), 2)].tolist())
    [-1.0, 1.0]
    """
    phi = matrix(features, "features")
    n = _within(whole(n, "n", least=1), len(phi))
    done = np.empty((0, phi.shape[1])) if after is None else matrix(after, "features of the runs made")
    if done.shape[1] != phi.shape[1]:
        raise ShapeError("features of the runs made", got=f"{done.shape[1]} columns", expected=f"{phi.shape[1]}",
                         do="make them with polynomial_features(runs, degree, candidates=candidates)")
    ridge = 1e-6 * (phi**2).mean()  # of a candidate's own square: only breaks ties of directions not yet seen
    inverse = np.linalg.inv(done.T @ done + ridge * np.eye(phi.shape[1]))
    variance = np.einsum("ij,jk,ik->i", phi, inverse, phi, optimize=True)
    rows = np.empty(n, dtype=int)
    for i in range(n):
        rows[i] = new = int(np.argmax(variance))
        direction = inverse @ phi[new] / np.sqrt(1 + phi[new] @ inverse @ phi[new])
        inverse -= np.outer(direction, direction)
        variance -= (phi @ direction) ** 2
        variance[rows[: i + 1]] = -np.inf
    return rows


def space_filling(bounds: Any, n: int, method: str = "latin-hypercube", seed: int = 0) -> np.ndarray:
    """Points (n, d) of scipy's ``latin-hypercube`` or ``sobol`` within the bounds (d, 2), for comparison.

    Raises
    ------
    OptionError : an unknown method, or bounds without extent.

    Example
    -------
    >>> space_filling([(0, 1), (50, 90)], 8).shape
    (8, 2)
    """
    box = np.asarray(bounds, dtype=np.float64)
    one_of(method, SEQUENCES, "method")
    if box.ndim != 2 or box.shape[1] != 2 or not (box[:, 0] < box[:, 1]).all():
        raise OptionError("bounds do not fit", got=f"{box.tolist()}", expected="pairs (low, high), low < high",
                          do="pass [(low, high), ...]")
    rng = numpy_stream(seed, "design", method)
    engine = SEQUENCES[method](len(box), rng=rng)
    n = whole(n, "n", least=1)
    # Sobol points are balanced in powers of two; the first n of the next power are what one would run.
    u = engine.random_base2((n - 1).bit_length())[:n] if method == "sobol" else engine.random(n)
    return box[:, 0] + u * (box[:, 1] - box[:, 0])


def nearest_candidates(candidates: Any, points: Any) -> np.ndarray:
    """Indices (n,) of distinct candidates nearest to the points, parameters in units of their range over candidates.

    The assignment of least total squared distance: no candidate is taken twice.

    Raises
    ------
    SampleSizeError : more points than candidates. ShapeError : another number of parameters.
    """
    pool, x = matrix(candidates, "candidates"), matrix(points, "points")
    if pool.shape[1] != x.shape[1]:
        raise ShapeError("points and candidates differ", got=f"{x.shape[1]} parameters", expected=f"{pool.shape[1]}",
                         do="pass the same parameters in that order")
    _within(len(x), len(pool))
    scale = np.ptp(pool, axis=0)
    scale[scale == 0] = 1
    squares = ((x[:, None] / scale - pool / scale) ** 2).sum(axis=2)
    return linear_sum_assignment(squares)[1]


def _checked(features: Any, n: int, distinct: bool = False) -> tuple[np.ndarray, int]:
    """Orthonormal features and the number of runs."""
    phi = orthonormal_features(features)
    n = whole(n, "n", least=1)
    if n < phi.shape[1]:
        raise SampleSizeError("fewer runs than features", got=f"n = {n}", expected=f"{phi.shape[1]} or more",
                              do="take more runs or fewer features (a lower degree), or the method d-optimal, which "
                              "takes any number")
    return phi, _within(n, len(phi)) if distinct else n


def _within(n: int, candidates: int) -> int:
    if n > candidates:
        raise SampleSizeError("more runs than candidates", got=f"n = {n}", expected=f"{candidates} or fewer",
                              do="give more candidates, or take fewer runs")
    return n


def _counts(n: int, m: int) -> list[int]:
    """Runs of each part: m, ..., m and what is left."""
    return [m] * (n // m) + [n % m] * (n % m > 0)


def _draw_part(phi: np.ndarray, count: int, rng: np.random.Generator) -> Design:
    """Distinct rows (count,) of the projection process of these rows, and the chance of each.

    The draws of the chain rule are exchangeable: its first ``count`` hold a row with count / rank of its leverage.
    """
    u, spread, _ = np.linalg.svd(phi, full_matrices=False)
    q = u[:, spread > 1e-8 * spread[0]]
    if q.shape[1] < count:  # a part of fewer rows than features: all rows alike, the weights stay exact
        return rng.choice(len(phi), size=count, replace=False), np.full(count, count / len(phi))
    leverage = (q**2).sum(axis=1)
    left, basis, rows = leverage.copy(), np.empty((q.shape[1], count)), np.empty(count, dtype=int)
    for i in range(count):
        total = np.cumsum(left)
        rows[i] = new = min(int(np.searchsorted(total, rng.random() * total[-1], side="right")), len(q) - 1)
        direction = q[new].copy()
        for _ in range(2):  # Gram and Schmidt twice: once loses orthogonality where rows are nearly parallel
            direction -= basis[:, :i] @ (basis[:, :i].T @ direction)
        basis[:, i] = direction / np.linalg.norm(direction)
        left = np.maximum(left - (q @ basis[:, i]) ** 2, 0)
        left[rows[: i + 1]] = 0
    return rows, leverage[rows] * (count / q.shape[1])
