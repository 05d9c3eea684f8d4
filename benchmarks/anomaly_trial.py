"""One injection of a known signal into known background, and every method measured on it.

The ruler of the published comparisons: background and signal inside a window are known, an independent sample of
both tests the score, and the methods share the models that they have in common.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sundog.data.atomic import write_text
from sundog.data.dataset import Dataset
from sundog.errors import DataError, FileError, OptionError
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly.background.template import fit_template
from sundog.tasks.anomaly.checks.evaluation import SicCurve, sic_curve
from sundog.tasks.anomaly.detectors.anode import Anode
from sundog.tasks.anomaly.detectors.cathode import Cathode
from sundog.tasks.anomaly.detectors.cwola import CWoLa
from sundog.tasks.anomaly.detectors.lacathode import LaCathode
from sundog.tasks.anomaly.detectors.ranode import RAnode
from sundog.tasks.anomaly.detectors.references import IdealisedAD, Supervised
from sundog.tasks.anomaly.detectors.sigma import Sigma
from sundog.tasks.anomaly.detectors.transports import Curtains, RadOT, Transit, TransportSearch
from sundog.tasks.anomaly.regions import SignalRegion
from sundog.train.plan import Plan
from sundog.verdicts.twosample import classifier_two_sample

REGION = SignalRegion(3.3, 3.7)
COLUMNS = ("m_j1", "delta_m", "tau21_j1", "tau21_j2", "delta_r")
UNITS = ("TeV", "TeV", "", "", "")
INSIDE, INJECTED = 121_352, 772  # events in the window of the slides' benchmark: S/B = 0.636 %
AREA_ROWS = 115_000  # on each side of a template's test: its error is then 0.0012
GRID = np.geomspace(1e-4, 1.0, 81)  # background efficiencies at which curves are kept
FAST = Plan(steps=2000, batch=4096, precision="bf16")


@dataclass(eq=False)
class Trial:
    """Data with an injected signal, and what the truth is.

    Attributes
    ----------
    name : of the files of its results
    events : background of the whole spectrum with the injected signal
    background : true background inside the window, independent: for the idealised detector and to test templates
    test_background, test_signal : inside the window, independent of everything above
    seed : of all methods
    folder : of shared models and of results
    n_signal : signal events injected inside the window
    members : boostings in each ensemble
    quick : a tenth of the training, to see that everything runs
    """

    name: str
    events: Dataset
    background: Dataset
    test_background: Dataset
    test_signal: Dataset
    seed: int
    folder: Path
    n_signal: int
    members: int = 10
    quick: bool = False
    region: SignalRegion = REGION
    shared: dict[str, Any] = field(default_factory=dict)

    @property
    def true_fraction(self) -> float:
        """Share of signal among the events inside the window."""
        return self.n_signal / int(self.region.contains(self.events).sum())

    def plan(self, plan: Plan) -> Plan:
        """The plan, or a tenth of it in a quick trial."""
        return plan.with_(steps=max(20, (plan.steps or 2000) // 10)) if self.quick else plan

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """A model that several methods of this trial share; its CPU time is kept beside it."""
        if name not in self.shared:
            start = time.process_time()
            self.shared[name] = make()
            spent = self.folder / f"{self.name}-{name}.cpu.json"
            if not spent.exists():
                write_text(spent, json.dumps(time.process_time() - start))
        return self.shared[name]

    def cost(self, name: str) -> float:
        """CPU seconds that a shared model took when it was made, perhaps in an earlier session."""
        path = self.folder / f"{self.name}-{name}.cpu.json"
        return float(json.loads(path.read_text())) if path.exists() else 0.0

    def curve(self, detector: Any) -> SicCurve:
        """Significance improvement of a fitted detector on the test events."""
        parts = [detector.score_samples(e) for e in (self.test_background, self.test_signal)]
        return sic_curve(np.repeat([0, 1], [len(p) for p in parts]), torch.cat(parts))

    def template_area(self, detector: Any) -> tuple[float, float, int]:
        """Out-of-fold area of a classifier between true background and template at the same masses, its error, n.

        The mass stands among the columns: a wrong dependence on it must show.
        """
        rows = min(10_000 if self.quick else AREA_ROWS, int(self.region.contains(self.events).sum()))
        true = _together(self.test_background, self.background)[:rows]
        assert true.context is not None  # made by the loaders below
        drawn = detector.sample_background(len(true), true.context[:, 0], seed=self.seed + 7)
        found = classifier_two_sample(_with_mass(true), _with_mass(drawn), self.seed, folds=2)
        return found.auc, found.null_error, len(true)


def dijet_trial(data: Path, injection: int, folder: Path, *, features: int = 4, injected: int = INJECTED,
                members: int = 10, quick: bool = False, inside: int = INSIDE) -> Trial:
    """The slides' benchmark cut from LHC-Olympics-like events; another split and injection for each number.

    data: folder with ``dijets/lhcolike_dijets.npz``; features: 4, or 5 with the distance of the jets; inside: QCD
    events in the window.
    """
    path = data / "dijets" / "lhcolike_dijets.npz"
    if not path.exists():
        raise FileError("there are no LHC-Olympics-like events", got=str(path), expected="lhcolike_dijets.npz",
                        do="sundog simulate dijets, or set SUNDOG_DATA to the folder that holds dijets/")
    if features not in (4, 5):
        raise OptionError("the benchmark has four or five features", got=features, expected="4 | 5", do="pass 4")
    with np.load(path) as file:
        qcd, signal = file["qcd"][:, : features + 1], file["signal"][:, : features + 1]
    generator = np.random.default_rng(injection)
    qcd, signal = generator.permutation(qcd), generator.permutation(signal)
    cut, used = _rows_holding(qcd, inside // (10 if quick else 1)), _rows_holding(signal, injected)
    rest = _inside(qcd[cut:])[: 24_000 if quick else None]
    half = len(rest) // 2
    name = f"dijets{features}-{injected}-{injection}{'-quick' if quick else ''}"
    return Trial(name, _table(np.concatenate([qcd[:cut], signal[:used]])),
                 _table(rest[half:]), _table(rest[:half]), _table(_inside(signal[used:])), 100 * injection, folder,
                 injected, members, quick)


def toy_trial(injection: int, folder: Path, *, n: int = 378_500, w: float = 0.006, members: int = 10,
              quick: bool = False) -> Trial:
    """The same on the analytic toy: n events, a share w of those inside the window is signal on average."""
    toy = ResonantToy()
    n = n // 10 if quick else n
    share = 1 / (1 + (1 - w) / w / 0.3174)  # 31.74 % of the background and all of the signal lies inside
    events, truth = toy.events(n, share, 40_000 + injection), toy.truth(n, share, 40_000 + injection)
    counts = (40_000, 40_000, 4000) if quick else (1_130_000, 500_000, 40_000)
    draws = [toy.background(counts[0], 50_000 + injection), toy.background(counts[1], 60_000 + injection),
             toy.signal(counts[2], 70_000 + injection)]
    background, test_background, test_signal = (e[REGION.contains(e)] for e in draws)
    name = f"toy-{w:g}-{injection}{'-quick' if quick else ''}"
    return Trial(name, events, background, test_background, test_signal, 100 * injection, folder,
                 int((truth & REGION.contains(events)).sum()), members, quick)


def measure(trial: Trial, method: str) -> dict[str, Any]:
    """One row: the method fitted to the trial, its curve, its template and its cost. Loaded if measured before.

    ``cpu`` counts everything the method needs, shared models included; ``own`` what it needs beyond these.
    """
    path = trial.folder / f"{trial.name}-{method}.json"
    if path.exists():
        return dict(json.loads(path.read_text()))
    if method not in METHODS:
        raise OptionError("unknown method", got=method, expected=" | ".join(METHODS), do="choose among these")
    build, needs, has_template = METHODS[method]
    for name in needs:  # made first, so that their time is not counted twice
        trial.once(name, lambda name=name: SHARED[name](trial))  # type: ignore[misc]
    start = time.process_time()
    detector = build(trial)
    own = time.process_time() - start
    curve = trial.curve(detector)
    row: dict[str, Any] = {
        "trial": trial.name, "method": method, "seed": trial.seed, "n_signal": trial.n_signal, "quick": trial.quick,
        "members": trial.members,
        "true_fraction": trial.true_fraction, "n_background": int(trial.region.contains(trial.events).sum()),
        "max_sic": curve.max_sic, "cut": curve.cut, "own": own, "cpu": own + sum(trial.cost(name) for name in needs),
        "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    for fpr in (1e-2, 1e-3):
        if fpr >= curve.cut:
            row |= {f"sic {fpr:g}": curve.at(fpr), f"error {fpr:g}": curve.error(fpr)}
    grid = GRID[curve.cut <= GRID]
    row |= {"fpr": grid.tolist(), "sic": [curve.at(min(float(f), 1.0)) for f in grid]}
    if has_template:
        row |= dict(zip(("auc", "auc_error", "auc_n"), trial.template_area(detector)))
    if isinstance(detector, RAnode):
        core = detector.core_fraction_
        assert core is not None  # of a fitted search
        row |= {"w": core.value, "w_interval": (core.low_95, core.high_95), "evidence": detector.evidence_,
                "control": None if detector.control_ is None else detector.control_.value}
    trial.folder.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(row))
    return row


def _flow(trial: Trial, scaling: str = "standard") -> Any:
    name = "flow" if scaling == "standard" else f"flow-{scaling}"
    return fit_template(trial.events, trial.region, family="flow", seed=trial.seed, check=False, scaling=scaling,
                        plan=trial.plan(Plan(steps=1500, batch=1024)), out=trial.folder / f"{trial.name}-{name}")


def _sigma(trial: Trial) -> Any:
    """The one model of everything, as a detector of which only windows are opened."""
    search = Sigma(trial.region, seed=trial.seed, members=1, oversampling=0.02, check=False, plan=trial.plan(FAST),
                   out=trial.folder / f"{trial.name}-sigma")
    return search.fit(trial.events)


SHARED: dict[str, Callable[[Trial], Any]] = {
    "flow": _flow,
    "flow-logit": lambda trial: _flow(trial, "logit"),
    "flow-normal-scores": lambda trial: _flow(trial, "normal-scores"),
    "sigma": _sigma,
}


def _ideal(trial: Trial) -> Any:
    search = IdealisedAD(trial.region, seed=trial.seed, members=trial.members)
    return search.fit(trial.events, background=trial.background)


def _supervised(trial: Trial) -> Any:
    """Half of the test signal against the independent background; tested on the other half."""
    half = len(trial.test_signal) // 2
    x = torch.cat([trial.background.values, trial.test_signal.values[:half]])
    trial.test_signal = trial.test_signal[half:]
    return Supervised(trial.region, seed=trial.seed, members=trial.members).fit(x, torch.arange(len(x)) >=
                                                                                len(trial.background))


def _cathode(trial: Trial, family: str) -> Any:
    flow = family != "flow-matching"
    return Cathode(trial.region, seed=trial.seed, template="flow" if flow else family, members=trial.members,
                   check=False, plan=trial.plan(Plan(steps=1500, batch=1024) if flow else FAST),
                   scaling={"flow": "standard", "flow-matching": "logit"}.get(family, family.removeprefix("flow-")),
                   options={} if flow else {"sampling": "bf16", "sampling_steps": 10},
                   out=trial.folder / f"{trial.name}-{family}" if flow else None).fit(trial.events)


def _windowed(trial: Trial, how: str) -> Any:
    search = trial.shared["sigma"]
    search.members, search.oversampling = trial.members, 3.0
    return search.for_window(trial.region, how)


def _ranode(trial: Trial, background: str, **settings: Any) -> Any:
    """On a flow between edges more starts than usual: places where it is wrong outshine a signal of half a percent."""
    starts = 6 if background == "flow-normal-scores" else 20
    search = RAnode(trial.region, seed=trial.seed, background=trial.shared[background], starts=starts, **settings)
    return search.fit(trial.events)


def _on_flow(trial: Trial) -> Any:
    search = LaCathode(trial.region, seed=trial.seed, members=trial.members, check=False,
                       plan=trial.plan(Plan(steps=1500, batch=1024)), scaling="logit",
                       out=trial.folder / f"{trial.name}-flow-logit")
    return search.fit(trial.events)


def _simple(kind: Any, **settings: Any) -> Callable[[Trial], Any]:
    def build(trial: Trial) -> Any:
        given = {name: trial.plan(value) if isinstance(value, Plan) else value for name, value in settings.items()}
        if issubclass(kind, TransportSearch):
            given["members"] = trial.members
        return kind(trial.region, seed=trial.seed, **given).fit(trial.events)

    return build


# method -> how to fit it, which shared models it stands on, whether it draws a template
METHODS: dict[str, tuple[Callable[[Trial], Any], tuple[str, ...], bool]] = {
    "idealised": (_ideal, (), False),
    "sigma-context": (lambda t: _windowed(t, "context"), ("sigma",), True),
    "cathode-flow": (lambda t: _cathode(t, "flow"), ("flow",), True),
    "cathode-logit": (lambda t: _cathode(t, "flow-logit"), ("flow-logit",), True),
    "cathode-scores": (lambda t: _cathode(t, "flow-normal-scores"), ("flow-normal-scores",), True),
    "ranode": (lambda t: _ranode(t, "flow-normal-scores"), ("flow-normal-scores",), False),
    "ranode-flow": (lambda t: _ranode(t, "flow-normal-scores", signal="flow"), ("flow-normal-scores",), False),
    "ranode-logit": (lambda t: _ranode(t, "flow-logit"), ("flow-logit",), False),
    "ranode-plain": (lambda t: _ranode(t, "flow"), ("flow",), False),
    "sigma-none": (lambda t: _windowed(t, "none"), ("sigma",), True),
    "sigma-linear": (lambda t: _windowed(t, "linear"), ("sigma",), True),
    "supervised": (_supervised, (), False),
    "cathode-matching": (lambda t: _cathode(t, "flow-matching"), (), True),
    "sigma-sidebands": (lambda t: Sigma(t.region, seed=t.seed, members=t.members, interpolation="sidebands",
                                        check=False, plan=t.plan(FAST)).fit(t.events), (), True),
    "cwola": (_simple(CWoLa), (), False),
    "lacathode": (_on_flow, ("flow-logit",), False),
    "radot": (_simple(RadOT, check=False), (), True),
    "anode": (_simple(Anode, check=False, plan=Plan(steps=1500, batch=1024)), (), False),
    "curtains": (_simple(Curtains, check=False, plan=Curtains.default_plan), (), True),
    "transit": (_simple(Transit, check=False, plan=Transit.default_plan), (), True),
}


def _rows_holding(rows: np.ndarray, inside: int) -> int:
    """How many rows hold that many events inside the window."""
    counts = np.cumsum((rows[:, 0] > REGION.lo) & (rows[:, 0] < REGION.hi))
    if counts[-1] < inside:
        raise DataError("too few events inside the window", got=int(counts[-1]), expected=f"at least {inside}",
                        do="simulate more, or pass fewer injected events")
    return int(np.searchsorted(counts, inside)) + 1


def _inside(rows: np.ndarray) -> np.ndarray:
    return rows[(rows[:, 0] > REGION.lo) & (rows[:, 0] < REGION.hi)]


def _table(rows: np.ndarray) -> Dataset:
    d = rows.shape[1] - 1
    return Dataset.from_arrays(rows[:, 1:], rows[:, 0], COLUMNS[:d], UNITS[:d], context_names=("m_jj",),
                               context_units="TeV", held_out_fraction=0.0)


def _with_mass(part: Dataset) -> Tensor:
    assert part.context is not None  # every dataset of a search carries its mass
    return torch.cat([part.values, part.context], 1)


def _together(a: Dataset, b: Dataset) -> Dataset:
    assert a.context is not None and b.context is not None  # made by the loaders above
    return Dataset.from_arrays(torch.cat([a.values, b.values]), torch.cat([a.context, b.context]), a.names, a.units,
                               context_names=a.context_names, context_units=a.context_units, held_out_fraction=0.0)
