"""Two resonances that nothing here was tuned on, mass and window unknown, among 100,000 simulated collisions.

    python benchmarks/scan_blind.py blind    scans by SIGMA, and by CWoLa with its control, in windows of two widths
    python benchmarks/scan_blind.py oracle   what each kind of knowledge would give: signal-to-background improvements
    python benchmarks/scan_blind.py tails    would the test beside the window do better with a strip left out?
    python benchmarks/scan_blind.py show     the numbers of docs/scan.md

Options as in scan.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
import torch
from scan import Parts, Row, borrowing, main, qcd, read

from sundog import Dataset
from sundog.simulate.pythia import Resonance, pythia_signals
from sundog.tasks.anomaly import CWoLa, SignalRegion, scan, sliding_windows
from sundog.tasks.anomaly.checks.counted import counted_fraction, least_fraction, spectrum_counts, widened
from sundog.tasks.anomaly.checks.sculpting import _curvature, sculpting
from sundog.tasks.anomaly.detectors.base import deal, fit_ratio
from sundog.tasks.anomaly.regions import gather
from sundog.tasks.anomaly.scan.bump import common_edges, fit_bump
from sundog.tasks.anomaly.scan.crossfit import cross_fitted

TRUTHS = {"two prongs": Resonance(4.0, 0.3, 0.2), "three prongs": Resonance(4.4, 0.35, 0.35, 3)}
WINDOWS = [*sliding_windows(3.2, 5.0, 0.4), *sliding_windows(3.2, 4.8, 0.8)]  # the second are as wide as three prongs
CUTS = (0.1, 0.03, 0.01, 0.003, 0.001)
FOLDS = 5
SETTINGS: dict[str, Row] = {"sigma": {"check": False}, "cwola": {}}


@cache
def signal(name: str, n: int, seed: int) -> Dataset:
    """Events of one resonance with the mass as their only context."""
    made = pythia_signals([TRUTHS[name]], n, seed)
    return Dataset.from_arrays(made.values, made.context[:, :1], context_names=("m_jj",), context_units=("TeV",))


def hidden(data: Path, name: str, n: int) -> Dataset:
    """100,000 collisions, and n signal events after them."""
    background, resonance = qcd(data, 680_000, 780_000), signal(name, n, 7)
    return Dataset.from_arrays(torch.cat([background.values.double(), resonance.values]),
                               torch.cat([background.context.double(), resonance.context]),
                               context_names=("m_jj",), context_units=("TeV",))


def blind(data: Path) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Whole scans, by two methods from one generator: CWoLa after SIGMA."""
    for name in TRUTHS:
        folder = Path(gettempdir()) / f"scan-blind-{name}-300"  # a scan that was stopped goes on there

        def one(method: str, name: str = name, folder: Path = folder) -> Row:
            events = hidden(data, name, 300)
            out = folder / "sigma" if method == "sigma" else borrowing(folder)
            return _told(scan(events, WINDOWS, method, out, settings=SETTINGS[method], seed=0), events, 300)

        for method in SETTINGS:
            yield f"{name}, {method}", partial(one, method)


def _told(found: Any, events: Dataset, n: int) -> Row:
    """What a scan says, and what is true of its best window."""
    best, index = found.best, found.windows.index(found.best)
    mass, is_signal = found.events.context[:, 0], events.context[-n:, 0]
    inside = best.region.contains(is_signal)
    counts = spectrum_counts(mass, best.score, deal(len(mass), FOLDS, 1000 * index), best.region)
    return {"summary": found.summary(), "verdict": found.verdict, "region": [best.region.lo, best.region.hi],
            "z local": best.z_local, "z global": best.z_global, "trials": found.look.trials,
            "windows": [[w.region.lo, w.region.hi, w.z_local, w.trusted] for w in found.windows],
            "peak": None if best.peak is None else asdict(best.peak), "median": float(is_signal[inside].median()),
            "sculpting": asdict(best.sculpting), "true w": float(inside.sum() / best.region.contains(mass).sum()),
            "w": asdict(counted_fraction(counts)), "least w": asdict(least_fraction(counts))}


def oracle(data: Path) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Signal efficiency over the root of the background efficiency, of trees that know more and less."""
    for name, region in (("two prongs", SignalRegion(3.8, 4.2, "TeV")), ("three prongs", SignalRegion(4.2, 4.6, "TeV")),
                         ("three prongs", SignalRegion(4.0, 4.4, "TeV"))):
        yield f"{name} {region.lo}", lambda name=name, region=region: _oracle(data, name, region)


def _oracle(data: Path, name: str, region: SignalRegion) -> Row:
    far, events, more = qcd(data, 0, 680_000), hidden(data, name, 300), signal(name, 1500, 1007)
    mass, true, half = events.context[:, 0], far[region.contains(far)].values.double(), region.width / 2
    known, few = more[region.contains(more)].values.double(), events.context[-300:, 0]
    learned, kept = true[::2], true[1::2]
    inside, beside = region.contains(events), region.sidebands(events, half)
    is_signal = torch.arange(len(events)) >= len(events) - 300

    def worth(score: Any) -> list[float]:
        b, s = score(kept), score(known[1::2])
        return [float((s > torch.quantile(b, 1 - cut)).double().mean()) / cut**0.5 for cut in CUTS]

    def weak(reference: torch.Tensor) -> list[list[float]]:  # from four fifths of the events, as in a fold
        trained = []
        for k in range(5):
            data_in = events.values[inside & (deal(len(events), 5, 0) != k)]
            trained.append(worth(fit_ratio(data_in, reference, members=4, seed=k).predict_log_odds))
        return trained

    return {"signal": int((inside & is_signal).sum()), "background": int((inside & ~is_signal).sum()),
            "signal beside": int((beside & is_signal).sum()), "background beside": int((beside & ~is_signal).sum()),
            "quantiles of the mass": np.quantile(few, [0.05, 0.16, 0.5, 0.84, 0.95]).round(2).tolist(),
            "in the window": float(region.contains(more).double().mean()), "spectrum": float(mass.median()),
            "supervised": [worth(fit_ratio(known[::2], learned, members=4, validation=0.25).predict_log_odds)],
            "true background": weak(learned), "CWoLa": weak(events.values[beside]),
            "CWoLa, no signal beside": weak(events.values[beside & ~is_signal])}


def tails(data: Path) -> Iterator[tuple[str, Callable[[], Row]]]:
    """The test beside the window, as it is and with a strip of a quarter of the window left out on either side."""
    kinds = {"no signal": (0.0, 0.0), "resonance of 0.12 TeV": (0.12, 0.0), "resonance of 0.15 TeV": (0.15, 0.0),
             "carved, half": (0.0, 0.5), "carved, as much again": (0.0, 1.0), "carved, three times": (0.0, 2.0)}
    for name, (width, carved) in kinds.items():
        yield name, lambda width=width, carved=carved: {"z": [_curved(k, width, carved) for k in range(100)]}
    yield "two prongs", lambda: _two_prongs(data)


def _curved(seed: int, width: float, carved: float) -> list[float]:
    """40,000 events falling as exp(-1.6 m), of which 2 % pass, with 150 of a resonance that all do, or carved."""
    g, region = np.random.default_rng(seed), SignalRegion(3.3, 3.7)
    m = 3 - np.log(g.uniform(np.exp(-1.6 * 1.6), 1, 40_000)) / 1.6
    passed = g.uniform(size=len(m)) < 0.02 * (1 + carved * np.exp(-0.5 * ((m - 3.5) / 0.2) ** 2))
    if width:
        m, passed = np.concatenate([m, g.normal(3.5, width, 150)]), np.concatenate([passed, np.ones(150, bool)])
    return _both(m, passed, region)


def _both(m: np.ndarray, passed: np.ndarray, region: SignalRegion) -> list[float]:
    return [_curvature(m[out], passed[out], region)
            for out in (~r.contains(m).numpy() for r in (region, widened(region, m)))]


def _two_prongs(data: Path) -> Row:
    """The same test on the blind events, on their background alone, and the control with 600,000 true events."""
    region, events = SignalRegion(3.8, 4.2, "TeV"), gather(hidden(data, "two prongs", 300))
    found = cross_fitted(lambda r, seed: CWoLa(r, seed, members=4), events, region, folds=FOLDS, seed=3000)
    thresholds = found.thresholds(region.sidebands(events), 0.01)
    m, passed = events.context[:, 0].numpy(), (found.score > thresholds[found.fold]).numpy()
    edges, far = common_edges(m, [region]), gather(qcd(data, 0, 600_000))
    fit = fit_bump(m[passed], region, edges, fit_bump(m, region, edges))
    control = (far.context[:, 0].numpy(), found.passing(far, thresholds, 8).numpy())
    return {"all": _both(m, passed, region), "background alone": _both(m[:-300], passed[:-300], region),
            "control": asdict(sculpting(m, passed, fit, control)), "excess": fit.excess}


def show(folder: Path) -> None:
    """The numbers of docs/scan.md."""
    for told in read(folder / "blind.jsonl").values():
        print(f"{told['key']}: {told['summary']}")
        print(f"  median {told['median']:.3f}, peak {told['peak']}, true w {100 * told['true w']:.2f} %")
        for name in ("w", "least w"):
            w = told[name]
            print(f"  {name}: {100 * w['value']:.2f} (68 %: {100 * w['low']:.2f} to {100 * w['high']:.2f}; 95 %: "
                  f"{100 * w['low_95']:.2f} to {100 * w['high_95']:.2f})")
        shape = told["sculpting"]
        print(f"  spurious {shape['spurious']} +- {shape['spurious_error']}, noise {shape['noise']}, curvature "
              f"{shape['curvature']:.1f}; trials {told['trials']:.1f}")
        print("  " + ", ".join(f"{lo:g} to {hi:g}: {z:.1f}{'' if t else ' (not trusted)'}"
                               for lo, hi, z, t in told["windows"]))
    for row in read(folder / "oracle.jsonl").values():
        print(f"{row['key']}: {row['signal']} of 300 on {row['background']}, beside {row['signal beside']} on "
              f"{row['background beside']}; mass {row['quantiles of the mass']}; improvements at {CUTS}:")
        for name in ("supervised", "true background", "CWoLa", "CWoLa, no signal beside"):
            print(f"  {name}: {np.median(row[name], 0).round(1)}, best {np.max(row[name], 1).round(1)}")
    for row in read(folder / "tails.jsonl").values():
        if "z" in row:
            z = np.array(row["z"])
            print(f"{row['key']}: beside the window {z.mean(0).round(2)} (whole, without strip), below -3: "
                  f"{(z < -3).mean(0)}")
        else:
            print(row)


PARTS: Parts = {"blind": blind, "oracle": oracle, "tails": tails}

if __name__ == "__main__":
    main(PARTS, show, __doc__)
