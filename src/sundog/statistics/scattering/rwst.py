"""The reduced wavelet scattering transform: a few smooth functions of angle that describe S1 and S2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from sundog.errors import OptionError


@dataclass(frozen=True, eq=False)
class AngularFit:
    """Angular model of log2 S1 and of log2 (S2 / S1), fitted by least squares at each scale or pair of scales.

        log2 S1(j, t)           = iso(j) + aniso(j) cos 2 (t - ref(j))
        log2 S2/S1(j1,t1,j2,t2) = iso1 + iso2 cos 2 (t1 - t2) + aniso1 cos 2 (t1 - ref) + aniso2 cos 2 (t2 - ref)

    Attributes
    ----------
    s1_iso, s1_aniso, s1_reference : (..., J); aniso >= 0, reference in [0, pi) radians from the first image axis
    s2_iso1, s2_iso2, s2_aniso1, s2_aniso2, s2_reference : (..., J, J), NaN where j2 <= j1; aniso1 >= 0
    s1_residual, s2_residual : root mean square of what the model leaves, (..., J) and (..., J, J), in log2

    Source: Allys et al. 2019, A&A 629, A115, equations of the RWST.

    Example
    -------
    >>> from sundog.statistics.scattering.transform import WaveletScattering
    >>> x = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)).cumsum(0)
    >>> fit = WaveletScattering((64, 64), J=3)(x - x.mean()).rwst()
    >>> bool((fit.s1_aniso > 1).all()), fit.s2_iso1.shape
    (True, torch.Size([3, 3]))
    """

    s1_iso: Tensor
    s1_aniso: Tensor
    s1_reference: Tensor
    s1_residual: Tensor
    s2_iso1: Tensor
    s2_iso2: Tensor
    s2_aniso1: Tensor
    s2_aniso2: Tensor
    s2_reference: Tensor
    s2_residual: Tensor

    def table(self) -> dict[str, np.ndarray]:
        """Columns kind, j1, j2 (-1 for S1) and value (last axis): every number of the fit but NaN."""
        J = self.s1_iso.shape[-1]
        pairs = np.argwhere(np.triu(np.ones((J, J), dtype=bool), 1))
        kinds, scales, values = [], [], []
        for item in fields(self):
            found = getattr(self, item.name).detach().cpu().numpy()
            single = item.name.startswith("s1")
            at = np.column_stack([np.arange(J), np.full(J, -1)]) if single else pairs
            kinds += [item.name] * len(at)
            scales.append(at)
            values.append(found if single else found[..., pairs[:, 0], pairs[:, 1]])
        joined = np.concatenate(scales)
        return {"kind": np.array(kinds), "j1": joined[:, 0], "j2": joined[:, 1], "value": np.concatenate(values, -1)}


def fit_angles(s1: Tensor, s2: Tensor, orientations: Sequence[float]) -> AngularFit:
    """Return the angular model of log2 S1 (..., J, L) and log2 S2/S1 (..., J, J, L, L), axes j1, j2, l1, l2.

    Over L equally spaced angles of half a turn the terms are orthogonal, so least squares are projections; the common
    reference of the two anisotropic terms is the main axis of their two vectors.
    """
    L = s1.shape[-1]
    if L < 3:
        raise OptionError("too few angles for the angular model", got=f"L={L}", expected="at least 3", do="use L=4")
    t = torch.tensor(orientations, dtype=s1.dtype, device=s1.device)
    cosine, sine = torch.cos(2 * t), torch.sin(2 * t)
    iso, c, s = s1.mean(-1), (s1 * cosine).mean(-1) * 2, (s1 * sine).mean(-1) * 2
    left = s1 - iso[..., None] - c[..., None] * cosine - s[..., None] * sine

    both = torch.cos(2 * (t[:, None] - t))
    iso1, iso2 = s2.mean((-2, -1)), (s2 * both).mean((-2, -1)) * 2
    one, two = s2.mean(-1), s2.mean(-2)
    vectors = [((m * cosine).mean(-1) * 2, (m * sine).mean(-1) * 2) for m in (one, two)]
    (c1, s_1), (c2, s_2) = vectors
    axis = 0.5 * torch.atan2(2 * (c1 * s_1 + c2 * s_2), c1**2 - s_1**2 + c2**2 - s_2**2)
    along = [c * torch.cos(axis) + s * torch.sin(axis) for c, s in vectors]
    flip = torch.where(along[0] < 0, -torch.ones_like(axis), 1.0)
    axis = axis + (1 - flip) * (math.pi / 2)
    aniso1, aniso2 = flip * along[0], flip * along[1]
    wave1, wave2 = (torch.cos(2 * t - axis[..., None])[..., None], torch.cos(2 * t - axis[..., None])[..., None, :])
    model = iso1[..., None, None] + iso2[..., None, None] * both
    model = model + aniso1[..., None, None] * wave1 + aniso2[..., None, None] * wave2
    return AngularFit(
        iso,
        torch.hypot(c, s),
        _half_turn(torch.atan2(s, c)),
        left.square().mean(-1).sqrt(),
        iso1,
        iso2,
        aniso1,
        aniso2,
        _half_turn(axis),
        (s2 - model).square().mean((-2, -1)).sqrt(),
    )


def _half_turn(double: Tensor) -> Tensor:
    """Angle in [0, pi) of which this is the double."""
    return torch.remainder(double, 2 * math.pi) / 2
