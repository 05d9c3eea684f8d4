"""The Gaussian law of some channels of stationary maps given the others: where a translator starts."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor, nn

RIDGE = 1e-6  # of the largest power: a mode in which the known maps hold nothing predicts nothing


class ConditionalGaussian(nn.Module):
    """Law of stationary maps y (channels) given maps k (known): Gaussian, one complex matrix per Fourier mode.

    With P the matrix of spectra of the stacked maps [k, y],  P_ab = < FFT a conj(FFT b) > / (ny nx):
    mean T k with T = P_yk P_kk^-1, covariance R = P_yy - T P_ky.  ``noise="white"`` has T = 0 and R = 1 instead. With
    ``tails`` the white numbers under R^(1/2) are not Gaussian: e = y - T k keeps its spectra, and has its skewness and
    kurtosis too.

    Parameters
    ----------
    known, wanted : numbers of channels
    ny, nx : of the maps; the law holds for this size alone
    periodic : maps that wrap around. Others are measured under a Hann window, for the jump from one edge to the other
        puts a power of its own, falling as k^-2, on every smaller scale
    tails : third and fourth cumulant of e as well, each channel of white numbers following a law of Johnson's S_U
        (1949, Biometrika 36, 149), sinh(b + s z)

    Example
    -------
    >>> law = ConditionalGaussian(1, 1, 8, 8)
    >>> law.sample(torch.zeros(3, 1, 8, 8), torch.randn(3, 1, 8, 8)).shape
    torch.Size([3, 1, 8, 8])
    """

    transfer: Tensor
    root: Tensor
    johnson: Tensor

    def __init__(self, known: int, wanted: int, ny: int, nx: int, *, periodic: bool = True,
                 tails: bool = False) -> None:
        super().__init__()
        self.tails = tails
        if tails:
            self.register_buffer("johnson", torch.zeros(2, wanted))  # b, s
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
        if self.tails:
            self._fit_tails(k, y)

    def _fit_tails(self, k: Tensor, y: Tensor) -> None:
        """Cumulants of white numbers from those of e: kappa_n(e_a) = sum_b kappa_n(w_b) sum_x h_ab(x)^n."""
        h = torch.fft.irfft2(torch.view_as_complex(self.root).permute(2, 3, 0, 1).to(torch.complex128), s=k.shape[-2:])
        sums, rows = torch.zeros(4, y.shape[1], dtype=torch.float64, device=k.device), torch.arange(len(k)).split(256)
        for some in rows:
            e = (y[some] - self.mean(k[some])).double()
            sums += torch.stack([e.pow(n).sum((0, 2, 3)) for n in (1, 2, 3, 4)])
        mean, two, three, four = sums / (len(k) * k.shape[-2] * k.shape[-1])
        second = two - mean.square()
        third = three - 3 * mean * two + 2 * mean.pow(3)
        fourth = four - 4 * mean * three + 6 * mean.square() * two - 3 * mean.pow(4) - 3 * second.square()
        wanted = zip(*(torch.linalg.solve(h.pow(n).sum((2, 3)), c).tolist() for n, c in ((3, third), (4, fourth))))
        self.johnson.copy_(torch.tensor([johnson_law(*pair) for pair in wanted]).T)

    def mean(self, k: Tensor) -> Tensor:
        """T k: (n, wanted, ny, nx)."""
        return self._applied(self.transfer, k)

    def sample(self, k: Tensor, white: Tensor) -> Tensor:
        """T k + R^(1/2) white: (n, wanted, ny, nx) from standard normal ``white`` of that shape."""
        return self.mean(k) + self._applied(self.root, self._tailed(white) if self.tails else white)

    def _tailed(self, z: Tensor) -> Tensor:
        b, s = self.johnson[..., None, None]
        mean = (s.square() / 2).exp() * b.sinh()
        spread = ((2 * s.square()).exp() * (2 * b).cosh() / 2 - 0.5 - mean.square()).clamp_min(1e-30).sqrt()
        return torch.where(s > 0, (torch.sinh(b + s * z) - mean) / spread, z)

    def _applied(self, matrix: Tensor, x: Tensor) -> Tensor:
        f = torch.fft.rfft2(x)
        out = torch.einsum("yxab,nbyx->nayx", torch.view_as_complex(matrix).to(f.dtype), f)
        return torch.fft.irfft2(out, s=x.shape[-2:])


def johnson_law(skewness: float, excess: float) -> tuple[float, float]:
    """(b, s) for which sinh(b + s z), z standard normal, has this skewness and excess kurtosis, or is nearest to them.

    (0, 0), which stands for z itself, where the excess is below 0.1.

    Example
    -------
    >>> x = np.sinh(np.polyval([0.8, 0.5], np.random.default_rng(0).standard_normal(10**6)))
    >>> b, s = johnson_law(*_shape(0.5, 0.8))
    >>> round(b, 3), round(s, 3), bool(abs(_shape(b, s)[0] / (((x - x.mean()) / x.std()) ** 3).mean() - 1) < 0.2)
    (0.5, 0.8, True)
    """
    if excess < 0.1:
        return 0.0, 0.0

    def wrong(x: np.ndarray) -> np.ndarray:
        found = _shape(x[0], math.exp(x[1]))
        return np.array([found[0] - skewness, np.log((found[1] + 1) / (excess + 1)) * (1 + abs(skewness))])

    found = least_squares(wrong, [math.copysign(0.3, skewness), -0.7], bounds=([-8, -4], [8, 0.9])).x
    return float(found[0]), float(math.exp(found[1]))


def _shape(b: float, s: float) -> tuple[float, float]:
    """Skewness and excess kurtosis of sinh(b + s z)."""
    raw = [1.0]
    for n in range(1, 5):  # sinh^n = 2^-n sum over signs of exp(m x), m the sum of the signs
        terms = [math.prod(signs) * math.exp(sum(signs) * b + (sum(signs) * s) ** 2 / 2)
                 for signs in product((1, -1), repeat=n)]
        raw.append(sum(terms) / 2**n)
    _, m, m2, m3, m4 = raw
    variance = m2 - m**2
    third, fourth = m3 - 3 * m * m2 + 2 * m**3, m4 - 4 * m * m3 + 6 * m**2 * m2 - 3 * m**4
    return third / variance**1.5, fourth / variance**2 - 3
