"""The search: every window of a spectrum, one method, honest p-values.

Each window has its own folder, written whole or not at all: scores, the events that pass, template report. What joins
the windows (fits, p-values, look-elsewhere) is computed from these folders in seconds.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from torch import Tensor

from sundog.checks import one_of
from sundog.data.atomic import write_text
from sundog.data.dataset import Dataset
from sundog.data.parts import write_parts
from sundog.errors import OptionError, RunError
from sundog.tasks.anomaly.background.extent import searched
from sundog.tasks.anomaly.checks.sculpting import sculpting
from sundog.tasks.anomaly.detectors.anode import Anode
from sundog.tasks.anomaly.detectors.cathode import Cathode
from sundog.tasks.anomaly.detectors.cwola import CWoLa
from sundog.tasks.anomaly.detectors.lacathode import LaCathode
from sundog.tasks.anomaly.detectors.prior import FamilySearch
from sundog.tasks.anomaly.detectors.ranode import RAnode
from sundog.tasks.anomaly.detectors.sigma import Sigma
from sundog.tasks.anomaly.detectors.transports import Curtains, RadOT, Transit
from sundog.tasks.anomaly.regions import SignalRegion, gather, mass_column
from sundog.tasks.anomaly.scan.bump import BumpFit, common_edges, fit_bump
from sundog.tasks.anomaly.scan.crossfit import CrossFit, Make, background_events, cross_fitted, deal, refitted
from sundog.tasks.anomaly.scan.found import LEFT, ScanResult, doubts, joined
from sundog.train.plan import Plan

METHODS: dict[str, Any] = {"cathode": Cathode, "sigma": Sigma, "ranode": RAnode, "anode": Anode, "cwola": CWoLa,
                           "curtains": Curtains, "radot": RadOT, "transit": Transit, "lacathode": LaCathode,
                           "prior": FamilySearch}
MEMBERS = 4
CONTROL = 3.0  # template events per data event that are sent through the cut, to see what it sculpts
MOST_CONTROL = 200_000
EXCESS, MORE = 2.5, 4  # standard deviations from which the control is larger, and how much
SHARED = "generator"  # folder of a model that serves all windows


@dataclass(frozen=True)
class ScanPlan:
    """What a scan does, apart from the events: everything that decides its numbers.

    Attributes
    ----------
    windows : the signal regions, in the order of their folders
    method : one of ``METHODS``, or a function (region, seed) -> detector
    settings : of the detector, by name
    efficiency : share of the background beside the window that the cut keeps
    folds : of the cross-fitting
    members : boostings in each classifier, 4 when None; a method that grows no trees takes none
    control : whether to send template events through the cut, to see what it sculpts
    seed : window i uses seed + 1000 i
    start, stop : ends of the spectrum that is searched; found where None, see ``extent``
    """

    windows: tuple[SignalRegion, ...]
    method: str | Callable[[SignalRegion, int], Any] = "sigma"
    settings: dict[str, Any] = field(default_factory=dict)
    efficiency: float = 0.01
    folds: int = 5
    members: int | None = None
    control: bool = True
    seed: int = 0
    start: float | None = None
    stop: float | None = None

    def __post_init__(self) -> None:
        if not self.windows:
            raise OptionError("nothing to scan", got="no window", expected="at least one SignalRegion",
                              do="pass [SignalRegion(3.3, 3.7)] or sliding_windows(...)")
        if isinstance(self.method, str) and self.method not in METHODS:
            raise OptionError("unknown method", got=self.method, expected=" | ".join(METHODS), do="choose one")
        if not 0 < self.efficiency < 1:
            raise OptionError("background efficiency out of range", got=self.efficiency, expected="0 < efficiency < 1",
                              do="pass e.g. 0.01")
        build = METHODS.get(self.method) if isinstance(self.method, str) else None
        if build is not None and self.members is not None and not hasattr(build, "members"):
            raise OptionError(f"method '{self.method}' grows no trees", got=f"members={self.members}",
                              expected="no number of them", do="leave members out (--members)")
        if self.folds < 2 or self.boostings < 1:
            raise OptionError("cross-fitting is unusable", got=f"folds={self.folds}, members={self.members}",
                              expected="folds >= 2, members >= 1", do="leave them out")
        for name, value in self.settings.items():
            if name in ("folds", "members") and hasattr(build, name):
                # The cross-fitting would overrule it.
                raise OptionError("the cross-fitting decides this", got=f"{name} in the settings of {self.method}",
                                  expected=f"{name} beside the settings", do=f"pass {name}={value}, or on the command "
                                  f"line --{name} {value}")
        if len({region.unit for region in self.windows}) > 1:
            raise OptionError("the windows have several units", got=", ".join(r.unit for r in self.windows),
                              expected="one", do="give all windows in the unit of the mass")

    def identity(self, events: Dataset) -> dict[str, Any]:
        """Everything that decides the numbers, as JSON: two scans with the same identity give the same result."""
        name = self.method if isinstance(self.method, str) else \
            getattr(self.method, "__qualname__", type(self.method).__qualname__)
        plain = json.loads(json.dumps(self.settings, default=str, sort_keys=True))
        return {"data": events.fingerprint(), "events": len(events), "method": name, "settings": plain,
                "windows": [asdict(region) for region in self.windows], "efficiency": self.efficiency,
                "folds": self.folds, "members": self.boostings, "control": self.control, "seed": self.seed,
                "start": self.start, "stop": self.stop}

    def maker(self, shared: Path | None) -> Make:
        """(region, seed) -> an unfitted detector; ``shared`` is the folder of a model that serves all windows."""
        if not isinstance(self.method, str):
            return self.method
        build, settings = METHODS[self.method], dict(self.settings)
        taken = [f.name for f in fields(build) if f.init and f.name not in ("region", "seed", "out")]
        for name in settings:
            one_of(name, taken, f"setting of {self.method}")
        if isinstance(settings.get("plan"), dict):  # of the command line
            settings["plan"] = Plan(**settings["plan"])
        if not isinstance(settings.get("plan"), Plan | None):
            raise OptionError("this is no plan of a training", got=repr(settings["plan"]), expected="Plan(steps=500), "
                              "or on the command line a JSON object", do="""write --set 'plan={"steps": 500}'""")
        if self.serves_all:
            settings["out"] = shared
        if build in (CWoLa, FamilySearch):  # fitted whole in every fold
            settings["members"] = self.boostings

        def make(region: SignalRegion, seed: int) -> Any:
            try:
                # A model of everything is the same for every window: its seed is that of the scan.
                return build(region, seed=self.seed if self.serves_all else seed, **settings)
            except TypeError as error:
                raise OptionError(f"method '{self.method}' does not take this", got=str(error),
                                  expected=f"its own settings: {', '.join(taken)}",
                                  do="check their types") from error

        return make

    @property
    def boostings(self) -> int:
        """``members``, settled."""
        return MEMBERS if self.members is None else self.members

    @property
    def serves_all(self) -> bool:
        """Whether one trained model gives the templates of all windows."""
        return hasattr(METHODS.get(self.method) if isinstance(self.method, str) else None, "for_window") \
            and self.settings.get("interpolation") != "sidebands"

    def shared_model(self, folder: Path) -> Sigma | None:
        """A detector whose one model in ``folder`` serves all windows: the method, or what its control borrows."""
        detector = self.maker(folder)(self.windows[0], self.seed)
        if self.serves_all:
            return detector
        known = isinstance(detector, RAnode) and callable(detector.background)  # a density that cannot be drawn from
        return Sigma(self.windows[0], self.seed, check=False, out=folder) \
            if self.control and (known or (refitted(detector) and not hasattr(detector, "template_"))) else None


def scan(events: Any, windows: Sequence[SignalRegion], method: Any = "sigma", out: str | Path | None = None, *,
         efficiency: float = 0.01, folds: int = 5, members: int | None = None, settings: dict[str, Any] | None = None,
         control: bool = True, pseudo_experiments: int = 1000, seed: int = 0, start: float | None = None,
         stop: float | None = None, workers: int = 0, scheduler: str | None = None, progress: bool = False
         ) -> ScanResult:
    """The result of searching every window: spectra after the cut, fits, local and global p-values.

    In each window every event is scored by a detector that never saw it; the cut keeps a share ``efficiency`` of the
    events beside the window; a smooth curve through what remains there predicts the count inside.

    Parameters
    ----------
    events : Dataset with the mass as only context, or (x, m); the whole spectrum
    windows : SignalRegion each; ``sliding_windows`` makes a set
    method : one of ``METHODS`` or a function (region, seed) -> detector with ``fit`` and ``score_samples``
    out : folder; a scan that was stopped goes on there. Nothing is kept when None
    settings : of the detector, e.g. {"plan": Plan(steps=500)}
    efficiency, folds, members, control, seed, start, stop : see ``ScanPlan``
    pseudo_experiments : background-only scans for the p-values
    workers, scheduler : local processes, or address of a dask cluster; see ``write_parts``
    progress : show a bar on stderr

    Raises
    ------
    DataError, SampleSizeError, ShapeError : unusable events, or a window that does not fit them: before any training.
    RunError : ``out`` holds another scan.

    Example
    -------
    >>> from sundog.simulate.densities import ResonantToy
    >>> from sundog.tasks.anomaly import CWoLa
    >>> events = ResonantToy().events(8000, 0.05, seed=0)
    >>> found = scan(events, [SignalRegion(3.3, 3.7)], "cwola", members=1, folds=2, control=False,
    ...              efficiency=0.05, pseudo_experiments=200)
    >>> found.best.p_local < 0.01
    True
    """
    plan = ScanPlan(tuple(windows), method, settings or {}, efficiency, folds, members, control, seed, start, stop)
    data = checked(events, plan)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()) if out is None else out)
        prepare(data, plan, folder)
        tell = stack.enter_context(_bar(progress, plan))
        write_parts(folder, names(plan), search_window, (data, plan, folder / SHARED), workers=workers,
                    scheduler=scheduler, done=tell)
        return joined(folder, names(plan), data, plan.identity(data), pseudo_experiments)


def scan_one(events: Any, plan: ScanPlan, index: int, out: str | Path) -> Path:
    """The folder of window ``index``, after it was searched: one job of an array. ``scan`` joins them later.

    Raises
    ------
    OptionError : no window of that index.
    """
    if not 0 <= index < len(plan.windows):
        raise OptionError("no such window", got=index, expected=f"0 to {len(plan.windows) - 1}",
                          do="see the windows in scan.json")
    data, folder = checked(events, plan), Path(out)
    prepare(data, plan, folder)
    return write_parts(folder, names(plan)[index : index + 1], search_window, (data, plan, folder / SHARED))[0]


def checked(events: Any, plan: ScanPlan) -> Dataset:
    """The events that are searched, see ``searched``, after every window was checked against them."""
    parts = events if isinstance(events, tuple) else (events,)
    data = gather(*parts, unit=plan.windows[0].unit)
    if isinstance(events, Dataset) and events.context is not None:  # the mass keeps its name in figures and pages
        data = replace(data, context_names=events.context_names[:1], provenance=events.provenance)
    data = searched(data, plan.start, plan.stop)
    make = plan.maker(None)
    for i, region in enumerate(plan.windows):
        region.check(data)
        if refitted(make(region, plan.seed)):
            fold = deal(len(data), plan.folds, plan.seed + 1000 * i)
            for k in range(plan.folds):
                region.check(data[fold != k])
    return data


def prepare(events: Dataset, plan: ScanPlan, folder: Path) -> None:
    """Nothing, after ``folder`` was marked as the place of this scan, and a model for all windows trained there.

    Raises
    ------
    RunError : another scan has been there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    marked, identity = folder / "scan.json", plan.identity(events)
    if marked.exists():
        before = json.loads(marked.read_text())
        other = [key for key, value in identity.items() if before.get(key) != value]
        if other:
            raise RunError(f"{folder} holds another scan", got=f"other {', '.join(other)}",
                           expected="the same events, windows and settings", do="choose another folder")
    else:
        write_text(marked, json.dumps(identity, indent=1))
    detector = plan.shared_model(folder / SHARED)
    if detector is not None and not (folder / SHARED / "fitted").exists():
        detector.make_template(events)
        write_text(folder / SHARED / "fitted", "")


def names(plan: ScanPlan) -> list[str]:
    """The folders of the windows: window_000, window_001 ..."""
    return [f"window_{i:03d}" for i in range(len(plan.windows))]


def search_window(path: Path, key: str, shared: tuple[Dataset, ScanPlan, Path]) -> None:
    """Fill the folder of one window: ``window.json``, ``arrays.npz``, and ``signal.npz`` where the method knows it."""
    events, plan, model = shared
    start, index = time.process_time(), int(key.rpartition("_")[2])
    region, seed = plan.windows[index], plan.seed + 1000 * index
    fit = cross_fitted(plan.maker(model), events, region, folds=plan.folds, members=plan.boostings, seed=seed)
    borrowed = None if plan.serves_all or not plan.control else plan.shared_model(model)
    if borrowed is not None:
        borrowed.region = region
        borrowed.template_ = borrowed.make_template(events)  # its model is read from the folder
    thresholds, passed, control = cut(fit, events, region, plan.efficiency, seed, plan.control, borrowed)
    arrays = {"score": fit.score.float().numpy(), "passed": passed.numpy()}
    if control is not None:
        arrays |= {"control_m": control[0].numpy(), "control_passed": control[1].numpy()}
    facts: dict[str, Any] = {"window": asdict(region), "thresholds": thresholds.tolist(), "template": None,
                             "fraction": None, "seconds": 0.0, "told": getattr(fit.detector, "told_", "")}
    report = getattr(fit.detector, "template_report_", None)
    if report is not None:
        facts["template"] = {**asdict(report), "passed": report.passed}
    if getattr(fit.detector, "fraction_", None) is not None:
        facts["fraction"] = {**asdict(fit.detector.fraction_), "evidence": fit.detector.evidence_}
        fit.detector.sample_signal(5000, seed=seed).save(path / "signal.npz")
    np.savez_compressed(path / "arrays.npz", **arrays)  # type: ignore[arg-type]
    facts["seconds"] = round(time.process_time() - start, 2)
    (path / "window.json").write_text(json.dumps(facts, indent=1))


def cut(fit: CrossFit, events: Dataset, region: SignalRegion, efficiency: float, seed: int, control: bool = True,
        other: Sigma | None = None) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
    """Thresholds (folds,); which events they keep, (n,); masses of template events and which of these they keep."""
    thresholds = fit.thresholds(region.sidebands(events), efficiency)
    passed = fit.score > thresholds[fit.fold]
    n = min(round(CONTROL * len(events)), MOST_CONTROL)
    if control and _fits(events, region, passed)[1].significance > EXCESS:
        n *= MORE
    drawn = background_events(fit, events, region, n, seed + 7, other) if control else None
    kept = None if drawn is None else (drawn.context[:, 0], fit.passing(drawn, thresholds, seed + 8))  # type: ignore
    return thresholds, passed, kept


def _fits(events: Dataset, region: SignalRegion, passed: Tensor) -> tuple[BumpFit, BumpFit]:
    """Of this one window: before the cut, and after."""
    mass = mass_column(events)
    edges = common_edges(mass, [region])
    before = fit_bump(mass, region, edges)
    return before, fit_bump(mass[passed], region, edges, before)


def doubted(fit: CrossFit, events: Dataset, region: SignalRegion, efficiency: float, seed: int
            ) -> list[tuple[str, str]]:
    """Why an excess above the curves of this one window would not be trusted, and what to do: the tests of ``scan``.

    A method without a template is tested beside the window alone; ``scan`` borrows one for it.
    """
    _, passed, control = cut(fit, events, region, efficiency, seed)
    before, after = _fits(events, region, passed)
    return doubts(before, after, sculpting(mass_column(events), passed, after, control), after.significance > LEFT)


class _bar:
    """A bar of windows on stderr, or silence; as a context gives the function that moves it."""

    def __init__(self, on: bool, plan: ScanPlan) -> None:
        self.bar = Bar(TextColumn("windows"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                       console=Console(stderr=True), disable=not on)
        self.task = self.bar.add_task("windows", total=len(plan.windows))

    def __enter__(self) -> Callable[[int, int], object]:
        self.bar.start()
        return lambda complete, whole: self.bar.update(self.task, completed=complete)

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

