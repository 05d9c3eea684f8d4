"""CAMB as the dear simulator: lensed TT, EE, TE, phi phi to l = 2500 from few runs; for docs/models/emulators.md.

    python benchmarks/camb_emulator.py runs narrow train 60     the first 60 runs of a box, goes on where it stopped
    python benchmarks/camb_emulator.py runs narrow test 100     unseen cosmologies, uniform in the box
    python benchmarks/camb_emulator.py table narrow train 30    errors of every emulator learned from 30 runs
    python benchmarks/camb_emulator.py ship narrow train 30     the table that comes with the package, of 30 and 40 runs
    python benchmarks/camb_emulator.py floor narrow train 1     CAMB's default accuracy against its doubled one

Needs the extra `sky`; 1.5 CPU s a run (13 at doubled accuracy). Tables lie in --folder.
"""

from __future__ import annotations

import argparse
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

import sundog
from sundog.data.dataset import Dataset
from sundog.design import space_filling
from sundog.errors import SampleSizeError
from sundog.random import numpy_stream
from sundog.tasks.emulate import _gaussian_process

NAMES = ("H0", "omega_b", "omega_c", "tau", "ln10^10A_s", "n_s")
PLANCK = np.array([67.36, 0.02237, 0.1200, 0.0544, 3.044, 0.9649])
SIGMA = np.array([0.54, 0.00015, 0.0012, 0.0073, 0.014, 0.0042])  # Planck 2018 VI (arXiv 1807.06209), table 2
BOXES = {
    "narrow": np.stack([PLANCK - 4 * SIGMA, PLANCK + 4 * SIGMA], 1),
    "wide": np.array([(55, 85), (0.017, 0.028), (0.08, 0.18), (0.02, 0.15), (2.6, 3.4), (0.85, 1.1)]),
}
LOGARITHMS = {"H0": "log(H0)", "omega_b": "log(omega_b)", "omega_c": "log(omega_b + omega_c)"}
JUDGED = 2500
SHIPPED = Path(__file__).resolve().parents[1] / "src/sundog/data/samples/camb.npz"
LMAX = 3000  # of the tables; errors are counted to 2500: a stretch of the axis needs a margin
SPECTRA = ("TT", "EE", "TE", "phiphi")


def spectra(parameters: np.ndarray, **accuracy: float) -> np.ndarray:
    """C_l of SPECTRA, l = 2 ... LMAX, uK^2 (phi phi: no unit): (4, LMAX - 1)."""
    import camb

    h0, omega_b, omega_c, tau, amplitude, tilt = parameters
    settings = camb.set_params(H0=h0, ombh2=omega_b, omch2=omega_c, tau=tau, As=np.exp(amplitude) * 1e-10, ns=tilt,
                               lmax=LMAX, lens_potential_accuracy=1, **accuracy)
    results = camb.get_results(settings)
    cmb = results.get_lensed_scalar_cls(lmax=LMAX, CMB_unit="muK", raw_cl=True)
    potential = results.get_lens_potential_cls(lmax=LMAX, raw_cl=True)
    return np.stack([cmb[2:, 0], cmb[2:, 1], cmb[2:, 3], potential[2:, 0]])


def inputs(box: str, part: str, n: int) -> np.ndarray:
    """Parameters (n, 6). The first runs of a longer list are those of a shorter one."""
    bounds = BOXES[box]
    if part == "test":
        u = numpy_stream(0, "camb", box, "test").random((n, len(bounds)))
        return bounds[:, 0] + u * (bounds[:, 1] - bounds[:, 0])
    return space_filling(bounds, 256, "sobol", seed=0)[:n]


def make(folder: Path, box: str, part: str, n: int, name: str = "", **accuracy: float) -> None:
    """The table of n runs, float32; kept every ten runs."""
    file = folder / f"{box}-{part}{name}.npz"
    wanted = inputs(box, part, n)
    done = list(np.load(file)["values"]) if file.exists() else []
    for i in range(len(done), n):
        done.append(spectra(wanted[i], **accuracy).astype(np.float32))
        if len(done) % 10 == 0 or len(done) == n:
            np.savez(file, values=np.stack(done), context=wanted[: len(done)], context_names=NAMES)
            print(file, len(done), flush=True)


def logarithms(c_l: torch.Tensor) -> torch.Tensor:
    """What is learned: ln TT, ln EE, TE / sqrt(TT EE), ln phi phi; (n, 4, L)."""
    tt, ee, te, potential = c_l.unbind(1)
    return torch.stack([tt.log(), ee.log(), te / (tt * ee).sqrt(), potential.log()], 1)


def powers(y: torch.Tensor) -> torch.Tensor:
    """C_l from `logarithms`."""
    tt, ee, potential = y[:, 0].exp(), y[:, 1].exp(), y[:, 3].exp()
    return torch.stack([tt, ee, y[:, 2] * (tt * ee).sqrt(), potential], 1)


def in_sigma(found: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Errors to l = 2500 over the cosmic variance of each C_l, (n, 4, 2499)."""
    found, truth = found[..., : JUDGED - 1], truth[..., : JUDGED - 1]
    ell = torch.arange(2, JUDGED + 1, dtype=truth.dtype)
    own = truth * (2 / (2 * ell + 1)).sqrt()
    cross = ((truth[:, 2] ** 2 + truth[:, 0] * truth[:, 1]) / (2 * ell + 1)).sqrt()
    return (found - truth) / torch.stack([own[:, 0], own[:, 1], cross, own[:, 3]], 1)


def errors(found: torch.Tensor, truth: torch.Tensor) -> str:
    """95th percentiles over cosmologies: largest |error| and root of the summed squares, TT / EE / TE / phi phi."""
    off = in_sigma(found, truth)
    high, total = (torch.quantile(x, 0.95, dim=0) for x in (off.abs().amax(2), off.square().sum(2).sqrt()))
    worst = (off.abs().amax(0).argmax(1) + 2).tolist()
    return (f"{' / '.join(f'{x:.3f}' for x in high)} | {' / '.join(f'{x:.2f}' for x in total)} | "
            f"{' / '.join(map(str, worst))}")


def table(folder: Path, box: str, n: int, only: list[str] | None = None) -> None:
    """A line per emulator, or per one of these names: errors, where the largest is, coverage, CPU seconds in all."""
    runs, test = (np.load(folder / f"{box}-{part}.npz") for part in ("train", "test"))
    values, context = torch.tensor(runs["values"][:n]).double(), runs["context"][:n]
    truth, new = torch.tensor(test["values"]).double(), test["context"]
    made = Dataset.from_arrays(logarithms(values), context, context_names=NAMES, exact=True, held_out_fraction=0)
    bump = f"(tau - {BOXES[box][3].mean():g})^2"
    warped = {"branch": "gp", "warp": True}
    parted = {**warped, "cuts": [29]}
    tried: dict[str, dict[str, Any]] = {
             "linear": {"degree": 1}, "quadratic": {"degree": 2}, "quadratic and cubes": {"degree": 2, "power": 3},
             "quadratic and cubes, warp": {"degree": 2, "power": 3, "warp": True},
             "processes": {"branch": "gp"}, "processes, warp": warped,
             "processes, warp, ln tau for tau": {**warped, "reparametrise": {"tau": "log(tau)"}},
             "processes, warp, A exp(-2 tau) for A": {**warped, "reparametrise": {NAMES[4]: f"{NAMES[4]} - 2 * tau"}},
             "processes, warp, tau^2 and tau^3 beside": {**warped, "reparametrise": {"2": "tau^2", "3": "tau^3"}},
             "processes, warp, cut at l = 31": parted,
             "the same, (tau - centre)^2 beside": {**parted, "reparametrise": {"bump": bump}},
             "the same, logarithms of densities": {**parted, "reparametrise": LOGARITHMS}}
    print(f"{box} box, {n} runs, {len(truth)} unseen\n| | max | sum | largest at l | in 1 std | in 2 std | CPU s |")
    for name, options in tried.items():
        if only and name not in only:
            continue
        start = time.process_time()
        try:
            mean, std = sundog.fit("pod", made, **options).predict(new)
        except SampleSizeError:
            continue
        _line(name, mean, std, truth, start)
    for name, answer in {"(scikit-learn GP on 8 modes)": _gaussian_process, "(recipe of OLE)": recipe_of_ole,
                         "(the same, a length for each input)": partial(recipe_of_ole, lengths=len(NAMES))}.items():
        start = time.process_time()
        if not only or name in only:
            _line(name, *answer(0, made, torch.from_numpy(new)), truth, start)


def recipe_of_ole(seed: int, runs: Dataset, inputs: torch.Tensor, lengths: int = 1
                  ) -> tuple[torch.Tensor, torch.Tensor]:
    """What OLE (arXiv 2503.13183) learns a spectrum with, in scikit-learn: no online choice of runs, no JAX.

    Each spectrum on its own: standardised, modes up to 0.9999 of the variance and at most 30, of each amplitude a
    Gaussian process of standardised inputs with so many lengths, a line beside it and noise; errors of the modes.
    """
    assert runs.context is not None
    centre, spread = runs.context.mean(0), runs.context.std(0, correction=0)
    c, new = (((part - centre) / spread).numpy() for part in (runs.context, inputs))
    means, stds = [], []
    for y in runs.values.double().unbind(1):
        unit = y.std(0, correction=0).clamp(min=1e-300)
        u, s, v = torch.linalg.svd((y - y.mean(0)) / unit, full_matrices=False)
        modes = min(30, int((s.square().cumsum(0) / s.square().sum() < 0.9999).sum()) + 1)
        mean, variance = torch.zeros(len(new), y.shape[1]).double(), torch.zeros(len(new), y.shape[1]).double()
        for k in range(modes):
            kernel = (ConstantKernel() * RBF([1.0] * lengths) + ConstantKernel() * DotProduct()
                      + WhiteKernel(1e-6, (1e-10, 1.0)))
            process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=seed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                process.fit(c, (u[:, k] * s[k]).numpy())
            a, std = (torch.from_numpy(part) for part in process.predict(new, return_std=True))
            mean += a[:, None] * v[k]
            variance += std[:, None].square() * v[k].square()
        means.append(y.mean(0) + unit * mean)
        stds.append(unit * variance.sqrt())
    return torch.stack(means, 1), torch.stack(stds, 1)


def _line(name: str, mean: torch.Tensor, std: torch.Tensor, truth: torch.Tensor, start: float) -> None:
    pull = ((mean - logarithms(truth)) / std).abs()[..., : JUDGED - 1]
    print(f"| {name} | {errors(powers(mean), truth)} | {float((pull < 1).double().mean()):.2f} | "
          f"{float((pull < 2).double().mean()):.2f} | {time.process_time() - start:.1f} |", flush=True)


def floor() -> None:
    """What CAMB itself leaves: default accuracy against the doubled one at the centre of the box."""
    default, fine = (torch.from_numpy(spectra(PLANCK, **accuracy))[None] for accuracy in (
        {}, {"AccuracyBoost": 2, "lSampleBoost": 2, "lAccuracyBoost": 2}))
    print(f"| CAMB, default against doubled accuracy | {errors(default, fine)} |")


def ship(folder: Path, n: int) -> None:
    """Every fifth l of n runs and of 40 unseen cosmologies, as `logarithms`."""
    train, test = (np.load(folder / f"narrow-{part}.npz") for part in ("train", "test"))
    values, context = (np.concatenate([train[key][:n], test[key][:40]]) for key in ("values", "context"))
    mantissa, exponent = torch.frexp(logarithms(torch.from_numpy(values[..., : JUDGED - 1 : 5]).double()).float())
    kept = torch.ldexp((mantissa * 2**18).round() / 2**18, exponent)  # 18 bits: 0.006 cosmic variances at worst
    Dataset.from_arrays(kept, context, context_names=NAMES, held_out_fraction=0, provenance={
        "simulator": "CAMB, default accuracy, l = 2, 7, 12 ... 2497", "box": "Planck 2018 +- 4 standard deviations",
        "rows": f"{n} of a Sobol sequence, then 40 at random"}).save(SHIPPED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["runs", "table", "floor", "ship"])
    parser.add_argument("box", choices=[*BOXES])
    parser.add_argument("part", choices=["train", "test", "cheap"])
    parser.add_argument("n", type=int)
    parser.add_argument("--only", action="append", help="a row of the table; may be repeated")
    parser.add_argument("--folder", type=Path, default=Path("camb"))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.what == "table":
        table(args.folder, args.box, args.n, args.only)
    elif args.what == "floor":
        floor()
    elif args.what == "ship":
        ship(args.folder, args.n)
    else:
        make(args.folder, args.box, args.part, args.n, **({"AccuracyBoost": 0.5} if args.part == "cheap" else {}))


if __name__ == "__main__":
    main()
