"""The main job on real data: learn, generate, judge. Prints the tables of docs/first_run.md.

    python benchmarks/first_run.py lhco  [--data FOLDER] [--report FOLDER]
    python benchmarks/first_run.py scalings
    python benchmarks/first_run.py radio
    python benchmarks/first_run.py dust

Data folder: --data, else SUNDOG_DATA, else ../shared/data. A job whose data are absent says so and stops.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import sundog
from sundog.data.maps.patches import cut
from sundog.models.classifier import TreeEnsemble
from sundog.simulate.fields import phase_randomised
from sundog.verdicts.twosample import classifier_two_sample

FEATURES = {"names": ["m_jj", "m_j1", "delta_m", "tau21_j1", "tau21_j2"], "units": ["TeV", "TeV", "TeV", "", ""]}


@contextmanager
def clock(what: str) -> Iterator[None]:
    """Print wall time, CPU time and peak memory of what happens inside."""
    wall, cpu = time.monotonic(), time.process_time()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what}: {time.monotonic() - wall:.0f} s wall, {time.process_time() - cpu:.0f} CPU s, peak {peak:.0f} MB",
          flush=True)


# The default of the family when the tables were measured.
SPLINES: dict[str, Any] = {"transform": "spline", "layers": 4, "learning_rate": 2e-3,
                           "plan": sundog.Plan(steps=1500, batch=1024)}


def need(path: Path) -> Path:
    if not path.exists():
        sys.exit(f"skipped: {path} is absent; point --data or SUNDOG_DATA at a folder that has it")
    return path


def lhco(data: Path, report: Path, scaling: str = "auto") -> None:
    """Flow and flow matching on the real signal region, judged on independent background."""
    path = need(data / "lhco" / "lhco_rd_sr_features.npz")
    train = sundog.load(path, key="data", context=["m_jj"], held_out_fraction=0.0, **FEATURES)
    truth = sundog.load(path, key="extra_qcd", context=["m_jj"], held_out_fraction=0.0, **FEATURES)
    print(train, truth, sep="\n")
    half, other = truth.split((0.5, 0.5), seed=0)
    show_auc("true against true events", half, other)
    for family, settings in (("flow-matching", {}), ("flow", SPLINES)):
        with clock(f"fit {family}"):
            run = sundog.fit(family, train, seed=0, scaling=scaling, **settings)
        print(run)
        with clock("sample 25,000"):
            fakes = run.sample(len(truth), context=truth.context, seed=1)
        show_auc(f"{family} against extra_qcd", truth, fakes)
        with clock("judge"):
            verdict = sundog.judge(truth, fakes, seed=0)
        print(verdict, flush=True)
        verdict.report(report / f"lhco-{family}.html")


def show_auc(what: str, real: sundog.Dataset, fake: sundog.Dataset) -> None:
    both = [torch.cat([d.values, d.context], 1) for d in (real, fake)]
    result = classifier_two_sample(both[0], both[1], seed=0, classifier=lambda seed: TreeEnsemble(5, seed))
    print(f"{what}: AUC {result.auc:.4f} +- {result.error:.4f} (5 tree ensembles, 5 folds)", flush=True)


def radio(data: Path, report: Path) -> None:
    """Real radio galaxies: real against real, and against a Gaussian of the same covariance."""
    path = need(data / "radio" / "mirabest_first_las80_f16.npz")
    images = sundog.load(path, key="images", unit="mJy/beam", names=["flux"])
    print(images, images.describe(), sep="\n")
    one, two = images.split((0.5, 0.5), seed=0)
    with clock("judge real against real"):
        verdict = sundog.judge(one, two, seed=0)
    print(verdict, flush=True)
    verdict.report(report / "radio-null.html")
    with clock("judge a PCA-Gaussian"):
        verdict = sundog.judge(one, gaussian_fakes(two, 60, len(two), seed=0), seed=0)
    print(verdict, flush=True)
    verdict.report(report / "radio-gaussian.html")


def gaussian_fakes(images: sundog.Dataset, components: int, n: int, seed: int) -> sundog.Dataset:
    """Draws from the Gaussian with the mean and the leading principal components of the images."""
    x = images.values.flatten(1)
    mean = x.mean(0)
    _, s, v = torch.linalg.svd(x - mean, full_matrices=False)
    z = torch.randn(n, components, generator=torch.Generator().manual_seed(seed))
    draws = mean + (z * s[:components] / len(x) ** 0.5) @ v[:components]
    return sundog.Dataset.from_arrays(draws.view(n, *images.values.shape[1:]), names=images.names, units=images.units)


def dust(data: Path, report: Path) -> None:
    """Patches of simulated dust maps against a Gaussian surrogate with the same spectrum."""
    paths = [need(data / "fields" / f"mhd_dust_I_{i}.npy") for i in (1, 2, 3)]
    maps = sundog.load(paths, kind="images", unit="arbitrary", names=["I"], periodic=True)
    real, fake = cut(maps, 64), cut(phase_randomised(maps, seed=0), 64)
    print(real)
    with clock("judge the Gaussian surrogate"):
        verdict = sundog.judge(real, fake, seed=0)
    print(verdict, flush=True)
    verdict.report(report / "dust-surrogate.html")


def scalings(data: Path, report: Path) -> None:
    """How the scaling of the features decides: the same fits, the same classifier, three scalings."""
    for scaling in ("standard", "logit", "auto"):
        print(f"scaling {scaling}", flush=True)
        lhco(data, report, scaling)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=["lhco", "scalings", "radio", "dust"])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--report", type=Path, default=Path("runs/first_run"), help="folder of the HTML reports")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.report.mkdir(parents=True, exist_ok=True)
    print(f"sundog {sundog.__version__}, torch {torch.__version__}, {options.threads} threads, {platform.machine()}")
    {"lhco": lhco, "scalings": scalings, "radio": radio, "dust": dust}[options.job](options.data, options.report)


if __name__ == "__main__":
    main()
