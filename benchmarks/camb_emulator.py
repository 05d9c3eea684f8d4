"""CAMB as the dear simulator: lensed TT, EE, TE, phi phi to l = 2500 from few runs; for docs/models/emulators.md.

    python benchmarks/camb_emulator.py runs narrow train 60     the first 60 runs of a box, goes on where it stopped
    python benchmarks/camb_emulator.py runs narrow test 100     unseen cosmologies, uniform in the box

Needs the extra `sky`; about 1.4 CPU s a run. Tables lie in --folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from sundog.design import space_filling
from sundog.random import numpy_stream

NAMES = ("H0", "omega_b", "omega_c", "tau", "ln10^10A_s", "n_s")
PLANCK = np.array([67.36, 0.02237, 0.1200, 0.0544, 3.044, 0.9649])
SIGMA = np.array([0.54, 0.00015, 0.0012, 0.0073, 0.014, 0.0042])  # Planck 2018 VI (arXiv 1807.06209), table 2
BOXES = {
    "narrow": np.stack([PLANCK - 4 * SIGMA, PLANCK + 4 * SIGMA], 1),
    "wide": np.array([(55, 85), (0.017, 0.028), (0.08, 0.18), (0.02, 0.15), (2.6, 3.4), (0.85, 1.1)]),
}
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["runs"])
    parser.add_argument("box", choices=[*BOXES])
    parser.add_argument("part", choices=["train", "test", "cheap"])
    parser.add_argument("n", type=int)
    parser.add_argument("--folder", type=Path, default=Path("camb"))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    make(args.folder, args.box, args.part, args.n, **({"AccuracyBoost": 0.5} if args.part == "cheap" else {}))


if __name__ == "__main__":
    main()
