"""The test of the New Physics Learning Machine: a kernel logistic regression of data against a reference.

Letizia et al. 2022 (2204.02317); in a window of the mass, against a template: Grosso et al. 2025 (2501.01778).
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist, pdist

from sundog.random import numpy_stream

PENALTY, NEWTON = 1e-6, 30


def log_ratio(x: np.ndarray, y: np.ndarray, seed: int, centres: int) -> float:
    """t = 2 [sum_y f - v sum_x (e^f - 1)], f minimising the weighted cross-entropy + penalty |f|^2 by Newton's method.

    x: (n, d) reference, of weight v = k / n each; y: (k, d) data. Gaussian kernels of the median distance stand on
    ``centres`` rows of both (Nystroem).
    """
    z, rng = np.concatenate([x, y]), numpy_stream(seed, "centres")
    z = (z - x.mean(0)) / x.std(0)
    centre = z[rng.choice(len(z), centres, replace=False)]
    width = np.median(pdist(z[rng.choice(len(z), 1000, replace=False)]))
    values, vectors = np.linalg.eigh(np.exp(-0.5 * cdist(centre, centre, "sqeuclidean") / width**2))
    kept = values > 1e-10 * values[-1]
    f = np.exp(-0.5 * cdist(z, centre, "sqeuclidean") / width**2) @ (vectors[:, kept] / np.sqrt(values[kept]))
    weight = np.repeat([len(y) / len(x), 1.0], [len(x), len(y)])
    label, n = np.repeat([0.0, 1.0], [len(x), len(y)]), weight.sum()
    a, ridge = np.zeros(f.shape[1]), 2 * PENALTY * np.eye(f.shape[1])
    for _ in range(NEWTON):
        p = 1 / (1 + np.exp(-f @ a))
        gradient = f.T @ (weight * (p - label)) / n + ridge @ a
        step = np.linalg.solve((f * (weight * p * (1 - p))[:, None]).T @ f / n + ridge, gradient)
        a -= step
        if gradient @ step < 1e-10:
            break
    learned = f @ a
    return float(2 * (learned[len(x):].sum() - weight[0] * np.expm1(learned[: len(x)]).sum()))
