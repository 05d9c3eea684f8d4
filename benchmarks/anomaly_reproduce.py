"""What the published figures of resonance searches show, computed anew and drawn.

    python benchmarks/anomaly_reproduce.py --figure sic --injections 5       sic | nsig | samples | w | timing
    python benchmarks/anomaly_reproduce.py --figure samples --quick --out look

Events are LHC-Olympics-like di-jets where the data folder has them, else the analytic toy. Rows are stored one by
one; a second start goes on where the first was stopped. CPU time on one core: sic 5 minutes per injection, timing 5
minutes, nsig 8 minutes per injection, w 5 minutes per injection, samples 2 minutes; with --quick less than one each.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomaly_figures import (
    fractions_figure,
    samples_figure,
    sic_bands_figure,
    significance_figure,
    timing_figure,
)
from anomaly_trial import INJECTED, SHARED, Trial, dijet_trial, measure, toy_trial

from sundog.data.atomic import write_text
from sundog.data.dataset import Dataset
from sundog.errors import OptionError
from sundog.tasks.anomaly.detectors.ranode import RAnode

DRAWN = {"sic": sic_bands_figure, "nsig": significance_figure, "w": fractions_figure, "timing": timing_figure}
FIGURES = ("sic", "nsig", "samples", "w", "timing")
COMPARED = ("supervised", "idealised", "ranode", "cathode-logit", "sigma-context", "sigma-linear", "sigma-none",
            "sigma-sidebands", "anode", "cwola")
AGAINST_N = ("idealised", "ranode", "cathode-logit", "sigma-context")
TIMED = ("cathode-logit", "cathode-matching", "curtains", "radot", "transit", "sigma-context", "ranode")
# In the window; the slides inject 75 to 1000 over the whole spectrum.
COUNTS = (154, 232, 348, 463, INJECTED)
SAID = ("trial", "method", "n_signal", "true_fraction", "fixed", "w", "sic 0.001", "max_sic", "auc", "cpu")
SCANNED = (0.001, 0.002, 0.004, 0.0063, 0.01, 0.02, 0.04)  # fixed signal fractions


@dataclass(frozen=True)
class Order:
    """What to compute, where from and where to.

    Attributes
    ----------
    figure : ``sic``, ``nsig``, ``samples``, ``w`` or ``timing``
    folder : of rows and models
    data : folder that may hold ``dijets/lhcolike_dijets.npz``
    injections : how many, from number 0
    features : 4, or 5 with the distance of the jets
    quick : small samples and short training, to see that everything runs
    """

    figure: str
    folder: Path
    data: Path
    injections: int = 3
    features: int = 4
    quick: bool = False

    def __post_init__(self) -> None:
        if self.figure not in FIGURES or self.injections < 1:
            raise OptionError("nothing to reproduce", got=f"figure '{self.figure}', {self.injections} injections",
                              expected=f"{' | '.join(FIGURES)}, at least one injection", do="pass --figure sic")

    @property
    def on_dijets(self) -> bool:
        """Whether the di-jet events are there; else the toy stands in."""
        return (self.data / "dijets" / "lhcolike_dijets.npz").exists()

    def trial(self, injection: int, injected: int = INJECTED) -> Trial:
        """The trial of one injection, with that many signal events in the window."""
        settings: dict[str, Any] = {"members": 2 if self.quick else 5, "quick": self.quick}
        if self.on_dijets:
            return dijet_trial(self.data, injection, self.folder, features=self.features, injected=injected, **settings)
        return toy_trial(injection, self.folder, w=round(injected / 121_000, 5), **settings)


def rows(order: Order) -> Iterator[dict[str, Any]]:
    """The rows of a figure, each as soon as it is measured or found in the folder."""
    order.folder.mkdir(parents=True, exist_ok=True)
    if order.figure == "w":
        yield from _fractions(order)
        return
    counts = COUNTS if order.figure == "nsig" else (INJECTED,)
    methods = {"sic": COMPARED, "nsig": AGAINST_N, "timing": TIMED, "samples": ("ranode",)}[order.figure]
    for injection in range(order.injections if order.figure != "timing" else 1):
        for injected in counts[-2:] if order.quick else counts:
            trial = order.trial(injection, injected)
            # The supervised reference gives half of the test signal away, so it comes last.
            for method in sorted(methods, key="supervised".__eq__):
                yield measure(trial, method)


def signals(order: Order) -> dict[str, Dataset]:
    """What the figure of samples shows: data and true signal in the window, learned signal, templates."""
    trial = order.trial(0)
    search = RAnode(trial.region, seed=trial.seed, background=_shared(trial, "flow-normal-scores")).fit(trial.events)
    n = 20_000 if not order.quick else 2000
    model = _shared(trial, "sigma")
    drawn = {how: model.template_for(trial.region, how).sample(n, 1) for how in ("context", "linear", "none")}
    return {"data": trial.events[trial.region.contains(trial.events)], "true signal": trial.test_signal,
            "learned signal": search.sample_signal(5000, seed=1), "true background": trial.background,
            **{f"template, {how}": part for how, part in drawn.items()}}


def _fractions(order: Order) -> Iterator[dict[str, Any]]:
    """Learned w against true w, and the significance improvement at fixed fractions."""
    counts = (0, *COUNTS)
    for injection in range(order.injections):
        for injected in counts[:1] + counts[-1:] if order.quick else counts:
            yield _kept(order, f"w-{injection}-{injected}", injection, injected, None)
    for w in SCANNED[::3] if order.quick else SCANNED:
        yield _kept(order, f"scan-{w:g}", 0, INJECTED, w)


def _kept(order: Order, name: str, injection: int, injected: int, w: float | None) -> dict[str, Any]:
    path = order.folder / f"fraction-{name}{'-quick' if order.quick else ''}.json"
    if path.exists():
        return dict(json.loads(path.read_text()))
    trial = order.trial(injection, max(injected, 1))
    background = _shared(trial, "flow-normal-scores")
    search = RAnode(trial.region, seed=trial.seed, w=w, background=background).fit(trial.events)
    found = search.core_fraction_
    assert found is not None  # fit has been called
    row = {"method": "ranode", "fixed": w, "true_fraction": 0.0 if injected == 0 else trial.true_fraction,
           "w": found.value, "low_95": found.low_95, "high_95": found.high_95, "evidence": search.evidence_,
           "max_sic": trial.curve(search).max_sic}
    write_text(path, json.dumps(row))
    return row


def _shared(trial: Trial, name: str) -> Any:
    return trial.once(name, lambda: SHARED[name](trial))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", default="sic", choices=FIGURES)
    parser.add_argument("--out", type=Path, default=Path("reproduced"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--injections", type=int, default=3)
    parser.add_argument("--features", type=int, default=4, choices=(4, 5))
    parser.add_argument("--quick", action="store_true")
    o = parser.parse_args()
    order = Order(o.figure, o.out, o.data, o.injections, o.features, o.quick)
    print(f"events: {'LHC-Olympics-like di-jets' if order.on_dijets else 'analytic toy (no di-jets found)'}")
    found = []
    for row in rows(order):
        found.append(row)
        print("  ".join(f"{key} {short(row[key])}" for key in SAID if row.get(key) is not None), flush=True)
    picture = samples_figure(signals(order)) if o.figure == "samples" else DRAWN[o.figure](found)
    picture.savefig(o.out / f"{o.figure}.png", dpi=130)
    print(f"wrote {o.out / f'{o.figure}.png'}")


def short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
