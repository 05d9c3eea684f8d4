"""``sundog emulate``: which emulator suits the runs of a simulator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sundog.cli.options import AsJson, Columns, Key, Names, Seed, load


def emulate(
    file: Annotated[Path, typer.Argument(help="Runs: inputs as context, outputs as values.")],
    context: Names = None,
    family: Annotated[list[str] | None, typer.Option(
        "--family", help="pod, ntk, random-features, deeponet; may be repeated. Default: the first three.")] = None,
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation.")] = 5,
    key: Key = None,
    columns: Columns = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Cross-validate every emulator on the runs of a simulator, beside baselines; name the best and by how much.

    \b
    sundog emulate runs.npz
    sundog emulate runs.csv -c omega_m -c sigma_8 --family pod --family ntk
    """
    from sundog.tasks.emulate import FAMILIES_TRIED
    from sundog.tasks.emulate import emulate as compared

    data = load(file, context, key=key, columns=columns)
    found = compared(data, seed, families=family or FAMILIES_TRIED, folds=folds)
    rows = [{"name": row.name, "error": row.error, "error_bar": row.error_bar, "inside": row.inside,
             "seconds": row.seconds} for row in found.rows]
    facts = {"best": found.best.name, "p_value": found.p_value, "significant": found.significant, "runs": found.runs,
             "rows": rows, "notes": list(found.notes)}
    typer.echo(json.dumps(facts) if as_json else str(found))
