"""``sundog judge``: how faithful fakes are."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sundog.cli.options import (
    Columns,
    Key,
    Kind,
    Mask,
    Names,
    Quiet,
    Resample,
    Seed,
    TimeStep,
    Unit,
    Weights,
    Windows,
    before_work,
    in_patches,
    load,
    of_the_sphere,
    seen,
)
from sundog.errors import FileError, ShapeError

if TYPE_CHECKING:
    from sundog.data.dataset import Dataset


def judge(
    real: Annotated[Path, typer.Argument(help="The truth.")],
    fake: Annotated[Path, typer.Argument(help="The fakes, or the folder of a run, which then draws ten for each "
                                              "real row.")],
    held_out: Annotated[bool, typer.Option(
        "--held-out", help="Judge against the 20 % of REAL that fit never saw, look for copies of the rest.")] = False,
    train: Annotated[Path | None, typer.Option(help="Training data in its own file: look for copies of it.")] = None,
    context: Names = None,
    kind: Kind = "auto",
    key: Key = None,
    columns: Columns = None,
    weights: Weights = None,
    unit: Unit = None,
    mask: Annotated[str | None, typer.Option(help="Map that is 0 where pixels are not judged, of the plane or of the "
                                             "sphere; or 'missing': where one of the maps holds no number.")] = None,
    time_step: TimeStep = None,
    resample: Resample = None,
    windows: Windows = None,
    worth: Annotated[int | None, typer.Option(metavar="K", min=4, help="Also say how many true events the fakes of the "
                                              "run are worth, from K more fits of its kind, at least 4.")] = None,
    statistics: Annotated[list[str] | None, typer.Option(
        "--statistics", "-s", help="Only this statistic; may be repeated. Default: all that apply.")] = None,
    report: Annotated[Path | None, typer.Option("--report", "-r", help="Write one self-contained HTML page.")] = None,
    as_json: Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write JSON; '-' for stdout.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when the fakes fail.")] = False,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Say how faithful fakes are: every number beside what the truth gives against itself, worst first.

    \b
    sundog judge events.npz fakes.npz --held-out --report report.html
    sundog judge real.fits fake.fits --strict --json verdict.json
    sundog judge events.npz run-flow --held-out --worth 8
    """
    import sundog
    from sundog.errors import OptionError
    from sundog.tasks.worth import amplification
    from sundog.train.run import Run

    before_work(report, None if as_json in (None, "-") else Path(str(as_json)))
    how: dict[str, Any] = {"kind": kind, "columns": columns, "unit": unit, "mask": mask, "time_step": time_step,
                           "resample": resample, "windows": windows}
    truth, learned = (None if file is None else load(file, context, key=key, weights=weights, **how)
                      for file in (real, train))
    fakes = sundog.load_run(fake) if (fake / "run.json").exists() else \
        _fakes(fake, None, {"key": key, "weights": weights}, how)
    assert truth is not None
    given = [part for part in (truth, learned, fakes) if isinstance(part, sundog.Dataset)]
    # Of what a run has learned from all tiles, those held out are known by their number.
    (truth, *rest), shown = in_patches(*given, mask=seen(mask, *given), apart=not held_out,
                                        sizes=(64, 32) if all(map(of_the_sphere, given)) and fakes in given else (64,))
    fakes = rest.pop() if isinstance(fakes, sundog.Dataset) else fakes
    learned = rest.pop() if rest else None
    if held_out and shown is not None and len(shown) == len(truth) and shown.ndim == 3:  # one mask for each row
        shown = sundog.Dataset.from_arrays(shown, held_out_fraction=truth.held_out_fraction).held_out.values.numpy()
    if held_out:
        truth, learned = truth.held_out, truth.train if learned is None else learned
    if worth is not None and (learned is None or not isinstance(fakes, Run)):
        raise OptionError("--worth fits the run again", got="no run, or nothing to fit it to",
                          expected="the folder of a run as FAKE, and its training data",
                          do="add --held-out or --train FILE")
    verdict = sundog.judge(truth, fakes, statistics=statistics or "all", train=learned, mask=shown, seed=seed,
                           progress=not quiet)
    if learned is not None and isinstance(fakes, Run) and worth is not None:
        verdict = replace(verdict, worth=amplification(fakes, learned, generators=worth, seed=seed))
    if report is not None:
        verdict.report(report)
    if as_json not in (None, "-"):
        from sundog.data.atomic import write_text

        write_text(str(as_json), verdict.to_json())
    if as_json == "-":
        typer.echo(verdict.to_json())
    elif not quiet:
        typer.echo(str(verdict))
        typer.echo(f"report: {report}" if report else "see pictures with: --report report.html")
    if strict and not verdict.passed:
        raise typer.Exit(1)


def bias(
    train: Annotated[Path, typer.Argument(help="What the generator learned from.")],
    fake: Annotated[Path, typer.Argument(help="The fakes.")],
    attribute: Annotated[list[str] | None, typer.Option(
        "--attribute", "-a", help="A column; of images also flux, size or orientation. May be repeated. Default: all "
        "columns, or these three.")] = None,
    context: Names = None,
    kind: Kind = "auto",
    key: Key = None,
    columns: Columns = None,
    weights: Weights = None,
    unit: Unit = None,
    mask: Mask = None,
    as_json: Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write JSON; '-' for stdout.")] = None,
) -> None:
    """Say which classes, fluxes, sizes fakes over- and under-represent, with intervals; 5 % false alarms per report.

    \b
    sundog bias events.npz fakes.npz -a m_jj -a tau21
    sundog bias galaxies.npz fakes.npz -a flux -a orientation
    """
    import sundog
    from sundog.verdicts.bias import KNOWN

    before_work(None if as_json in (None, "-") else Path(str(as_json)))
    how: dict[str, Any] = {"kind": kind, "columns": columns, "unit": unit, "mask": mask}
    learned = load(train, context, key=key, weights=weights, **how)
    (learned, fakes), _ = in_patches(learned, _fakes(fake, context, {"key": key, "weights": weights}, how))
    asked = attribute or list(KNOWN if learned.kind == "images" else (*learned.names, *learned.context_names))
    found = sundog.bias_report(learned, fakes, asked)
    if as_json == "-":
        typer.echo(found.to_json())
        return
    if as_json is not None:
        Path(as_json).write_text(found.to_json())
    typer.echo(str(found))


def _fakes(file: Path, context: list[str] | None, of_the_truth: dict[str, Any], how: dict[str, Any]) -> Dataset:
    """The fakes, read as the truth is; --key and --weights as far as this file has them, with a word where not."""
    given = {name: value for name, value in of_the_truth.items() if value is not None}
    for some in ({name: given[name] for name in names} for names in (list(given), ["key"], ["weights"])
                 if set(names) <= set(given)):
        with suppress(FileError, ShapeError):
            data = load(file, context, **some, **how)
            break
    else:
        some, data = {}, load(file, context, **how)
    for name in given.keys() - some.keys():
        typer.echo(f"sundog: {file.name}: nothing called {given[name]} is here; --{name} is for the truth only",
                   err=True)
    return data
