"""Laws of the spectrum that no one wrote down: closed forms evolved on what lies beside the window.

ln(density) = f(u; c), u = ln m mapped to [-1, 1], f a program of + - x /. Around the constants found, f is linear: the
basis of the law is 1, f and its slopes df/dc_k, so that fit, error and choice are those of every other law. One search
ends in one of many good forms, and says nothing of the others: its error was half of what Z scattered by. So the fronts
(errors against operations) of SEARCHES searches are laws, and the profile chooses among all. Two miss some still: the
error is too small by a factor of 1.7 (docs/scan.md), and a scan does not trust a window with such a curve.

SymbolFit (Tsoi et al. 2024, arXiv 2411.09851) does the same with another search.
"""

from __future__ import annotations

import numpy as np

from sundog.models.symbolic import evolve_program

EVOLVED = "ln density = "  # before the formula of a law
LONGEST, SEARCHES = 10, 2  # operations
STRAYS = 1.0  # how far ln(density) may leave its range beside the window, inside it: a pole would stand there
RANK = 1e-8  # of the largest singular value: below, a slope adds nothing


def evolved_laws(counts: np.ndarray, edges: np.ndarray, inside: np.ndarray, seed: int = 0, trials: int = 12_000
                 ) -> dict[str, np.ndarray]:
    """Bases (k, p) of the evolved laws at the middles of the bins, by name: formulas in u. Masses above 0.

    Parameters
    ----------
    counts, edges, inside : (k,), (k + 1,) and (k,) bins that are not looked at
    trials : of each search; 12,000 cost some 4 CPU s
    """
    log_m = np.log(0.5 * (edges[1:] + edges[:-1]))
    low, high = np.log(edges[0]), np.log(edges[-1])
    u = (2 * log_m - low - high) / (high - low)
    y = np.log((counts + 0.5) / np.diff(edges))
    scale = 1 / np.sqrt(counts + 0.5)
    lowest, highest = y[~inside].min() - STRAYS, y[~inside].max() + STRAYS
    found = {}
    for search in range(SEARCHES):
        front = evolve_program(u[~inside], y[~inside], scale=scale[~inside], operations=LONGEST, trials=trials,
                               norm="rms", seed=SEARCHES * seed + search)
        for program in front.programs:
            f, slopes = program.with_slopes(u)
            if np.isfinite(f).all() and f.min() > lowest and f.max() < highest:
                columns = np.stack([np.ones_like(u), f, *slopes], 1)
                columns = columns / np.maximum(np.abs(columns).max(0), 1e-300)
                left, size, _ = np.linalg.svd(columns, full_matrices=False)
                found[f"{EVOLVED}{program}"] = left[:, size > RANK * size[0]] * len(u) ** 0.5
    return found
