"""How much do the runs one chooses matter? Every number of docs/design.md comes from here.

    python benchmarks/designs.py table     least squares on four designs: root mean square error over the best error
    python benchmarks/designs.py emulators which design suits which emulator, on a surrogate of CAMB; 1 minute
    python benchmarks/designs.py camb     the same on runs of CAMB, chosen from those of camb_emulator.py; 1 minute
    python benchmarks/designs.py time      CPU seconds: 20,000 candidates with 84 features

Table: polynomials of degree 19 (m = 20) on 20,001 equidistant candidates of [-1, 1], 60 repeats, about 1 minute.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sundog
from sundog.data.dataset import Dataset
from sundog.data.public.access import sample
from sundog.design import (
    WeightedLeastSquares,
    d_optimal,
    nearest_candidates,
    polynomial_features,
    sample_christoffel,
    sample_projection_dpp,
    sample_volume_rescaled,
    space_filling,
)

TARGETS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "1/(1+5x^2)": lambda x: 1 / (1 + 5 * x**2),
    "abs(x)^3": lambda x: abs(x) ** 3,
}


def uniform(phi: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(seed).integers(len(phi), size=n), np.ones(n)


DESIGNS: dict[str, Callable[[Any, int, int], tuple[np.ndarray, np.ndarray]]] = {
    "uniform": uniform, "Christoffel": sample_christoffel, "projection DPP": sample_projection_dpp,
    "volume-rescaled": sample_volume_rescaled,
}


def ratios(phi: np.ndarray, f: np.ndarray, design: str, n: int, repeats: int) -> np.ndarray:
    """Error of least squares over the best error, both root mean square over the candidates, for each repeat."""
    best = np.sqrt(np.mean((f - phi @ (phi.T @ f) / len(f)) ** 2))
    out = np.empty(repeats)
    for seed in range(repeats):
        rows, weights = DESIGNS[design](phi, n, seed)
        root = np.sqrt(weights)
        # Not WeightedLeastSquares: uniform draws may be of deficient rank, which it refuses.
        coefficients = np.linalg.lstsq(root[:, None] * phi[rows], root * f[rows])[0]
        out[seed] = np.sqrt(np.mean((f - phi @ coefficients) ** 2)) / best
    return out


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))


def rms_error(x: np.ndarray, seed: int = 0) -> float:
    """Standard error of the root mean square, by bootstrap over the repeats."""
    rng = np.random.default_rng(seed)
    return float(np.std([rms(rng.choice(x, len(x))) for _ in range(200)]))


def table(repeats: int = 60) -> None:
    x = np.linspace(-1, 1, 20_001)
    phi = polynomial_features(x, 19)
    print("| f | n | " + " | ".join(DESIGNS) + " |\n|" + "---|" * (2 + len(DESIGNS)))
    for name, target in TARGETS.items():
        for n in (20, 40, 80):
            found = [ratios(phi, target(x), design, n, repeats) for design in DESIGNS]
            print(f"| {name} | {n} | " + " | ".join(f"{rms(r):.3g} ± {rms_error(r):.1g}" for r in found) + " |",
                  flush=True)


def emulators() -> None:
    """Errors of quadratics and processes on 2,000 candidates by design, over those of the Latin hypercube, same seed.

    The simulator is an emulator of the 70 runs of CAMB in the package (every eighth number of its output), so that runs
    cost nothing; its own errors are no errors here.
    """
    table = sample("camb")
    small = Dataset.from_arrays(table.values[:, :, ::8], table.context, held_out_fraction=0)
    simulator = sundog.fit("pod", small, branch="gp")
    pool = space_filling(np.stack([table.context.min(0).values, table.context.max(0).values], 1), 2000, seed=1)
    truth, phi = simulator.predict(pool).mean, polynomial_features(pool, 2)
    spread = truth.double().std(0)
    box = np.stack([pool.min(0), pool.max(0)], 1)

    def filling(method: str) -> Any:
        return lambda n, seed: (nearest_candidates(pool, space_filling(box, n, method, seed)), None)

    designs: dict[str, Any] = {
        "Latin hypercube": filling("latin-hypercube"), "Sobol": filling("sobol"),
        "uniform": lambda n, seed: (np.random.default_rng(seed).choice(len(pool), n, replace=False), None),
        "projection DPP": lambda n, seed: sample_projection_dpp(phi, n, seed),
        "projection DPP, no weights": lambda n, seed: (sample_projection_dpp(phi, n, seed)[0], None),
        "D-optimal": lambda n, seed: (d_optimal(phi[(part := part_of(pool, seed))], n), None, part)}

    def error(n: int, seed: int, design: str, options: dict[str, Any]) -> float:
        rows, weights, *part = designs[design](n, seed)
        rows = part[0][rows] if part else rows
        runs = Dataset.from_arrays(truth[rows], pool[rows], weights=weights, held_out_fraction=0, exact=True)
        off = (sundog.fit("pod", runs, **options).predict(pool).mean - truth).double() / spread
        return float(off.square().mean().sqrt())

    print("| emulator | n | " + " | ".join(designs) + " |\n|" + "---|" * (2 + len(designs)))
    for name, options, sizes, seeds in (("quadratic", {"degree": 2}, (32, 60), 10),
                                        ("processes on 8 modes", {"branch": "gp", "modes": 8}, (30, 60), 4)):
        for n in sizes:
            found = {design: np.array([error(n, seed, design, options) for seed in range(seeds)]) for design in designs}
            logs = {design: np.log(e / found["Latin hypercube"]) for design, e in found.items()}
            cells = [f"{np.exp(np.median(x)):.2f} ± {1.25 * x.std() / np.sqrt(seeds) * np.exp(np.median(x)):.2f}"
                     for x in logs.values()]
            cells[0] = f"{float(np.median(found['Latin hypercube'])):.2g}"
            print(f"| {name} | {n} | " + " | ".join(cells) + " |", flush=True)


def camb(folder: Path) -> None:
    """Emulators of n runs of CAMB chosen from those of a box, on its 100 unseen ones.

    Errors of a cosmology as in camb_emulator.py, the largest over l in cosmic variances. Of the first n of the Sobol
    sequence: TT / EE / TE / phi phi; then other designs over it, geometric mean of the four, each of two seeds.
    """
    import camb_emulator as simulator

    designs: dict[str, Callable[[np.ndarray, int, int], Any]] = {
        "uniform": lambda phi, n, seed: (np.random.default_rng(seed).choice(len(phi), n, replace=False), None),
        "projection DPP": sample_projection_dpp,
        "projection DPP, no weights": lambda phi, n, seed: (sample_projection_dpp(phi, n, seed)[0], None),
        "D-optimal": lambda phi, n, seed: ((part := part_of(phi, seed, 5 / 6))[d_optimal(phi[part], n)], None)}
    print("| box | emulator | cosmology | Sobol | " + " | ".join(designs) + " |\n|" + "---|" * (4 + len(designs)))
    for box, n in (("wide", 30), ("wide", 60), ("narrow", 30)):
        runs, test = (np.load(folder / f"{box}-{part}.npz") for part in ("train", "test"))
        y, truth = simulator.logarithms(torch.tensor(runs["values"]).double()), torch.tensor(test["values"]).double()
        phi = polynomial_features(runs["context"], 2)

        def errors(rows: np.ndarray, weights: Any, options: dict[str, Any], given: Any) -> torch.Tensor:
            y, truth, runs, test = given
            chosen = Dataset.from_arrays(y[rows], runs["context"][rows], weights=weights, exact=True,
                                         held_out_fraction=0)
            mean = sundog.fit("pod", chosen, **options).predict(test["context"]).mean
            off = simulator.in_sigma(simulator.powers(mean), truth).abs().amax(2)
            return torch.quantile(off, torch.tensor([0.95, 0.5], dtype=off.dtype), dim=0)

        for emulator, options in (("quadratic", {"degree": 2}), ("processes", {"branch": "gp"})):
            given = y, truth, runs, test
            first = errors(np.arange(n), None, options, given)
            found = [[(errors(*choose(phi, n, seed), options, given) / first).log().mean(1).exp() for seed in (0, 1)]
                     for choose in designs.values()]
            for k, which in enumerate(("95th percentile", "median")):
                cells = [" or ".join(f"{float(ratio[k]):.2f}" for ratio in ratios) for ratios in found]
                print(f"| {box}, {n} of {len(phi)} | {emulator} | {which} | " + " / ".join(
                    f"{x:.2g}" for x in first[k].tolist()) + " | " + " | ".join(cells) + " |", flush=True)


def part_of(pool: np.ndarray, seed: int, share: float = 0.5) -> np.ndarray:
    """A share of the candidates: D-optimal draws nothing, so that its spread is that over pools."""
    return np.sort(np.random.default_rng(seed).choice(len(pool), int(share * len(pool)), replace=False))


def spent(work: Callable[[], Any]) -> float:
    """Least CPU seconds of three calls."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def dppy_sample(phi: np.ndarray) -> Any:
    from dppy.finite_dpps import FiniteDPP

    return FiniteDPP("correlation", projection=True, A_zono=phi.T).sample_exact(
        random_state=np.random.RandomState(0))


def times() -> None:
    x = np.random.default_rng(0).uniform(size=(20_000, 6))
    phi = polynomial_features(x, 3)
    work: dict[str, Callable[[], Any]] = {
        "polynomial_features, degree 3": lambda: polynomial_features(x, 3),
        "sample_projection_dpp, n = 84": lambda: sample_projection_dpp(phi, 84, seed=0),
        "d_optimal, n = 40": lambda: d_optimal(phi, 40),
        "dppy, the same process, n = 84": lambda: dppy_sample(phi),
        "WeightedLeastSquares, 120 runs, 2,500 outputs":
            lambda: WeightedLeastSquares().fit(phi[:120], np.ones((120, 2500))),
    }
    for name, call in work.items():
        try:
            print(f"| {name} | {spent(call):.2f} |", flush=True)
        except ImportError:
            print(f"| {name} | not installed |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("table", "emulators", "camb", "time"))
    parser.add_argument("--folder", type=Path, default=Path("camb"))
    args = parser.parse_args()
    {"table": table, "emulators": emulators, "camb": lambda: camb(args.folder), "time": times}[args.what]()
