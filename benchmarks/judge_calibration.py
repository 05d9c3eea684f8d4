"""How often does the judge cry wolf? Null verdicts of many kinds of data, with the rows that decide.

Truth and fakes come from one law; the share of verdicts with p <= 1 % must lie inside the 99.9 % binomial band and the
global p must be uniform (Kolmogorov-Smirnov). Every verdict is one line of the results: the run can be stopped and
goes on. With --rows all explaining rows are measured too, and the uniformity of each p is printed.

    python benchmarks/judge_calibration.py run --toys 1000 --results calibration.jsonl
    python benchmarks/judge_calibration.py table --results calibration.jsonl
    python benchmarks/judge_calibration.py tail
    python benchmarks/judge_calibration.py shared --toys 80
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binom, kstest
from torch import Tensor

from sundog import Dataset, judge
from sundog.random import stream
from sundog.statistics.catalogue.features import features
from sundog.statistics.catalogue.frame import Frame
from sundog.verdicts.deciding.labels import Labels, fill
from sundog.verdicts.deciding.maximum import combined
from sundog.verdicts.deciding.rows import deciding_rows, standardised
from sundog.verdicts.pooled.sample import feature_names


def gaussian(n: int, g: torch.Generator) -> Dataset:
    """Five correlated Gaussian columns."""
    z = torch.randn(n, 5, generator=g)
    z[:, 1] += 0.8 * z[:, 0]
    return Dataset.from_arrays(z)


def mixed(n: int, g: torch.Generator) -> Dataset:
    """A lognormal, a Poisson count, an arcsine law, two peaks, and a constant."""
    z, peak = torch.randn(n, 3, generator=g), torch.rand(n, generator=g) < 0.2
    counts = torch.poisson(torch.full((n,), 3.0), generator=g)
    return Dataset.from_arrays(torch.stack([z[:, 0].exp(), counts, (6.2832 * torch.rand(n, generator=g)).sin(),
                                            torch.where(peak, 3 + 0.2 * z[:, 1], z[:, 2]), torch.full((n,), 2.0)], 1))


def heavy(n: int, g: torch.Generator) -> Dataset:
    """A Cauchy and a Student t column (2 degrees)."""
    z = torch.randn(n, 5, generator=g)
    return Dataset.from_arrays(torch.stack([z[:, 0] / z[:, 1], z[:, 2] / z[:, 3:].square().mean(1).sqrt()], 1))


def integers(n: int, g: torch.Generator) -> Dataset:
    """Three Poisson counts: most rows have twins."""
    return Dataset.from_arrays(torch.poisson(torch.tensor([0.3, 1.0, 3.0]).expand(n, 3), generator=g))


def maps(n: int, g: torch.Generator) -> Dataset:
    """Lognormal maps of 16 x 16 pixels, periodic."""
    return Dataset.from_arrays(field(n, g).exp(), periodic=True)


def images(n: int, g: torch.Generator) -> Dataset:
    """Images of three channels that share some of their structure."""
    common = field(n, g)
    return Dataset.from_arrays(torch.stack([common + field(n, g) for _ in range(3)], 1))


def field(n: int, g: torch.Generator, size: int = 16) -> Tensor:
    """Gaussian fields with P(k) ~ k^-2."""
    k = torch.fft.fftfreq(size)[:, None] ** 2 + torch.fft.rfftfreq(size)[None, :] ** 2
    k[0, 0] = torch.inf
    x = torch.fft.irfft2(torch.fft.rfft2(torch.randn(n, size, size, generator=g)) / k.sqrt(), s=(size, size))
    return 0.6 * x / x.std((1, 2), keepdim=True)


KINDS: dict[str, tuple[Callable[[int, torch.Generator], Dataset], int, int]] = {
    "Gaussian": (gaussian, 200, 200), "small Gaussian": (gaussian, 50, 50), "mixed": (mixed, 100, 100),
    "30 times as many fakes": (mixed, 60, 1800), "heavy tails": (heavy, 200, 200), "integers": (integers, 200, 200),
    "weighted": (gaussian, 0, 0), "negative weights": (gaussian, 0, 0), "maps": (maps, 60, 60),
    "images": (images, 40, 40), "events and train=": (gaussian, 200, 200), "maps and train=": (maps, 60, 60),
    "masked maps": (maps, 30, 60),
}
SKIES = {"tiles apart, white": (0, True), "tiles apart, red": (2, True), "tiles that overlap, white": (0, False),
         "tiles that overlap, red": (2, False)}  # C_l ~ (1 + l)^-index; not independent rows, made when asked for
FAULTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # of the second sky, which must be told; when asked for
    "tiles apart, red, 1.15 times as high": lambda x: 1.15 * x,
    "tiles apart, red, bent": lambda x: x + 0.2 * x**2 / x.std(),
}


def tiles(index: float, apart: bool, g: torch.Generator, fault: Callable[[np.ndarray], np.ndarray] = np.asarray,
          ) -> tuple[Dataset, Dataset, Tensor]:
    """Tiles of two skies of NSIDE 32, seen beyond 17 degrees from the equator, and their masks."""
    from sundog.data.sky.sphere import gaussian_alm, pixelisation, synthesis
    from sundog.tasks.sky.project import projected

    power = (1 + np.arange(65.0)) ** -index
    power[0] = 0
    rng = np.random.default_rng(int(torch.randint(2**62, (), generator=g)))
    skies = [Dataset.from_arrays(of(synthesis(gaussian_alm(power, rng), 32)).astype(np.float32)[None, None],
                                 provenance={"sphere": {"nside": 32}}) for of in (np.asarray, fault)]
    seen = np.abs(pixelisation(32).pix2vec(np.arange(12288))[:, 2]) > 0.3
    (real, fake), masks = projected(*skies, mask=seen, apart=apart, sizes=(64, 32) if apart else (64,))
    return real, fake, torch.from_numpy(np.asarray(masks))


def pair(kind: str, toy: int) -> tuple[Dataset, Dataset, dict[str, Any]]:
    """Truth, honest fakes, and what else the judge is told: weights, masks, or training data of the same law."""
    g = stream(toy, "judge calibration", kind)
    if kind in SKIES or kind in FAULTS:
        real, fake, masks = tiles(*SKIES[kind], g) if kind in SKIES else tiles(2, True, g, FAULTS[kind])
        return real, fake, {"mask": masks}
    if kind in ("weighted", "negative weights"):
        real = torch.randn(400, 3, generator=g)
        if kind == "weighted":  # an importance sampler 1.4 times as wide in one column
            fake = torch.randn(600, 3, generator=g) * torch.tensor([1.4, 1, 1])
            w = torch.exp(-0.5 * fake[:, 0] ** 2 * (1 - 1 / 1.4**2))
        else:  # a fifth of negative weights, which undo the events that are too many
            fake = torch.randn(1000, 3, generator=g)
            w = torch.where(torch.rand(1000, generator=g) < 0.2, -1.0, 1.0)
        return Dataset.from_arrays(real), Dataset.from_arrays(fake), {"fake_weights": w}
    draw, n, m = KINDS[kind]
    real, fake = draw(n, g), draw(m, g)
    if kind == "masked maps":  # another one for each map, two fakes with that of each real one
        return real, fake, {"mask": torch.rand(n, 16, 16, generator=g) > 0.15}
    return real, fake, {"train": draw(n, g)} if kind.endswith("train=") else {}


def run(options: argparse.Namespace) -> None:
    """Judge what is not yet in the file."""
    path = Path(options.results)
    done = {tuple(json.loads(line)["key"]) for line in path.read_text().splitlines()} if path.exists() else set()
    for toy in range(options.toys):
        for kind in options.kinds or KINDS:
            if (kind, toy) in done:
                continue
            start = time.process_time()
            real, fake, told = pair(kind, toy)
            words = "all" if options.rows else "deciding"
            verdict = judge(real, fake, statistics=words, seed=toy, **told)
            line = {"key": (kind, toy), "p": verdict.p_value, "rows": {r.name: r.p_value for r in verdict.rows},
                    "cpu": round(time.process_time() - start, 3)}
            with path.open("a") as file:
                file.write(json.dumps(line) + "\n")


def table(options: argparse.Namespace) -> None:
    """Print false alarms per kind, their band, and whether p is uniform."""
    p, rows, cpu = defaultdict(list), defaultdict(lambda: defaultdict(list)), 0.0
    for line in Path(options.results).read_text().splitlines():
        found = json.loads(line)
        p[found["key"][0]].append(found["p"])
        cpu += found["cpu"]
        for name, value in found["rows"].items():
            rows[found["key"][0]][name].append(value)
    print("| kind | verdicts | p <= 1 % | 99.9 % band | p <= 10 % | uniform (KS p) |\n|---|---|---|---|---|---|")
    for kind, values in p.items():
        x, n = np.array(values), len(values)
        low, high = binom.ppf([0.0005, 0.9995], n, 0.01) / n
        print(f"| {kind} | {n} | {(x <= 0.01).mean():.2%} | {low:.2%} to {high:.2%} | {(x <= 0.1).mean():.1%} | "
              f"{kstest(x, 'uniform').pvalue:.2g} |")
    every = np.concatenate([np.array(v) for v in p.values()])
    print(f"\npooled: {(every <= 0.01).mean():.2%} of {len(every)}; {cpu / 60:.1f} CPU minutes")
    for kind, names in rows.items():
        copies = {name: f"{np.mean(np.array(v) <= 0.01):.2%}" for name, v in names.items()
                  if name in ("memorisation", "moved copies")}
        if copies:
            print(f"{kind}: {copies} at 1 %, counting all rows that decide")
    for kind, names in rows.items() if options.rows else ():
        low = {name: kstest(v, "uniform").pvalue for name, v in names.items()}
        print(kind, {name: f"{q:.1g}" for name, q in low.items() if q < 0.01 / len(low)})


def tail(options: argparse.Namespace) -> None:
    """The fitted law beyond 999 relabellings, for the labellings that 100 and 10 of 10^5 others exceed."""
    print("| law | exceeded by | p from 999 others: median | 16 % to 84 % |\n|---|---|---|---|")
    for kind in ("Gaussian", "mixed"):
        real, fake, _ = pair(kind, 0)
        labels = Labels(len(real), len(fake), 0, relabellings=100_000)
        rows = deciding_rows(standardised(torch.cat([real.values, fake.values]).numpy()), labels)
        fill(labels, list({id(row.table): row.table for row in rows}.values()))
        t = np.array([row.statistic(row.table)[labels.null].numpy() for row in rows])
        order = np.argsort(-((t - t.mean(1, keepdims=True)) / t.std(1, keepdims=True)).max(0))
        for beyond in (1000, 100, 10):
            at = t[:, order[beyond], None]
            p = [combined(np.concatenate([at, t[:, k : k + 999]], 1)).p for k in range(0, 99_900, 999)]
            low, middle, high = np.quantile(p, [0.16, 0.5, 0.84])
            print(f"| {kind} | {beyond / 1e5:g} | {middle:.2g} | {low:.2g} to {high:.2g} |")


def shared(options: argparse.Namespace) -> None:
    """How much more the mean over the tiles of a red sky scatters from sky to sky than that of independent tiles."""
    skies = [tiles(2, True, stream(toy, "shared")) for toy in range(options.toys // 2)]
    seen = skies[0][2]
    x = torch.stack([part.values for real, fake, _ in skies for part in (real, fake)])
    mean = (x * seen).sum((-2, -1), keepdim=True) / seen.sum((-2, -1), keepdim=True)
    print("| tiles | number | mean | its square |\n|---|---|---|---|")
    for words, maps in (("as they are", x), ("less their means", x - mean)):
        flat = torch.where(seen, maps, torch.nan).flatten(0, 1)
        frame = Frame.of(flat, names=("map",), masked=True)
        f = features(flat, frame).unflatten(0, x.shape[:2])
        names, f = feature_names(flat, frame), (f - f.mean((0, 1))) / f.std((0, 1)).clamp_min(1e-9)
        scatter = [g.mean(1).var(0) * x.shape[1] / g.var((0, 1)).clamp_min(1e-9) for g in (f, f.square())]
        for k in torch.stack(scatter).amax(0).argsort(descending=True)[:5].tolist():
            print(f"| {words} | {names[k]} | {scatter[0][k]:.2f} | {scatter[1][k]:.2f} |")


def main() -> None:
    """Run or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table", "tail", "shared"])
    parser.add_argument("--toys", type=int, default=1000)
    parser.add_argument("--kinds", nargs="*", choices=[*KINDS, *SKIES, *FAULTS])
    parser.add_argument("--rows", action="store_true", help="measure the explaining rows too")
    parser.add_argument("--results", default="judge_calibration.jsonl")
    options = parser.parse_args()
    torch.set_num_threads(1)
    {"run": run, "table": table, "tail": tail, "shared": shared}[options.what](options)


if __name__ == "__main__":
    main()
