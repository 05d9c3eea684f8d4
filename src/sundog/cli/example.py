"""``sundog example``: files to try the other words on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sundog.cli.options import Quiet, before_work


def example(
    name: Annotated[str, typer.Argument(help="Which files; 'list' shows them, 'all' writes every one.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into.")] = Path(),
    quiet: Quiet = False,
) -> None:
    """Write the files that the examples of the README are typed on; their truth is known.

    \b
    sundog example list
    sundog example spectrum
    sundog example all --out examples
    """
    from sundog.demos.examples import EXAMPLES, write_examples

    if name == "list":
        typer.echo("\n".join(f"{word:10} {found.holds}" for word, found in EXAMPLES.items()))
        return
    before_work(folder=out)
    names = list(EXAMPLES) if name == "all" else [name]
    write_examples(names, out)
    for word in names if not quiet else ():
        files = ", ".join(str(out / file) for file in EXAMPLES[word].files)
        typer.echo(f"{files}: {EXAMPLES[word].holds}\n    next: {EXAMPLES[word].then}")
