"""Morlet and bump-steerable wavelets in Fourier space, evaluated at any frequencies of any grid.

Conventions: k = (ky, kx) in radians per pixel; the angle theta turns from the first image axis (y) to the second
(x); wavelets are real in Fourier space, carry no mean, and are periodic in space (hence sampled in k) and sampled in
space (hence periodic in k).
"""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor

from sundog.checks import at_least
from sundog.errors import OptionError, ShapeError

XI = 0.75 * math.pi  # centre of the finest wavelet, radians per pixel
SIGMA = 0.8  # width of its envelope, pixels
REACH = 6.5  # in standard deviations: exp(-REACH^2 / 2) = 7e-10 of the peak is dropped
BUMP_XI = 0.85 * math.pi  # centre of the finest bump-steerable wavelet, radians per pixel
LOW_PASS_SIGMA = 1 / (0.496 * 2**-0.55 * BUMP_XI)  # pixels, width of the low-pass that goes with it at octave 0
# Accuracy -> (quality of the coarse grids, share of the peak of psi^2 that is dropped).
ACCURACY = {"fast": (0.297, 1e-3), "default": (1.0, 1e-5), "accurate": (1.8, 1e-7)}


def angles(L: int) -> list[float]:
    """Return the L orientations in radians, pi (floor(L/2 - 1) - l) / L, l = 0 ... L-1.

    Source: Cheng et al. 2024, PNAS Nexus 3, pgae103 (public code); a shift of l against kymatio.

    Example
    -------
    >>> [round(t / math.pi, 2) for t in angles(4)]
    [0.25, 0.0, -0.25, -0.5]
    """
    return [math.pi * (int(L - L / 2 - 1) - ell) / L for ell in range(L)]


def frequencies(n: int, grid: int | None = None) -> Tensor:
    """Return the frequencies, in radians per pixel of an axis with n pixels, that a grid of ``grid`` points holds.

    Order of torch.fft.fftfreq(grid); with ``grid`` < n the high frequencies are missing.

    Example
    -------
    >>> (frequencies(8, 4) / (2 * math.pi / 8)).tolist()
    [0.0, 1.0, -2.0, -1.0]
    """
    grid = n if grid is None else grid
    return torch.fft.fftfreq(grid, d=1.0 / grid, dtype=torch.float64) * (2 * math.pi / n)


def morlet(ky: Tensor, kx: Tensor, j: int, theta: float, slant: float) -> Tensor:
    """Return the Fourier transform of one Morlet wavelet on the grid ky x kx, float64 (len(ky), len(kx)).

    psi(u) = g(u) (exp(i xi.u) - beta),  g(u) = s / (2 pi sigma^2) exp(-(u_par^2 + s^2 u_perp^2) / (2 sigma^2)),
    sigma = 0.8 2^j, |xi| = (3 pi / 4) 2^-j along theta, beta such that the mean vanishes. Its transform is
    psi^(k) = sum_m G(k + 2 pi m - xi) - beta G(k + 2 pi m),  G(q) = exp(-sigma^2 (q_par^2 + q_perp^2 / s^2) / 2).

    Parameters
    ----------
    ky, kx: frequencies in radians per pixel, one dimension each.
    j: octave; theta: direction of xi in radians; slant: s, 4 / L in both public codes.

    Source: Bruna & Mallat 2013, IEEE PAMI 35, 1872; numbers of kymatio (Andreux et al. 2020, JMLR 21, 60).

    Example
    -------
    >>> k = frequencies(32)
    >>> psi = morlet(k, k, j=1, theta=0.0, slant=1.0)
    >>> float(psi[0, 0]), divmod(int(psi.argmax()), 32)
    (0.0, (6, 0))
    """
    sigma, xi = SIGMA * 2.0**j, XI / 2.0**j
    reach = xi + REACH * max(1.0, slant) / sigma
    aliases = int((reach + math.pi) / (2 * math.pi))
    centre = (xi * math.cos(theta), xi * math.sin(theta))

    def periodic(ky: Tensor, kx: Tensor, centre: tuple[float, float]) -> Tensor:
        total = torch.zeros(len(ky), len(kx), dtype=torch.float64)
        for my, mx in product(range(-aliases, aliases + 1), repeat=2):
            qy = (ky + 2 * math.pi * my - centre[0])[:, None]
            qx = (kx + 2 * math.pi * mx - centre[1])[None, :]
            along = qy * math.cos(theta) + qx * math.sin(theta)
            across = qx * math.cos(theta) - qy * math.sin(theta)
            total += torch.exp(-0.5 * sigma**2 * (along**2 + (across / slant) ** 2))
        return total

    zero = torch.zeros(1, dtype=torch.float64)
    beta = periodic(zero, zero, centre) / periodic(zero, zero, (0.0, 0.0))
    psi = periodic(ky, kx, centre) - beta * periodic(ky, kx, (0.0, 0.0))
    psi[(ky == 0)[:, None] & (kx == 0)[None, :]] = 0.0
    return psi


def bump_angles(L: int) -> list[float]:
    """Return orientations pi / 2 - pi l / L in radians, l = 0 ... L - 1.

    Angles count from the first image axis; from the second, as in pywph, they are pi l / L.

    Example
    -------
    >>> [round(t / math.pi, 2) for t in bump_angles(4)]
    [0.5, 0.25, 0.0, -0.25]
    """
    return [math.pi / 2 - math.pi * ell / L for ell in range(L)]


def bump_constant(L: int) -> float:
    """Return c = 2^(L-1) (L-1)! / (1.29 sqrt(L (2L-2)!)): sum_l c^2 cos^(2L-2)(phi - pi l / L) = 1 / 1.29^2."""
    return 2 ** (L - 1) * math.factorial(L - 1) / (1.29 * math.sqrt(L * math.factorial(2 * L - 2)))


def bump(ky: Tensor, kx: Tensor, j: int, theta: float, L: int) -> Tensor:
    """Return the Fourier transform of one bump-steerable wavelet on the grid ky x kx, float64 (len(ky), len(kx)).

    psi^(k) = c exp(-(|k| - xi)^2 / (xi^2 - (|k| - xi)^2)) cos^(L-1)(arg k - theta),  0 < |k| < 2 xi, within a quarter
    turn of theta and 0 elsewhere, plus aliases k + 2 pi m; xi = 0.85 pi 2^-j and
    c = 2^(L-1) (L-1)! / (1.29 sqrt(L (2L-2)!)).

    Parameters
    ----------
    ky, kx: frequencies in radians per pixel, one dimension each.
    j: octave; theta: direction of its centre in radians; L: orientations over half a turn.

    Source: Mallat, Zhang & Rochette 2020, Information and Inference 9, 721; numbers of Allys et al. 2020, PRD 102,
    103506, as in pywph (Regaldo-Saint Blancard et al. 2021, A&A 649, L18).

    Example
    -------
    >>> k = frequencies(32)
    >>> psi = bump(k, k, j=1, theta=0.0, L=4)
    >>> float(psi[0, 0]), divmod(int(psi.argmax()), 32)
    (0.0, (7, 0))
    """
    xi = BUMP_XI / 2.0**j
    c = bump_constant(L)
    total = torch.zeros(len(ky), len(kx), dtype=torch.float64)
    for my, mx in product((-1, 0, 1), repeat=2):
        qy, qx = (ky + 2 * math.pi * my)[:, None], (kx + 2 * math.pi * mx)[None, :]
        size = (qy**2 + qx**2).sqrt()
        inside = (size > 0) & (size < 2 * xi)
        away = torch.where(inside, (size - xi) ** 2, 0.0)
        cosine = (qy * math.cos(theta) + qx * math.sin(theta)) / size.clamp_min(1e-300)
        total += torch.where(inside, c * torch.exp(-away / (xi**2 - away)) * cosine.clamp_min(0) ** (L - 1), 0.0)
    return total


WAVELETS = ("morlet", "bump")


def orientations(wavelet: str, L: int, turn: int = 1) -> list[float]:
    """Return the orientations of a kind of wavelet, L per half turn, radians from the first image axis."""
    half = bump_angles(L) if wavelet == "bump" else angles(L)
    return [theta - math.pi * n for n in range(turn) for theta in half]


def octave_bank(wavelet: str, ky: Tensor, kx: Tensor, j: int, L: int, turn: int = 1) -> Tensor:
    """Return all orientations of one octave at given frequencies, (turn L, len(ky), len(kx)) float64.

    ``wavelet`` is one of `WAVELETS`.
    """
    if wavelet == "bump":
        return torch.stack([bump(ky, kx, j, theta, L) for theta in orientations(wavelet, L, turn)])
    return torch.stack([morlet(ky, kx, j, theta, 4.0 / L) for theta in orientations(wavelet, L, turn)])


def octave_filters(shape: tuple[int, int], wavelet: str, j: int, L: int, quality: float) -> Tensor:
    """Return all orientations of one octave on the grid that carries it (`grid_size`), (L, my, mx) float64."""
    rows, columns = (frequencies(n, grid_size(n, j, quality)) for n in shape)
    return octave_bank(wavelet, rows, columns, j, L)


def low_pass(ky: Tensor, kx: Tensor, j: int) -> Tensor:
    """Return the Fourier transform of the Gaussian of width sigma = 2^j / (0.496 2^-0.55 0.85 pi) pixels, integral 1.

    Sampled in space, hence periodic in k: sum_m exp(-sigma^2 |k + 2 pi m|^2 / 2). Octaves start at j = -1.

    Source: Allys et al. 2020, PRD 102, 103506; numbers of pywph.

    Example
    -------
    >>> float(low_pass(frequencies(16), frequencies(16), 2)[0, 0])
    1.0
    """
    sigma = LOW_PASS_SIGMA * 2.0**j
    reach = int((REACH / sigma + math.pi) / (2 * math.pi)) + 1

    def periodic(k: Tensor) -> Tensor:
        aliases = 2 * math.pi * torch.arange(-reach, reach + 1, dtype=torch.float64)
        return torch.exp(-0.5 * (sigma * (k[:, None] + aliases)) ** 2).sum(1)

    return periodic(ky)[:, None] * periodic(kx)[None, :]


def full_bank(wavelet: str, shape: tuple[int, int], J: int, L: int, turn: int = 1) -> Tensor:
    """Return all wavelets on the full Fourier grid: (J, turn L, ny, nx) float64, order of torch.fft.fftfreq.

    Scales j = 0 ... J-1, `orientations` over ``turn`` half turns. The covariances evaluate each wavelet only where it
    is not negligible; this is for transforms at full resolution, inspection and tests.

    Example
    -------
    >>> full_bank("morlet", (16, 20), J=2, L=4).shape, full_bank("bump", (16, 20), J=2, L=4, turn=2).shape
    (torch.Size([2, 4, 16, 20]), torch.Size([2, 8, 16, 20]))
    """
    check_bank(shape, J, L)
    rows, columns = (frequencies(n) for n in shape)
    return torch.stack([octave_bank(wavelet, rows, columns, j, L, turn) for j in range(J)])


def default_scales(shape: tuple[int, ...]) -> int:
    """Return the number of octaves J that a map of this size holds well: floor(log2(shorter side)) - 2, at least 1.

    Example
    -------
    >>> default_scales((256, 300))
    6
    """
    return max(1, int(math.log2(min(shape))) - 2)


def grid_size(n: int, j: int, quality: float = 1.0) -> int:
    """Return how many points carry scale j on an axis of n pixels: n quality 2^(-3 (j - 3) / 4), at most n.

    Rounded up to an even product of 2, 3 and 5 (fast transforms). The modulus of a wavelet transform is not band
    limited (it has a cusp at each zero), so its mean over a coarse grid carries an aliasing error, larger where zeros
    are few: hence grids that shrink less quickly than wavelets grow, and short axes treated like one of 160 pixels.

    Example
    -------
    >>> [grid_size(256, j) for j in range(7)], grid_size(255, 0)
    ([256, 256, 256, 256, 160, 96, 54], 255)
    """
    wanted = math.ceil(quality * max(n, 160) * 2 ** (-0.75 * (j - 3)))
    while wanted < n and not _fast(wanted):
        wanted += 1
    return min(n, wanted)


def check_bank(shape: tuple[int, int], J: int, L: int) -> None:
    """Raise unless the map holds J octaves (2^J <= shorter side) and there are at least two angles."""
    check_octaves(shape, J, "maps")
    at_least(L, 2, "number of orientations L")


def check_octaves(shape: tuple[int, ...], J: int, what: str) -> int:
    """J, if fields of this shape hold so many octaves: 2^J <= shortest side."""
    if min(shape) < 4:
        raise ShapeError(f"{what} too small for wavelets", got=tuple(shape), expected="at least 4 pixels a side",
                         do=f"use larger {what}")
    largest = int(math.log2(min(shape)))
    if not 1 <= J <= largest:
        raise OptionError("number of octaves J does not fit", got=f"J={J} for {' x '.join(map(str, shape))} pixels",
                          expected=f"1 to {largest} (2^J at most the shortest side)",
                          do=f"pass J={default_scales(shape)}, the default")
    return int(J)


def _fast(n: int) -> bool:
    if n % 2:
        return False
    for factor in (2, 3, 5):
        while n % factor == 0:
            n //= factor
    return n == 1
