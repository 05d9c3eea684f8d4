"""How often does the judge cry wolf, and how small an error does it see?

Toys draw a truth and honest fakes from the same law and count the verdicts that fail (false alarms), then repeat
with fakes that are wrong by a known amount. Three laws: correlated Gaussian events, heavy-tailed skewed events
(a lognormal, a Student t with 3 degrees, a mixture, an integer multiplicity), lognormal maps.

    python benchmarks/judge_calibration.py --toys 100
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

from sundog import Dataset, judge


def gaussian_events(n: int, generator: torch.Generator) -> Tensor:
    """Five correlated Gaussian features."""
    z = torch.randn(n, 5, generator=generator)
    z[:, 1] += 0.8 * z[:, 0]
    z[:, 4] -= 0.5 * z[:, 2]
    return z


def skewed_events(n: int, generator: torch.Generator) -> Tensor:
    """A lognormal mass, a Student t (3 degrees), a two-peak mixture, and an integer multiplicity."""
    z = torch.randn(n, 6, generator=generator)
    student = z[:, 1] / (z[:, 2:5].square().mean(1)).sqrt()
    peak = torch.where(torch.rand(n, generator=generator) < 0.2, 3 + 0.2 * z[:, 5], z[:, 5])
    counts = torch.poisson(torch.full((n,), 3.0), generator=generator)
    return torch.stack([z[:, 0].exp(), student, peak, counts], 1)


def lognormal_maps(n: int, generator: torch.Generator, size: int = 24) -> Tensor:
    """exp of a Gaussian field with P(k) ~ k^-2, periodic."""
    k = torch.fft.fftfreq(size)[:, None] ** 2 + torch.fft.rfftfreq(size)[None, :] ** 2
    k[0, 0] = torch.inf
    white = torch.fft.rfft2(torch.randn(n, size, size, generator=generator))
    field = torch.fft.irfft2(white / k.sqrt(), s=(size, size))
    return torch.exp(0.6 * field / field.std())


def wild_events(n: int, generator: torch.Generator) -> Tensor:
    """Two Cauchy features: no mean, no variance; judged on a bent scale."""
    z = torch.randn(n, 4, generator=generator)
    return z[:, :2] / z[:, 2:].abs().clamp(min=1e-6)


LAWS: dict[str, tuple[Callable[[int, torch.Generator], Tensor], int, int]] = {
    "gaussian events": (gaussian_events, 1000, 500),
    "skewed events": (skewed_events, 1000, 500),
    "lognormal maps": (lognormal_maps, 160, 80),
    "wild events": (wild_events, 600, 300),
    "wild events, more": (wild_events, 3000, 1500),
}
WRONG: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "mean of one feature + 0.2 sigma": ("gaussian events", lambda x: x + torch.tensor([0, 0, 0.2, 0, 0])),
    "width of one feature x 1.1": ("gaussian events", lambda x: x * torch.tensor([1, 1, 1.1, 1, 1])),
    "correlation 0.62 -> 0": ("gaussian events",
                              lambda x: torch.cat([x[:, :1].roll(1, 0), x[:, 1:]], 1)),
    "flux x 1.05": ("lognormal maps", lambda x: 1.05 * x),
    "a third of the rows, three times": ("gaussian events", lambda x: x[: -(-len(x) // 3)].repeat(3, 1)[: len(x)]),
}


def rate(law: str, toys: int, seed: int, wrong: Callable[[Tensor], Tensor] = lambda x: x) -> tuple[int, Counter[str]]:
    """Number of failed verdicts among the toys, and how often each row failed."""
    draw, n_real, n_fake = LAWS[law]
    failed, names = 0, Counter[str]()
    for toy in range(toys):
        generator = torch.Generator().manual_seed(1000 * seed + toy)
        real, fake = draw(n_real, generator), wrong(draw(n_fake, generator))
        periodic = real.ndim == 3
        verdict = judge(Dataset.from_arrays(real, periodic=periodic), Dataset.from_arrays(fake, periodic=periodic),
                        seed=toy)
        failed += not verdict.passed
        names.update(row.name for row in verdict.failures)
        if toy % 20 == 19:
            print(f"  {law}: {failed} of {toy + 1} verdicts fail so far {dict(names)}", flush=True)
    return failed, names


def main() -> None:
    """Print false-alarm rates, then the share of wrong fakes that fail."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toys", type=int, default=100)
    parser.add_argument("--wrong-toys", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--law", choices=list(LAWS), help="only this law")
    options = parser.parse_args()
    print(f"torch threads {torch.get_num_threads()}, seed {options.seed}")
    for law, (_, n_real, n_fake) in LAWS.items():
        if options.law not in (None, law):
            continue
        start = time.process_time()
        failed, names = rate(law, options.toys, options.seed)
        print(f"false alarms, {law} ({n_real} real, {n_fake} fake): {failed} of {options.toys} verdicts; "
              f"rows {dict(names)}; {(time.process_time() - start) / options.toys:.1f} CPU s per verdict", flush=True)
    for name, (law, wrong) in WRONG.items():
        if options.law not in (None, law):
            continue
        failed, names = rate(law, options.wrong_toys, options.seed + 1, wrong)
        print(f"seen, {name} ({law}): {failed} of {options.wrong_toys}; rows {dict(names.most_common(5))}", flush=True)


if __name__ == "__main__":
    main()
