"""A Gaussian process as a law of the spectrum: smooth on a length that grows with the mass, and no other form.

ln(density) = a + b L_1(u) + g(m), u = ln m mapped to [-1, 1], a and b free, g a Gaussian process of Gibbs' kernel

    k(m, m') = A^2 sqrt(2 l l' / (l^2 + l'^2)) exp(-(m - m')^2 / (l^2 + l'^2)),   l = l(m) = b m + c, l' = l(m').

g relative to the density: the amplitude of the counts falls as they do. In the eigenvectors of k times the roots of its
eigenvalues, g is linear with unit normal priors on the coefficients: the Poisson likelihood, the fit and the error are
those of every other law. A and l are those of the largest evidence (Laplace) on a grid. l at the centre of the window
is LENGTHS times its width at least: a shorter one bends into the window's own excess, and far from any bin that is
fitted, in the middle of the window, knows nothing. The penalty counts effective coefficients, the trace of
H_data (H_data + prior)^-1.

Source: Frate, Cranmer, Kalia, Vandenberg-Rodes & Whiteson 2017 (arXiv:1709.05681) for the kernel on counts; Rasmussen &
Williams 2006, section 3.4 for the evidence; Hastie & Tibshirani 1990 for the effective number.
"""

from __future__ import annotations

import numpy as np

from sundog.tasks.anomaly.background.spectrum import legendre_basis

PROCESS = "gaussian process"
AMPLITUDES = (0.1, 0.3, 1.0, 3.0)  # of ln(density) about a power law
LENGTHS = (1.5, 2.5, 5.0)  # at the centre of the window, in its widths
GROWTH = (None, 0.0, 0.6)  # constant; vanishing at this share of the lowest mass
SMALL = 1e-7  # eigenvalues below this share of the largest are left out


def process_versions(edges: np.ndarray, inside: np.ndarray, lengths: tuple[float, ...] = LENGTHS
                     ) -> list[tuple[np.ndarray, np.ndarray]]:
    """Basis (k, 2 + q) of a, b and g at the middles of the bins, and inverse variances (2 + q,): one for each A and l.

    edges, inside : (k + 1,) above 0, and (k,) bins of the window

    Example
    -------
    >>> edges = np.linspace(3.0, 5.0, 41)
    >>> basis, prior = process_versions(edges, (edges[1:] > 3.6) & (edges[:-1] < 4.0))[0]
    >>> bool(np.allclose((basis**2 @ prior), AMPLITUDES[0] ** 2, rtol=1e-3))  # the variance of g
    True
    """
    m, ends = 0.5 * (edges[1:] + edges[:-1]), np.flatnonzero(inside)
    low, high, line = edges[ends[0]], edges[ends[-1] + 1], legendre_basis(m, 1, (edges[0], edges[-1]))
    found = []
    for length in lengths:
        for growth in GROWTH:
            rises = np.ones_like(m) if growth is None else m - growth * edges[0]
            scale = length * (high - low) * rises / np.interp(0.5 * (low + high), m, rises)
            both = scale[:, None] ** 2 + scale**2
            kernel = np.sqrt(2 * scale[:, None] * scale / both) * np.exp(-((m[:, None] - m) ** 2) / both)
            size, vector = np.linalg.eigh(kernel)
            kept = size > SMALL * size[-1]
            found += [(np.column_stack([line, a * vector[:, kept] * np.sqrt(size[kept])]),
                       np.repeat([0.0, 1.0], [2, int(kept.sum())])) for a in AMPLITUDES]
    return found
