"""Labelled scattering coefficients of single maps, and what may be done with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sundog.statistics.scattering.labels.octaves import Labels
from sundog.statistics.scattering.labels.reduction import ReducedCoefficients, Reduction
from sundog.statistics.scattering.labels.vector import Labelled, LabelTable, floored


@dataclass(frozen=True, eq=False)
class ScatteringCoefficients(Labelled):
    """Scattering statistics of one map or of many, each number with its label.

    Example
    -------
    >>> from sundog.statistics.scattering.covariance import ScatteringCovariance
    >>> x = torch.randn(5, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> c = ScatteringCovariance((32, 32), J=2, L=4)(x)
    >>> c["S1"].shape, c.iso()["S1"].shape, c.mean()["S1"].shape
    (torch.Size([5, 8]), torch.Size([5, 2]), torch.Size([8]))
    >>> sorted(c.table())[:3]
    ['angle', 'j1', 'j2']
    """

    labels: Labels
    kinds: ClassVar[tuple[str, ...]] = ("mean", "var", "S1", "S2", "S3", "S4")
    label_type: ClassVar[type[LabelTable]] = Labels

    def iso(self) -> ScatteringCoefficients:
        """Average over rotations: mean over l1 at fixed l2 - l1 and l3 - l1 modulo L, real part.

        A rotation by half a turn conjugates S3 and S4, so an isotropic field has no imaginary part.

        Source: Cheng et al. 2024, PNAS Nexus 3, pgae103.
        """
        return self._over_rotations()

    def normalised(
        self, reference: ScatteringCoefficients | None = None, *, log: bool = True
    ) -> ScatteringCoefficients:
        """Coefficients divided by powers of S2 of ``reference`` (themselves when None).

        S1 / sqrt(S2), log S2, S3 / sqrt(S2(2) S2(3)), S4 / sqrt(S2(1) S2(2)), mean / sqrt(var), log var. In a synthesis
        the reference is the target, fixed; otherwise a map could lower its loss by changing the ruler. With
        ``log=False`` S2 and var are divided by those of the reference.

        S2 is floored at 16 eps^2 <x^2>, the noise of the transform, so that empty and constant maps stay finite.
        """
        other = self if reference is None else reference
        self._values(other)
        ruler = other._powers()
        roots = torch.nn.functional.pad(ruler.rsqrt(), (1, 0), value=1.0)
        first, second = (roots.index_select(-1, places.to(roots.device)) for places in self.labels.rulers)
        values = self.vector * (first * second)
        own = ruler if other is self else self._powers()
        if log:
            own = own.log()
        else:
            own = own / ruler
        span = self.labels.span("S2")
        parts = [values[..., :1], own[..., :1], values[..., 2 : span.start], own[..., 1:], values[..., span.stop :]]
        return self.with_vector(torch.cat(parts, -1))

    def reduce(
        self, null: ScatteringCoefficients | None = None, *, sigma: float = 2.0, angles: bool = True,
        scales: bool = True,
    ) -> ReducedCoefficients:
        """Harmonics of the angles and cosines of the scales; with Gaussian ``null`` maps, only what differs from them.

        To measure several maps in the same reduced coefficients, keep the `Reduction`:
        ``Reduction(c.labels).select(target, null)`` and call it. Normalise first: log S2 is smooth in j, S2 is not.
        """
        reduction = Reduction(self.labels, angles, scales)
        return (reduction if null is None else reduction.select(self, null, sigma))(self)

    def _powers(self) -> Tensor:
        """The variance and S2 (..., 1 + k), floored."""
        first, variance = self.vector[..., :1], self.vector[..., 1:2]
        return floored(torch.cat([variance, self["S2"]], -1), first.detach() ** 2 + variance.detach())
