"""What a scan finds: power of whole scans of the resonant toy, beside tests that know less or more.

    python benchmarks/scan_power.py power    an injected signal in six steps: methods, the count on the template, hunts
    python benchmarks/scan_power.py nplm     200 toys without signal for NPLM, which has no p-value of its own
    python benchmarks/scan_power.py folds    CWoLa with one, four and ten boostings in three and five folds
    python benchmarks/scan_power.py show     the tables

Options as in scan.py. NPLM (2501.01778) compares the events of each window with three times as many of the template.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from nplm import log_ratio
from scan import TOY, WINDOWS, Exact, N, Parts, Row, Tied, TrueBackground, main, read, scanned
from scipy.stats import gamma, norm

from sundog import Dataset, Plan
from sundog.tasks.anomaly.regions import SignalRegion
from sundog.tasks.anomaly.scan.bump import common_edges, fit_bump
from sundog.tasks.anomaly.scan.significance import look_elsewhere

STEPS, SEEDS, NULLS, CENTRES = (0.002, 0.004, 0.006, 0.008, 0.01, 0.015), 8, 200, 100


def controlled(region: SignalRegion, seed: int) -> Tied:
    """CWoLa whose control draws from the true background."""
    detector = Tied(region, seed, members=1)
    detector.template_ = TrueBackground(region)
    return detector


# Few events, small networks, no control: on this toy it only costs. A template of CATHODE from the spline flow of the
# defaults, 400 steps of 1024, costs ten times as much and is worse (area against the true background 0.531 in place of
# 0.513: it learns 8000 events by heart).
DETECTORS: dict[str, tuple[Any, Row]] = {
    "true background": (Exact, {}), "cwola": (controlled, {}),
    "sigma": ("sigma", {"plan": Plan(steps=400, batch=512), "check": False, "options": {"hidden": (64, 64, 64)}}),
    "cathode": ("cathode", {"plan": Plan(steps=400, batch=256), "check": False,
                            "options": {"transform": "affine", "layers": 2}})}


def power(_: Path) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Scans with an injected signal, a share w of all events."""
    for seed in range(SEEDS):
        for w in STEPS:
            for name in DETECTORS:
                def one(seed: int = seed, w: float = w, name: str = name) -> Row:
                    (method, settings), events = DETECTORS[name], TOY.events(N, w, 20_000 + seed)
                    row = scanned(events, seed, method, settings=settings, control=not settings)
                    if name == "true background":
                        row |= _without_features(events, seed) | {"nplm": _nplm(events, seed)}
                    return {"w": w, "signal": int(TOY.truth(N, w, 20_000 + seed).sum()), **row}
                yield f"{name} {seed} {w}", one


def nplm(_: Path) -> Iterator[tuple[str, Callable[[], Row]]]:
    """NPLM without signal."""
    for toy in range(NULLS):
        yield str(toy), lambda toy=toy: {"nplm": _nplm(TOY.background(N, 60_000 + toy), 1000 + toy)}


def folds(_: Path) -> Iterator[tuple[str, Callable[[], Row]]]:
    """CWoLa at one strength, with the ten boostings in a fold that it took before ``members`` held, and with fewer."""
    for seed in range(SEEDS):
        for k, members in ((5, 10), (5, 4), (3, 1)):
            yield f"{k} folds of {members}, {seed}", lambda seed=seed, k=k, members=members: scanned(
                TOY.events(N, 0.007, 40_000 + seed), seed, "cwola", folds=k, members=members, control=False)


def _nplm(events: Dataset, seed: int) -> list[float]:
    """NPLM's t in each window."""
    seen = []
    for i, region in enumerate(WINDOWS):
        inside = events.values[region.contains(events)].double().numpy()
        template = TrueBackground(region).sample(3 * len(inside), 70_000 + 10 * seed + i).values.double().numpy()
        seen.append(log_ratio(template, inside, seed, CENTRES))
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
    rows, null = list(read(folder / "power.jsonl").values()), list(read(folder / "nplm.jsonl").values())
    if rows and null:
        _show_power(rows, np.array([row["nplm"] for row in null]))
    found = list(read(folder / "folds.jsonl").values())
    for kind in dict.fromkeys(row["key"].rpartition(",")[0] for row in found):
        some = {row["key"].rpartition(" ")[2]: row for row in found if row["key"].startswith(kind)}
        z = np.array([max(row["z"]) for row in some.values()])
        print(f"CWoLa, {kind}: {len(z)} scans at 0.7 %, largest z {z.mean():.2f} +- {z.std(ddof=1) / len(z)**0.5:.2f}, "
              f"median {np.median(z):.2f}, {np.mean([row['cpu'] for row in some.values()]):.1f} CPU s")


def _show_power(rows: list[Row], null: np.ndarray) -> None:
    """Of each method and strength the median global z, and the share of the scans that claim, with binomial error."""
    shape, scale = null.mean(0) ** 2 / null.var(0, ddof=1), null.var(0, ddof=1) / null.mean(0)

    def of_best(p: np.ndarray) -> float:  # the best of three windows, as if they were independent
        return float(norm.isf(-np.expm1(len(WINDOWS) * np.log1p(-np.min(p)))))

    hunts: dict[str, tuple[str, Callable[[Row], float]]] = {
        **{name: (name, lambda row: float(row["z global"])) for name in DETECTORS},
        "count on the template": ("true background", lambda row: of_best(norm.sf(row["on template"]))),
        "NPLM": ("true background", lambda row: of_best(gamma.sf(row["nplm"], shape, scale=scale))),
        "bump hunt": ("true background", lambda row: float(row["plain z global"])),
        "pyBumpHunter": ("true background", lambda row: float(row["bump hunter z global"]))}
    print("| signal | " + " | ".join(hunts) + " |\n" + "|---" * (len(hunts) + 1) + "|")
    for w in sorted({row["w"] for row in rows}):
        some, cells = [row for row in rows if row["w"] == w], []
        for detector, what in hunts.values():
            mine = [row for row in some if row["key"].startswith(detector)]
            z = np.array([what(row) for row in mine])
            n, k = len(z), int((z > 3).sum())
            share = (k + 1) / (n + 2)  # the error of none, or of all, is not zero
            cells.append(f"{np.median(z):.1f}, {100 * k / n:.0f} ± {100 * (share * (1 - share) / n) ** 0.5:.0f} %, {n}")
        print(f"| {100 * w:g} % ({np.median([row['signal'] for row in some]):.0f}) | {' | '.join(cells)} |")
    print(f"{len(null)} toys of NPLM: t {null.mean(0).round(1)} +- {null.std(0, ddof=1).round(1)}")
    for name in DETECTORS:
        mine = [row for row in rows if row["key"].startswith(name)]
        print(f"{name}: {np.median([row['cpu'] for row in mine]):.1f} CPU s per scan; of {len(mine)} windows in the "
              f"middle {sum(row['sculpted'][1] for row in mine)} called sculpted")


PARTS: Parts = {"power": power, "nplm": nplm, "folds": folds}

if __name__ == "__main__":
    main(PARTS, show, __doc__)
