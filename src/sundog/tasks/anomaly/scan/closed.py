"""A law of the spectrum that no one wrote down: a closed form evolved on what lies beside the window.

ln(density) = f(u; c), u = ln m mapped to [-1, 1], f a program of + - x /. Around the constants found, f is linear: the
basis of the law is 1, f and its slopes df/dc_k, so that fit, error and choice are those of every other law. That f was
chosen among thousands of forms is *not* in its error, which is too small, by two or so, where no law of the list fits
(docs/scan.md).

SymbolFit (Tsoi et al. 2024, arXiv 2411.09851) does the same with another search.
"""

from __future__ import annotations

import numpy as np

from sundog.models.symbolic import Program, evolve_program
from sundog.tasks.anomaly.scan.laws import PENALTY

LONGEST = 10  # operations
STRAYS = 1.0  # how far ln(density) may leave its range beside the window, inside it: a pole would stand there
RANK = 1e-8  # of the largest singular value: below, a slope adds nothing


def closed_form(counts: np.ndarray, edges: np.ndarray, inside: np.ndarray, seed: int = 0, trials: int = 12_000
                ) -> tuple[str, np.ndarray]:
    """Name of the law, which is its formula in u, and its basis (k, p) at the middles of the bins.

    Among the front of errors against operations the form is taken with the least chi^2 + 2 (constants). Masses above 0.

    Parameters
    ----------
    counts, edges, inside : (k,), (k + 1,) and (k,) bins that are not looked at
    trials : of the search; 12,000 cost some 4 CPU s
    """
    log_m = np.log(0.5 * (edges[1:] + edges[:-1]))
    low, high = np.log(edges[0]), np.log(edges[-1])
    u = (2 * log_m - low - high) / (high - low)
    y = np.log((counts + 0.5) / np.diff(edges))
    scale = 1 / np.sqrt(counts + 0.5)
    front = evolve_program(u[~inside], y[~inside], scale=scale[~inside], operations=LONGEST, trials=trials, norm="rms",
                           seed=seed)
    beside = y[~inside].min() - STRAYS, y[~inside].max() + STRAYS

    def badness(program: Program) -> float:
        f = program(u)
        tame = bool(np.isfinite(f).all() and f.min() > beside[0] and f.max() < beside[1])
        return float((~inside).sum() * program.error**2 + PENALTY * len(program.constants)) if tame else np.inf

    best = min(front.programs, key=badness)
    f, slopes = best.with_slopes(u)
    columns = np.stack([np.ones_like(u), f, *slopes], 1)
    columns = columns / np.maximum(np.abs(columns).max(0), 1e-300)
    left, size, _ = np.linalg.svd(columns, full_matrices=False)
    return f"ln density = {best}", left[:, size > RANK * size[0]] * len(u) ** 0.5
