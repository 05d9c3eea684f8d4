"""``sundog scan``: a resonance search over one or many windows of a spectrum."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from sundog.cli.anomaly import (
    METHODS,
    Feature,
    File,
    Folds,
    Mass,
    Members,
    Setting,
    Start,
    Stop,
    Unit,
    searched_events,
)
from sundog.cli.options import (
    AsJson,
    Columns,
    Index,
    Jobs,
    Key,
    Quiet,
    Scheduler,
    Seed,
    Weights,
    Workers,
    before_work,
    beside,
    resumable,
    settings,
    write_jobs,
)  # fmt: skip
from sundog.errors import OptionError

if TYPE_CHECKING:
    from sundog.tasks.anomaly.regions import SignalRegion

NUMBERS = {"--window": 2, "--slide": 3}


class Scan(TyperCommand):
    """The word ``scan``: an option that may be repeated and takes several numbers is more than typer knows."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The words, with the numbers of a window joined into one."""
        return super().parse_args(ctx, grouped(args))


def grouped(words: list[str]) -> list[str]:
    """The words, with the numbers after --window and --slide joined by a space.

    Example
    -------
    >>> grouped(["events.h5", "--window", "3.3", "3.7", "--seed", "1"])
    ['events.h5', '--window', '3.3 3.7', '--seed', '1']
    """
    out: list[str] = []
    words = list(words)
    while words:
        out.append(words.pop(0))
        taken: list[str] = []
        while len(taken) < NUMBERS.get(out[-1], 0) and words and _is_number(words[0]):
            taken.append(words.pop(0))
        out += [" ".join(taken)] if taken else []
    return out


def scan(
    file: File,
    mass: Mass,
    window: Annotated[list[str] | None, typer.Option(
        metavar="LO HI", help="Edges of a window, in the unit of the mass; may be repeated.")] = None,
    slide: Annotated[list[str] | None, typer.Option(
        metavar="LO HI WIDTH", help="Windows that slide from LO to HI; may be repeated.")] = None,
    step: Annotated[float | None, typer.Option(help="Between sliding windows; half a width unless given.")] = None,
    method: Annotated[str, typer.Option(help=" | ".join(METHODS))] = "sigma",
    feature: Feature = None,
    key: Key = None,
    columns: Columns = None,
    weights: Weights = None,
    unit: Unit = None,
    efficiency: Annotated[float, typer.Option(help="Share of the background that the cut keeps.")] = 0.01,
    option: Setting = None,
    out: Annotated[Path | None, typer.Option(
        "--out", "-o", help="Folder, where a stopped scan goes on; default scan-NAME.")] = None,
    report: Annotated[Path | None, typer.Option("--report", "-r", help="HTML page; default OUT/report.html.")] = None,
    workers: Workers = 0,
    scheduler: Scheduler = None,
    jobs: Jobs = None,
    index: Index = None,
    folds: Folds = 5,
    members: Members = None,
    toys: Annotated[int, typer.Option(min=20, help="Background-only scans behind the p-values.")] = 1000,
    control: Annotated[bool, typer.Option(help="Test what the cut sculpts with template events.")] = True,
    start: Start = None,
    stop: Stop = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Search windows of a mass spectrum for a resonance: p-values, template quality, an HTML page.

    \b
    sundog scan events.h5 --mass m_jj --window 3.3 3.7 --method sigma
    sundog scan events.root --mass m_jj --unit TeV --slide 3.2 4.4 0.4 --workers 2
    sundog scan events.h5 --mass m_jj --slide 3.2 4.4 0.4 --jobs slurm
    """
    out = out or beside("scan", file)
    before_work(report, folder=out)
    from sundog.tasks.anomaly.scan.search import ScanPlan, checked, prepare, scan_one
    from sundog.tasks.anomaly.scan.search import scan as search

    events = searched_events(file, mass, feature, key=key, columns=columns, weights=weights, unit=unit)
    regions = _regions(window, slide, step, events.context_units[0])
    chosen = settings(option, "region", "seed", "out")
    plan = ScanPlan(tuple(regions), method, chosen, efficiency, folds, members, control, seed, start, stop)
    if jobs is not None:
        prepare(checked(events, plan), plan, out)  # models for all windows are trained now
        write_jobs(out, len(plan.windows), jobs, quiet)
        return
    with resumable(f"the scan in {out}"):
        if index is not None:
            place = scan_one(events, plan, index, out)
            if not quiet:
                typer.echo(f"wrote {place}")
            return
        found = search(events, regions, method, out, efficiency=efficiency, folds=folds, members=members,
                       settings=chosen, control=control, pseudo_experiments=toys, seed=seed, start=start, stop=stop,
                       workers=workers, scheduler=scheduler, progress=not quiet)
    page = found.report(report or out / "report.html")
    if as_json:
        typer.echo(found.to_json())
    elif not quiet:
        typer.echo(f"{found}\nreport: {page}")


def _regions(window: list[str] | None, slide: list[str] | None, step: float | None, unit: str) -> list[SignalRegion]:
    from sundog.tasks.anomaly.regions import SignalRegion, sliding_windows

    regions = [SignalRegion(lo, hi, unit) for lo, hi in _groups(window, 2, "--window 3.3 3.7")]
    for lo, hi, width in _groups(slide, 3, "--slide 3.2 4.4 0.4"):
        regions += sliding_windows(lo, hi, width, step, unit)
    if not regions:
        raise OptionError("nothing to scan", got="no window", expected="--window or --slide",
                          do="give e.g. --window 3.3 3.7")
    return regions


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _groups(words: list[str] | None, size: int, example: str) -> list[tuple[float, ...]]:
    return [_numbers(word, size, example) for word in words or []]


def _numbers(word: str, size: int, example: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in word.replace(",", " ").split())
    except ValueError:
        found = ()
    if len(found) != size:
        raise OptionError("cannot read these edges", got=repr(word), expected=f"{size} numbers", do=f"write {example}")
    return found
