"""Are the p-values of a scan right, what does it notice? Numbers of docs/scan.md. Its power is in scan_power.py, what
it makes of two unknown resonances in scan_blind.py.

    python benchmarks/scan.py fits      significances of cut spectra without signal, no classifier involved
    python benchmarks/scan.py null      whole scans of background alone: classifiers, cross-fitting, look-elsewhere
    python benchmarks/scan.py collisions   the same on disjoint slices of simulated collisions, with CWoLa
    python benchmarks/scan.py plans     how long a template's generator has to learn
    python benchmarks/scan.py trees     CPU seconds of a classifier
    python benchmarks/scan.py speed     CPU seconds of one scan of 100,000 simulated collisions in seven windows
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
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from scipy.stats import kstest, norm
from torch import Tensor

from sundog import Dataset, Plan, judge
from sundog.simulate.densities import ResonantToy
from sundog.simulate.dijets import dijet_truth
from sundog.tasks.anomaly import CWoLa, scan, sliding_windows
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
from sundog.tasks.anomaly.scan.search import SHARED
from sundog.verdicts.twosample import area_under_curve

TOY, REGION = ResonantToy(), SignalRegion(3.3, 3.7)
WINDOWS = sliding_windows(3.2, 4.0, 0.4)
N, EFFICIENCY = 12_000, 0.02
SLICE, PYTHIA_WINDOWS = 26_000, sliding_windows(3.2, 4.4, 0.4)
Row = dict[str, Any]
Parts = dict[str, Callable[[Path], Iterator[tuple[str, Callable[[], Row]]]]]


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
        yield f"{seed}", lambda seed=seed: scanned(TOY.background(N, 10_000 + seed), seed)


class TrueCollisions(FeatureSearch):
    """A detector whose template are other simulated collisions; no control."""

    far: Any = None

    def make_template(self, events: Dataset) -> Any:
        return self

    def view_of_background(self, n: int, seed: int) -> Tensor:
        inside = self.far[self.region.contains(self.far)].values
        return inside[torch.randperm(len(inside), generator=torch.Generator().manual_seed(seed))[:n]]


SMALL_SIGMA = {"check": False, "plan": Plan(steps=600, batch=512), "options": {"hidden": (64, 64, 64)}}


def collisions(data: Path, slices: int = 30) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Disjoint slices of simulated background, five windows: CWoLa without control, with features dealt out anew (they
    do not know the mass), other collisions as the template, SIGMA, and SIGMA and CWoLa with the control."""
    for name in ("as they are", "dealt out anew", "true background", "sigma, small", "sigma"):
        for i in np.roll(range(slices), -23):  # slice 23 has false evidence by CWoLa without control
            def one(i: int = int(i), name: str = name) -> Row:
                events = qcd(data, i * SLICE, (i + 1) * SLICE)
                if name == "dealt out anew":
                    order = torch.randperm(SLICE, generator=torch.Generator().manual_seed(i))
                    events = replace(events, values=events.values[order])
                if name == "true background":
                    other = qcd(data, 390_000, 800_000) if i < 15 else qcd(data, 0, 390_000)

                    def exact(region: SignalRegion, seed: int) -> TrueCollisions:
                        detector = TrueCollisions(region, seed)
                        detector.far = other
                        return detector
                    return {"kind": name, **scanned(events, i, exact, PYTHIA_WINDOWS, control=False)}
                if name == "sigma, small":
                    return {"kind": name, **scanned(events, i, "sigma", PYTHIA_WINDOWS, settings=SMALL_SIGMA,
                                                    control=False)}
                if name != "sigma":
                    return {"kind": name, **scanned(events, i, "cwola", PYTHIA_WINDOWS, control=False)}
                with TemporaryDirectory() as folder:
                    return {"kind": name, **scanned(events, i, "sigma", PYTHIA_WINDOWS, Path(folder) / "sigma",
                                                    settings={"check": False}),
                            "cwola": scanned(events, i, "cwola", PYTHIA_WINDOWS, borrowing(Path(folder)))}
            yield f"{i}" if name == "as they are" else f"{i} {name}", one


def borrowing(folder: Path) -> Path:
    """A folder for a scan by CWoLa whose control takes the generator that a scan by SIGMA left beside it."""
    shutil.copytree(folder / "sigma" / SHARED, folder / "cwola" / SHARED, dirs_exist_ok=True)
    return folder / "cwola"


def speed(data: Path) -> Iterator[tuple[str, Callable[[], Row]]]:
    """One scan of 99,700 + 300 simulated collisions, seven windows, all defaults."""
    windows = sliding_windows(3.2, 4.8, 0.4)
    for seed in range(2):
        for method in ("cwola", "sigma", "cathode"):
            yield f"{method} {seed}", lambda method=method, seed=seed: {"method": method, **scanned(
                qcd(data, 100_000 * seed, 100_000 * seed + 99_700, 300), seed, method, windows, efficiency=0.01,
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
            events, fresh = gather(qcd(data, 0, 99_700, 300)), gather(qcd(data, 300_000, 700_000))
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


@cache
def qcd(data: Path, start: int, stop: int, n_signal: int = 0) -> Dataset:
    """Shared simulated collisions, with events of the shared signal."""
    with np.load(data / "dijets" / "lhcolike_dijets.npz") as file:
        rows = np.concatenate([file["qcd"][start:stop, :5], file["signal"][start // 10 : start // 10 + n_signal, :5]])
    return Dataset.from_arrays(rows[:, 1:], rows[:, :1], context_names=("m_jj",), context_units=("TeV",))


def scanned(events: Dataset, seed: int, method: Any = Exact, windows: Any = WINDOWS, out: Path | None = None,
            **options: Any) -> Row:
    """What a scan found, in numbers."""
    options = {"efficiency": EFFICIENCY, "folds": 3, "members": 1, "pseudo_experiments": 500, **options}
    with TemporaryDirectory() as folder:
        out = out or Path(folder)
        found = scan(events, windows, method, out, seed=seed, **options)
        on_template = _on_template(found, out)
    middle = found.windows[1]
    return {"p local": [w.p_local for w in found.windows], "p global": found.look.p_global(),
            "p naive": min(w.p_local for w in found.windows), "z": [w.fit.significance for w in found.windows],
            "z global": found.best.z_global, "evidence": found.evidence, "excess": middle.fit.excess,
            "sculpted": [w.sculpting.sculpted for w in found.windows], "on template": on_template,
            "spurious": [w.sculpting.spurious for w in found.windows], "verdict": found.verdict}


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


def show(folder: Path) -> None:
    """The tables of docs/scan.md."""
    rows = {part: read(folder / f"{part}.jsonl") for part in PARTS}
    for row in rows["fits"].values():
        print(f"{row['efficiency']:16} {row['n']:6}  mean z {row['mean z']:+.2f}  std {row['std z']:.2f}  "
              f"p < 5 %: {100 * row['below 5 %']:.1f} %  p < 1 %: {100 * row['below 1 %']:.1f} %")
    for part in ("null", "collisions"):
        toys = list(rows[part].values())
        toys += [{**row["cwola"], "kind": "cwola with control", "cpu": np.nan} for row in toys if "cwola" in row]
        for kind in sorted({row.get("kind", "") for row in toys}):
            _show_null(f"{part} {kind}".strip(), [row for row in toys if row.get("kind", "") == kind])
    for row in rows["trees"].values():
        print(f"four boostings: {row['seconds']:.2f} CPU s, area {row['area']:.4f}")
    for row in rows["plans"].values():
        print(f"{row['key']}: area {row['area']:.4f} +- {row['error']:.4f}, {row['training']:.0f} CPU s")
    for row in rows["speed"].values():
        print(f"{row['key']}: {row['cpu']:.0f} CPU s, z {np.round(row['z'], 1)}")
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


PARTS: Parts = {
    "fits": fits, "null": null, "collisions": collisions, "plans": plans, "trees": trees,
    "speed": speed, "sculpt": sculpt, "copies": copies, "pythia": pythia}


def read(path: Path) -> dict[str, Row]:
    """The rows of a file by their keys."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {row["key"]: row for row in map(json.loads, lines)}


def main(parts: Parts, show: Callable[[Path], None], doc: str | None) -> None:
    """Measure what is not yet in the file of a part, or print."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*parts, "show"])
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
    known = read(path)
    for key, job in parts[given.part](given.data):
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
    main(PARTS, show, __doc__)
