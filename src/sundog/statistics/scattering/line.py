"""Scattering covariances of one-dimensional signals: S1, S2, S3, S4 with their gradient."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from sundog.statistics.scattering.fields import grid_covariance
from sundog.statistics.scattering.labels.coefficients import ScatteringCoefficients


class LineScatteringCovariance:
    """Transform that measures the scattering covariances of signals of one length.

    The four moments of `ScatteringCovariance` with one Morlet wavelet per octave, W_j = x * psi_j, centred on positive
    frequencies (3 pi / 4) 2^-j. There is one direction, so L = 1; the imaginary parts of S3 and S4 change sign when
    time runs backwards: they measure the arrow of time, and ``isotropic`` leaves them out.

    Parameters
    ----------
    length : number of points.
    J : octaves; floor(log2(length)) - 2 when None.
    isotropic : average over the two directions of time, i.e. real parts only.
    boundary, mask, accuracy : as in `ScatteringCovariance`, mask (length,).

    Source: Morel, Rochette, Leonarduzzi, Bouchaud, Mallat 2025, Appl. Comput. Harmon. Anal. 75, 101724, for signals;
    wavelets of kymatio (Andreux et al. 2020, JMLR 21, 60).

    Example
    -------
    >>> import torch
    >>> x = torch.randn(5, 256, generator=torch.Generator().manual_seed(0))
    >>> phi = LineScatteringCovariance(256, J=4)
    >>> phi(x).normalised()["S3"].shape, phi(x).iso()["S3"].shape
    (torch.Size([5, 20]), torch.Size([5, 10]))
    """

    def __init__(
        self, length: int, J: int | None = None, *, isotropic: bool = False, boundary: str = "periodic",
        mask: Tensor | None = None, accuracy: str = "default",
    ) -> None:  # fmt: skip
        self._grid = grid_covariance((int(length),), np.ones((1, 1)), J, isotropic=isotropic, boundary=boundary,
                                    mask=mask, accuracy=accuracy, what="lines", word="half-turn")  # fmt: skip
        self.shape, self.J, self.L, self.labels = self._grid.shape, self._grid.J, 1, self._grid.labels

    def __call__(self, x: Tensor) -> ScatteringCoefficients:
        """Coefficients of signals x (..., length), as (..., K); integers become float64, NaN and Inf DataError."""
        return self._grid.measure(x)
