"""The Gaussian law of some channels of stationary maps given the others: where a translator starts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

RIDGE = 1e-6  # of the largest power: a mode in which the known maps hold nothing predicts nothing


class ConditionalGaussian(nn.Module):
    """Law of stationary maps y (channels) given maps k (known): Gaussian, one complex matrix per Fourier mode.

    With P the matrix of spectra of the stacked maps [k, y],  P_ab = < FFT a conj(FFT b) > / (ny nx):
    mean T k with T = P_yk P_kk^-1, covariance R = P_yy - T P_ky.  ``noise="white"`` has T = 0 and R = 1 instead.

    Parameters
    ----------
    known, wanted : numbers of channels
    ny, nx : of the maps; the law holds for this size alone
    periodic : maps that wrap around. Others are measured under a Hann window, for the jump from one edge to the other
        puts a power of its own, falling as k^-2, on every smaller scale

    Example
    -------
    >>> law = ConditionalGaussian(1, 1, 8, 8)
    >>> law.sample(torch.zeros(3, 1, 8, 8), torch.randn(3, 1, 8, 8)).shape
    torch.Size([3, 1, 8, 8])
    """

    transfer: Tensor
    root: Tensor

    def __init__(self, known: int, wanted: int, ny: int, nx: int, *, periodic: bool = True) -> None:
        super().__init__()
        self.periodic = periodic
        modes = (ny, nx // 2 + 1)
        # Complex matrices as real and imaginary part, the last axis: safetensors and every device know them.
        self.register_buffer("transfer", torch.zeros(*modes, wanted, known, 2))
        self.register_buffer("root", torch.zeros(*modes, wanted, wanted, 2))
        self.root[..., range(wanted), range(wanted), 0] = 1.0

    def fit(self, k: Tensor, y: Tensor) -> None:
        """Take T and the root of R from maps k (n, known, ny, nx) and y (n, wanted, ny, nx) of mean zero."""
        g, (ny, nx) = k.shape[1], k.shape[-2:]
        window = torch.ones(ny, nx, dtype=torch.float64, device=k.device)
        if not self.periodic:
            window = torch.outer(*(torch.hann_window(m + 1, device=k.device).double()[1:] for m in (ny, nx)))
        power: Tensor | float = 0.0
        for rows in torch.arange(len(k)).split(256):
            f = torch.fft.rfft2(torch.cat([k[rows], y[rows]], 1).double() * window).permute(2, 3, 1, 0)
            power = power + f @ f.mH
        power = torch.as_tensor(power) / (len(k) * window.square().sum())
        p_kk, p_yk, p_yy = power[..., :g, :g], power[..., g:, :g], power[..., g:, g:]
        size = p_kk.diagonal(dim1=-2, dim2=-1).real.amax(-1)
        floor = RIDGE * size.amax() * torch.eye(g, dtype=p_kk.dtype, device=k.device)
        transfer = torch.linalg.solve(p_kk + floor, p_yk.mH).mH
        values, vectors = torch.linalg.eigh(p_yy - transfer @ p_yk.mH)
        root = vectors * values.clamp_min(0).sqrt()[..., None, :] @ vectors.mH
        self.transfer.copy_(torch.view_as_real(transfer.resolve_conj()))
        self.root.copy_(torch.view_as_real(root.resolve_conj()))

    def mean(self, k: Tensor) -> Tensor:
        """T k: (n, wanted, ny, nx)."""
        return self._applied(self.transfer, k)

    def sample(self, k: Tensor, white: Tensor) -> Tensor:
        """T k + R^(1/2) white: (n, wanted, ny, nx) from standard normal ``white`` of that shape."""
        return self.mean(k) + self._applied(self.root, white)

    def _applied(self, matrix: Tensor, x: Tensor) -> Tensor:
        f = torch.fft.rfft2(x)
        out = torch.einsum("yxab,nbyx->nayx", torch.view_as_complex(matrix).to(f.dtype), f)
        return torch.fft.irfft2(out, s=x.shape[-2:])
