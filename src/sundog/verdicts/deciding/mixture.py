"""Features that follow where the rows lie: the Fisher vector of a mixture of Gaussians fitted to both samples.

With r_k(x) the probability that x belongs to part k, and u_k = L_k^T (x - mu_k) its place there in standard deviations,

    F(x) = (r_k, r_k u_k, r_k u_k^2),    k = 1 ... 2, 4 or 8 by the Bayesian information criterion,

the derivatives of log p by the weight, place and widths of each part: differences of means of F are those of the
best-fitting mixtures, to first order. The fit sees no labels.

Source: Jaakkola & Haussler 1999; Perronnin & Dance 2007.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sundog.random import numpy_stream

PARTS = (2, 4, 8)
FITTED = 5000  # rows that the mixture learns from
LEAST_VARIANCE = 1e-3  # of a part, where all rows have 1


def mixture(w: np.ndarray, most: int, seed: int) -> Callable[[np.ndarray], Tensor]:
    """Fisher vectors of whitened rows w (N, q), of the leading components if there would be more than ``most``."""
    from sklearn.mixture import GaussianMixture

    x = w[:, -max(1, (most // min(PARTS) - 1) // 2) :]
    rng, size = numpy_stream(seed, "mixture"), 1 + 2 * x.shape[1]
    fitted = x[rng.permutation(len(x))[:FITTED]].astype(float)
    laws = [GaussianMixture(k, reg_covar=LEAST_VARIANCE, tol=1e-2, random_state=int(rng.integers(2**31)))
            for k in PARTS if k * size <= most or k == min(PARTS)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of parts that coincide, where few values are distinct
        law = min((law.fit(fitted) for law in laws), key=lambda law: law.bic(fitted))
    root, centre, weight = (torch.from_numpy(a).float() for a in (law.precisions_cholesky_, law.means_, law.weights_))
    height = weight.log() + root.diagonal(dim1=1, dim2=2).log().sum(1)
    rows_of = torch.from_numpy(x)

    def make(rows: np.ndarray) -> Tensor:
        u = (rows_of[rows] - centre[:, None]) @ root
        r = (height[:, None] - 0.5 * u.square().sum(2)).softmax(0)[:, :, None]
        return torch.cat([r, r * u, r * u.square()], 2).permute(1, 0, 2).flatten(1)

    return make
