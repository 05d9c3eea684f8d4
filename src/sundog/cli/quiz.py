"""``sundog quiz``: can people tell real from fake?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sundog.cli.options import AsJson, Quiet, Seed, before_work, load
from sundog.errors import FileError, OptionError


def quiz(
    files: Annotated[list[Path], typer.Argument(help="REAL and FAKE images; with --score, saved answers.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page.")] = Path("quiz.html"),
    mode: Annotated[str, typer.Option(help="pairs: find the fake of two; single: say which one it is.")] = "pairs",
    rounds: Annotated[int | None, typer.Option(min=1, help="Default 20, or as many as there are images.")] = None,
    scale: Annotated[str, typer.Option(help="set: one brightness scale; image: each image by its own peak.")] = "set",
    stretch: Annotated[str, typer.Option(help="asinh or linear.")] = "asinh",
    colours: Annotated[str, typer.Option(help="inferno, viridis, cividis or gray.")] = "inferno",
    channel: Annotated[int, typer.Option(min=0, help="Which one, of images with several.")] = 0,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Real or fake?",
    held_out: Annotated[bool, typer.Option("--held-out", help="Show the 20 % of REAL that fit never saw.")] = False,
    score: Annotated[bool, typer.Option("--score", help="Pool saved answers instead of writing a page.")] = False,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a game as one page that needs no network: which image is real, which one was generated?

    \b
    sundog quiz real.npz fakes.npz -o quiz.html
    sundog quiz real.npz fakes.npz --held-out --mode single --rounds 40 --seed 3
    sundog quiz --score anna.json ben.json
    """
    if score:
        _score(files, as_json)
        return
    if len(files) != 2:
        raise OptionError("a quiz needs two files", got=len(files), expected="REAL and FAKE",
                          do="sundog quiz real.npz fakes.npz -o quiz.html; saved answers need --score")
    from sundog.reports.quiz import make_quiz, write_text

    before_work(out)
    real, fake = (load(file) for file in files)
    made = make_quiz(real.held_out if held_out else real, fake, mode=mode, rounds=rounds, seed=seed, channel=channel,
                     scale=scale, stretch=stretch, colours=colours, title=title)
    path = write_text(out, made.html)
    if as_json:
        typer.echo(json.dumps({"file": str(path), "rounds": len(made.truth), "mode": mode, "seed": seed}))
    elif not quiet:
        typer.echo(f"{len(made.truth)} rounds written to {path}; open it in a browser")


def _score(files: list[Path], as_json: bool) -> None:
    from dataclasses import asdict

    from sundog.reports.quiz import pooled_score

    results = []
    for file in files:
        try:
            results.append(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise FileError(f"cannot read {file}", got=error, expected="answers saved by the page",
                            do="check the path") from error
    found = pooled_score(results)
    typer.echo(json.dumps(asdict(found)) if as_json else str(found))
