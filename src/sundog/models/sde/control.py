"""The control that steers paths of a linear state through observations: the exact posterior, step by step.

State z (S,), its first entry observed:   z' = F z + o + G e,  e standard normal;   x = z_0 + s (noise)
What is still to be observed weighs exp(-z' P z / 2 + q' z), from the end backwards:

    L = 1 + G' P G,   P <- F' (P - P G L^-1 G' P) F + h h' / s^2,   q <- F' (q - P G L^-1 G' q - ... o) + h x / s^2

so that, at a step that would land at m without noise, e ~ N(L^-1 G' (q - P m), L^-1).

Source: the linear-quadratic control behind Girsanov's theorem, e.g. Daems et al. 2024 (arXiv 2310.12975), section 4;
Kalman smoothing in information form (Rauch, Tung & Striebel 1965).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Control:
    """e = shift - gain m + spread (standard normal), and ln det of the spread.

    Attributes
    ----------
    shift : (B, K)
    gain : (B, K, S)
    spread : (B, K, K)
    volume : (B,)
    """

    shift: Tensor
    gain: Tensor
    spread: Tensor
    volume: Tensor


@dataclass(frozen=True)
class Ahead:
    """What later observations say of a state: weight exp(-z' P z / 2 + q' z)."""

    precision: Tensor
    pull: Tensor

    @staticmethod
    def of(x: Tensor, seen: Tensor, scale: Tensor, size: int) -> Ahead:
        """One observation (B,) of the first of ``size`` entries; nothing where it was not seen."""
        weight = seen / scale**2
        precision, pull = x.new_zeros(len(x), size, size), x.new_zeros(len(x), size)
        precision[:, 0, 0], pull[:, 0] = weight, weight * x
        return Ahead(precision, pull)

    def __add__(self, other: Ahead) -> Ahead:
        return Ahead(self.precision + other.precision, self.pull + other.pull)

    def before(self, drive: Tensor, linear: Tensor, offset: Tensor) -> tuple[Control, Ahead]:
        """Control of the step that led here, and what it all says of the state before it.

        drive: G (B, S, K); linear: F (B, S, S); offset: o (B, S).
        """
        seen = self.precision @ drive
        information = drive.mT @ seen + torch.eye(drive.shape[-1], dtype=drive.dtype, device=drive.device)
        factor = torch.linalg.cholesky(information)
        gain = torch.cholesky_solve(seen.mT, factor)
        shift = torch.cholesky_solve((drive.mT @ self.pull[..., None]), factor)
        spread = torch.linalg.inv(factor).mT
        left = self.precision - seen @ gain
        pull = self.pull[..., None] - seen @ shift - left @ offset[..., None]
        control = Control(shift[..., 0], gain, spread, -factor.diagonal(dim1=-2, dim2=-1).log().sum(-1))
        return control, Ahead(linear.mT @ left @ linear, (linear.mT @ pull)[..., 0])
