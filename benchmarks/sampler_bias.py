"""How far off are the samples of a perfect denoiser? The samplers on the Gaussian, where the answer is exact.

For data N(0, v) the posterior mean is D(x, sigma) = x v / (v + sigma^2) and every sampler is a linear map, so
the standard deviation of its samples is one number, without seeds or error bars.

    python benchmarks/sampler_bias.py [--write]

``--write`` puts the table into docs/models/diffusion.md, between its two marker lines.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from sundog.solve.samplers import dpm_solver_2m, euler, heun, noise_levels

VARIANCES = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
ROWS = ((heun, 7.0), (heun, 20.0), (dpm_solver_2m, 7.0), (dpm_solver_2m, 20.0), (euler, 7.0))
EVALUATIONS = (19, 35, 63)
PAGE = Path(__file__).resolve().parent.parent / "docs" / "models" / "diffusion.md"
MARKERS = ("<!-- sampler bias: begin -->\n", "<!-- sampler bias: end -->")


def std_error(sampler: Callable[..., Tensor], evaluations: int, rho: float) -> Tensor:
    """Relative error of the generated standard deviation for each variance."""
    variance = torch.tensor(VARIANCES, dtype=torch.float64)
    n = (evaluations + 1) // 2 if sampler is heun else evaluations
    levels = noise_levels(n, sigma_min=0.002, sigma_max=80.0, rho=rho)
    start = levels[0] * torch.ones_like(variance)
    end = sampler(lambda x, sigma: x * variance / (variance + sigma**2), start, levels)
    return end.abs() / variance.sqrt() - 1


def table() -> str:
    lines = ["| sampler | rho | evaluations | " + " | ".join(f"v = {v:g}" for v in VARIANCES) + " |",
             "|" + "---|" * (len(VARIANCES) + 3)]
    for sampler, rho in ROWS:
        for evaluations in EVALUATIONS:
            errors = std_error(sampler, evaluations, rho)
            cells = " | ".join(f"{100 * float(e):+.1f}" for e in errors)
            lines.append(f"| `{sampler.__name__}` | {rho:g} | {evaluations} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    text = table()
    if options.write:
        page = PAGE.read_text()
        head, rest = page.split(MARKERS[0])
        PAGE.write_text(head + MARKERS[0] + "\n" + text + "\n\n" + MARKERS[1] + rest.split(MARKERS[1])[1])
    print(text)


if __name__ == "__main__":
    main()
