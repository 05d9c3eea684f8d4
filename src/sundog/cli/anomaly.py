"""``sundog anomaly``: a resonance search on a file. The library loads inside the command, so --help is quick."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sundog.checks import near
from sundog.cli.options import AsJson, Columns, Key, Quiet, Seed, Weights, before_work, load, settings
from sundog.errors import ShapeError

if TYPE_CHECKING:
    from sundog.data.dataset import Dataset
    from sundog.tasks.anomaly.regions import SignalRegion
    from sundog.tasks.anomaly.scan.crossfit import CrossFit

METHODS = ("cathode", "sigma", "ranode", "anode", "cwola", "curtains", "radot", "transit", "lacathode",
           "prior")
app = typer.Typer(no_args_is_help=True, help="Look for a resonance in a window of a mass spectrum.")

File = Annotated[Path, typer.Argument(help="Events: npz, h5, csv, parquet or root.")]
Mass = Annotated[str, typer.Option(help="Name of the mass column.")]
Window = Annotated[tuple[float, float], typer.Option(metavar="LO HI", help="Edges of the window, in the unit of the "
                                                                           "mass.")]
Feature = Annotated[list[str] | None, typer.Option("--feature", "-f", help="Use only these columns.")]
Unit = Annotated[str | None, typer.Option(help="Of the mass, where the file does not say; or name=unit,name=unit.")]
Setting = Annotated[list[str] | None, typer.Option("--set", help="Of the method, e.g. oversampling=2.")]
Folds = Annotated[int, typer.Option(min=2, help="Of the cross-fitting.")]
Members = Annotated[int | None, typer.Option(min=1, help="Boostings averaged in each classifier; 4 unless given.")]
Start = Annotated[float | None, typer.Option("--from", help="Lower end of the spectrum; found unless given.")]
Stop = Annotated[float | None, typer.Option("--to", help="Upper end of the spectrum; found unless given.")]


@app.callback()
def _group() -> None:
    """Look for a resonance in a window of a mass spectrum."""


@app.command()
def search(
    file: File,
    mass: Mass,
    window: Window,
    method: Annotated[str, typer.Option(help=" | ".join(METHODS))] = "ranode",
    feature: Feature = None,
    key: Key = None,
    columns: Columns = None,
    weights: Weights = None,
    unit: Unit = None,
    option: Setting = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for scores.npz; signal.npz and signal.png "
                                             "where the method knows the signal.")] = None,
    folds: Folds = 5,
    members: Members = None,
    start: Start = None,
    stop: Stop = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Search one window: template quality, signal fraction with interval, a score for every event inside.

    \b
    sundog anomaly search events.npz --mass m_jj --window 3.3 3.7 --out found
    sundog anomaly search events.npz --mass m_jj --window 3.3 3.7 --method sigma --set interpolation=linear
    sundog anomaly search events.npz --mass m_jj --window 3.3 3.7 --method prior --set prior=prior.safetensors
    """
    before_work(folder=out)
    from sundog.tasks.anomaly import SignalRegion
    from sundog.tasks.anomaly.scan.crossfit import cross_fitted
    from sundog.tasks.anomaly.scan.search import ScanPlan, checked, doubted

    events = searched_events(file, mass, feature, key=key, columns=columns, weights=weights, unit=unit)
    region = SignalRegion(*window, unit=events.context_units[0])
    plan = ScanPlan((region,), method, settings(option, "region", "seed", "out"), folds=folds, members=members,
                    seed=seed, start=start, stop=stop)
    data = checked(events, plan)
    fit = cross_fitted(plan.maker(None), data, region, folds=folds, members=plan.boostings, seed=seed)
    facts = _facts(fit, data, method, region)
    doubts = doubted(fit, data, region, plan.efficiency, seed)
    facts |= {"trusted": not doubts, "remarks": [because for because, _ in doubts]}
    if out is not None:
        facts["files"] = [str(path) for path in _write(fit, data, region, out)]
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
    elif not quiet:
        typer.echo("\n".join(_told(fit, facts, doubts)))


@app.command()
def prior(
    signals: Annotated[Path, typer.Argument(help="Simulated signals: features, the mass, and their parameters.")],
    background: Annotated[Path, typer.Argument(help="Simulated background with the same features.")],
    mass: Mass,
    parameter: Annotated[list[str], typer.Option("--parameter", "-p", help="Column of a parameter; may be repeated.")],
    feature: Feature = None,
    key: Key = None,
    columns: Columns = None,
    unit: Unit = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = Path("prior.safetensors"),
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Learn a family of signals from simulation, once; --method prior then searches for it.

    \b
    sundog anomaly prior signals.npz qcd.npz --mass m_jj -p heavy -p light -p prongs -o prior.safetensors
    """
    before_work(out)
    from sundog.tasks.anomaly.detectors.prior import learn_prior
    from sundog.tasks.anomaly.regions import ordered

    declared = f"{mass}={unit}" if unit is not None and "=" not in unit else unit
    how: dict[str, Any] = {"key": key, "columns": columns, "unit": declared}
    known = _given(load(signals, [mass, *parameter], **how), [mass, *parameter])
    found = learn_prior(ordered(known, tuple(feature or known.names)), load(background, [mass], **how), seed)
    facts = {"columns": found.columns, "parameters": found.parameters, "members": len(found.grid),
             "files": [str(found.save(out))]}
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
    elif not quiet:
        typer.echo(f"{len(found.grid)} members of the family in {', '.join(found.parameters)}\nwrote {out}")


@app.command()
def choose(
    file: File,
    mass: Mass,
    window: Window,
    feature: Feature = None,
    key: Key = None,
    columns: Columns = None,
    weights: Weights = None,
    unit: Unit = None,
    option: Setting = None,
    tests: Annotated[int, typer.Option(min=1, help="Artificial signals put in, each with a training of its own.")] = 3,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Which interpolation of SIGMA finds artificial signals best in this window.

    \b
    sundog anomaly choose events.npz --mass m_jj --window 3.3 3.7
    """
    from sundog.tasks.anomaly import SignalRegion, choose_interpolation

    events = searched_events(file, mass, feature, key=key, columns=columns, weights=weights, unit=unit)
    region = SignalRegion(*window, unit=events.context_units[0])
    found, = choose_interpolation(events, windows=[region], tests=tests, seed=seed,
                                  **settings(option, "windows", "x", "m", "tests", "seed"))
    if as_json:
        typer.echo(json.dumps({"lo": region.lo, "hi": region.hi, "unit": region.unit, "best": found.best,
                               "fpr": found.fpr, "sic": {how: list(sic) for how, sic in found.sic.items()}}, indent=1))
    elif not quiet:
        typer.echo(str(found))


def searched_events(file: Path, mass: str, feature: list[str] | None, *, key: str | None, columns: str | None,
                    weights: str | None, unit: str | None) -> Dataset:
    """The chosen features of a file with the mass as the only context, in the unit declared."""
    if columns is None and feature and file.suffix.lower() == ".root":
        columns = ",".join(feature)  # of a tree only the branches asked for: others may hold several numbers per event
    declared = f"{mass}={unit}" if unit is not None and "=" not in unit else unit
    data = load(file, [mass], key=key, columns=columns, weights=weights, unit=declared)
    unknown = [name for name in feature or () if name not in data.names]
    if unknown:
        raise ShapeError(f"no feature {unknown[0]!r}", got=", ".join(data.names), expected="one of these names",
                         do=near(unknown[0], data.names) or "check the spelling")
    unwanted = [name for name in data.names if feature and name not in feature]
    kept = data.with_context(unwanted) if unwanted else data
    return _given(kept, [mass])


def _given(data: Dataset, names: list[str]) -> Dataset:
    """The data with these columns, and no others, as context."""
    from dataclasses import replace

    assert data.context is not None  # the columns are there now
    j = [data.context_names.index(name) for name in names]
    return replace(data, context=data.context[:, j], context_names=tuple(names),
                   context_units=tuple(data.context_units[i] for i in j))


def _facts(fit: CrossFit, events: Dataset, method: str, region: SignalRegion) -> dict[str, Any]:
    """The numbers by the words of ``sundog scan --json``."""
    from sundog.tasks.anomaly.checks.counted import least_fraction, spectrum_counts

    detector = fit.detector
    report, found = getattr(detector, "template_report_", None), getattr(detector, "fraction_", None)
    counted = found is not None
    if found is None:
        found = least_fraction(spectrum_counts(events, fit.score.numpy(), fit.fold.numpy(), region))
    facts: dict[str, Any] = {"method": method, "lo": region.lo, "hi": region.hi, "unit": region.unit}
    if report is not None:
        facts |= {"template_auc": report.auc, "template_auc_error": report.auc_error, "template_passed": report.passed}
    facts |= {"signal_fraction": found.value, "lower_bound": not counted,
              "interval_68": [found.low, found.high], "interval_95": [found.low_95, found.high_95]}
    if hasattr(detector, "told_"):
        facts |= {"told": detector.told_, "parameters": detector.parameters_}
    if counted:
        facts |= {"core_fraction": detector.core_fraction_.value, "fraction_evidence": detector.evidence_,
                  "core_interval_holds": detector.closure_ is None or detector.closure_.passed,
                  "core_significance": detector.core_fraction_.significance,
                  "control_fraction": None if detector.control_ is None else detector.control_.value}
    return facts


def _told(fit: CrossFit, facts: dict[str, Any], doubts: Sequence[tuple[str, str]] = ()) -> list[str]:
    detector, (low, high) = fit.detector, facts["interval_95"]
    lines = [f"{facts['method']} in {facts['lo']:g} to {facts['hi']:g} {facts['unit']}".rstrip()]
    if getattr(detector, "template_report_", None) is not None:
        lines.append(str(detector.template_report_))
    lines += [facts["told"]] if "told" in facts else []
    if facts["lower_bound"]:
        lines.append(f"signal fraction at least {100 * low:.3f} % at 95 %: the excess of the best hundredth of the "
                     "events, what the cut loses not added; sundog scan gives its p-value")
    else:
        lines += [_fraction(facts["signal_fraction"], low, high), f"core of the signal, a lower bound: "
                  f"{detector.core_fraction_}"]
        if not facts["core_interval_holds"]:
            lines.append(f"the interval of the core says nothing: {detector.closure_}")
        if facts["control_fraction"] is not None:
            lines.append(f"control on sideband events: {100 * facts['control_fraction']:.3f} %")
        lines.append(_verdict(detector, facts))
    if doubts and low > 0:
        because, do = zip(*doubts)
        lines.append(f"the fraction is not trusted, because {' and '.join(because)}. What to do: {'; or '.join(do)}")
    return lines + [f"wrote {path}" for path in facts.get("files", ())]


def _fraction(value: float, low: float, high: float) -> str:
    if low == 0:
        return f"signal fraction at most {100 * high:.3f} % at 95 %"
    return f"signal fraction {100 * value:.3f} % (95 %: {100 * low:.3f} to {100 * high:.3f} %)"


def _verdict(detector: Any, facts: dict[str, Any]) -> str:
    """Evidence; an excess that is not trusted, why, and what to do; or no excess."""
    if facts["fraction_evidence"]:
        return "evidence for a signal"
    if not detector.core_fraction_.evidence:
        return "no excess"
    because, do = "unseen sideband events allow as large a fraction", \
        "sundog scan, which counts events above a fitted curve"
    if detector.control_ is not None and detector.control_.low_95 > 0:
        because = "the learned background is wrong somewhere: it claims a signal beside the window too"
        do = "leave --set background out, or choose fewer features with --feature, or take --method cathode"
    return f"excess that is not trusted, because {because}. What to do: {do}"


def _write(fit: CrossFit, events: Dataset, region: SignalRegion, folder: Path) -> list[Path]:
    """The files written: the score of every event inside; for a signal density also draws and their figure."""
    from sundog.data.dataset import Dataset
    from sundog.reports.figures.anomaly import signal_figure

    folder.mkdir(parents=True, exist_ok=True)
    inside, detector = region.contains(events), fit.detector
    chosen = events[inside]
    score = Dataset.from_arrays(fit.score[inside][:, None], chosen.context, names=("score",),
                                context_names=chosen.context_names, context_units=chosen.context_units)
    paths = [score.save(folder / "scores.npz")]
    if hasattr(detector, "sample_signal"):
        signal = detector.sample_signal(5000, seed=detector.seed)
        paths.append(signal.save(folder / "signal.npz"))
        paths.append(folder / "signal.png")
        signal_figure(signal, chosen).savefig(paths[-1], dpi=120)
    return paths


@app.command()
def followup(
    file: Annotated[Path, typer.Argument(help="Scenarios: a row for each draw, 0 and 1 for each candidate.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Successes wanted.")] = 1,
    columns: Columns = None,
    as_json: AsJson = False,
) -> None:
    """In which order to observe candidates until k have succeeded, where their chances hang together.

    \b
    sundog anomaly followup scenarios.csv -k 2
    """
    import numpy as np

    from sundog.design import expected_probes, probing_order

    table = load(file, columns=columns, say=False)
    if table.kind != "events":
        raise ShapeError("scenarios are no table", got=table.kind, expected="a column of 0 and 1 for each candidate",
                         do="pass a csv, parquet or npz table")
    scenarios = table.values.numpy()
    orders = probing_order(scenarios, k), np.argsort(-scenarios.mean(0), kind="stable")
    found, by_chance = (expected_probes(scenarios, order, k) for order in orders)
    names = [table.names[i] for i in orders[0]]
    typer.echo(json.dumps({"order": names, "expected": found, "by_chance": by_chance}) if as_json else
               f"{', '.join(names)}\n"
               f"{found:.3g} observations on average until {k} succeed, ordered by chance alone {by_chance:.3g}")
