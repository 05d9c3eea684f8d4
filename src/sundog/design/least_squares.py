"""Least squares with the weights of a design."""

from __future__ import annotations

from typing import Any

import numpy as np

from sundog.design.features import matrix
from sundog.errors import DataError, SampleSizeError, ShapeError


class WeightedLeastSquares:
    """Coefficients c that minimise sum_i w_i (f(x_i) - sum_j c_j phi_j(x_i))^2, by QR: no normal equations.

    With the weights of a design and features that are orthonormal on the candidates, the error is that of the best
    approximation times a factor that falls to 1 with n (Cohen and Migliorati 2017).

    Attributes
    ----------
    coefficients_ : (m,) or (m, outputs), as the values
    smallest_singular_value_ : of sqrt(W / n) Phi; 1 is perfect, near 0 the fit blows up noise and what the space lacks

    Example
    -------
    >>> from sundog.design import polynomial_features, sample_projection_dpp
    >>> x = np.linspace(-1, 1, 2001)
    >>> phi = polynomial_features(x, degree=9)
    >>> rows, weights = sample_projection_dpp(phi, 20, seed=0)
    >>> fit = WeightedLeastSquares().fit(phi[rows], np.cos(3 * x[rows]), weights)
    >>> bool(abs(fit.predict(phi) - np.cos(3 * x)).max() < 1e-3)
    True
    """

    coefficients_: np.ndarray
    smallest_singular_value_: float

    def fit(self, features: Any, values: Any, weights: Any = None) -> WeightedLeastSquares:
        """The same object, fitted to the runs that were made.

        Parameters
        ----------
        features : (n, m) of the runs, rows of the features of the candidates
        values : (n,) or (n, outputs) what the simulator gave
        weights : (n,) of the design; ones unless given

        Raises
        ------
        SampleSizeError : fewer runs than features. ShapeError : lengths differ.
        DataError : NaN (the message says which runs failed), a weight that is not positive, or runs that do not
            tell the features apart.
        """
        phi = matrix(features, "features")
        y = np.asarray(values, dtype=np.float64)
        w = np.ones(len(phi)) if weights is None else np.asarray(weights, dtype=np.float64)
        _check(phi, y, w)
        root = np.sqrt(w)
        coefficients, _, rank, spread = np.linalg.lstsq(root[:, None] * phi, root.reshape(-1, *[1] * (y.ndim - 1)) * y)
        if rank < phi.shape[1]:
            raise DataError("these runs do not tell the features apart", got=f"rank {rank}",
                            expected=f"rank {phi.shape[1]}", do="choose the runs by sample_projection_dpp, or fit "
                            "fewer features")
        self.coefficients_ = coefficients
        self.smallest_singular_value_ = float(spread[-1] / np.sqrt(len(phi)))
        return self

    def predict(self, features: Any) -> np.ndarray:
        """Values at any points, from their features: (n,) or (n, outputs)."""
        phi = matrix(features, "features")
        if phi.shape[1] != len(self.coefficients_):
            raise ShapeError("features of another fit", got=f"{phi.shape[1]} columns",
                             expected=f"{len(self.coefficients_)}", do="make them with the degree of the fit")
        return phi @ self.coefficients_


def _check(phi: np.ndarray, y: np.ndarray, w: np.ndarray) -> None:
    n, m = phi.shape
    if y.ndim == 0 or len(y) != n or w.shape != (n,):
        raise ShapeError("features, values and weights differ", got=f"{n} rows, {y.shape} values, {w.shape} weights",
                         expected="one value and one weight per row", do="index all three by the rows of the design")
    if n < m:
        raise SampleSizeError("fewer runs than features", got=f"{n} runs", expected=f"{m} or more",
                              do="make more runs, or take fewer features (a lower degree)")
    failed = np.flatnonzero(~np.isfinite(y.reshape(n, -1)).all(axis=1))
    if len(failed):
        raise DataError("runs with NaN or Inf", got=f"rows {failed[:10].tolist()}" + " ..." * (len(failed) > 10),
                        expected="finite outputs", do="run these again, or leave these rows out of all three")
    if not (np.isfinite(w) & (w > 0)).all():
        raise DataError("weights are not positive", got=f"{w.min():g} to {w.max():g}", expected="numbers above 0",
                        do="pass the weights that came with the design")
