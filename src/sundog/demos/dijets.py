"""The main job of ``sundog demo``: learn, generate and judge on the di-jet events that come with the package."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

import sundog
from sundog.data.atomic import write_text
from sundog.data.public import access as public
from sundog.train.plan import Plan

PLAN = Plan(steps=800, batch=1024)
QUICK = Plan(steps=100, batch=256)
# Row of the verdict -> lowest and highest value one should see. The AUC of 2000 against 2000 true events has a
# standard error of 1 / sqrt(6 n) = 0.009 about 0.5, and seeds 0 to 2 of the demo gave 0.499 to 0.517.
EXPECTED = {"classifier AUC": (0.48, 0.53), "coverage": (0.95, 0.99), "copies": (0.0, 0.0)}


def run_demo(out: Path, *, seed: int = 0, quick: bool = False, progress: bool = False) -> Iterator[str]:
    """What the demo says, line by line, while it works; leaves run, fakes, verdict and report in ``out``.

    An interrupted demo goes on with its training where it was when it is called again.

    Parameters
    ----------
    seed : of the training and the fakes
    quick : far too short to give good fakes; shows the way in seconds
    progress : show bars on stderr
    """
    start = time.monotonic()
    events = public.sample("dijets")
    yield f"load    {events}"
    yield f"        {len(events.train)} to learn from, {len(events.held_out)} held out"
    with one_thread():
        run = sundog.fit("flow", events, plan=QUICK if quick else PLAN, seed=seed, progress=progress,
                         out=out / f"run-{'quick-' if quick else ''}{seed}")
        yield f"fit     {run}"
        real = events.held_out
        fakes = run.sample(len(real), context=real.context, seed=seed + 1)
        fakes.save(out / "fakes.npz")
        yield f"sample  {len(fakes)} fakes, in {out / 'fakes.npz'}"
        verdict = sundog.judge(real, fakes, train=events.train, seed=seed, splits=8 if quick else 24,
                               progress=progress)
    write_text(out / "verdict.json", verdict.to_json())
    page = verdict.report(out / "report.html")
    yield f"judge   {verdict.summary()}\n"
    yield from compared({name: verdict[name].value for name in EXPECTED}, EXPECTED)
    yield f"\nreport  {page.resolve()}\n        open it in a browser; {time.monotonic() - start:.0f} s in all"
    if quick:
        yield "        this was --quick: too short a training to pass"


def compared(values: Mapping[str, float], expected: Mapping[str, tuple[float, float]]) -> list[str]:
    """One line per expected number: what came out, and what one should see."""
    width = max(16, *(len(name) + 1 for name in expected))
    lines = [f"{'':{width}}{'you see':>10}   you should see"]
    for name, (low, high) in expected.items():
        lines.append(f"{name:{width}}{values[name]:>10.3g}   {low:g}" + (f" to {high:g}" if high > low else "")
                     + ("" if low <= values[name] <= high else "   <- outside"))
    return lines


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch computes on one thread: networks this small lose time to more, much of it on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
