"""``sundog demo``: the demonstrations that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sundog.cli.options import Quiet, Seed, before_work, resumable
from sundog.errors import OptionError


def demo(
    name: Annotated[str, typer.Argument(help="Which demonstration; 'list' shows them.")] = "dijets",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of what it leaves; default demo, or "
                                             "demo-NAME.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few seconds, too short to pass.")] = False,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Go the whole way on built-in data; without a name: learn di-jet events, generate, judge. Minutes on two cores.

    \b
    sundog demo
    sundog demo list
    sundog demo --out somewhere --seed 3
    """
    from sundog.demos import DEMOS, run_demo

    if name == "list":
        typer.echo("\n".join(f"{word:12} {shows}" for word, shows in DEMOS.items()))
        return
    if name not in DEMOS:
        raise OptionError("no such demonstration", got=name, expected=" | ".join(DEMOS), do="sundog demo list")
    folder = out or Path("demo" if name == "dijets" else f"demo-{name}")
    before_work(folder=folder)
    with resumable("the demo"):
        for line in run_demo(name, folder, seed=seed, quick=quick, progress=not quiet):
            if not quiet:
                typer.echo(line)
