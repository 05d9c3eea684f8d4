"""Labelled scattering covariances between two maps, and what may be done with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from sundog.statistics.scattering.labels.octaves import Labels
from sundog.statistics.scattering.labels.vector import Labelled, LabelTable, floored


@dataclass(frozen=True, eq=False)
class CrossCoefficients(Labelled):
    """Scattering covariances of pairs of maps (x, y), each number with its label.

    With W = x * psi, M = |W| of the first map and V, N of the second, psi_3 real in Fourier space:

        cov       = <(x - <x>) (y - <y>)>
        S2(1)     = <W_1 V_1^*>                             the cross power of an octave
        S3(2,3)   = <W_3 (N_2 * psi_3)^*>                   labels j2, l2: the modulus is that of y
        S3(1,3)   = <(M_1 * psi_3) V_3^*>                   labels j1, l1: the modulus is that of x
        S4(1,2,3) = <(M_1 * psi_3) (N_2 * psi_3)^*>         j1 and j2 in any order, both at most j3

    Swapping x and y swaps the labels 1 and 2 and conjugates.

    Attributes
    ----------
    vector : (..., K) values; gradients flow through it
    labels : meaning of the K entries
    power_x, power_y : (..., J, L) S2 of either map, (..., J) when isotropic; what `normalised` divides by
    variances : (..., 2) of x and of y

    Source: Regaldo-Saint Blancard, Allys et al. 2023, ApJ 943, 9 (several channels); Cheng et al. 2024, PNAS Nexus 3,
    pgae103 (moments).

    Example
    -------
    >>> from sundog.statistics.scattering.covariance import ScatteringCovariance
    >>> x, y = torch.randn(2, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> c = ScatteringCovariance((32, 32), J=2, L=4)(x, x + y)
    >>> round(float(c.normalised()["S2"][:8].mean()), 1), sorted(set(c.labels.kind.tolist()))
    (0.7, ['S2', 'S3', 'S4', 'cov'])
    """

    labels: Labels
    power_x: Tensor
    power_y: Tensor
    variances: Tensor
    kinds: ClassVar[tuple[str, ...]] = ("cov", "S2", "S3", "S4")
    label_type: ClassVar[type[LabelTable]] = Labels

    def iso(self) -> CrossCoefficients:
        """Average over rotations, real part: angles become differences modulo L from l1, or l2 where there is no l1."""
        if self.labels.isotropic:
            return self
        return replace(self._over_rotations(), power_x=self.power_x.mean(-1), power_y=self.power_y.mean(-1))

    def normalised(self, reference: CrossCoefficients | None = None) -> CrossCoefficients:
        """Coefficients divided by sqrt(S2^x S2^y), cov by sqrt(var_x var_y), of ``reference`` (themselves when None).

        S2 becomes the coherence of the two maps per octave, from -1 to 1. S3 is divided by the powers of the wave and
        of the modulus it pairs, S4 by those of its two moduli. Powers are floored at the noise of the transform.
        """
        other = self if reference is None else reference
        self._values(other)
        vector = self.vector
        for places, power, variance in zip(self.labels.powers, (other.power_x, other.power_y),
                                           other.variances.split(1, -1)):
            ruler = torch.cat([variance, power.reshape(*variance.shape[:-1], -1)], -1)
            vector = vector * floored(ruler, variance).rsqrt()[..., places.to(vector.device)]
        return self.with_vector(vector)
