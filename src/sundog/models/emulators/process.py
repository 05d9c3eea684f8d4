"""Gaussian processes in closed form: one for each amplitude, its lengths and levels by the marginal likelihood.

    a(c) ~ GP(0, K),     K(c, c') = t (1 + c c') + q (c c')^2 + s exp(-1/2 sum_i (c_i - c'_i)^2 / l_i^2) + v delta / w

a line, a quadratic where the runs are many, and what bends otherwise; w: weight of a run.

Source: Rasmussen and Williams 2006, equations 2.23, 2.24, 5.9 and 5.12.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from torch import Tensor

Array = NDArray[np.float64]
LENGTHS = (0.2, 100.0)  # in standard deviations of an input; at the upper end it has no effect beyond a line
# Variances over that of the amplitude.
LEVELS = {"line": (1e-2, 1e3), "quadratic": (1e-8, 1e2), "process": (1e-6, 1e3), "noise": (1e-10, 1.0)}
ENOUGH = 1.5  # runs for each coefficient of a quadratic; with fewer there is none: it errs by itself outside the runs
FIRST = (1.0, 1e-2, 1.0, 1e-4)
ROUNDING = 1e-10  # of t and s, added to the noise: float64 solves what is conditioned so
FOLDS = 5
USUAL, SPREAD = 3.0, 1.5  # of the lengths before the runs are seen: log-normal
STARTS = (1.0, 3.0)  # lengths to start from; several, because the likelihood has several maxima


@dataclass(frozen=True)
class Processes:
    """Processes of m amplitudes given n runs.

    Attributes
    ----------
    inputs : (n, c); lengths : (m, c); levels : (m, 4) variances t, q, s, v
    alpha : (m, n) K^-1 a; root : (m, n, n) lower triangle L, K = L L^T
    calibration : (m,) mean size of errors over what the process expects of them, on fifths of the runs left out
        of all, lengths and levels included
    """

    inputs: Tensor
    lengths: Tensor
    levels: Tensor
    alpha: Tensor
    root: Tensor
    calibration: Tensor

    def of(self, rows: Tensor) -> Processes:
        """The processes of these amplitudes alone."""
        return Processes(self.inputs, *(part[rows] for part in (self.lengths, self.levels, self.alpha, self.root,
                                                                self.calibration)))

    def mean(self, context: Tensor) -> Tensor:
        """Amplitudes (n_new, m)."""
        return torch.einsum("mij,mj->im", self._kernels(context), self.alpha)

    def std(self, context: Tensor) -> Tensor:
        """Standard deviations (n_new, m), times the calibration; noise of a run of weight 1 included."""
        known = torch.linalg.solve_triangular(self.root, self._kernels(context).mT, upper=False).square().sum(1).T
        t, q, s, v = self.levels.T
        length = context.square().sum(1, keepdim=True)
        own = t * (1 + length) + q * length**2 + s
        return self.calibration * ((own - known).clamp(min=0) + v).sqrt()

    def _kernels(self, context: Tensor) -> Tensor:
        """K between new inputs and those of the runs, (m, n_new, n)."""
        t, q, s, _ = self.levels.T[:, :, None, None]
        product = context @ self.inputs.T
        bells = torch.stack([_bell(context, self.inputs, scale) for scale in self.lengths])
        return t * (1 + product) + q * product**2 + s * bells


def _bell(a: Tensor, b: Tensor, lengths: Tensor) -> Tensor:
    return torch.exp(-0.5 * torch.cdist(a / lengths, b / lengths, compute_mode="donot_use_mm_for_euclid_dist").square())


def fitted_processes(context: Tensor, amplitudes: Tensor, weights: Tensor) -> tuple[Processes, Tensor]:
    """Processes of amplitudes (n, m) at inputs (n, c), weights (n,), and their left-out errors (n, m); all float64.

    The errors are those at the lengths and levels found, times the calibration: these have seen the run left out.
    """
    x, w = context.numpy(), weights.numpy()
    squares = np.moveaxis((x[:, None] - x) ** 2, 2, 0)
    trends = np.stack([1 + x @ x.T + ROUNDING * np.eye(len(x)), (x @ x.T) ** 2])
    bends = len(x) >= ENOUGH * math.comb(x.shape[1] + 2, 2)
    trends[1] *= bends
    parts, left_out = [], []
    for a in amplitudes.T:
        unit = float(a.square().mean().sqrt()) or 1.0
        y = a.numpy() / unit
        found = min((_most_likely(y, squares, trends, w, start) for start in STARTS), key=lambda fit: fit[0])[1]
        root = cholesky(_covariance(found, squares, trends, w)[0], lower=True)
        alpha, inverse = _solved(root, y), _solved(root, np.eye(len(y)))
        calibration = math.sqrt(math.pi / 2) * float(np.average(abs(_pulls(y, squares, trends, w)), weights=w))
        levels = unit**2 * np.exp(found[:4]) * (1, bends, 1, 1)
        parts.append((np.exp(found[4:]), levels, alpha / unit, unit * root, calibration))
        left_out.append(unit * calibration * alpha / inverse.diagonal())
    found_parts = (torch.from_numpy(np.ascontiguousarray(part)) for part in zip(*parts))
    return Processes(context.contiguous(), *found_parts), torch.from_numpy(np.stack(left_out, 1))


def _pulls(y: Array, squares: Array, trends: Array, w: Array) -> Array:
    """Errors of runs left out of everything over their expected size, (n,)."""
    n, pulls = len(y), np.empty(len(y))
    for fold in range(FOLDS):
        out = np.arange(n) % FOLDS == fold
        rest = ~out
        theta = _most_likely(y[rest], squares[:, rest][:, :, rest], trends[:, rest][:, :, rest], w[rest], STARTS[-1])[1]
        covariance = _covariance(theta, squares, trends, w)[0]
        root, cross = cholesky(covariance[rest][:, rest], lower=True), covariance[rest][:, out]
        known = (solve_triangular(root, cross, lower=True) ** 2).sum(0)
        variance = np.maximum(covariance.diagonal()[out] - known, np.exp(theta[3]))
        pulls[out] = (y[out] - cross.T @ _solved(root, y[rest])) / np.sqrt(variance)
    return pulls


def _covariance(theta: Array, squares: Array, trends: Array, w: Array) -> tuple[Array, Array]:
    """K (n, n) and its part s exp(...), of logarithms theta = (t, q, s, v, lengths)."""
    t, q, s, v = np.exp(theta[:4])
    bell = s * np.exp(-0.5 * np.tensordot(np.exp(-2 * theta[4:]), squares, 1))
    bell += s * ROUNDING * np.eye(len(w))
    return t * trends[0] + q * trends[1] + bell + np.diag(v / w), bell


def _solved(root: Array, y: Array) -> Array:
    return np.asarray(cho_solve((root, True), y))


def _most_likely(y: Array, squares: Array, trends: Array, w: Array, start: float) -> tuple[float, Array]:
    """Least -log p(y | theta) found, and where: equations 5.8 and 5.9."""
    def loss(theta: Array) -> tuple[float, Array]:
        covariance, bell = _covariance(theta, squares, trends, w)
        try:
            root = cholesky(covariance, lower=True)
        except np.linalg.LinAlgError:  # rounding: a kernel too smooth for its noise
            return 1e12, np.zeros_like(theta)
        alpha, inverse = _solved(root, y), _solved(root, np.eye(len(y)))
        slope = 0.5 * (inverse - np.outer(alpha, alpha))
        t, q, _, v = np.exp(theta[:4])
        gradient = [t * np.sum(slope * trends[0]), q * np.sum(slope * trends[1]), np.sum(slope * bell),
                    v * np.sum(slope.diagonal() / w)]
        lengths = np.tensordot(squares, slope * bell, 2) * np.exp(-2 * theta[4:])
        far = (theta[4:] - math.log(USUAL)) / SPREAD
        return (0.5 * float(y @ alpha + far @ far) + float(np.log(root.diagonal()).sum()),
                np.concatenate([gradient, lengths + far / SPREAD]))

    first = np.log([*FIRST, *[start] * len(squares)])
    bounds = [tuple(np.log(pair)) for pair in (*LEVELS.values(), *[LENGTHS] * len(squares))]
    found = minimize(loss, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 200})
    return float(found.fun), np.asarray(found.x)
