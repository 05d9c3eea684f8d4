"""The smallest deformation that each test sees with 95 % power at a 1 % level, side by side in one run.

The setting of Grossi, Letizia & Torre 2024 (arXiv 2409.16336): correlated Gaussians (CG) and Gaussian mixtures (MoG),
deformed by epsilon in mean, variance, correlation, power, by normal or uniform noise; besides a local bump, a missing
mode and a tail. For each of four epsilon the p-values of the repeats become z = Phi^-1(1 - p); their mean and standard
deviation give the power, and a line in log epsilon its 95 % point. Grid: 1.2, 1.7, 2.4, 3.4 times the epsilon at which
the likelihood ratio, the bound where it is known, has 95 % power (for the others, a fixed grid).

    python benchmarks/judge_power.py run --results power.jsonl     # resumable: every repeat is one line
    python benchmarks/judge_power.py run --real --n 500 --data FOLDER --results power.jsonl
    python benchmarks/judge_power.py table --results power.jsonl [deciding.jsonl]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from sundog import Dataset
from sundog.random import numpy_stream
from sundog.verdicts.deciding.labels import Labels, Table, fill, pulls
from sundog.verdicts.deciding.maximum import combined
from sundog.verdicts.deciding.rows import deciding_rows, standardised
from sundog.verdicts.explaining.rows import joint_rows, moment_rows
from sundog.verdicts.pooled.sample import pool
from sundog.verdicts.twosample import classifier_two_sample

PUBLISHED = {  # rows of the judge, by the name under which they were published; p of the summary alone
    "Kolmogorov-Smirnov": "mean KS", "sliced KS": "sliced KS", "sliced Wasserstein": "sliced W1",
    "Fréchet distance": "FGD", "MMD²": "MMD, two bandwidths", "energy distance": "energy",
    "spectral kernel test": "spectral kernel", "cells": "PQMass",
}
FACTORS = (1.2, 1.7, 2.4, 3.4)


class Law:
    """A Gaussian (one part) or a mixture (three) in d dimensions with random correlations."""

    def __init__(self, kind: str, d: int) -> None:
        rng = np.random.default_rng([d, len(kind)])
        self.d, count = d, 1 if kind == "CG" else 3
        self.weight = np.array([1.0] if count == 1 else [0.5, 0.3, 0.2])
        self.centre = np.zeros((1, d)) if count == 1 else rng.uniform(-2, 2, (3, d))
        self.cov = np.stack([self._covariance(rng, 1.0 if count == 1 else rng.uniform(0.4, 1, d)) for _ in self.weight])
        self.mean = self.weight @ self.centre
        gap = self.centre - self.mean
        self.total = np.einsum("k,kij->ij", self.weight, self.cov + gap[:, :, None] * gap[:, None, :])
        self.std, self.u, self.v = np.sqrt(np.diag(self.total)), rng.uniform(-1, 1, d), rng.uniform(0, 1, d)

    def _covariance(self, rng: np.random.Generator, width: np.ndarray | float) -> np.ndarray:
        a = 0.6 * rng.normal(size=(self.d, max(2, self.d // 2)))
        c = a @ a.T + np.eye(self.d)
        q = np.sqrt(np.diag(c))
        return c / np.outer(q, q) * np.outer(width * np.ones(self.d), width * np.ones(self.d))

    def sample(self, n: int, rng: np.random.Generator, weight: np.ndarray | None = None) -> np.ndarray:
        part = rng.choice(len(self.weight), n, p=self.weight if weight is None else weight)
        root = np.linalg.cholesky(self.cov)
        return self.centre[part] + np.einsum("nij,nj->ni", root[part], rng.normal(size=(n, self.d)))

    def log_prob(self, x: np.ndarray, widen: np.ndarray | float = 0.0) -> np.ndarray:
        parts = []
        for w, m, c in zip(self.weight, self.centre, self.cov + widen):
            root = np.linalg.cholesky(c)
            y = np.linalg.solve(root, (x - m).T)
            parts.append(np.log(w) - 0.5 * (y**2).sum(0) - np.log(np.diag(root)).sum())
        return np.logaddexp.reduce(parts, axis=0)

    def mixed(self, e: float) -> np.ndarray:
        """Matrix that takes the covariance to one with correlations smaller by e."""
        target = np.where(np.eye(self.d) > 0, self.total, (1 - e) * self.total)
        return np.linalg.cholesky(target) @ np.linalg.inv(np.linalg.cholesky(self.total))

    def deformed(self, n: int, how: str, e: float, rng: np.random.Generator) -> np.ndarray:
        x = self.sample(n, rng)
        if how == "mode":
            thin = self.weight * np.array([1, 1, 1 - e])[: len(self.weight)]
            return self.sample(n, rng, thin / thin.sum())
        if how == "bump":
            k = rng.binomial(n, e)
            x[:k] = self.mean + self.std * (0.8 + 0.15 * rng.normal(size=(k, self.d)))
            return x
        if how == "tail":
            k = rng.binomial(n, e)
            x[:k, 0] = self.mean[0] + self.std[0] * (3 + rng.exponential(1.0, k))
            return x
        gap = x - self.mean
        return {
            "mean": lambda: x + e * self.u * self.std,
            "variance": lambda: self.mean + gap * (1 + e * self.v),
            "one width": lambda: self.mean + gap * np.r_[1 + e, np.ones(self.d - 1)],
            "correlation": lambda: self.mean + gap @ self.mixed(e).T,
            "power": lambda: np.sign(x) * np.abs(x) ** (1 + e),
            "normal noise": lambda: x + e * self.std * rng.normal(size=x.shape),
            "uniform noise": lambda: x + e * self.std * rng.uniform(-1, 1, x.shape),
        }[how]()

    def log_ratio(self, y: np.ndarray, how: str, e: float) -> np.ndarray | None:
        """log p(deformed) - log p, up to a constant; None where it has no closed form."""
        gap, log_p = y - self.mean, self.log_prob(y)
        if how == "mean":
            return self.log_prob(y - e * self.u * self.std) - log_p
        if how in ("variance", "one width"):
            scale = 1 + e * self.v if how == "variance" else np.r_[1 + e, np.ones(self.d - 1)]
            return self.log_prob(self.mean + gap / scale) - log_p
        if how == "correlation":
            return self.log_prob(self.mean + gap @ np.linalg.inv(self.mixed(e)).T) - log_p
        if how == "power":
            size = np.abs(y) ** (1 / (1 + e))
            return self.log_prob(np.sign(y) * size) + ((1 / (1 + e) - 1) * np.log(np.abs(y))).sum(1) - log_p
        if how in ("normal noise", "uniform noise"):
            return self.log_prob(y, e**2 / (1 if how[0] == "n" else 3) * np.diag(self.std**2)) - log_p
        return None


class Real:
    """Rows of a real data set, or maps of a known law; the deformed ones are other rows."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        if kind == "LHC Olympics":  # background: masses of the jets, and their tau21
            with np.load(folder / "lhco" / "lhco_rd_sr_features.npz") as file:
                self.rows = file["data"][file["data_label"] == 0].astype(float)
        elif kind == "FIRST":
            with np.load(folder / "radio" / "mirabest_first_native112_f16.npz") as file:
                name = max(file, key=lambda name: file[name].size)
                self.rows = file[name].astype(float)[:, 24:88, 24:88]

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        if self.kind == "maps":  # Gaussian, P(k) ~ k^-2, of unit variance
            k = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32))
            k[0, 0] = np.inf
            x = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(n, 32, 32))) / k, s=(32, 32))
            return x / x.std()
        self.order = rng.permutation(len(self.rows))
        return self.rows[self.order[:n]]

    def deformed(self, n: int, how: str, e: float, rng: np.random.Generator) -> np.ndarray:
        x = self.sample(n, rng) if self.kind == "maps" else self.rows[self.order[n : 2 * n]].copy()
        if how == "f_NL":  # the local kind, x + e x^2, without the mean: that of every true map is zero
            return x + e * (x**2 - (x**2).mean((1, 2), keepdims=True))
        if how == "width of tau21":
            x[:, 3] = x[:, 3].mean() + (1 + e) * (x[:, 3] - x[:, 3].mean())
        if how == "signal":  # a resonance's jets in place of a share e of the events
            x[: rng.binomial(n, e), 1:] = [0.1, 0.4, 0.25, 0.2] + 0.03 * rng.normal(size=4)
        if how == "blur":  # by a Gaussian; e is what it adds to the width of the beam of 3 pixels
            return gaussian_filter(x, (0, *2 * [3 / 2.355 * np.sqrt((1 + e) ** 2 - 1)]))
        return x * (1 + e) if how == "flux" else x

    def log_ratio(self, y: np.ndarray, how: str, e: float) -> None:
        """Not known."""


REAL = [("LHC Olympics", "width of tau21"), ("LHC Olympics", "signal"), ("maps", "f_NL"), ("FIRST", "blur"),
        ("FIRST", "flux")]
COLUMNS = [("CG", 5, "mean"), ("CG", 5, "variance"), ("CG", 5, "correlation"), ("MoG", 5, "power"),
           ("MoG", 5, "normal noise"), ("MoG", 5, "bump"), ("MoG", 5, "mode"), ("CG", 5, "tail"),
           ("CG", 20, "variance"), ("CG", 20, "correlation"), ("MoG", 20, "uniform noise"), ("MoG", 20, "mean"),
           ("CG", 5, "one width"), ("CG", 100, "mean"), ("CG", 100, "variance"), ("CG", 100, "correlation")]
FIRST = {"bump": 0.012, "tail": 0.003, "mode": 0.08,  # epsilon at n = 10,000 from which the grid starts
         "width of tau21": 0.025, "signal": 0.009, "f_NL": 0.0015, "blur": 0.003, "flux": 0.006}


def bound(law: Law | Real, how: str, n: int) -> float:
    """The epsilon at which the likelihood ratio has 95 % power, or a guess."""
    if how in FIRST:
        return FIRST[how] * (10_000 / n) ** 0.5
    low, high = 1e-3, 0.9
    for _ in range(14):
        e = (low * high) ** 0.5
        a, b = (law.log_ratio(s, how, e) for s in (law.sample(20_000, np.random.default_rng(3)),
                                                   law.deformed(20_000, how, e, np.random.default_rng(4))))
        z = (b.mean() - a.mean()) / np.sqrt((a.var() + b.var()) / n)
        low, high = (low, e) if z > norm.isf(0.01) + norm.isf(0.05) else (e, high)
    return (low * high) ** 0.5


def p_values(x: np.ndarray, y: np.ndarray, oracle: np.ndarray | None, seed: int, every: bool) -> dict[str, float]:
    """p of every test on one pair of samples, or of the deciding rows alone."""
    labels = Labels(len(x), len(y), seed)
    pooled = pool(Dataset.from_arrays(x), Dataset.from_arrays(y), None, (), labels)
    deciding = deciding_rows(standardised(pooled.space), labels)
    found = [*moment_rows(pooled), *joint_rows(pooled)] if every else []
    published = [row for row in found if row.name in PUBLISHED]
    for row in published:
        row.table.columns = 1 + labels.splits + 299
    extra = []
    if oracle is not None:
        ratio = torch.from_numpy((oracle[:, None] - oracle.mean()).astype(np.float32))
        extra = [Table(lambda rows: ratio[rows])]
    fill(labels, list({id(t): t for t in [r.table for r in deciding] + [r.table for r in published] + extra}.values()))
    at = np.r_[0, 1 + labels.splits : 1 + labels.splits + labels.relabellings]
    t = np.array([row.statistic(row.table).numpy()[at] for row in deciding])
    p = {"global": combined(t).p, **{f"* {r.name}": combined(t[i : i + 1]).p for i, r in enumerate(deciding)}}
    for row in published:
        summary = (row.summary(row.parts(row.table)).abs() ** row.power).numpy()
        p[PUBLISHED[row.name]] = combined(summary[None, np.r_[0, 1 + labels.splits : len(summary)]]).p
    if extra:
        p["likelihood ratio"] = float(norm.sf(float(pulls(extra[0])[0, 0])))
    if every:
        a, b = torch.from_numpy(pooled.space).split([len(x), len(y)])
        p["C2ST, trees"] = classifier_two_sample(a, b, seed, groups=np.arange(len(pooled.space))).p_value
    return p


def run(options: argparse.Namespace) -> None:
    """Measure what is not yet in the file."""
    path = Path(options.results[0])
    done = {tuple(json.loads(line)["key"]) for line in path.read_text().splitlines()} if path.exists() else set()
    columns = [(kind, 0, how) for kind, how in REAL] if options.real else COLUMNS[: options.columns]
    laws = {(kind, d): Law(kind, d) if d else Real(kind, options.data) for kind, d, _ in columns}
    starts: dict[tuple, float] = {}
    for repeat in range(options.repeats):
        for column in columns:
            kind, d, how = column
            law = laws[kind, d]
            for factor in FACTORS:
                key = (*column, options.n, factor, repeat)
                if key in done:
                    continue
                if column not in starts:
                    starts[column] = bound(law, how, options.n)
                rng, e, begin = numpy_stream(repeat, *key), starts[column] * factor, time.process_time()
                x, y = law.sample(options.n, rng), law.deformed(options.n, how, e, rng)
                oracle = None if options.deciding else law.log_ratio(np.concatenate([x, y]), how, e)
                p = p_values(x, y, oracle, repeat, not options.deciding)
                line = {"key": key, "epsilon": e, "p": p, "cpu": round(time.process_time() - begin, 2)}
                with path.open("a") as file:
                    file.write(json.dumps(line) + "\n")


def smallest(values: dict[float, list[float]]) -> float:
    """epsilon of 95 % power at a 1 % level, from p-values at each epsilon; infinite where it does not rise."""
    e = np.array(sorted(values))
    z = [norm.isf(np.clip(values[x], 1e-15, 1 - 1e-9)) for x in e]
    power = np.array([(v.mean() - norm.isf(0.01)) / max(v.std(ddof=1), 0.5) for v in z])
    slope, offset = np.polyfit(np.log(e), power, 1, w=1 / np.sqrt(1 + np.clip(power, -3, 4) ** 2 / 2))
    return float(np.exp((norm.isf(0.05) - offset) / slope)) if slope > 0 else np.inf


def table(options: argparse.Namespace) -> None:
    """Print the table of what is in the files."""
    print_table(joined(options.results))


def joined(paths: list[str]) -> list[dict]:
    """Lines of the samples of the first file, with the p of all files; the judge's own rows are those of the last."""
    files = [{tuple(row["key"]): row for row in map(json.loads, Path(path).read_text().splitlines())} for path in paths]
    lines = []
    for key, line in files[0].items():
        p = {name: v for file in files if key in file for name, v in file[key]["p"].items() if not ours(name)}
        p |= {name: v for name, v in files[-1].get(key, {"p": {}})["p"].items() if ours(name)}
        lines.append(line | {"p": p, "cpu": sum(file[key]["cpu"] for file in files if key in file)})
    return lines


def ours(name: str) -> bool:
    """Whether it is the judge, or one of its deciding rows."""
    return name == "global" or name.startswith("* ")


def print_table(lines: list[dict]) -> None:
    """Print epsilon of every test in every column, and what the global p-value needs in units of the best others."""
    held: dict[tuple, dict[str, dict[float, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    cpu = sum(row["cpu"] for row in lines)
    for row in lines:
        for name, p in row["p"].items():
            held[tuple(row["key"][:4])][name][row["epsilon"]].append(p)
    columns = {c: {name: smallest(v) for name, v in tests.items()} for c, tests in held.items()}
    names = list(dict.fromkeys(name for tests in columns.values() for name in tests))

    print("| test | " + " | ".join(f"{k} {d or ''} {how}" for k, d, how, _ in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name in names:
        print(f"| {name} | " + " | ".join(f"{c.get(name, np.nan):.3f}" for c in columns.values()) + " |")
    best = [min(e for name, e in c.items() if not ours(name) and name != "likelihood ratio") for c in columns.values()]
    own = [min(e for name, e in c.items() if name.startswith("* ")) for c in columns.values()]
    needs = np.array([c["global"] for c in columns.values()])
    print("| global / best published | " + " | ".join(f"{r:.2f}" for r in needs / best) + " |")
    print("| global / best own row | " + " | ".join(f"{r:.2f}" for r in needs / own) + " |")
    repeats = [len(v) for tests in held.values() for test in tests.values() for v in test.values()]
    print(f"\ngeometric means {np.exp(np.log(needs / best).mean()):.2f} and {np.exp(np.log(needs / own).mean()):.2f}; "
          f"{min(repeats)} to {max(repeats)} repeats; {cpu / 60:.1f} CPU minutes")


def main() -> None:
    """Run or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--results", nargs="+", default=["judge_power.jsonl"])
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--real", action="store_true", help="columns of real events and of images")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--columns", type=int, default=12)
    parser.add_argument("--deciding", action="store_true", help="the deciding rows alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    (run if options.what == "run" else table)(options)


if __name__ == "__main__":
    main()
