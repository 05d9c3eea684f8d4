"""Which estimate of the signal fraction is true? Bias and coverage over injections, and a floor that knows the signal.

    python benchmarks/signal_fraction.py run toy       the analytic toy, exact background density
    python benchmarks/signal_fraction.py run dijets    LHCO-like di-jets, a flow learned beside the window, shared
    python benchmarks/signal_fraction.py run two | three    signals of two prongs (0.3 and 0.2 TeV), of three (0.35 TeV)
    python benchmarks/signal_fraction.py oracle        built-in di-jets: each part of the estimate replaced by the truth
    python benchmarks/signal_fraction.py null          all di-jets without signal, above the curves of cuts
    python benchmarks/signal_fraction.py blind         the two resonances of scan_blind.py
    python benchmarks/signal_fraction.py show          the table of docs/anomaly_methods.md

60,000 events inside the window, S/B 0.3, 0.6, 1.2 % in turn. The background of di-jets is drawn anew for each injection
from 235,000 events inside: two injections share a quarter. Options: --injections N, --results FOLDER, --data FOLDER.
One JSON line per injection; those that are there are skipped.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.data.scaling.chain import named_scaling
from sundog.models.mixture.signal import find_signal, split_signal
from sundog.random import numpy_stream
from sundog.simulate import dijets as builtin
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly import RAnode, SignalRegion, smooth_masses
from sundog.tasks.anomaly.background.template import fit_template
from sundog.tasks.anomaly.checks import counted
from sundog.tasks.anomaly.checks.counted import (
    BENT,
    EFFICIENCIES,
    Closure,
    ScoreCounts,
    closure,
    counted_fraction,
    efficiency_curves,
    least_fraction,
    score_bins,
    spectrum_counts,
    template_counts,
    widened,
)
from sundog.tasks.anomaly.checks.fraction import SignalFraction, signal_fraction
from sundog.tasks.anomaly.detectors.base import fit_ratio
from sundog.tasks.anomaly.regions import gather
from sundog.tasks.anomaly.scan.bump import CURVATURES
from sundog.tasks.anomaly.scan.crossfit import deal

REGION, INSIDE, FOLDS = SignalRegion(3.3, 3.7), 60_000, 3
STRENGTHS = (0.003, 0.006, 0.012)
KINDS = ("dijets", "two", "three")  # of di-jet signals
TOY = ResonantToy()


@dataclass(frozen=True, eq=False)
class Pool:
    """Events with their background density at their own mass and at the centre of the window.

    x (n, d), m (n,), log p_B(x | m) (n,), log p_B(x | 3.5 TeV) (n,), and the best scores known (n, kinds of signal)
    """

    x: Tensor
    m: Tensor
    log_b: Tensor
    central: Tensor
    best: Tensor

    def __getitem__(self, rows: Any) -> Pool:
        return Pool(*(column[rows] for column in vars(self).values()))

    def join(self, other: Pool) -> Pool:
        return Pool(*(torch.cat([a, b]) for a, b in zip(vars(self).values(), vars(other).values())))


def toy_pool(events: Dataset) -> Pool:
    m = events.context[:, 0].double()
    centre = torch.full_like(m, REGION.centre)
    return Pool(events.values.double(), m, TOY.log_background(events.values, m),
                TOY.log_background(events.values, centre), TOY.log_likelihood_ratio(events.values, m)[:, None])


def toy(seed: int, w: float, _: argparse.Namespace) -> tuple[Pool, np.ndarray, Pool, Pool]:
    background = toy_pool(TOY.background(round(INSIDE / 0.3169), 2 * seed))
    n = numpy_stream(seed, "signal").poisson(INSIDE * w)
    signal = toy_pool(TOY.signal(max(n, 1), 2 * seed + 1))[:n]
    return background.join(signal), np.arange(len(background.m) + n) >= len(background.m), *toy_template()


@cache
def toy_template() -> tuple[Pool, Pool]:
    drawn = TOY.background(400_000, 999_999)
    inside = REGION.contains(drawn)
    return toy_pool(drawn[inside]), toy_pool(drawn[~inside])[:100_000]


def dijets(seed: int, w: float, given: argparse.Namespace) -> tuple[Pool, np.ndarray, Pool, Pool]:
    qcd, template, drawn_beside, *signals = dijet_pools(given.data, given.results)
    signal, g = signals[KINDS.index(given.which)], numpy_stream(seed, "injection")
    inside = REGION.contains(qcd.m).numpy()
    rows = np.flatnonzero(g.random(len(qcd.m)) < INSIDE / inside.sum())
    caught = float(REGION.contains(signal.m).double().mean())
    n = g.poisson(INSIDE * w / caught)
    chosen = g.choice(len(signal.m), n, replace=False)
    return qcd[rows].join(signal[chosen]), np.arange(len(rows) + n) >= len(rows), template, drawn_beside


@cache
def dijet_pools(data: Path, results: Path) -> tuple[Pool, ...]:
    """QCD, template inside and beside, signals: with densities, a flow learned beside a window with 0.6 % of di-jets.

    The other signals are simulated here: jets of 0.3 and 0.2 TeV, and of three prongs and 0.35 TeV.
    """
    from sundog.simulate.pythia import Resonance, pythia_signals

    kept = results / "dijet_pools.pt"
    if not kept.exists():
        with np.load(data / "dijets" / "lhcolike_dijets.npz") as file:
            tables = {kind: torch.from_numpy(file[kind][:, :5]) for kind in ("qcd", "signal")}
        tables = {kind: table[table[:, 0] > 3.0] for kind, table in tables.items()}
        both = torch.cat([tables["qcd"][:410_000], tables["signal"][:990]])
        events = gather(both[:, 1:], both[:, 0])
        template = fit_template(events, REGION, family="flow", seed=0, out=results / "flow")
        beside = REGION.sidebands(events)
        drawn = [template.sample(100_000, 1), template.sample(100_000, 2, events.context[beside][:100_000, 0])]
        others = [pythia_signals([resonance], 5000, 1, folder=results / "pieces")
                  for resonance in (Resonance(3.5, 0.3, 0.2), Resonance(3.5, 0.35, 0.35, 3))]
        qcd, signal, *others = (gather(x, m) for x, m in (
            (tables["qcd"][:, 1:], tables["qcd"][:, 0]), (tables["signal"][:30_000, 1:], tables["signal"][:30_000, 0]),
            *((other.values, other.context[:, 0]) for other in others)))
        known = [fit_ratio(some.values[:20_000], qcd.values[:60_000], members=2) for some in (signal, *others)]
        pools = []
        for s in (qcd, *drawn, signal, *others):
            central = replace(s, context=torch.full_like(s.context, REGION.centre))
            pools.append(Pool(s.values.double(), s.context[:, 0].double(), template.log_prob(s),
                              template.log_prob(central),
                              torch.stack([ratio.predict_log_odds(s.values) for ratio in known], 1)))
        torch.save({"pools": [vars(pool) for pool in pools], "report": str(template.report)}, kept)
    return tuple(Pool(**pool) for pool in torch.load(kept)["pools"])


def injection(pool: Pool, is_signal: np.ndarray, template: Pool, beside: Pool, seed: int,
              kind: int) -> dict[str, Any]:
    """Counts in bins of every score with the truth of each bin, and what the likelihood says, for one injection."""
    inside = REGION.contains(pool.m)
    law = smooth_masses(pool.m, REGION)
    scaling = named_scaling("normal-scores").fit(pool.x[inside], None, tuple(map(str, range(pool.x.shape[1]))))

    def coordinates(some: Pool) -> tuple[Tensor, Tensor]:
        z = torch.cat([scaling.forward(some.x), ((some.m - REGION.centre) / (0.5 * REGION.width))[:, None]], 1)
        return z, scaling.log_abs_det(some.x)

    z, slope = coordinates(pool)
    features = pool.log_b - slope
    log_b = features[inside] + law.log_prob(pool.m[inside]) + np.log(0.5 * REGION.width)
    drawn, drawn_slope = coordinates(template)
    drawn_b = template.log_b - drawn_slope + law.log_prob(template.m) + np.log(0.5 * REGION.width)
    fold, z_inside = deal(len(pool.m), FOLDS, seed), z[inside]
    ratio, scores = torch.empty(len(z_inside), dtype=torch.float64), torch.empty(2, len(z), dtype=torch.float64)
    of_template, columns = [], list(range(pool.x.shape[1]))
    for k in range(FOLDS):
        mine, others = fold[inside] == k, fold[inside] != k
        fits = [find_signal(z_inside[others], log_b[others], seed=seed)]
        for more in (2, 4):
            fits.append(split_signal(z_inside[others], log_b[others], fits[0], more, seed=seed))
            if criterion(fits[-1], int(others.sum())) < criterion(fits[-2], int(others.sum())):
                fits.pop()
                break
        signal = fits[-1].signal
        ratio[mine] = signal.log_prob(z_inside[mine]) - log_b[mine]
        of_signal = signal.marginal(columns).log_prob(z[fold == k][:, :-1])
        scores[:, fold == k] = of_signal - torch.stack([features, pool.central - slope])[:, fold == k]
        of_template.append((signal.log_prob(drawn) - drawn_b).numpy())
    z_beside, slope_beside = coordinates(beside)
    of_beside = signal.marginal(columns).log_prob(z_beside[:, :-1]) - beside.log_b + slope_beside
    best, labels = pool.best[:, kind], is_signal[inside.numpy()]
    all_best = np.stack([template.best[:, kind].numpy()] * FOLDS)
    counts = {"template": template_counts(ratio, fold[inside], np.stack(of_template)),
              "best": template_counts(best[inside], fold[inside], all_best)}
    rows = {"S": int(labels.sum()), "n": int(inside.sum()), "core": asdict(signal_fraction(ratio)),
            "closure": as_lists(closure(scores[0][~inside][:100_000], of_beside)),
            "q": {name: template_counts(score[labels], fold[inside][labels], of).observed.tolist()
                  for name, score, of in (("template", ratio, np.stack(of_template)),
                                          ("best", best[inside], all_best))}}
    for name, score in (("spectrum", scores[1]), ("spectrum, own mass", scores[0])):
        counts[name] = spectrum_counts(pool.m, score, fold, REGION)
        where = score_bins(widened(REGION, pool.m).sidebands(pool.m).numpy(), score, fold)[inside.numpy()]
        rows["q"][name] = np.bincount(where[labels], minlength=where.max() + 1).tolist()
    return rows | {"counts": {k: as_lists(v) for k, v in counts.items()}}


def show(results: Path) -> None:
    """Mean of w over its truth, scatter, and how often the 68 % and 95 % intervals hold the truth."""
    print("| events | S/B | n | estimate | mean w / true | scatter | 68 % covers | 95 % covers |\n" + "|---" * 8 + "|")
    for which in ("toy", *KINDS):
        path = results / f"{which}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        for w in (*STRENGTHS, None) if rows else ():
            some = [row for row in rows if w in (None, row["strength"])]
            for name, found in estimates(some, rows).items():
                f = np.array([[e.value, e.low, e.high, e.low_95, e.high_95] for e in found]).T
                true = np.array([row["S"] / row["n"] for row in some])
                ratio, n = f[0] / true, len(some)
                held = [((low <= true) & (true <= high)).mean() for low, high in ((f[1], f[2]), (f[3], f[4]))]
                told = [f"{100 * p:.0f} ± {100 * max(p * (1 - p) / n, 0.25 / n**2) ** 0.5:.0f} %" for p in held]
                print(f"| {which} | {'all' if w is None else f'{100 * w:.1f} %'} | {n} | {name} | {ratio.mean():.2f} ± "
                      f"{ratio.std() / n**0.5:.2f} | {ratio.std():.2f} | {' | '.join(told)} |")
        if rows:
            print(f"{which}: {np.median([row['cpu'] for row in rows]):.1f} CPU s per injection")
            for name in ("spectrum", "spectrum, own mass"):
                pulls, kept = zip(*(beyond(row, name) for row in rows))
                told = [f"{100 * k:.0f} %: {p:+.2f}" for k, p in zip(np.nanmean(kept, 0), np.nanmean(pulls, 0))]
                print(f"  {name}: signal above the lower edge of each bin, and pull of the background in it (+- "
                      f"{len(rows) ** -0.5:.2f}): " + ", ".join(told))


def beyond(row: dict[str, Any], name: str) -> tuple[np.ndarray, np.ndarray]:
    """(true background - expected) over its error in each bin of the score, and the signal above its lower edge."""
    counts, q = bins(row["counts"][name]), np.array(row["q"][name])
    pull = (counts.observed - q - counts.expected) / (counts.expected + counts.covariance.diagonal()) ** 0.5
    some = np.full((2, len(EFFICIENCIES)), np.nan)
    some[:, : len(q)] = pull, np.cumsum(q[::-1])[::-1] / max(row["S"], 1)
    return some[0], some[1]


def bins(counts: dict[str, Any]) -> ScoreCounts:
    return ScoreCounts(*map(np.array, list(counts.values())[:3]), counts["whole"])


def estimates(some: list[dict[str, Any]], rows: list[dict[str, Any]]) -> dict[str, list[SignalFraction]]:
    """Every estimate of each injection; the floor knows the best score and what share of the signal each bin holds."""
    share = np.mean([np.array(row["q"]["best"]) / row["S"] for row in rows], 0)
    counts = [{name: bins(c) for name, c in row["counts"].items()} for row in some]
    exact = [replace(c["spectrum"], expected=np.maximum(c["spectrum"].observed - row["q"]["spectrum"], 1.0))
             for c, row in zip(counts, some)]
    mean = [shares([other for other in rows if other["strength"] == row["strength"]], len(row["q"]["spectrum"]))
            for row in some]
    return {"floor": [known(c["best"], share) for c in counts],
            "spectrum (default)": [counted_fraction(c["spectrum"]) for c in counts],
            "spectrum, true background": [counted_fraction(c) for c in exact],
            "spectrum, true efficiency": [known(c["spectrum"], q) for c, q in zip(counts, mean)],
            "spectrum, scores at each mass": [counted_fraction(c["spectrum, own mass"]) for c in counts],
            "template": [counted_fraction(c["template"]) for c in counts],
            "core": [SignalFraction(**row["core"]) for row in some],
            "at least, of the spectrum": [least_fraction(c["spectrum"]) for c in counts],
            "1 - inf r": [infimum(c["template"]) for c in counts]}


def shares(rows: list[dict[str, Any]], k: int) -> np.ndarray:
    """Mean share of the signal in each of k bins of the score."""
    rows = [row for row in rows if len(row["q"]["spectrum"]) == k]
    return np.mean([np.array(row["q"]["spectrum"]) / row["S"] for row in rows], 0)


def oracle(seeds: int) -> None:
    """Built-in di-jets, 39,600 + 400: w / true where the expectation, the efficiency, or both are the true ones.

    Scores: R-ANODE with all defaults for seed 0; for every seed the supervised ratio, the best that features allow.
    """
    fresh = builtin.dijets(100_000, 20_000, 999)
    is_fresh_signal = builtin.dijet_truth(100_000, 20_000, 999)
    best = fit_ratio(fresh.values[is_fresh_signal], fresh.values[~is_fresh_signal], members=2)
    fine = builtin.dijets(0, 60_000, 998)
    fine_inside = REGION.contains(fine)
    for seed, name in [*((seed, "supervised") for seed in range(seeds)), (0, "R-ANODE")]:
        events = gather(builtin.dijets(39_600, 400, seed))
        is_signal = builtin.dijet_truth(39_600, 400, seed)
        inside, beside = REGION.contains(events).numpy(), widened(REGION, events).sidebands(events).numpy()
        if name == "supervised":
            score, fold = best.predict_log_odds(events.values).numpy(), deal(len(events), FOLDS, seed).numpy()
        else:
            score, fold = (part.numpy() for part in RAnode(REGION, seed=seed).fit(events).scored(events))
        where = score_bins(beside, score, fold)
        counts = spectrum_counts(events, score, fold, REGION)
        bins = len(counts.observed)
        signal = np.bincount(where[inside & is_signal.numpy()], minlength=bins)
        background = np.bincount(where[inside & ~is_signal.numpy()], minlength=bins).astype(float)
        q = signal / signal.sum()
        if name == "supervised":  # the share of each bin from many events: that of 319 is the answer itself
            of_many = best.predict_log_odds(fine.values[fine_inside]).numpy()
            levels = np.quantile(score[beside], 1 - np.array(EFFICIENCIES[1:bins]))
            q = np.bincount(np.searchsorted(levels, of_many), minlength=bins) / len(of_many)
        exact = replace(counts, expected=background, covariance=np.diag(background * 1e-6))
        true = signal.sum() / inside.sum()
        found = {"default": counted_fraction(counts), "true background": counted_fraction(exact),
                 "true efficiency": known(counts, q), "both true": known(exact, q)}
        print(f"seed {seed}, {name}: true {100 * true:.2f} %; " + "; ".join(
            f"{what} {f.value / true:.2f} (95 %: {f.low_95 / true:.2f} to {f.high_95 / true:.2f})"
            for what, f in found.items()))
        efficiency = np.cumsum(q[::-1])[::-1]
        curves = np.cumsum(efficiency_curves()[:, ::-1], 1)[:, ::-1]
        print("  signal kept (share of the family of curves that keeps less): " + ", ".join(
            f"{100 * e:.0f} % at {100 * level:g} % ({100 * (curves[:, i] < e).mean():.0f} %)"
            for i, (e, level) in enumerate(zip(efficiency, EFFICIENCIES)) if i))
        print("  expected over true background: " + ", ".join(
            f"{e / b:.2f} +- {c**0.5 / b:.2f}" for e, b, c in zip(counts.expected, background,
                                                                  np.diag(counts.covariance))), flush=True)


def null(given: argparse.Namespace) -> None:
    """All simulated di-jets without signal: what stands above the curves, with three and with four coefficients."""
    qcd = dijet_pools(given.data, given.results)[0]
    for widths in (CURVATURES, BENT):
        for kind, name in enumerate(KINDS):
            with patch.object(counted, "BENT", widths):
                counts = spectrum_counts(qcd.m, qcd.best[:, kind], np.zeros(len(qcd.m)), REGION)
            off = (counts.observed - counts.expected) / counts.expected
            error = (counts.covariance.diagonal() + counts.expected) ** 0.5 / counts.expected
            print(f"{len(widths) - 1} coefficients, best score for {name}: " + ", ".join(
                f"{100 * o:+.1f} +- {100 * e:.1f} %" for o, e in zip(off, error)))


def blind(data: Path) -> None:
    """R-ANODE with its defaults, of the two resonances of ``scan_blind.py``, in the windows around their poles."""
    from scan_blind import hidden

    for name, centre in (("two prongs", 4.0), ("three prongs", 4.4)):
        events, region = hidden(data, name, 300), SignalRegion(round(centre - 0.2, 1), round(centre + 0.2, 1), "TeV")
        true = region.contains(events.context[-300:, 0]).sum() / region.contains(events).sum()
        search = RAnode(region, seed=0).fit(events)
        print(f"{name}: true {100 * true:.2f} %; counted {search.fraction_}; core {search.core_fraction_}", flush=True)


def known(counts: ScoreCounts, share: np.ndarray) -> SignalFraction:
    """Weighted least squares of the counts for known shares of the signal."""
    above, lift = counts.observed - counts.expected, share - counts.expected / counts.expected.sum() * counts.whole
    inverse = np.linalg.inv(counts.covariance + np.diag(counts.expected + np.maximum(above, 0)))
    n, curvature = counts.observed.sum(), lift @ inverse @ lift
    return normal(float(lift @ inverse @ above / curvature / n), float(curvature**-0.5 / n), round(n))


def infimum(counts: ScoreCounts) -> SignalFraction:
    """w = 1 - inf p_data / p_B over the bins of the score, with the error of that bin."""
    ratio = counts.observed / counts.expected
    i = int(ratio.argmin())
    error = (counts.observed[i] + counts.covariance[i, i]) ** 0.5 / counts.expected[i]
    return normal(1 - float(ratio[i]), float(error), round(counts.observed.sum()))


def normal(w: float, error: float, n: int) -> SignalFraction:
    return SignalFraction(w, w - error, w + error, w - 1.96 * error, w + 1.96 * error, 0.5 * (w / error) ** 2, n)


def criterion(fit: Any, n: int) -> float:
    k, d = fit.signal.means.shape
    return fit.gain - 0.5 * k * (1 + d + d * (d + 1) // 2) * float(np.log(n))


def as_lists(counts: ScoreCounts | Closure) -> dict[str, Any]:
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(counts).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "oracle", "null", "blind", "show"])
    parser.add_argument("which", nargs="?", choices=["toy", *KINDS], default="toy")
    parser.add_argument("--injections", type=int, default=102)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--results", type=Path, default=Path("runs/signal-fraction"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what != "run":
        {"show": lambda: show(given.results), "null": lambda: null(given), "blind": lambda: blind(given.data),
         "oracle": lambda: oracle(given.injections)}[
            given.what]()
        return
    given.results.mkdir(parents=True, exist_ok=True)
    path = given.results / f"{given.which}.jsonl"
    known = {json.loads(line)["seed"] for line in path.read_text().splitlines()} if path.exists() else set()
    for seed in range(given.injections):
        if seed in known:
            continue
        start, w = time.process_time(), STRENGTHS[seed % len(STRENGTHS)]
        pool, is_signal, *template = (toy if given.which == "toy" else dijets)(seed, w, given)
        kind = KINDS.index(given.which) if given.which in KINDS else 0
        row = {"seed": seed, "strength": w, **injection(pool, is_signal, *template, seed, kind)}
        row["cpu"] = round(time.process_time() - start, 2)
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
