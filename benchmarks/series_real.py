"""Real series: how rough volatility is, and which generators of daily returns are told from later ones.

The series come with the packages arch, statsmodels, PyWavelets and aeon, which is not imported
(pip install arch statsmodels PyWavelets; pip install --no-deps aeon).

    python benchmarks/series_real.py hurst                     Hurst exponents with intervals
    python benchmarks/series_real.py learned                   H of log volatility beside its measurement error
    python benchmarks/series_real.py eras                      whether early and late returns have one law
    python benchmarks/series_real.py fit NAME                  fit a generator to two years in four, keep its fakes
    python benchmarks/series_real.py judge                     judge all fakes kept against the other years
    python benchmarks/series_real.py short                     sets of short series: motions, days of power demand

S&P 500 and Nasdaq, daily, 1999-2018. Windows of 64 returns, each over its own root mean square, so that calm and wild
years have one law; judged as paths, whose increments are the returns.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

import sundog
import sundog.data.series.layout
from sundog.statistics.series import hurst_exponent

LENGTH, FAKES = 64, 400
KEPT = Path("runs/series_real")
ROWS = ("structure functions", "flatness", "memory of sizes", "leverage", "autocorrelation", "power spectrum")


def volatility(name: str) -> torch.Tensor:
    """Log of the daily range volatility, ln(high / low) / (4 ln 2)^(1/2). Source: Parkinson 1980, J. Bus. 53, 61."""
    frame = _market(name)
    x = 0.5 * np.log(np.log(frame["High"] / frame["Low"]) ** 2 / (4 * np.log(2)))
    return torch.tensor(x[np.isfinite(x)].tolist(), dtype=torch.float64)


def hurst() -> None:
    from arch.data import vix
    from pywt.data import nino
    from statsmodels.datasets import nile

    levels = torch.tensor(np.log(vix.load()["vix"].dropna()).tolist(), dtype=torch.float64)
    flow = torch.tensor(nile.load_pandas().data["volume"].tolist(), dtype=torch.float64)
    warmth = torch.from_numpy(nino()[1].astype(float))
    cases = {"log VIX, 2014-2018": (levels, None), "log range of the S&P 500": (volatility("sp500"), None),
             "the same, lags 4 to 32": (volatility("sp500"), (4, 8, 16, 32)),
             "log range of the Nasdaq": (volatility("nasdaq"), None),
             "the same, lags 4 to 32 ": (volatility("nasdaq"), (4, 8, 16, 32)),
             "Nile flow, running sum, 1871-1970": ((flow - flow.mean()).cumsum(0), None),
             "El Niño, warmth of the sea each season, running sum": ((warmth - warmth.mean()).cumsum(0), None)}
    print("| series | points | H | 95 % interval |\n|---|---|---|---|")
    for name, (x, lags) in cases.items():
        value, low, high = hurst_exponent(x, lags=lags)
        print(f"| {name.strip()} | {len(x)} | {value:.2f} | {low:.2f} to {high:.2f} |")


def learned() -> None:
    """H of the log range beside its measurement error, which family sde learns as the blur, from each half."""
    print("| log range of | years | H | pull per day | blur | size of a day's step |\n|---|---|---|---|---|---|")
    for name in ("sp500", "nasdaq"):
        whole = volatility(name)
        for years, x in zip(("1999-2008", "2009-2018"), (whole[:2515], whole[2515:])):
            data = sundog.data.series.layout.windows(records(x[None]), 64)
            run = sundog.fit("sde", data, steps=80, noise="constant")
            model, scale = run.model, float(data.values.std())
            with torch.no_grad():
                numbers = (float(model.hurst), float(torch.nn.functional.softplus(model.pull)),
                           float(model.blurring) * scale, float(model.size.exp()) * scale)
            print(f"| {name} | {years} | " + " | ".join(f"{v:.2f}" for v in numbers) + " |", flush=True)


def _market(name: str):  # type: ignore[no-untyped-def]
    import importlib

    return importlib.import_module(f"arch.data.{name}").load()


def returns(name: str, first: int, last: int, stride: int) -> torch.Tensor:
    """Windows (n, 64) of daily log returns of these years, each over its root mean square."""
    x = np.diff(np.log(_market(name).loc[str(first):str(last)]["Adj Close"].to_numpy()))
    cut = torch.from_numpy(x).unfold(0, LENGTH, stride)
    return (cut / cut.square().mean(1, keepdim=True).sqrt()).contiguous()


def learned_from() -> torch.Tensor:
    """Overlapping windows of both markets, of two years out of four."""
    return torch.cat([returns(name, y, y + 1, 8) for name in ("sp500", "nasdaq") for y in range(1999, 2018, 4)])


def judged_by() -> torch.Tensor:
    """Windows of the S&P 500 side by side, of the other years."""
    return torch.cat([returns("sp500", y, y + 1, LENGTH) for y in range(2001, 2018, 4)])


def records(x: torch.Tensor) -> sundog.Dataset:
    return sundog.Dataset.from_arrays(x, time_step=1.0, time_unit="trading day", names="x", held_out_fraction=0.0)


def paths(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.zeros(len(x), 1, dtype=x.dtype), x.cumsum(1)], 1)


def gaussian(x: torch.Tensor) -> torch.Tensor:
    """Gaussian returns with the autocovariance of the data."""
    sums = torch.fft.irfft(torch.fft.rfft(x, n=2 * LENGTH).abs().square().mean(0))[:LENGTH] / LENGTH
    lag = (torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)).abs()
    values, vectors = torch.linalg.eigh(sums[lag])
    white = torch.randn(FAKES, LENGTH, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    return white @ (vectors * values.clamp_min(0).sqrt()).T


def on_returns(family: str, **options: object) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: sundog.fit(family, records(x), seed=0, **options).sample(FAKES, seed=1).values


def on_paths(**options: object) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: sundog.fit("sde", records(paths(x)), **options).sample(FAKES, seed=1).values.diff(dim=1)


GENERATORS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "the years learned from": lambda x: torch.cat([returns("sp500", y, y + 1, LENGTH) for y in range(1999, 2018, 4)]),
    "Gaussian, same spectrum": gaussian,
    "SDE, white noise": on_paths(hurst=0.5, noise="constant", steps=60),
    "SDE, fractional noise": on_paths(steps=100),
    "diffusion, 1-D": on_returns("diffusion", skip="covariance", parameters=5e4, steps=600),
    "flow matching, 1-D": on_returns("flow-matching", parameters=5e4, steps=600),
    "scattering, 1-D": on_returns("scattering", iterations=60),
}


def fit(name: str) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    file = KEPT / f"{name}.npy"
    if not file.exists():
        np.save(file, GENERATORS[name](learned_from().float()).numpy())


def bundled(name: str) -> torch.Tensor:
    """All series (n, t) of a set that aeon ships, in an order that mixes its classes."""
    (root,) = find_spec("aeon").submodule_search_locations  # type: ignore[union-attr, misc]
    rows = []
    for part in ("TRAIN", "TEST"):
        text = (Path(root) / "datasets" / "data" / name / f"{name}_{part}.ts").read_text().split("@data")[1]
        rows += [[float(v) for v in line.split(":")[0].split(",")] for line in text.split()]
    x = torch.tensor(rows)
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]


def short() -> None:
    """Half of each set learned from, the other half judged by; days of 24 hours as rows of 24 columns."""
    print("| series | generator | p of the verdict | classifier AUC (real against real) | furthest row |\n"
          "|---|---|---|---|---|")
    for name, words in (("GunPoint", "motions of a hand, 200 x 150"), ("ItalyPowerDemand", "days of power, 1096 x 24")):
        whole = bundled(name)
        half, real = whole.chunk(2)
        made = (lambda x: records(x)) if half.shape[1] >= 32 else \
            (lambda x: sundog.Dataset.from_arrays(x, held_out_fraction=0.0))
        white = torch.randn(FAKES, len(half), generator=torch.Generator().manual_seed(0)) / len(half) ** 0.5
        fakes = {"the other half": half, "Gaussian, same covariance": half.mean(0) + white @ (half - half.mean(0))}
        for family, options in (("diffusion", {"skip": "covariance"}), ("flow-matching", {})):
            run = sundog.fit(family, records(half), steps=600, parameters=5e4, seed=0, **options)  # type: ignore[arg-type]
            fakes[f"{family}, 1-D"] = run.sample(FAKES, seed=1).values
        for generator, fake in fakes.items():
            verdict = sundog.judge(made(real), made(fake.to(real)))
            row = verdict["classifier AUC"]
            print(f"| {words} | {generator} | {verdict.p_value:.2g} | {row.value:.3f} ({row.null_low:.3f} to "
                  f"{row.null_high:.3f}) | {verdict.rows[0].name} |", flush=True)
        orders = [torch.randperm(len(whole), generator=torch.Generator().manual_seed(100 + s)) for s in range(12)]
        p = [sundog.judge(*map(made, whole[i].chunk(2)), statistics="deciding").p_value for i in orders]
        print(f"twelve other halves against halves: p from {min(p):.2g}", flush=True)


def eras() -> None:
    early, late = (records(paths(returns("sp500", *years, LENGTH))) for years in ((1999, 2011), (2012, 2018)))
    verdict = sundog.judge(late, early, statistics=ROWS)
    print(f"1999-2011 against 2012-2018: p = {verdict.p_value:.1g}, " + ", ".join(
        f"{row} {verdict[row].p_value:.1g}" for row in ROWS))


def judge() -> None:
    real = records(paths(judged_by()))
    print(f"{len(real)} windows; p of the verdict, and of each row\n")
    print("| generator | verdict | " + " | ".join(ROWS) + " |\n|---" * 1 + "|---" * (1 + len(ROWS)) + "|")
    for name in GENERATORS:
        if (KEPT / f"{name}.npy").exists():
            fake = records(paths(torch.from_numpy(np.load(KEPT / f"{name}.npy")).to(real.values)))
            verdict = sundog.judge(real, fake, statistics=ROWS)
            cells = [verdict.p_value, *(verdict[row].p_value for row in ROWS)]
            words = (f"{p:.2g}" if p > 0.01 else f"**{p:.0e}**" for p in cells)
            print(f"| {name} | " + " | ".join(words) + " |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"hurst": hurst, "learned": learned, "eras": eras, "fit": fit, "judge": judge,
     "short": short}[sys.argv[1]](*sys.argv[2:])
