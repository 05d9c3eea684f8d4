"""Scattering covariances of three-dimensional fields: S1, S2, S3, S4 with their gradient."""

from __future__ import annotations

from torch import Tensor

from sundog.statistics.scattering.fields import grid_covariance
from sundog.statistics.scattering.labels.coefficients import ScatteringCoefficients
from sundog.statistics.wavelets.directions import icosahedral_axes


class VolumeScatteringCovariance:
    """Transform that measures the scattering covariances of cubes of one size.

    The four moments of `ScatteringCovariance` with Morlet wavelets of round envelope along the six axes of an
    icosahedron, any two of which enclose the same angle. The average over its 60 rotations leaves, per octaves, one S1,
    one S2, two S3 (axes equal or not) and six S4: all equal; the third, the second or the first alone different; all
    different, in two classes that are told apart by the sign of (n1.n2)(n2.n3)(n3.n1).

    Parameters
    ----------
    shape : (nz, ny, nx), even, odd or of unequal sides.
    J : octaves; floor(log2(shortest side)) - 2 when None.
    isotropic : return the average over rotations only. Imaginary parts are left out: they vanish for fields whose
        mirror images are as likely as themselves, and for equal axes of every isotropic field.
    boundary, mask, accuracy : as in `ScatteringCovariance`, mask (nz, ny, nx).

    Source: Cheng et al. 2024, PNAS Nexus 3, pgae103 for the moments, carried over to three dimensions here.

    Example
    -------
    >>> import torch
    >>> x = torch.randn(2, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> c = VolumeScatteringCovariance((16, 16, 16), J=2, isotropic=True)(x)
    >>> [tuple(c[kind].shape) for kind in ("S1", "S2", "S3", "S4")]
    [(2, 2), (2, 2), (2, 6), (2, 24)]
    """

    def __init__(
        self, shape: tuple[int, int, int], J: int | None = None, *, isotropic: bool = False,
        boundary: str = "periodic", mask: Tensor | None = None, accuracy: str = "default",
    ) -> None:  # fmt: skip
        self._grid = grid_covariance(shape, icosahedral_axes(), J, isotropic=isotropic, boundary=boundary,
                                    mask=mask, accuracy=accuracy, what="cubes", word="axes")  # fmt: skip
        self.shape, self.J, self.L, self.labels = self._grid.shape, self._grid.J, 6, self._grid.labels

    def __call__(self, x: Tensor) -> ScatteringCoefficients:
        """Coefficients of cubes x (..., nz, ny, nx), as (..., K); integers become float64, NaN and Inf DataError."""
        return self._grid.measure(x)
