"""Are the p-values of a scan right, what does it find, what does it notice? Every number of docs/scan.md.

    python benchmarks/scan.py fits      significances of cut spectra without signal, no classifier involved
    python benchmarks/scan.py null      whole scans of background alone: classifiers, cross-fitting, look-elsewhere
    python benchmarks/scan.py collisions   the same on disjoint slices of simulated collisions, with CWoLa
    python benchmarks/scan.py power     with an injected signal: methods beside hunts that know no features
    python benchmarks/scan.py plans     how long a template's generator has to learn
    python benchmarks/scan.py trees     CPU seconds of a classifier
    python benchmarks/scan.py speed     CPU seconds of one scan of 100,000 simulated collisions in seven windows
    python benchmarks/scan.py blind     two resonances that nothing here was tuned on, mass and window unknown
    python benchmarks/scan.py sculpt    a feature tied to the mass at four strengths: what CWoLa carves, what is noticed
    python benchmarks/scan.py copies    null scans of CWoLa where 30 % of the events are there twice
    python benchmarks/scan.py pythia    simulated collisions judged against real and shared events
    python benchmarks/scan.py show      the tables

Options: --out FOLDER of the results (one JSON line per toy, appended; toys that are there are skipped),
--data FOLDER, --minutes M (stop after M CPU minutes). Times are CPU seconds of this process, one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from scipy.stats import kstest, norm

from sundog import Dataset, Plan, judge
from sundog.simulate.densities import ResonantToy
from sundog.simulate.dijets import dijet_truth
from sundog.tasks.anomaly import Cathode, CWoLa, RAnode, scan, sliding_windows
from sundog.tasks.anomaly.background.sigma_field import fit_everything, window_template
from sundog.tasks.anomaly.background.template import compared, fit_template
from sundog.tasks.anomaly.detectors.base import FeatureSearch, fit_ratio
from sundog.tasks.anomaly.regions import SignalRegion, gather
from sundog.tasks.anomaly.scan.bump import (
    bins_inside,
    common_edges,
    count_significance,
    fit_bump,
    fit_curves,
    shape_before,
)
from sundog.tasks.anomaly.scan.found import ScanResult
from sundog.tasks.anomaly.scan.significance import look_elsewhere
from sundog.verdicts.twosample import area_under_curve

TOY, REGION = ResonantToy(), SignalRegion(3.3, 3.7)
WINDOWS = sliding_windows(3.2, 4.0, 0.4)
N, EFFICIENCY = 12_000, 0.02
SLICE, PYTHIA_WINDOWS = 26_000, sliding_windows(3.2, 4.4, 0.4)
Row = dict[str, Any]


class TrueBackground:
    """The true background of the toy as a template."""

    report = None

    def __init__(self, region: SignalRegion) -> None:
        self.region = region

    def sample(self, n: int, seed: int, m: Any = None) -> Dataset:
        if m is None:
            parts: list[Dataset] = []
            while sum(map(len, parts)) < n:
                drawn = TOY.background(4 * n, seed + 1 + 7 * len(parts))
                parts.append(drawn[self.region.contains(drawn)])
            return Dataset.from_arrays(torch.cat([part.values for part in parts])[:n],
                                       torch.cat([part.context for part in parts])[:n])
        m = torch.as_tensor(m).double()
        noise = torch.randn(len(m), 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return Dataset.from_arrays(torch.tensor(TOY.slope).double() * (m - TOY.peak)[:, None] + noise, m)


class Exact(FeatureSearch):
    """A detector on the true background of the toy: what remains is the classifier and the statistics."""

    def make_template(self, events: Dataset) -> TrueBackground:
        return TrueBackground(self.region)


# Few events, small networks: a scan of the power curve takes seconds.
SMALL = {"plan": Plan(steps=400, batch=1024), "check": False}
DETECTORS: dict[str, tuple[Any, Row]] = {
    "true background": (Exact, {}), "cwola": ("cwola", {}), "cathode": ("cathode", SMALL),
    "sigma": ("sigma", {**SMALL, "options": {"hidden": (64, 64, 64)}})}


def fits(_: Path) -> Iterator[tuple[str, Callable[[], Row]]]:
    """P(p < 5 %) and P(p < 1 %) of the asymptotic p-value, 2000 toys per spectrum and kind of efficiency."""
    kinds: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "flat": np.ones_like, "falling by half": lambda m: 1 - 0.3 * (m - 3),
        "curved": lambda m: 1 + 0.3 * (m - 3.8) ** 2}
    for name, efficiency in kinds.items():
        for n in (100, 300, 1000, 10_000):
            def one(name: str = name, efficiency: Any = efficiency, n: int = n) -> Row:
                generator = np.random.default_rng(n)
                whole = TOY.background(200_000, 1).context[:, 0].numpy()
                edges = common_edges(whole, [REGION])
                shape, inside = shape_before(fit_bump(whole, REGION, edges), edges), bins_inside(edges, REGION)
                middle = 0.5 * (edges[1:] + edges[:-1])
                law = np.diff(np.exp(-1.6 * edges)) * efficiency(middle)
                counts = generator.poisson(n * law / law.sum(), (2000, len(middle)))
                curves = fit_curves(counts, edges, inside, shape)
                z = count_significance(counts[:, inside].sum(1), curves.expected, curves.error)
                p = norm.sf(z)
                return {"efficiency": name, "n": n, "mean z": z.mean(), "std z": z.std(),
                        "below 5 %": (p < 0.05).mean(), "below 1 %": (p < 0.01).mean()}
            yield f"{name} {n}", one


def null(_: Path, toys: int = 200) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Scans of background alone."""
    for seed in range(toys):
        yield f"{seed}", lambda seed=seed: _scanned(TOY.background(N, 10_000 + seed), seed)


def collisions(data: Path, slices: int = 30) -> Iterator[tuple[str, Callable[[], Row]]]:
    """CWoLa, no control, on disjoint slices of simulated background, five windows; and with features dealt out anew."""
    for name in ("as they are", "dealt out anew"):  # the second have features that do not know the mass
        for i in range(slices):
            def one(i: int = i, name: str = name) -> Row:
                events = _qcd(data, i * SLICE, (i + 1) * SLICE)
                if name == "dealt out anew":
                    order = torch.randperm(SLICE, generator=torch.Generator().manual_seed(i))
                    events = replace(events, values=events.values[order])
                return {"kind": name, **_scanned(events, i, "cwola", PYTHIA_WINDOWS, control=False)}
            yield f"{i}" if name == "as they are" else f"{i} {name}", one


def power(_: Path) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Scans with an injected signal, a share w of all events; the methods that train a generator come last."""
    steps = [(seed, w) for seed in range(8) for w in (0.002, 0.004, 0.006, 0.008, 0.01, 0.015)]
    for names in (("true background", "cwola"), ("sigma", "cathode")):
        for seed, w in steps:
            for name in names:
                def one(seed: int = seed, w: float = w, name: str = name) -> Row:
                    (method, settings), events = DETECTORS[name], TOY.events(N, w, 20_000 + seed)
                    row = _scanned(events, seed, method, settings=settings, control=name == "true background")
                    hunts = _without_features(events, seed) if name == "true background" else {}
                    return {"w": w, "signal": int(TOY.truth(N, w, 20_000 + seed).sum()), **row, **hunts}
                yield f"{name} {seed} {w}", one


def speed(data: Path) -> Iterator[tuple[str, Callable[[], Row]]]:
    """One scan of 99,700 + 300 simulated collisions, seven windows, all defaults."""
    windows = sliding_windows(3.2, 4.8, 0.4)
    for seed in range(2):
        for method in ("cwola", "sigma", "cathode"):
            yield f"{method} {seed}", lambda method=method, seed=seed: {"method": method, **_scanned(
                _qcd(data, 100_000 * seed, 100_000 * seed + 99_700, 300), seed, method, windows, efficiency=0.01,
                folds=5, members=None)}


class TiedBackground:
    """Background of the toy with a feature that follows the mass: strength (m - 3.5) / 0.4 plus unit noise."""

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def sample(self, n: int, seed: int, m: Any = None) -> Dataset:
        events = TOY.background(n, seed) if m is None else None
        mass = torch.as_tensor(m).double().reshape(-1, 1) if events is None else events.context.double()
        noise = torch.randn(len(mass), 3, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
        return Dataset.from_arrays(noise + self.strength * (mass - 3.5) / 0.4 * torch.tensor([1.0, 0, 0]), mass,
                                   context_names=("m",))


class Tied(CWoLa):
    """CWoLa with the true background for the control, where a flow would be borrowed."""

    template_: Any = None


def sculpt(_: Path) -> Iterator[tuple[str, Callable[[], Row]]]:
    """CWoLa on background with one feature of three tied to the mass at four strengths, and not, with its control."""
    for seed in range(12):
        for strength in (0.0, 1.0, 1.5, 2.0, 3.0):
            def one(seed: int = seed, strength: float = strength) -> Row:
                background = TiedBackground(strength)

                def make(region: SignalRegion, seed: int) -> Tied:
                    detector = Tied(region, seed, members=1)
                    detector.template_ = background
                    return detector

                found = scan(background.sample(20_000, 30_000 + seed), [REGION], make, efficiency=EFFICIENCY, folds=3,
                             seed=seed, pseudo_experiments=200)
                shape = found.best.sculpting
                return {"strength": strength, "z": found.best.z_local, "sculpted": shape.sculpted,
                        "beside": replace(shape, spurious=None).sculpted, "correlated": shape.correlated,
                        "trusted": found.best.trusted, "evidence": found.evidence}
            yield f"tied {seed} {strength}", one


def copies(_: Path) -> Iterator[tuple[str, Callable[[], Row]]]:
    """CWoLa on background of which 30 % stand in the file twice."""
    for seed in range(24):
        def one(seed: int = seed) -> Row:
            events = TOY.background(N, 50_000 + seed)
            twice = torch.cat([torch.arange(N), torch.arange(int(0.3 * N))])
            found = scan(events[twice], WINDOWS, "cwola", efficiency=EFFICIENCY, folds=3, members=1, seed=seed,
                         control=False, pseudo_experiments=200)
            return {"z": [w.fit.significance for w in found.windows], "evidence": found.evidence}
        yield f"copies {seed}", one


def pythia(data: Path) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Simulated events judged, inside the window, against real ones and against the shared LHCO-like sample."""
    from sundog.simulate.pythia import pythia_dijets

    def against() -> Row:
        n_qcd, n_signal = 6000, 2000
        start = time.process_time()
        made = pythia_dijets(n_qcd, n_signal, seed=0)
        seconds = time.process_time() - start
        truth = dijet_truth(n_qcd, n_signal, 0)
        row: Row = {"events": n_qcd + n_signal, "events per CPU second": (n_qcd + n_signal) / seconds}
        for kind, mask in (("qcd", ~truth), ("signal", truth)):
            part = made[mask]
            part = part[REGION.contains(part)]
            for name, real in _samples(data, kind).items():
                verdict = judge(real, Dataset.from_arrays(torch.cat([part.context, part.values], 1), names=real.names),
                                splits=12, seed=0)
                marginals = {column: _ks(real.values[:, j], torch.cat([part.context, part.values], 1)[:, j])
                             for j, column in enumerate(real.names)}
                row[f"{kind} against {name}"] = {
                    "n": verdict.n, "rows": {r.name: [r.value, r.null, r.p_value] for r in verdict.rows},
                    "ks": marginals}
        return row

    yield "judge", against


def _samples(data: Path, kind: str) -> dict[str, Dataset]:
    names = ("m_jj", "m_j1", "delta_m", "tau21_j1", "tau21_j2")
    with np.load(data / "lhco" / "lhco_rd_sr_features.npz") as file:
        real = file["extra_qcd" if kind == "qcd" else "signal"]
    with np.load(data / "dijets" / "lhcolike_dijets.npz") as file:
        shared = file[kind][:, :5]
    shared = shared[(shared[:, 0] > REGION.lo) & (shared[:, 0] < REGION.hi)]
    return {"real": Dataset.from_arrays(real[:20_000], names=names),
            "shared": Dataset.from_arrays(shared[:20_000], names=names)}


def _ks(a: Any, b: Any) -> float:
    from scipy.stats import ks_2samp

    return float(ks_2samp(np.asarray(a), np.asarray(b)).statistic)


def plans(data: Path) -> Iterator[tuple[str, Callable[[], Row]]]:
    """How long a generator has to learn from 100,000 events: area of its template against independent collisions."""
    region = SignalRegion(3.4, 3.8, "TeV")
    tried = [("sigma", 2000, 4096), ("sigma", 2000, 1024), ("sigma", 1000, 4096), ("sigma", 500, 4096),
             ("flow", 500, 1024), ("flow", 1000, 512), ("flow-matching", 2000, 1024)]
    for family, steps, batch in tried:
        def one(family: str = family, steps: int = steps, batch: int = batch) -> Row:
            plan = Plan(steps=steps, batch=batch)
            events, fresh = gather(_qcd(data, 0, 99_700, 300)), gather(_qcd(data, 300_000, 700_000))
            inside, start = fresh[region.contains(fresh)][:60_000], time.process_time()
            if family == "sigma":
                run = fit_everything(events, plan=plan.with_(precision="bf16"))
                seconds, template = time.process_time() - start, window_template(run, events, region)
            else:
                template = fit_template(events, region, family=family, plan=plan, check=False)
                seconds = time.process_time() - start
            found = compared(inside, template.sample(len(inside), 3, inside.context), 0)
            return {"area": found.auc, "error": found.auc_error, "training": seconds}
        yield f"{family} {steps} x {batch}", one


def trees(_: Path) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Four boostings on 20,000 events with 2 % of signal and 60,000 of background; area on 50,000 others with 5 %."""
    def one() -> Row:
        events, template = TOY.events(20_000, 0.02, 5).values, TOY.background(60_000, 9).values
        fit_ratio(events[:500], template[:500], members=1)  # scikit-learn is loaded
        start = time.process_time()
        found = fit_ratio(events, template, members=4)
        seconds = time.process_time() - start
        score = found.predict_log_odds(TOY.events(50_000, 0.05, 77).values)
        is_signal = TOY.truth(50_000, 0.05, 77)
        return {"seconds": seconds, "area": area_under_curve(score[~is_signal], score[is_signal])[0]}

    yield "four", one


def blind(data: Path) -> Iterator[tuple[str, Callable[[], Row]]]:
    """300 events of a resonance that nothing here knows, among 100,000 simulated collisions.

    The fraction is measured in the window around the pole of the resonance.
    """
    from sundog.simulate.pythia import Resonance, pythia_signals

    for name, truth in (("two prongs", Resonance(4.0, 0.3, 0.2)), ("three prongs", Resonance(4.4, 0.35, 0.35, 3))):
        for part in ("scan", "fraction"):
            def one(truth: Resonance = truth, part: str = part) -> Row:
                signal, background = pythia_signals([truth], 300, 7), _qcd(data, 680_000, 780_000)
                events = Dataset.from_arrays(torch.cat([background.values.double(), signal.values]),
                                             torch.cat([background.context.double(), signal.context[:, :1]]),
                                             context_names=("m_jj",), context_units=("TeV",))
                region = SignalRegion(round(truth.mass - 0.2, 1), round(truth.mass + 0.2, 1), "TeV")
                inside = region.contains(signal.context[:, 0])
                row: Row = {"part": part, "pole": truth.mass, "median": float(signal.context[inside, 0].median()),
                            "true w": float(inside.sum() / region.contains(events).sum())}
                if part == "fraction":
                    search = RAnode(region, seed=0, background=Cathode(region, check=False)).fit(events)
                    return row | {"w": asdict(search.fraction_), "core": asdict(search.core_fraction_)}
                found = scan(events, sliding_windows(3.2, 5.0, 0.4), "cwola", control=False, seed=0)
                best = found.best
                return row | {"region": [best.region.lo, best.region.hi], "z local": best.z_local,
                              "z global": best.z_global, "summary": found.summary(),
                              "peak": None if best.peak is None else [best.peak.mass, best.peak.mass_error]}
            yield f"{name}, {part}", one


def _qcd(data: Path, start: int, stop: int, n_signal: int = 0) -> Dataset:
    with np.load(data / "dijets" / "lhcolike_dijets.npz") as file:
        rows = np.concatenate([file["qcd"][start:stop, :5], file["signal"][start // 10 : start // 10 + n_signal, :5]])
    return Dataset.from_arrays(rows[:, 1:], rows[:, :1], context_names=("m_jj",), context_units=("TeV",))


def _scanned(events: Dataset, seed: int, method: Any = Exact, windows: Any = WINDOWS, **options: Any) -> Row:
    options = {"efficiency": EFFICIENCY, "folds": 3, "members": 1, "pseudo_experiments": 500, **options}
    with TemporaryDirectory() as folder:
        found = scan(events, windows, method, folder, seed=seed, **options)
        on_template = _on_template(found, Path(folder))
    middle = found.windows[1]
    return {"p local": [w.p_local for w in found.windows], "p global": found.look.p_global(),
            "p naive": min(w.p_local for w in found.windows), "z": [w.fit.significance for w in found.windows],
            "z global": found.best.z_global, "evidence": found.evidence, "excess": middle.fit.excess,
            "sculpted": [w.sculpting.sculpted for w in found.windows], "on template": on_template}


def _on_template(found: ScanResult, folder: Path) -> list[float]:
    """Z of the count of each window on fresh template events, no curve: 2411.00085. Empty without a control sample."""
    seen = []
    for window, path in zip(found.windows, sorted(folder.glob("window_*"))):
        with np.load(path / "arrays.npz") as arrays:
            if "control_m" in arrays:
                passed = arrays["control_passed"][window.region.contains(arrays["control_m"]).numpy()]
                n, p = int(window.region.contains(found.events).sum()), passed.mean()
                seen.append(float(count_significance(window.fit.observed, n * p, n * (p / len(passed)) ** 0.5)))
    return seen


def _without_features(events: Dataset, seed: int) -> Row:
    """The same events by their mass alone: the curve of this package in the same windows, and pyBumpHunter on it."""
    mass = events.context[:, 0].double().numpy()
    edges = common_edges(mass, WINDOWS)
    fits = [fit_bump(mass, region, edges) for region in WINDOWS]
    look = look_elsewhere(fits, np.ones((len(mass), len(WINDOWS)), bool), mass, 500, seed)
    best = max(fits, key=lambda fit: fit.significance)
    row: Row = {"plain z global": float(norm.isf(look.p_global()))}
    try:
        import pyBumpHunter
    except ImportError:
        return row
    hunter = pyBumpHunter.BumpHunter1D(rang=(edges[0], edges[-1]), width_min=2, width_max=20, scan_step=1, npe=1000,
                                       bins=edges, nworker=1, seed=seed)
    with redirect_stdout(StringIO()):
        hunter.bump_scan(best.counts, best.background, is_hist=True)
    return row | {"bump hunter z global": float(np.ravel(hunter.significance)[0])}


def show(folder: Path) -> None:
    """The tables of docs/scan.md."""
    rows = {part: _read(folder / f"{part}.jsonl") for part in PARTS}
    for row in rows["fits"].values():
        print(f"{row['efficiency']:16} {row['n']:6}  mean z {row['mean z']:+.2f}  std {row['std z']:.2f}  "
              f"p < 5 %: {100 * row['below 5 %']:.1f} %  p < 1 %: {100 * row['below 1 %']:.1f} %")
    for part in ("null", "collisions"):
        for kind in sorted({row.get("kind", "") for row in rows[part].values()}):
            _show_null(f"{part} {kind}".strip(), [row for row in rows[part].values() if row.get("kind", "") == kind])
    _show_power(list(rows["power"].values()))
    for row in rows["trees"].values():
        print(f"four boostings: {row['seconds']:.2f} CPU s, area {row['area']:.4f}")
    for row in rows["plans"].values():
        print(f"{row['key']}: area {row['area']:.4f} +- {row['error']:.4f}, {row['training']:.0f} CPU s")
    for row in rows["speed"].values():
        print(f"{row['key']}: {row['cpu']:.0f} CPU s, z {np.round(row['z'], 1)}")
    for row in rows["blind"].values():
        print({key: value for key, value in row.items() if key != "core"})
    for strength in sorted({row["strength"] for row in rows["sculpt"].values()}):
        some = [row for row in rows["sculpt"].values() if row["strength"] == strength]
        z = np.array([row["z"] for row in some])
        said = ", ".join(f"{name} {sum(map(bool, (row[name] for row in some)))}" for name in
                         ("correlated", "sculpted", "beside", "trusted", "evidence"))
        print(f"tied {strength:g}, {len(some)} scans: local z median {np.median(z):.1f} ({np.quantile(z, 0.16):.1f} to "
              f"{np.quantile(z, 0.84):.1f}), above 3: {(z > 3).sum()}; {said}")
    if rows["copies"]:
        z = np.array([row["z"] for row in rows["copies"].values()])
        print(f"30 % of the events twice, {len(z)} null scans: z mean {z.mean():+.2f}, std {z.std():.2f}, evidence "
              f"{sum(row['evidence'] for row in rows['copies'].values())}")
    for row in rows["pythia"].values():
        print(json.dumps(row, indent=1))


def _show_null(part: str, toys: list[Row]) -> None:
    z, local = np.array([t["z"] for t in toys]), np.array([t["p local"] for t in toys])
    for name, p in (("local, every window", local.ravel()), ("global", np.array([t["p global"] for t in toys])),
                    ("best local taken for global", np.array([t["p naive"] for t in toys]))):
        share, n = [100 * (p < level).mean() for level in (0.05, 0.1, 0.5)], len(p)
        claims = [f"{k} sigma {int((p < norm.sf(k)).sum())} ({n * norm.sf(k):.1f} nominal)" for k in (2, 3)]
        print(f"{part}, {len(toys)} scans, {name} ({n}): uniform p = {kstest(p, 'uniform').pvalue:.2g}; below 5 %: "
              f"{share[0]:.1f} %, 10 %: {share[1]:.1f} %, 50 %: {share[2]:.1f} %; claims at {', '.join(claims)}")
    apart = [f"{np.corrcoef(z[:, :-k].ravel(), z[:, k:].ravel())[0, 1]:+.2f}" for k in (1, 2) if z.shape[1] > k]
    print(f"  windows alone: p = {[round(float(kstest(p, 'uniform').pvalue), 2) for p in local.T]}; correlation of z "
          f"one and two windows apart {', '.join(apart)}; z mean {z.mean(0).round(2)}, std {z.std(0).round(2)}; "
          f"evidence {sum(t['evidence'] for t in toys)}, sculpted {np.sum([t['sculpted'] for t in toys])} of {z.size}; "
          f"{np.median([t['cpu'] for t in toys]):.1f} CPU s per scan")


def _show_power(rows: list[Row]) -> None:
    """Median global z (local for the count on the template), and how many scans reach three."""
    print("| signal | " + " | ".join(_HUNTS) + " |\n" + "|---" * (len(_HUNTS) + 1) + "|")
    for w in sorted({row["w"] for row in rows}):
        some = [row for row in rows if row["w"] == w]
        cells = []
        for detector, what in _HUNTS.values():
            z = np.array([what(row) for row in some if row["key"].startswith(detector)])
            cells.append(f"{np.median(z):.1f}, {(z > 3).sum()} of {len(z)}" if len(z) else "")
        print(f"| {100 * w:g} % ({np.median([row['signal'] for row in some]):.0f}) | {' | '.join(cells)} |")


_HUNTS: dict[str, tuple[str, Callable[[Row], float]]] = {
    **{name: (name, lambda row: float(row["z global"])) for name in DETECTORS},
    "count on the template, local": ("true background", lambda row: max(row["on template"])),
    "bump hunt, no features": ("true background", lambda row: float(row["plain z global"])),
    "pyBumpHunter, no features": ("true background", lambda row: float(row.get("bump hunter z global", np.nan)))}
PARTS: dict[str, Callable[[Path], Iterator[tuple[str, Callable[[], Row]]]]] = {
    "fits": fits, "null": null, "collisions": collisions, "power": power, "plans": plans, "trees": trees,
    "speed": speed, "blind": blind, "sculpt": sculpt, "copies": copies, "pythia": pythia}


def _read(path: Path) -> dict[str, Row]:
    lines = path.read_text().splitlines() if path.exists() else []
    return {row["key"]: row for row in map(json.loads, lines)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*PARTS, "show"])
    parser.add_argument("--out", type=Path, default=Path.home() / ".cache" / "sundog" / "bench-scan")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--minutes", type=float, default=1e9)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    if given.part == "show":
        show(given.out)
        return
    path = given.out / f"{given.part}.jsonl"
    known = _read(path)
    for key, job in PARTS[given.part](given.data):
        if key in known:
            continue
        if time.process_time() > 60 * given.minutes:
            break
        start = time.process_time()
        row = {"key": key, **job(), "cpu": 0.0}
        row["cpu"] = round(time.process_time() - start, 2)
        with path.open("a") as file:
            file.write(json.dumps(row, default=float) + "\n")


if __name__ == "__main__":
    main()
