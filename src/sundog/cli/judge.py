"""``sundog judge``: how faithful fakes are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
    before_work,
    load,
)


def judge(
    real: Annotated[Path, typer.Argument(help="The truth.")],
    fake: Annotated[Path, typer.Argument(help="The fakes.")],
    held_out: Annotated[bool, typer.Option(
        "--held-out", help="Judge against the 20 % of REAL that fit never saw, look for copies of the rest.")] = False,
    train: Annotated[Path | None, typer.Option(help="Training data in its own file: look for copies of it.")] = None,
    context: Names = None,
    kind: Kind = "auto",
    key: Key = None,
    columns: Columns = None,
    weights: Weights = None,
    unit: Unit = None,
    mask: Mask = None,
    time_step: TimeStep = None,
    resample: Resample = None,
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
    """
    import sundog

    before_work(report, None if as_json in (None, "-") else Path(str(as_json)))
    how: dict[str, Any] = {"kind": kind, "columns": columns, "unit": unit, "mask": mask, "time_step": time_step,
                           "resample": resample}
    truth, learned = (None if file is None else load(file, context, key=key, weights=weights, **how)
                      for file in (real, train))
    fakes = load(fake, **how)
    assert truth is not None
    if held_out:
        truth, learned = truth.held_out, truth.train if learned is None else learned
    verdict = sundog.judge(truth, fakes, statistics=statistics or "all", train=learned, seed=seed, progress=not quiet)
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
