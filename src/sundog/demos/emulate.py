"""``sundog demo emulate``: spectra of the microwave background from 30 runs of CAMB, checked on 40 others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

import sundog
from sundog.data.public import access as public
from sundog.demos.dijets import one_thread
from sundog.tasks.emulate import emulate
from sundog.train.run import EmulatorRun

RUNS = 30
SPECTRA = ("TT", "EE", "TE", "phiphi")
# 95th percentile over the unseen cosmologies of the largest error over l, in cosmic variances; what one should see.
EXPECTED = {"TT": 0.06, "EE": 0.4, "TE": 0.15, "phiphi": 0.06}


def run_demo(out: Path, *, seed: int = 0, quick: bool = False, progress: bool = False) -> Iterator[str]:
    """What the demo says, line by line, while it works; leaves the emulator, predictions and a page in ``out``."""
    start = time.monotonic()
    table = public.sample("camb")
    runs, unseen = table[torch.arange(RUNS)], table[torch.arange(RUNS, len(table))]
    assert unseen.context is not None
    yield f"load    {len(table)} runs of CAMB: ln C_l of TT, EE, phi phi and TE over its bound, from 6 parameters"
    with one_thread():
        found = emulate(runs, seed, families=("ntk",) if quick else ("pod", "ntk"))
        yield f"compare {str(found).splitlines()[0]}"
        run = sundog.fit("ntk" if quick else "pod", runs, seed=seed)
    assert isinstance(run, EmulatorRun)
    run.save(out / "emulator")
    prediction = run.predict(unseen.context)
    yield f"fit     {run}"
    error = (prediction.mean - unseen.values).double()
    inside = [float((error.abs() < times * prediction.std).double().mean()) for times in (1.0, 2.0)]
    far = int(prediction.outside.sum())
    yield (f"check   {len(unseen)} cosmologies it never saw, {far} of them outside the box of the runs\n"
           f"        {100 * inside[0]:.0f} and {100 * inside[1]:.0f} % of the numbers within one and two "
           "standard deviations")
    largest = (error / cosmic_variance(unseen.values.double())).abs().amax(2)
    yield f"{'':16}{'you see':>10}   you should see, in cosmic variances"
    for name, value, limit in zip(SPECTRA, torch.quantile(largest, 0.95, dim=0).tolist(), EXPECTED.values()):
        yield f"{name:16}{value:>10.3g}   below {limit:g}" + ("" if value < limit else "   <- outside")
    page = found.report(out / "report.html")
    yield f"\nreport  {page.resolve()}\n        open it in a browser; {time.monotonic() - start:.0f} s in all"
    if quick:
        yield "        this was --quick: a family that is not the best"


def cosmic_variance(y: Tensor) -> Tensor:
    """Standard deviation of the numbers of the table on one full sky, (n, 4, L): l = 2, 7, 12 ..."""
    ell = 2.0 + 5 * torch.arange(y.shape[-1], dtype=y.dtype)
    own = (2 / (2 * ell + 1)).sqrt().expand_as(y[:, 0])
    return torch.stack([own, own, ((1 + y[:, 2] ** 2) / (2 * ell + 1)).sqrt(), own], 1)
