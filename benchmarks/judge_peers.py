"""Three published tests too dear for 10,000 rows beside the judge: smallest epsilon, on the same samples.

    MMDAgg  Schrab et al. 2023 (JMLR 24, arXiv 2110.15073): Laplace and Gaussian kernels of ten bandwidths each,
            wild bootstrap; least p over the kernels, itself bootstrapped (499 signs in place of 2000 + 2000)
    C2ST    Lopez-Paz & Oquab 2017 as in sbi: accuracy of a perceptron (10 d, 10 d), five folds
    NPLM    Letizia et al. 2022 (2204.02317), Grosso et al. 2025 (2508.02275): kernel logistic regression on Nystroem
            centres, twice the log-likelihood ratio on the rows learned from

C2ST and NPLM give no p; that of a normal and of a gamma law fitted to null samples of the same law is used.

    python benchmarks/judge_peers.py run --n 2000 --results peers.jsonl      # resumable: every sample is one line
    python benchmarks/judge_power.py run --n 2000 --results power.jsonl      # draws the same samples
    python benchmarks/judge_peers.py table --results peers.jsonl power.jsonl [deciding.jsonl]
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from judge_power import FACTORS, Law, bound, joined, print_table
from nplm import log_ratio
from scipy.spatial.distance import cdist
from scipy.stats import gamma, norm, pearson3
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neural_network import MLPClassifier

from sundog.random import numpy_stream

Array = np.ndarray
COLUMNS = [("CG", 5, "mean"), ("CG", 5, "variance"), ("CG", 5, "correlation"), ("MoG", 5, "normal noise"),
           ("MoG", 5, "bump"), ("MoG", 5, "mode")]
BOOTSTRAPS, BANDWIDTHS, MATCHED = 499, 10, 0.05


def mmdagg(x: Array, y: Array, seed: int) -> float:
    """p of MMDAgg of samples of one size: rank of the least p over the kernels, beyond ten bootstraps a fitted tail."""
    n, rng = len(x), numpy_stream(seed, "wild bootstrap")
    signs = torch.from_numpy(np.c_[np.ones(n), rng.choice([-1.0, 1.0], (n, BOOTSTRAPS))].astype(np.float32))
    found = []
    for metric in ("cityblock", "euclidean"):
        near = cdist(x[:500], y[:500], metric).ravel()
        low = near.min() if near.min() >= 0.1 else max(np.sort(near)[int(0.05 * len(near))], 0.1)
        widths = np.geomspace(low / 2, 2 * max(near.max(), 0.3), BANDWIDTHS)
        parts = [torch.from_numpy(cdist(a, b, metric).astype(np.float32)) for a, b in ((x, x), (y, y), (x, y))]
        for width in widths:
            kxx, kyy, kxy = ((part / -width).exp() if metric == "cityblock" else (-(part / width).square()).exp()
                             for part in parts)
            h = kxx + kyy - kxy - kxy.T
            h.fill_diagonal_(0)
            found.append((signs * (h @ signs)).sum(0).double().numpy())
    t = np.array(found)
    scores = (t - t[:, 1:].mean(1, keepdims=True)) / t[:, 1:].std(1, keepdims=True)
    skewness = np.clip((scores[:, 1:] ** 3).mean(1), 0.02, 3)
    least = np.array([pearson3.logsf(z, s) for z, s in zip(scores, skewness)]).min(0)
    rank = float((least <= least[0]).mean())
    level = float(np.quantile(least[1:], MATCHED))
    return rank if rank * len(least) >= 10 else min(rank, MATCHED * float(np.exp(least[0] - level)))


def accuracy(x: Array, y: Array, seed: int) -> float:
    """Accuracy of sbi's perceptron over five folds."""
    z = np.concatenate([x, y])
    z = (z - x.mean(0)) / x.std(0)
    width = 10 * x.shape[1]
    net = MLPClassifier((width, width), max_iter=1000, early_stopping=True, n_iter_no_change=50, random_state=seed)
    folds = KFold(5, shuffle=True, random_state=seed)
    return float(cross_val_score(net, z.astype(np.float32), np.repeat([0, 1], [len(x), len(y)]), cv=folds).mean())


STATISTICS = {"C2ST, perceptron": accuracy, "NPLM, 63 centres": partial(log_ratio, centres=63),
              "NPLM, 500 centres": partial(log_ratio, centres=500)}


def run(options: argparse.Namespace) -> None:
    """Measure what is not yet in the file: null samples of each law, then the columns."""
    path = Path(options.results[0])
    done = {tuple(json.loads(line)["key"]) for line in path.read_text().splitlines()} if path.exists() else set()
    warnings.filterwarnings("ignore", module="sklearn")
    laws = list(dict.fromkeys(column[:2] for column in COLUMNS))
    starts: dict[tuple, float] = {}
    keys = [(*law, "null", options.n, 0.0, toy) for toy in range(options.nulls) for law in laws]
    keys += [(*column, options.n, factor, repeat) for repeat in range(options.repeats) for column in COLUMNS
             for factor in FACTORS]
    for key in keys:
        if key in done:
            continue
        kind, d, how, n, factor, seed = key
        law, rng, begin = Law(kind, d), numpy_stream(seed, *key), time.process_time()
        if how != "null" and key[:3] not in starts:
            starts[key[:3]] = bound(law, how, n)
        e = starts.get(key[:3], 0.0) * factor
        x, y = law.sample(n, rng), law.sample(n, rng) if how == "null" else law.deformed(n, how, e, rng)
        found: dict[str, float] = {}
        cpu: dict[str, float] = {}
        for name, test in STATISTICS.items():
            start = time.process_time()
            found[name] = test(x, y, seed)
            cpu[name] = round(time.process_time() - start, 2)
        start = time.process_time()
        p = {} if how == "null" else {"MMDAgg": mmdagg(x, y, seed)}
        cpu["MMDAgg"] = round(time.process_time() - start, 2)
        line = {"key": key, "epsilon": e, "p": p, "statistics": found, "cpu": round(time.process_time() - begin, 2),
                "each": cpu}
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def _law(name: str, key: list) -> tuple[str, str]:
    """Which null samples a statistic is compared with: an accuracy with those of all laws of as many columns."""
    return name, f"{key[1]} columns" if name.startswith("C2ST") else f"{key[0]} {key[1]}"


def table(options: argparse.Namespace) -> None:
    """Print the nulls, and the table of judge_power with the three tests in it."""
    lines = [json.loads(line) for line in Path(options.results[0]).read_text().splitlines()]
    null = defaultdict(list)
    for line in lines:
        for name, value in line["statistics"].items() if line["key"][2] == "null" else ():
            null[_law(name, line["key"])].append(value)
    for (name, law), x in null.items():
        print(f"{name} on {law}: {np.mean(x):.4g} +- {np.std(x, ddof=1):.4g} in {len(x)} null samples")
    rows = [line for line in joined(options.results) if line["key"][2] != "null"]
    statistics = {tuple(line["key"]): line["statistics"] for line in lines}
    for line in rows:
        for name, value in statistics[tuple(line["key"])].items():
            x = np.array(null[_law(name, line["key"])])
            scale = x.var(ddof=1) / x.mean()
            line["p"][name] = float(norm.sf((value - x.mean()) / x.std(ddof=1)) if name.startswith("C2ST") else
                                    gamma.sf(value, x.mean() / scale, scale=scale))
    print_table(rows)


def main() -> None:
    """Run or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--nulls", type=int, default=30)
    parser.add_argument("--results", nargs="+", default=["judge_peers.jsonl", "judge_power.jsonl"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    (run if options.what == "run" else table)(options)


if __name__ == "__main__":
    main()
