"""What a scan found: one entry per window, the p-values that join them, and the words for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from sundog.data.dataset import Dataset
from sundog.data.files import load
from sundog.data.formats.raw import unreadable
from sundog.errors import OptionError, ShapeError
from sundog.results import Result
from sundog.tasks.anomaly.background.template import TemplateReport
from sundog.tasks.anomaly.checks.fraction import SignalFraction
from sundog.tasks.anomaly.checks.sculpting import Sculpting, sculpting
from sundog.tasks.anomaly.detectors.ranode import RAnode
from sundog.tasks.anomaly.regions import SignalRegion, mass_column
from sundog.tasks.anomaly.scan.bump import BumpFit, Peak, common_edges, fit_bump, locate
from sundog.tasks.anomaly.scan.closed import EVOLVED
from sundog.tasks.anomaly.scan.laws import LawFit
from sundog.tasks.anomaly.scan.significance import LookElsewhere, look_elsewhere

POOR_FIT = 1e-3  # p-value below which no smooth curve describes a spectrum
DEFICIT = -1.5  # standard deviations below which a window beside a resonance is explained
MOST_LAWS, WORSE = 8, 6.0  # printed, and up to which -2 ln L + 2 per coefficient above the best
LEFT = 3.0  # standard deviations of an excess beside the spurious signal: with fewer it is not trusted
CLAIMED = 1.35e-3  # global p-value below which the word "evidence" is used: three standard deviations


@dataclass(frozen=True, eq=False)
class WindowResult:
    """What was found in one window.

    Attributes
    ----------
    region : the window
    before, fit : spectrum of all events, and of those that pass the cut
    p_local : probability of such a count without signal, in this window
    p_global : the same for the best of all windows
    p_global_error : from the number of pseudo-experiments; 0 where the tail is extrapolated
    sculpting : how far the cut shapes the background
    template : its test on sideband events, where the method has a template
    fraction, fraction_evidence : signal fraction before the cut, where the method measures it
    peak : mass and width of the excess, where there is one
    score : (n,) of every event, by a detector that never saw it
    passed : (n,) which events the cut keeps
    signal : draws of the learned signal, where the method knows its density
    seconds : CPU time
    beside : what a resonance in another window does to this one, in words
    told : what the method says of the signal, in words
    """

    region: SignalRegion
    before: BumpFit
    fit: BumpFit
    p_local: float
    p_global: float
    p_global_error: float
    sculpting: Sculpting
    template: TemplateReport | None
    fraction: SignalFraction | None
    fraction_evidence: bool
    peak: Peak | None
    score: np.ndarray
    passed: np.ndarray
    signal: Dataset | None
    seconds: float
    beside: str = ""
    told: str = ""

    @property
    def z_local(self) -> float:
        """``p_local`` in standard deviations."""
        return float(norm.isf(self.p_local))

    @property
    def z_global(self) -> float:
        """``p_global`` in standard deviations."""
        return float(norm.isf(self.p_global))

    @property
    def doubts(self) -> list[tuple[str, str]]:
        """Why an excess here would not be trusted, and for each reason what to do."""
        return doubts(self.before, self.fit, self.sculpting, self.p_global <= CLAIMED)

    @property
    def remarks(self) -> list[str]:
        """What to know before believing this window."""
        said = [because for because, _ in self.doubts]
        if self.template is not None and not self.template.passed:
            auc = f"{self.template.auc:.3f} +- {self.template.auc_error:.3f}"
            said.append(f"the template is {self.template.quality}: AUC {auc}; the search loses sensitivity")
        return [*said, *filter(None, (self.told, self.beside))]

    @property
    def trusted(self) -> bool:
        """Whether an excess here could be a signal: the cut does not sculpt, and curves fit beside the window."""
        return not self.doubts

    def facts(self) -> dict[str, Any]:
        """The numbers, JSON-able."""
        shape, f = self.sculpting, self.fraction
        return {
            "lo": self.region.lo, "hi": self.region.hi, "unit": self.region.unit, "observed": self.fit.observed,
            "expected": self.fit.expected, "expected_error": self.fit.expected_error, "degree": self.fit.degree,
            "laws": {law.name: [law.expected, law.error, law.worse, law.p_better, law.spurious]
                     for law in self.before.laws},
            "p_fit": self.fit.p_fit, "z_asymptotic": self.fit.significance, "p_local": self.p_local,
            "z_local": self.z_local, "p_global": self.p_global, "p_global_error": self.p_global_error,
            "z_global": self.z_global, "sculpted": shape.sculpted, "spurious": shape.spurious,
            "spurious_error": shape.spurious_error, "left": shape.left,
            "curvature": shape.curvature, "trusted": self.trusted,
            "template_auc": None if self.template is None else self.template.auc,
            "template_auc_error": None if self.template is None else self.template.auc_error,
            "template_passed": None if self.template is None else self.template.passed,
            "signal_fraction": None if f is None else f.value,
            "interval_68": None if f is None else [f.low, f.high],
            "interval_95": None if f is None else [f.low_95, f.high_95],
            "fraction_evidence": self.fraction_evidence,
            "peak": None if self.peak is None else [self.peak.mass, self.peak.mass_error],
            "width": None if self.peak is None else [self.peak.width, self.peak.width_error],
            "remarks": self.remarks, "seconds": self.seconds,
        }


def doubts(before: BumpFit, fit: BumpFit, shape: Sculpting, claimed: bool) -> list[tuple[str, str]]:
    """Why an excess in a window would not be trusted, and for each reason what to do: see ``WindowResult``.

    claimed : whether the excess would otherwise be evidence: then what is left beside the spurious signal counts too
    """
    found = []
    if shape.sculpted:
        found.append((f"the cut sculpts the background: {shape}",
                      "leave out the features that follow the mass, or " +
                      ("ask template events: scan with the control (without --no-control)" if shape.spurious is None
                       else "search with method lacathode")))
    elif claimed and shape.left is not None and shape.left < LEFT:
        found.append((f"{shape.left:.1f} sigma are left of it beside what the cut may carve, a spurious signal of "
                      f"{shape.spurious:+.0f} +- {shape.spurious_error:.0f} events on the template",
                      f"quote the {shape.left:.1f} sigma, or search more events"))
    span = "choose another range (--from and --to; start and stop)"
    for spectrum, which, do in ((before, "the spectrum", span),
                                (fit, "the selected spectrum", f"cut at another efficiency, or {span}")):
        if spectrum.p_fit < POOR_FIT:
            found.append((f"no smooth curve describes {which} beside the window (p = {spectrum.p_fit:.1g})", do))
    if before.laws and before.laws[0].name.startswith(EVOLVED):  # docs/scan.md: Z scatters by 1.7 there
        found.append(("no law of the list describes the spectrum beside the window, and the error of an evolved "
                      f"one ({before.laws[0].name}) is too small", span))
    return found


def _law_table(region: SignalRegion, laws: Sequence[LawFit]) -> list[str]:
    """Laws of the spectrum beside a window that the data do not tell apart, with their tests; how many others."""
    shown = [law for law in laws if law.worse < WORSE][:MOST_LAWS]
    lines = [f"laws beside {region.lo:g} to {region.hi:g}",
             f"{'':>21}{'expected inside':>18}{'spurious':>10}{'worse':>7}  last coefficient"]
    lines += [f"{law.name:>21}{f'{law.expected:.1f} +- {law.error:.1f}':>18}{law.spurious:>+10.1f}{law.worse:>7.1f}"
              + ("" if law.p_better is None else f"  p = {law.p_better:.2g}") for law in shown]
    if rest := laws[len(shown):]:
        lines.append(f"{len(rest)} further laws, worse by {rest[0].worse:.1f} or more")
    return lines


@dataclass(frozen=True, eq=False)
class ScanResult(Result):
    """All windows of a scan.

    Attributes
    ----------
    windows : in the order of the regions
    look : the pseudo-experiments
    events : what was searched
    identity : method and settings
    """

    windows: tuple[WindowResult, ...]
    look: LookElsewhere
    events: Dataset
    identity: dict[str, Any]

    @property
    def best(self) -> WindowResult:
        """The most significant of the trusted windows; of all where none is trusted."""
        trusted = [window for window in self.windows if window.trusted]
        return max(trusted or self.windows, key=lambda window: window.fit.significance)

    @property
    def evidence(self) -> bool:
        """Whether the best window is trusted and its global significance is three or more."""
        return self.best.trusted and self.best.p_global <= CLAIMED

    @property
    def doubted(self) -> WindowResult | None:
        """The most significant excess of three global standard deviations that is not trusted; None without one."""
        found = [window for window in self.windows if not window.trusted and window.p_global <= CLAIMED]
        return max(found, key=lambda window: window.fit.significance, default=None)

    @property
    def verdict(self) -> str:
        """``evidence``, ``not trusted`` or ``no excess``: see ``summary``."""
        return "evidence" if self.evidence else "no excess" if self.doubted is None else "not trusted"

    @property
    def notes(self) -> tuple[str, ...]:
        """Which events were searched: the range with its reason, copies."""
        said, mass = tuple(self.events.provenance.get("searched", ())), mass_column(self.events)
        if any(note.startswith("range ") for note in said):
            return said
        return (f"range {float(mass.min()):.4g} to {float(mass.max()):.4g}: all of the data", *said)

    def summary(self) -> str:
        """The verdict in one line: *evidence*; *excess that is not trusted, because ...*, and what to do; *no excess*.

        *Evidence*: the best window is trusted and its global significance is three or more. *Not trusted*: as
        significant, but the curve or the cut alone may have made it. *No excess*: neither.
        """
        if self.evidence:
            return f"evidence for a resonance{self._told(self.best)}"
        if self.doubted is not None:
            because, do = zip(*self.doubted.doubts)
            return (f"excess that is not trusted{self._told(self.doubted)}; not trusted, because "
                    f"{' and '.join(because)}. What to do: {'; or '.join(do)}")
        return f"no excess; the largest is{self._told(self.best, place=False)}"

    def _told(self, window: WindowResult, place: bool = True) -> str:
        unit, peak, f = f" {window.region.unit}".rstrip(), window.peak if place else None, window.fraction
        at = "" if peak is None else f" at {measured(peak.mass, peak.mass_error)}{unit}"
        fraction = "" if f is None or not place else f"; signal fraction there {percent(f)}"
        return (f"{at} in {window.region.lo:g} to {window.region.hi:g}{unit}: local {window.z_local:.1f}, global "
                f"{window.z_global:.1f} sigma, {window.fit.observed} events on {window.fit.expected:.0f} +- "
                f"{window.fit.expected_error:.0f}{fraction}")

    def __str__(self) -> str:
        lines = [f"{'window':>16} {'events':>7} {'expected':>16} {'local':>6} {'global':>7}  remarks"]
        for window in self.windows:
            expected = f"{window.fit.expected:.1f} +- {window.fit.expected_error:.1f}"
            remark = "SCULPTED" if window.sculpting.sculpted else "" if window.trusted else \
                "POOR FIT" if doubts(window.before, window.fit, window.sculpting, False) else "MAY BE CARVED"
            remark = f"{remark} BESIDE".strip() if window.beside else remark
            if window.template is not None and not window.template.passed:
                remark = f"{remark} poor template".strip()
            lines.append(f"{window.region.lo:>7g} to {window.region.hi:<5g} {window.fit.observed:>7} {expected:>16} "
                         f"{window.z_local:>6.1f} {window.z_global:>7.1f}  {remark}".rstrip())
        told = [f"{w.region.lo:g} to {w.region.hi:g}: {w.beside}" for w in self.windows if w.beside]
        best = self.best
        laws = _law_table(best.region, best.before.laws) if best.before.laws else []
        return "\n".join([*self.notes, *lines, *told, *laws, f"the cut: {best.sculpting}", self.summary()])

    def facts(self) -> dict[str, Any]:
        """Every number, JSON-able."""
        return {**self.identity, "evidence": self.evidence, "verdict": self.verdict, "notes": list(self.notes),
                "summary": self.summary(), "best": self.windows.index(self.best),
                "pseudo_experiments": len(self.look.z_null),
                "trials": self.look.trials, "results": [window.facts() for window in self.windows]}

    def to_json(self) -> str:
        """``facts`` as text."""
        return json.dumps(self.facts(), indent=1)

    def with_signal(self, search: RAnode, draws: int = 5000) -> ScanResult:
        """The same result, with the fraction and the signal that a fitted R-ANODE search learned in the best window.

        Raises
        ------
        OptionError : a search in another window.
        """
        best = self.best
        if search.region != best.region or search.fraction_ is None:
            raise OptionError("this search does not belong to the best window", got=search.region, expected=best.region,
                              do="fit RAnode(found.best.region)")
        told = replace(best, fraction=search.fraction_, fraction_evidence=search.evidence_,
                       signal=search.sample_signal(draws, seed=search.seed))
        return replace(self, windows=tuple(told if window is best else window for window in self.windows))


def joined(folder: Path, names: Sequence[str], events: Dataset, identity: dict[str, Any],
           pseudo_experiments: int) -> ScanResult:
    """The result of a scan from the folders of its windows."""
    parts = [_read(folder / name) for name in names]
    regions = [SignalRegion(**facts["window"]) for facts, _ in parts]
    mass = mass_column(events)
    edges = common_edges(mass, regions)
    before = [_described(mass, region, edges, identity["seed"]) for region in regions]
    passed = np.stack([arrays["passed"] for _, arrays in parts], 1)
    fits = [fit_bump(mass[passed[:, i]], region, edges, before[i]) for i, region in enumerate(regions)]
    look = look_elsewhere(fits, passed, mass.numpy(), pseudo_experiments, seed=identity["seed"])
    p_local = look.p_local
    windows = []
    for i, (facts, arrays) in enumerate(parts):
        control = (arrays["control_m"], arrays["control_passed"]) if "control_m" in arrays else None
        template, fraction = facts["template"], dict(facts["fraction"] or {})
        if template is not None:
            template = TemplateReport(**{k: v for k, v in template.items() if k != "passed"})
        claimed = bool(fraction.pop("evidence", False))
        signal = folder / names[i] / "signal.npz"
        z = fits[i].significance
        windows.append(WindowResult(
            regions[i], before[i], fits[i], float(p_local[i]), look.p_global(z), look.p_global_error(z),
            sculpting(mass, passed[:, i], fits[i], control), template,
            SignalFraction(**fraction) if fraction else None, claimed, locate(mass[passed[:, i]], fits[i]),
            arrays["score"], passed[:, i], load(signal) if signal.exists() else None, facts["seconds"],
            told=facts.get("told", "")))
    windows = [replace(window, beside=_beside(window, windows)) for window in windows]
    return ScanResult(tuple(windows), look, events, identity)


def _described(mass: Any, region: SignalRegion, edges: np.ndarray, seed: int) -> BumpFit:
    """The fit of a whole spectrum, by evolved laws where no law of the list describes it."""
    fit = fit_bump(mass, region, edges)
    return fit if fit.p_fit >= POOR_FIT or edges[0] <= 0 else fit_bump(mass, region, edges, evolved=True, seed=seed)


def _beside(window: WindowResult, windows: Sequence[WindowResult]) -> str:
    """What the largest excess does to a window that has it in its sidebands, where that window shows it."""
    largest = max(windows, key=lambda other: other.fit.significance)
    apart = window.region.lo >= largest.region.hi or window.region.hi <= largest.region.lo
    if largest.p_global > CLAIMED or window is largest or not apart:
        return ""
    place = f"the excess in {largest.region.lo:g} to {largest.region.hi:g} lies beside this window"
    if window.fit.significance < DEFICIT:
        return f"{place} and lifts the curve through its sidebands: so the deficit"
    return "" if window.trusted else f"{place}: no smooth curve passes through it"


def measured(value: float, error: float) -> str:
    """Value and error with two digits of the error.

    Example
    -------
    >>> measured(3.4876, 0.0123), measured(3.4876, float("inf"))
    ('3.488 +- 0.012', '3.49, error unknown')
    """
    if not 0 < error < np.inf:
        return f"{value:.3g}, error unknown"
    digits = max(0, 1 - int(np.floor(np.log10(error))))
    return f"{value:.{digits}f} +- {error:.{digits}f}"


def percent(fraction: SignalFraction) -> str:
    """``0.61 % (95 %: 0.42 to 0.83 %)``.

    Example
    -------
    >>> percent(SignalFraction(0.006, 0.005, 0.007, 0.004, 0.008, 30.0, 1000))
    '0.6 % (95 %: 0.4 to 0.8 %)'
    """
    value, low, high = (f"{100 * w:.2g}" for w in (fraction.value, fraction.low_95, fraction.high_95))
    return f"{value} % (95 %: {low} to {high} %)"


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        facts = json.loads((folder / "window.json").read_text())
        with np.load(folder / "arrays.npz", allow_pickle=False) as archive:
            return facts, {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError) as error:
        raise unreadable(folder, f"a damaged window ({error})", "delete this folder and scan again") from error


def look_together(scans: Sequence[ScanResult], pseudo_experiments: int = 1000, seed: int = 0) -> LookElsewhere:
    """One look at scans of overlapping selections of the same events, such as windows of a second mass.

    Its windows are those of the first scan, then of the second, and so on; ``p_global`` of it is the one p-value of the
    search. An event that several scans saw is recognised by its numbers, and drawn once in a pseudo-experiment. For
    selections without common events ``channels`` also looks at their sums.

    Raises
    ------
    ShapeError : scans of other columns.

    Example
    -------
    >>> from sundog.simulate.densities import ResonantToy
    >>> from sundog.tasks.anomaly.scan.search import scan
    >>> events = ResonantToy().events(9000, 0.0, seed=0)
    >>> light, heavy = (events[events.values[:, 0] < 1], events[events.values[:, 0] > -1])
    >>> found = look_together([scan(part, [SignalRegion(3.3, 3.7)], "cwola", members=1, folds=2,
    ...                             control=False, pseudo_experiments=100) for part in (light, heavy)], 100)
    >>> len(found.z), bool(found.p_global() > 0.01)
    (2, True)
    """
    if len({scan.events.names for scan in scans}) != 1:
        raise ShapeError("the scans are not of the same events", got=f"{len(scans)} scans, other columns",
                         expected="selections of one set of events", do="scan parts of one Dataset, as events[mask]")
    tables = [np.column_stack([scan.events.values.numpy(), mass_column(scan.events).numpy()]) for scan in scans]
    rows, index = np.unique(np.concatenate(tables), axis=0, return_inverse=True)
    of = np.split(index.ravel(), np.cumsum([len(table) for table in tables])[:-1])
    edges = common_edges(rows[:, -1], [window.region for scan in scans for window in scan.windows])
    fits, passed = [], []
    for scan, mine in zip(scans, of):
        mass = rows[mine, -1]
        for window in scan.windows:
            fits.append(fit_bump(mass[window.passed], window.region, edges, fit_bump(mass, window.region, edges)))
            passed.append(np.bincount(mine[window.passed], minlength=len(rows)) > 0)
    return look_elsewhere(fits, np.stack(passed, 1), rows[:, -1], pseudo_experiments, seed)
