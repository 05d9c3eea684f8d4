"""``sundog info``, ``families``, ``fit`` and ``sample``: from a file to a run, from a run to fakes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sundog.cli.options import (
    AsJson,
    Columns,
    DropFailed,
    Index,
    Jobs,
    Key,
    Kind,
    Mask,
    Names,
    Quiet,
    Real,
    Reparametrise,
    Resample,
    Scheduler,
    Seed,
    Seeds,
    TimeStep,
    Unit,
    Weights,
    Windows,
    Workers,
    as_options,
    before_work,
    beside,
    conditions,
    fakes_of,
    formulas_of,
    in_patches,
    load,
    many,
    of_the_family,
    plan_of,
    resumable,
    rows_kept,
    steps_shown,
)


def info(
    file: Annotated[Path, typer.Argument(help="npy, npz, h5, fits, csv, parquet, root, picture, or a folder of them.")],
    kind: Kind = "auto",
    key: Key = None,
    columns: Columns = None,
    weights: Weights = None,
    unit: Unit = None,
    mask: Mask = "missing",
    time_step: TimeStep = None,
    resample: Resample = None,
    windows: Windows = None,
    drop_failed: DropFailed = False,
    as_json: AsJson = False,
) -> None:
    """Say what a file holds: shape, names, units, range of every column, and how it was understood; or a run's folder.

    \b
    sundog info events.npz
    sundog info dust.fits --json
    sundog info light.csv --kind series --resample 0.1
    """
    if (file / "run.json").exists():
        _info_of_run(file, as_json)
        return
    from sundog.data.describe import column_kinds

    data = load(file, kind=kind, key=key, columns=columns, weights=weights, unit=unit, mask=mask,
                time_step=time_step, resample=resample, windows=windows, drop_failed=drop_failed, say=False)
    facts = {"file": str(file), "kind": data.kind, "shape": list(data.values.shape), "names": list(data.names),
             "units": list(data.units), "context_names": list(data.context_names),
             "context_units": list(data.context_units), "weighted": data.weights is not None,
             "kinds": column_kinds(data), "pixel_arcmin": data.pixel_arcmin,
             "time_step": data.time_step, "time_unit": data.time_unit,
             "notes": list(data.provenance.get("notes", ())), "fingerprint": data.fingerprint()}
    typer.echo(json.dumps(facts) if as_json else as_options(data.describe()))


def _info_of_run(folder: Path, as_json: bool) -> None:
    from sundog.train.checkpoint import read_facts
    from sundog.train.run import load_run

    facts = read_facts(folder)
    shown = {"family": facts["family"], "model": facts["model"], "plan": facts["plan"], **facts["provenance"]}
    lines = [str(load_run(folder)), *(f"{name}: {value}" for name, value in shown.items())]
    typer.echo(json.dumps(shown) if as_json else "\n".join(lines))


def families(
    family: Annotated[str | None, typer.Argument(help="One of them, to list its options.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the families of generators, or the options of one: meaning, type, default and range.

    \b
    sundog families
    sundog families flow
    """
    from sundog.models.families import FAMILIES, options

    lines = list(FAMILIES) if family is None else options(family)
    typer.echo(json.dumps(lines) if as_json else "\n".join(lines))


def fit(
    family: Annotated[str, typer.Argument(help="flow, flow-matching ...; `sundog families` lists them.")],
    file: Annotated[Path, typer.Argument(help="The data; 80 % of the rows are learned, 20 % held out.")],
    context: Names = None,
    out: Annotated[Path | None, typer.Option(
        "--out", "-o", help="Folder, where an unfinished run goes on; default run-FAMILY-NAME.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Budget in optimiser steps.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Budget in CPU seconds (on a GPU, wall time).")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Rows per step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="Replaces the family's own.")] = None,
    plan: Annotated[Path | None, typer.Option(help="JSON or YAML file of plan settings; options above win.")] = None,
    low_fidelity: Annotated[Path | None, typer.Option(
        help="Of emulators: runs of a cheaper simulator, same inputs and outputs, that FILE corrects.")] = None,
    reparametrise: Reparametrise = None,
    drop_failed: DropFailed = False,
    scaling: Annotated[str | None, typer.Option(
        help="auto, standard, logit, asinh, log-modulus, normal-scores or identity.")] = None,
    kind: Kind = "auto",
    key: Key = None,
    columns: Columns = None,
    weights: Weights = None,
    unit: Unit = None,
    mask: Mask = None,
    time_step: TimeStep = None,
    resample: Resample = None,
    windows: Windows = None,
    option: Annotated[list[str] | None, typer.Option(
        "--set", help="Family option, e.g. hidden=[64,64]; `sundog families flow` lists them.")] = None,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Learn a generator from a file. Ctrl-C stops; the same command goes on where it was.

    \b
    sundog fit flow-matching events.npz --context m_jj --out run
    sundog fit flow events.npz --seconds 120 --seed 1 --set layers=4
    sundog fit flow maps.npz --plan plan.yaml --device cuda
    sundog fit scattering dust.npy --set log=true --set canvas=[512,512]
    """
    import sundog

    out = out or beside("run", family, file)
    before_work(folder=out)
    settings = {"steps": steps, "seconds": seconds, "batch": batch, "learning_rate": learning_rate}
    options = of_the_family(option)
    data = load(file, kind=kind, key=key, columns=columns, weights=weights, unit=unit,
                mask=mask if mask is not None else options.get("mask"), time_step=time_step, resample=resample,
                windows=windows, drop_failed=drop_failed)
    if family == "scattering" and "sphere" in data.provenance:
        options.setdefault("domain", "sphere")
    else:
        data = in_patches(data)[0][0]
    with resumable(f"the run in {out}"):
        run = sundog.fit(
            family, data, context=context or None, plan=plan_of(plan, settings), seed=seed, device=device, out=out,
            scaling=scaling, progress=not quiet, reparametrise=formulas_of(reparametrise), **options,
            low_fidelity=None if low_fidelity is None else
            load(low_fidelity, key=key, columns=columns, weights=weights, unit=unit, drop_failed=drop_failed),
        )
    if as_json:
        facts = {"folder": str(out), "family": run.family, "identity": run.identity,
                 "seconds": run.history.seconds, "best_score": run.history.best_score}
        typer.echo(json.dumps(facts))
    elif not quiet:
        typer.echo(f"{run}\nsaved in {out}; next: sundog sample {out} -n 1000 --out fakes.npz")


def sample(
    run: Annotated[Path, typer.Argument(help="Folder that fit wrote.")],
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="How many fakes.")] = 1000,
    out: Annotated[Path, typer.Option("--out", "-o", help="npz, h5, fits, csv or parquet.")] = Path("fakes.npz"),
    context: Annotated[list[str] | None, typer.Option(
        "--context", "-c", help="One value per condition, for all fakes, or a file with a row for each; default: "
        "drawn from training.")] = None,
    real: Real = None,
    seeds: Seeds = None,
    workers: Workers = 0,
    scheduler: Scheduler = None,
    jobs: Jobs = None,
    index: Index = None,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or mps.")] = "cpu",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Draw fakes from a run, in the units of its training data. An emulator writes its mean and std beside them.

    \b
    sundog sample run -n 10000 --out fakes.npz --seed 1
    sundog sample run -n 500 --context 3500
    sundog sample run -n 500 --real events.npz
    sundog sample emulator --context new.csv --out predicted.npz
    sundog sample run -n 32 --seeds 0:100 --jobs slurm --out maps
    """
    if many(sample, locals(), "fakes.npz"):
        return
    import sundog

    before_work(data=out)
    found = sundog.load_run(run, device=device)
    given = conditions(context)
    n = len(given) if isinstance(given, sundog.Dataset) else n
    with rows_kept(found, out), steps_shown(found.model, not quiet and not as_json):
        fakes = fakes_of(found, n, given, real, seed, not quiet and not as_json)
        fakes.save(out)
    if isinstance(found, sundog.EmulatorRun):
        for name, values in zip(("mean", "std"), found.predict(fakes)):
            replace(fakes, values=values).save(out.with_name(f"{out.stem}-{name}{out.suffix}"))
    if as_json:
        typer.echo(json.dumps({"file": str(out), "n": n, "seed": seed, "fingerprint": fakes.fingerprint()}))
    elif not quiet:
        typer.echo(f"{fakes}\nwritten to {out}; next: sundog judge REAL {out} --report report.html")
