"""``sundog demo anomaly``: find the resonance hidden in the built-in di-jet events, and say what it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from sundog.data.atomic import write_text
from sundog.data.dataset import Dataset
from sundog.data.public import access as public
from sundog.demos.dijets import one_thread
from sundog.simulate.dijets import dijet_truth
from sundog.tasks.anomaly import RAnode, SignalRegion, scan, sliding_windows
from sundog.tasks.anomaly.background.template import fit_template
from sundog.tasks.anomaly.regions import gather
from sundog.tasks.anomaly.scan.found import ScanResult, measured, percent
from sundog.train.plan import Plan

WINDOWS = sliding_windows(3.1, 4.1, 0.4, 0.2)
PLAN = Plan(steps=800, batch=1024)
QUICK = Plan(steps=60, batch=512)
EFFICIENCY = 0.01
BACKGROUND = "logit"  # scaling of the flow: bounded features, whose hard edges a plain one gets wrong by more than w
# Excesses of this scale stand out among 6000 events; a density from 14,000 has bumps of its own to climb from.
WIDTH, STARTS = 0.3, 20
PLANTED = {"m_jj": 3.5, "m_j1": 0.1, "m_j2": 0.5}  # TeV


def run_demo(out: Path, *, seed: int = 0, quick: bool = False, progress: bool = False) -> Iterator[str]:
    """What the demo says, line by line, while it works; leaves the scan, the learned signal and a page in ``out``.

    A stopped demo goes on with the windows that are missing.

    Parameters
    ----------
    seed : of the trainings
    quick : one window, trainings far too short to be sensitive; shows the way in seconds
    progress : show a bar on stderr
    """
    start = time.monotonic()
    events = public.sample("dijets")
    yield f"load    {events}"
    yield "        a resonance is hidden in them; nothing below is told where, or what it decays to"
    windows, plan = (WINDOWS[1:2], QUICK) if quick else (WINDOWS, PLAN)
    with one_thread():
        settings = {"template": "flow", "plan": plan, "scaling": BACKGROUND, "check": not quick}
        found = scan(events, windows, "cathode", out / f"scan-{'quick-' if quick else ''}{seed}", settings=settings,
                     efficiency=EFFICIENCY, folds=2 if quick else 5, members=1 if quick else 4, control=not quick,
                     seed=seed, progress=progress)
        yield "scan    each event scored by trees that never saw it, against a background learned beside the window"
        yield "\n".join(f"        {line}" for line in str(found).splitlines()[:-1])
        yield f"found   {found.summary()}"
        search = _signal_of(events, found.best.region, plan, seed, out)
    told = found.with_signal(search)
    page = told.report(out / "report.html")
    write_text(out / "scan.json", told.to_json())
    yield from _described(told, search, events)
    yield f"\nreport  {page.resolve()}\n        open it in a browser; {time.monotonic() - start:.0f} s in all"
    if quick:
        yield "        this was --quick: too short a training to find anything"


def _signal_of(events: Dataset, region: SignalRegion, plan: Plan, seed: int, out: Path) -> RAnode:
    """R-ANODE in one window: signal density and fraction on the background of a flow."""
    rows = gather(events, unit=region.unit)
    background = fit_template(rows, region, family="flow", seed=seed, plan=plan, scaling=BACKGROUND,
                              out=out / f"background-{seed}")
    return RAnode(region, seed=seed, background=background, width=WIDTH, starts=STARTS).fit(rows)


def _described(found: ScanResult, search: RAnode, events: Dataset) -> Iterator[str]:
    """Where, how significant, how much, what: beside what was planted."""
    best, signal = found.best, found.best.signal
    inside = best.region.contains(events)
    truth = dijet_truth(19_800, 200, int(events.provenance["seed"]))[inside].double().mean()
    assert best.fraction is not None and signal is not None and signal.context is not None  # of with_signal
    yield f"signal  fraction inside the window: {percent(best.fraction)}; " + \
        ("evidence by itself" if search.evidence_ else "no evidence by itself")
    yield f"\n{'':26}{'you see':>22}   planted"
    mass = f"{measured(best.peak.mass, best.peak.mass_error)} TeV" if best.peak else "no peak"
    yield f"{'mass of the resonance':26}{mass:>22}   {PLANTED['m_jj']} TeV"
    light = signal.values[:, events.names.index("m_j1")]
    for name, values in (("m_j1", light), ("m_j2", light + signal.values[:, events.names.index("delta_m")])):
        yield f"{'mass of the ' + ('lighter' if name == 'm_j1' else 'heavier') + ' jet':26}" \
              f"{_spread(values, ' TeV'):>22}   {PLANTED[name]} TeV"
    for name, jet in (("tau21_j1", "lighter"), ("tau21_j2", "heavier")):
        j = events.names.index(name)
        usual = _spread(events.values[inside][:, j])
        yield f"{'tau21, ' + jet + ' jet':26}{_spread(signal.values[:, j]):>22}   two prongs: low (all events: {usual})"
    yield f"{'signal fraction':26}{percent(best.fraction):>22}   {100 * float(truth):.1f} %"
    assert search.core_fraction_ is not None  # of a fitted search
    # Two in five signal jets lost a prong or caught a gluon, and look like background.
    yield f"{'of it the compact core':26}{percent(search.core_fraction_):>22}   a lower bound"


def _spread(values: Tensor, unit: str = "") -> str:
    """Median with half of the 68 % range."""
    low, middle, high = torch.quantile(values.double(), torch.tensor([0.16, 0.5, 0.84], dtype=torch.float64)).tolist()
    return f"{middle:.2f} +- {(high - low) / 2:.2f}{unit}"


