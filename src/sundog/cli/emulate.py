"""``sundog emulate``: which emulator suits the runs of a simulator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sundog.cli.options import (
    AsJson,
    Columns,
    DropFailed,
    Key,
    Names,
    Reparametrise,
    Seed,
    Unit,
    Weights,
    before_work,
    formulas_of,
    load,
    of_the_family,
)


def emulate(
    file: Annotated[Path, typer.Argument(help="Runs: inputs as context, outputs as values.")],
    context: Names = None,
    family: Annotated[list[str] | None, typer.Option(
        "--family", help="pod, ntk, random-features, deeponet; may be repeated. Default: the first three.")] = None,
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation.")] = 5,
    option: Annotated[list[str] | None, typer.Option(
        "--set", help="Option of every family, e.g. warp=true; `sundog families pod` lists them.")] = None,
    reparametrise: Reparametrise = None,
    drop_failed: DropFailed = False,
    key: Key = None,
    columns: Columns = None,
    weights: Weights = None,
    unit: Unit = None,
    report: Annotated[Path | None, typer.Option("--report", "-r", help="Write one self-contained HTML page: the best "
                                                "beside the truth, worst runs, where it errs, learning curve.")] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Cross-validate every emulator on the runs of a simulator, beside baselines; name the best and by how much.

    \b
    sundog emulate runs.npz --report emulators.html
    sundog emulate runs.csv -c omega_m -c sigma_8 --family pod --family ntk
    """
    from dataclasses import replace

    from sundog.tasks.emulate import FAMILIES_TRIED, FEWEST, learning_curve
    from sundog.tasks.emulate import emulate as compared

    before_work(report)
    data = load(file, context, key=key, columns=columns, weights=weights, unit=unit, drop_failed=drop_failed)
    options = {**of_the_family(option), "reparametrise": formulas_of(reparametrise)}
    found = compared(data, seed, families=family or FAMILIES_TRIED, folds=folds, **options)
    if report is not None and not found.best.baseline and found.runs >= 2 * FEWEST:
        found = replace(found, curve=learning_curve(data, found.best.name, seed, folds=folds, **options))
    typer.echo(json.dumps(found.facts()) if as_json else str(found))
    if report is not None:
        page = found.report(report)
        if not as_json:
            typer.echo(f"report: {page}")
