"""Does an untrained network draw Gaussian fields of the right spectrum? Diffusion with the linear-optimal skip.

400 Gaussian maps of 32 x 32 pixels with P(k) ~ k^-3 are shown to ``prepare``; nothing is trained; 1000 samples
are drawn, and their P(k) is compared with the fitted one, ring by ring.

    python benchmarks/gaussian_fields.py [--samples 1000] [--seed 0]
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor

from sundog.models.diffusion import Diffusion
from sundog.simulate.fields import gaussian_field
from sundog.statistics import power_spectrum

SIDE = 32


def untrained(seed: int, **options: object) -> Diffusion:
    """A model that has seen the maps and learned nothing: its network returns zeros."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Diffusion((SIDE, SIDE), periodic=True, parameters=1e4, **options)
    model.prepare(gaussian_field(400, SIDE, -3.0, seed=seed).values, None)
    return model


def fitted_spectrum(model: Diffusion) -> Tensor:
    """P(k) in rings, of a map with exactly the fitted power in every mode."""
    amplitude = model.gaussian.covariance.power[0].double().sqrt()
    return power_spectrum(torch.fft.irfft2(amplitude, s=(SIDE, SIDE)) * SIDE).power


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    truth = fitted_spectrum(untrained(options.seed, skip="covariance"))
    print("| skip | sampler | levels | worst ring | its 2 sigma | rings within 3 % + 2 sigma | CPU s |")
    print("|---|---|---|---|---|---|---|")
    for skip, sampler, levels in (("covariance", "dpm_solver_2m", 4), ("covariance", "dpm_solver_2m", 35),
                                  ("covariance", "heun", 18), ("edm", "dpm_solver_2m", 35)):
        model = untrained(options.seed, skip=skip, sampler=sampler, sampling_steps=levels)
        start = time.process_time()
        with torch.no_grad():
            found = power_spectrum(model.sample(options.samples, None, torch.Generator().manual_seed(7)).double())
        off = found.power.mean(0) / truth - 1
        error = (2 / (found.modes * options.samples)).sqrt()
        worst = int((off.abs() - 2 * error).argmax())
        inside = int((off.abs() < 0.03 + 2 * error).sum())
        print(f"| `{skip}` | `{sampler}` | {levels} | {100 * off[worst]:+.1f} % | {200 * error[worst]:.1f} % | "
              f"{inside} of {len(off)} | {time.process_time() - start:.0f} |", flush=True)


if __name__ == "__main__":
    main()
