"""``sundog anomaly``: a resonance search on a file. The library loads inside the command, so --help is quick."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sundog.checks import near
from sundog.cli.options import Columns, Key, Unit, Weights, before_work, load
from sundog.errors import OptionError, ShapeError

if TYPE_CHECKING:
    from sundog.data.dataset import Dataset

METHODS = ("ranode", "cathode", "anode", "cwola")
app = typer.Typer(no_args_is_help=True, help="Look for a resonance in a window of a mass spectrum.")


@app.callback()
def _group() -> None:
    """Look for a resonance in a window of a mass spectrum."""


@app.command()
def search(
    file: Annotated[Path, typer.Argument(help="Events: npz, h5, csv or parquet.")],
    mass: Annotated[str, typer.Option(help="Name of the mass column.")],
    window: Annotated[tuple[float, float], typer.Option(help="Edges of the signal region, in the unit of the mass.")],
    method: Annotated[str, typer.Option(help=" | ".join(METHODS))] = "ranode",
    feature: Annotated[list[str] | None, typer.Option("--feature", "-f", help="Use only these columns.")] = None,
    key: Key = None,
    columns: Columns = None,
    weights: Weights = None,
    unit: Unit = None,
    scaling: Annotated[str | None, typer.Option(help="Of the features in the background, in place of the method's own: "
                                                "normal-scores, logit, auto, standard ...")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for scores.npz, signal.npz and signal.png.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same numbers.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Machine output: one JSON object on stdout.")] = False,
) -> None:
    """Search one window: template quality, signal fraction with interval, a score for every event inside.

    \b
    sundog anomaly search events.npz --mass m_jj --window 3.3 3.7 --out found
    sundog anomaly search events.npz --mass m_jj --window 3.3 3.7 --scaling logit
    """
    from sundog.tasks.anomaly import Anode, Cathode, CWoLa, RAnode, SignalRegion
    from sundog.tasks.anomaly.background.template import fit_template

    before_work(folder=out)
    detectors: dict[str, Any] = {"ranode": RAnode, "cathode": Cathode, "anode": Anode, "cwola": CWoLa}
    if method not in detectors:
        raise OptionError("unknown method", got=method, expected=" | ".join(METHODS), do="choose one")
    events = _events(load(file, [mass], key=key, columns=columns, weights=weights, unit=unit), mass, feature)
    region = SignalRegion(*window, unit=events.context_units[0])
    if scaling is not None and method == "cwola":
        raise OptionError("cwola learns no background", got=f"--scaling {scaling}", expected="no scaling",
                          do="leave it out")
    settings: dict[str, Any] = {} if scaling is None else {"scaling": scaling}
    if method == "ranode" and scaling is not None:  # its own `scaling` is that of the signal density
        settings = {"background": fit_template(events, region, family="flow", seed=seed, scaling=scaling)}
    detector = detectors[method](region, seed=seed, **settings).fit(events)
    facts = _facts(detector, method, region)
    if out is not None:
        facts["files"] = [str(path) for path in _write(detector, events, region, out)]
    typer.echo(json.dumps(facts) if as_json else "\n".join(_told(detector, facts)))


def _events(data: Dataset, mass: str, feature: list[str] | None) -> Dataset:
    """The chosen features with the mass as the only context."""
    from dataclasses import replace

    if data.context_names != (mass,):
        data = replace(data, context=None, context_names=(), context_units=()).with_context(mass)
    unknown = [name for name in feature or () if name not in data.names]
    if unknown:
        raise ShapeError(f"no feature {unknown[0]!r}", got=", ".join(data.names), expected="one of these names",
                         do=near(unknown[0], data.names) or "check the spelling")
    if feature:
        dropped = [name for name in data.names if name not in feature]
        kept = data.with_context(dropped) if dropped else data
        data = replace(kept, context=data.context, context_names=data.context_names, context_units=data.context_units)
    return data


def _facts(detector: Any, method: str, region: Any) -> dict[str, Any]:
    report = getattr(detector, "template_report_", None)
    facts: dict[str, Any] = {"method": method, "window": [region.lo, region.hi], "unit": region.unit}
    if report is not None:
        facts |= {"template_auc": report.auc, "template_auc_error": report.auc_error, "template_passed": report.passed}
    if method == "ranode":
        facts |= {"signal_fraction": detector.signal_fraction_, "interval_95": detector.signal_fraction_interval_,
                  "evidence": detector.evidence_, "significance": detector.fraction_.significance,
                  "control_fraction": None if detector.control_ is None else detector.control_.value}
    return facts


def _told(detector: Any, facts: dict[str, Any]) -> list[str]:
    lines = [f"{facts['method']} in {facts['window'][0]:g} to {facts['window'][1]:g} {facts['unit']}".rstrip()]
    if getattr(detector, "template_report_", None) is not None:
        lines.append(str(detector.template_report_))
    if facts["method"] == "ranode":
        lines.append(str(detector.fraction_))
        if facts["control_fraction"] is not None:
            lines.append(f"control on sideband events: {100 * facts['control_fraction']:.3f} %")
        lines.append(_verdict(detector, facts))
    return lines + [f"wrote {path}" for path in facts.get("files", ())]


def _verdict(detector: Any, facts: dict[str, Any]) -> str:
    """Evidence; an excess that is not trusted, why, and what to do; or no excess."""
    if facts["evidence"]:
        return "evidence for a signal"
    if not detector.fraction_.evidence:
        return "no excess"
    if detector.control_ is not None and detector.control_.low_95 > 0:
        return ("excess that is not trusted, because the learned background is wrong somewhere: it claims a signal "
                "beside the window too. What to do: leave --scaling out, or choose fewer features with --feature, or "
                "take --method cathode")
    return ("excess that is not trusted, because unseen sideband events allow as large a fraction. What to do: "
            "sundog scan, which counts events above a fitted curve")


def _write(detector: Any, events: Dataset, region: Any, folder: Path) -> list[Path]:
    """The files written: the score of every event inside; for a signal density also draws and their figure."""
    from sundog.data.dataset import Dataset
    from sundog.reports.figures.anomaly import signal_figure

    folder.mkdir(parents=True, exist_ok=True)
    inside = events[region.contains(events)]
    score = Dataset.from_arrays(detector.score_samples(inside)[:, None], inside.context, names=("score",),
                                context_names=inside.context_names, context_units=inside.context_units)
    paths = [score.save(folder / "scores.npz")]
    if hasattr(detector, "sample_signal"):
        signal = detector.sample_signal(5000, seed=detector.seed)
        paths.append(signal.save(folder / "signal.npz"))
        paths.append(folder / "signal.png")
        signal_figure(signal, inside).savefig(paths[-1], dpi=120)
    return paths
