"""``sundog public``: the known public data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sundog.cli.options import AsJson, Quiet, before_work

app = typer.Typer(no_args_is_help=True, help="Known public data sets: list them, fetch one.")


@app.command("list")
def public_list(as_json: AsJson = False) -> None:
    """Name the public data sets, with size, licence and source.

    \b
    sundog public list
    """
    from sundog.data.public import access as public

    described = {name: public.describe(name) for name in public.names()}
    typer.echo(json.dumps(described) if as_json else "\n\n".join(described.values()))


@app.command("fetch")
def public_fetch(
    name: Annotated[str, typer.Argument(help="A name that 'sundog public list' shows.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write it as npz, h5, fits ...")] = None,
    quiet: Quiet = False,
) -> None:
    """Download a public data set, check its checksum, keep it in the cache.

    \b
    sundog public fetch lhco --out lhco.npz
    """
    from sundog.data.public import access as public

    before_work(data=out)
    path = public.fetch(name, progress=not quiet)
    if out is not None:
        path = public.load_public(name).save(out)
    if not quiet:
        typer.echo(f"{name}: {path}")
