"""What the words share: their common options, how they read files, how they stop."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sundog.errors import OptionError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from sundog.data.dataset import Dataset
    from sundog.train.plan import Plan
    from sundog.train.run import Run

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no talk; results only.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine output: one JSON object on stdout.")]
Seed = Annotated[int, typer.Option(help="Same seed, same numbers.", min=0)]
Key = Annotated[str | None, typer.Option(help="Array, group, tree or extension in a file that holds several.")]
Columns = Annotated[str | None, typer.Option(help="Columns or channels to take, in this order: m_jj,tau21,pt.")]
Weights = Annotated[str | None, typer.Option(help="Column of event weights.")]
Unit = Annotated[str | None, typer.Option(help="Of all columns or channels, or name=unit,name=unit.")]
DropFailed = Annotated[bool, typer.Option(
    "--drop-failed", help="Leave out rows that hold NaN or Inf, such as failed runs; says which.")]
Reparametrise = Annotated[list[str] | None, typer.Option(
    "--reparametrise", help="What a model is told of the inputs: 'tau=log(tau)' in place of tau, 'bend=tau^2' beside, "
    "'tau=' without; may be repeated.")]
Mask = Annotated[str | None, typer.Option(
    help="Map that is 0 where pixels hold no number, or 'missing' for wherever they hold none.")]
Kind = Annotated[str, typer.Option(help="auto, events, images (a 1-D file is then one signal) or series.")]
TimeStep = Annotated[str | None, typer.Option(
    "--time-step", help="Between two points of series, with its unit: '0.1 s'. Else from a column of times.")]
Resample = Annotated[float | None, typer.Option(
    "--resample", help="Time step at which series at unequal steps are interpolated; wide gaps become NaN.")]
Workers = Annotated[int, typer.Option(min=0, help="Local processes; 0 for none.")]
Scheduler = Annotated[str | None, typer.Option(help="Address of a dask cluster, e.g. tcp://head:8786.")]
Jobs = Annotated[str | None, typer.Option(help="Only write a job array: slurm | htcondor | shell.")]
Seeds = Annotated[str | None, typer.Option(
    metavar="A:B", help="Many pieces, of seeds A to B - 1, each in a folder of its own in OUT.")]
Index = Annotated[int | None, typer.Option(min=0, help="Make only this piece: one job of an array.")]
Windows = Annotated[int | None, typer.Option(
    "--windows", min=2, help="Points of the series that long records are cut into, without gaps.")]
Real = Annotated[Path | None, typer.Option(
    "--real", help="True rows, as those it learned from: keep each fake as often as it should be. Draws 4 to 20 times "
    "as many.")]
Names = Annotated[list[str] | None, typer.Option("--context", "-c", help="Column to condition on; may be repeated.")]


def beside(word: str, *named: object) -> Path:
    """The folder that a command writes into unless another is given: ``run-flow-events`` of flow and events.npz.

    Example
    -------
    >>> beside("run", "flow", Path("data/events.csv.gz")), beside("scan", Path("parts/*.root"))
    (PosixPath('run-flow-events'), PosixPath('scan-parts'))
    """
    parts = [next((part for part in reversed(name.parts) if "*" not in part), "all").partition(".")[0]
             if isinstance(name, Path) else str(name) for name in named]
    return Path("-".join((word, *parts)))


class Stopped(SystemExit):
    """End of a command by a signal of which the user has been told."""


def before_work(*files: Path | None, data: Path | None = None, folder: Path | None = None,
                read: Path | None = None) -> None:
    """Nothing, where all this can be written and read; else a FileError now, not after the work.

    Parameters
    ----------
    files : pages and JSON to write
    data : a data file to write, whose suffix must be known too
    folder : to write into
    read : a file that is needed at the end only
    """
    from sundog.data.atomic import check_folder, check_place

    if folder is not None:
        check_folder(folder)
    for file in files:
        if file is not None and (folder is None or not file.is_relative_to(folder)):
            check_place(file)
    if data is not None:
        from sundog.data.files import check_target

        check_target(data)
    if read is not None:
        load(read, say=False)


@contextmanager
def resumable(what: str) -> Iterator[None]:
    """Inside, Ctrl-C (exit 130) or SIGTERM (143) end the command with one line that says how to go on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        typer.echo(f"sundog: stopped; give the same command again and {what} goes on", err=True)
        raise Stopped(getattr(stop, "code", 130)) from None


def many(make: Callable[..., Any], given: dict[str, Any], file: str | None = None, name: str = "seed", *,
         alone: bool = False) -> bool:
    """Whether a command was asked for many pieces by --seeds; then they were made, or the jobs that make them.

    Parameters
    ----------
    make : what makes a piece, called with the options, ``seed`` and ``out``; importable by its name
    given : all options of the command
    file : what a piece is called, where --out does not say; a folder when None
    alone : whether --workers and --scheduler have a meaning for one piece too
    """
    given = dict(given)
    seeds, seed, index, jobs, out = (given.pop(word) for word in ("seeds", "seed", "index", "jobs", "out"))
    where, quiet = {word: given.pop(word) for word in ("workers", "scheduler")}, given.pop("quiet")
    as_json = given.pop("as_json", False)
    if seeds is None:
        if jobs is not None or index is not None or (any(where.values()) and not alone):
            raise OptionError("one seed is one piece", got="--workers, --scheduler, --jobs or --index",
                              expected="--seeds A:B", do="say which pieces: --seeds 0:100")
        return False
    if seed:
        raise OptionError("--seed and --seeds exclude each other", got=f"--seed {seed} --seeds {seeds}",
                          expected="one of them", do=f"write --seeds {seeds}")
    if given.get("report") is not None:
        raise OptionError("a page shows one piece", got=f"--report with --seeds {seeds}", expected="one of them",
                          do="give --report with the --seed that it shall show")
    which = _range(seeds)
    if index is not None and index >= len(which):
        raise OptionError("no such piece", got=index, expected=f"0 to {len(which) - 1}", do="see --seeds")
    if file is not None:
        out = Path(file) if out is None else out
        given["file"], out = out.name if out.suffix else file, out.with_suffix("")
    made = _pieces([] if jobs is not None else list(which) if index is None else [which[index]], out,
                   {"make": f"{make.__module__}:{make.__name__}", **given}, name, where, quiet or jobs is not None)
    if jobs is not None:
        write_jobs(out, len(which), jobs, quiet)
    elif as_json:
        typer.echo(json.dumps({"folders": [str(path) for path in made]}))
    elif not quiet:
        each = f"{name}_*" if file is None else f"{name}_*/{given['file']}"
        typer.echo(f"{len(made)} pieces in {out}: {out / each}")
    return True


def _pieces(seeds: list[int], out: Path, options: dict[str, Any], name: str, where: dict[str, Any],
            quiet: bool) -> list[Path]:
    from rich.console import Console
    from rich.progress import Progress

    from sundog.data.parts import ensemble

    with resumable(f"the ensemble in {out}"), Progress(console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task("pieces", total=len(seeds))
        return ensemble(out, seeds, _piece, options, name=name, **where,
                        done=lambda complete, whole: bar.update(task, completed=complete))


def _piece(path: Path, key: str, options: dict[str, Any]) -> None:
    """One piece of many, by the command that makes it."""
    import importlib

    from sundog.data.parts import seed_of

    given = dict(options)
    module, _, make = given.pop("make").partition(":")
    out = path / given.pop("file") if "file" in given else path
    getattr(importlib.import_module(module), make)(**given, seed=seed_of(key), out=out, quiet=True)


def _range(text: str) -> range:
    """The seeds of A:B, B not among them."""
    first, _, end = text.partition(":")
    if not (first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise OptionError("cannot read --seeds", got=text, expected="A:B with A < B", do="write e.g. --seeds 0:1000")
    return range(int(first), int(end))


def write_jobs(out: Path, count: int, system: str, quiet: bool) -> None:
    """The script of a job array in ``out`` that makes the same call with --index 0 to count - 1."""
    from sundog.data.parts import job_array

    words = [word for i, word in enumerate(sys.argv[1:], 1)
             if word != "--jobs" and not word.startswith("--jobs=") and sys.argv[i - 1] != "--jobs"]
    file = out / f"jobs.{'sub' if system == 'htcondor' else 'sh'}"
    script = job_array(file, ["sundog", *words], count, system=system)
    if not quiet:
        typer.echo(f"wrote {script}: {count} jobs; when they are done, the same command without --jobs joins them")


def load(file: Path, context: Sequence[str] | None = None, kind: str = "auto", *, key: str | None = None,
         columns: str | None = None, weights: str | None = None, unit: str | None = None, mask: Any = None,
         time_step: str | None = None, resample: float | None = None, windows: int | None = None,
         drop_failed: bool = False, say: bool = True) -> Dataset:
    """The file as a Dataset; a path that is not there is looked for below SUNDOG_DATA too.

    What was left out or changed on the way in is said on stderr.
    """
    import os

    import sundog

    shared = Path(os.environ.get("SUNDOG_DATA", "../shared/data")) / file
    wanted = None if columns is None else [name.strip() for name in columns.split(",")]
    if wanted is not None and context:
        wanted += [name for name in context if name not in wanted]
    data = sundog.load(shared if not file.exists() and shared.exists() else file, kind=kind, key=key, columns=wanted,
                       weights=weights, units=_units(unit), mask=mask, resample=resample, windows=windows,
                       drop_failed=drop_failed, **_clock(time_step))
    for note in data.provenance.get("notes", ()) if say else ():
        typer.echo(f"sundog: {file.name}: {as_options(note)}", err=True)
    return data.with_context(context) if context else data


def _clock(text: str | None) -> dict[str, Any]:
    """Time step and unit of "0.1 s"."""
    step, _, unit = (text or "").strip().partition(" ")
    try:
        return {"time_step": float(step), **({"time_unit": unit.strip()} if unit else {})} if text else {}
    except ValueError as error:
        raise OptionError("cannot read --time-step", got=text, expected="a number and, if you like, a unit",
                          do="write e.g. --time-step '0.1 s'") from error


# What Python is told to pass -> what a command is told to give.
_SPOKEN = (
    (r"Plan\((\w+=[^()]*)\)", r"\1"), (r"windows=\[SignalRegion\(([^,]+), ([^)]+)\)\]", r"--window \1 \2"),
    (r"(pass )?Dataset\.from_arrays\([^)]*\), or (context=\[\.{3}\] of the columns|dataset\.with_context\(\[\.{3}\]\))",
     "name each input: -c NAME"),
    (r"fit with context=\[\.\.\.\]", "fit with -c NAME"), (r"\bcheck dataset\.names", "sundog info FILE lists them"),
    (r"sundog\.load_run\('?([^')]*)'?\)", r"sundog info \1"))


def as_options(text: str, known: Collection[str] = ()) -> str:
    """Advice in the words of the command line: ``columns=['a', 'b']`` is ``--columns a,b`` there.

    Parameters
    ----------
    known : options of the command; what it has not itself, it may take by --set

    Example
    -------
    >>> as_options("pass hidden=(64, 64) or Plan(steps=...)", {"set", "steps"})
    'pass --set hidden=[64,64] or --steps ...'
    """
    def given(found: re.Match[str]) -> str:
        if found[1] is None:  # a call of Python, which stays as it is
            return found[0]
        name, value = found[1], re.sub(r"['\"]", "", found[2])
        if name in known and value == "True":
            return f"--{name.replace('_', '-')}"
        if name in known:
            return f"--{name.replace('_', '-')} {value}"
        return f"--set {name}={re.sub(r',?[)]$', ']', value.replace('(', '[').replace(', ', ','))}" if "set" in known \
            else found[0]

    for pattern, words in _SPOKEN:
        text = re.sub(pattern, words, text)
    text = re.sub(r"\bcolumns=\[([^\]]*)\]", lambda x: "--columns " + re.sub(r"['\"]|(?<=,) ", "", x[1]), text)
    text = text.replace("drop_failed=True", "--drop-failed of fit, emulate and info")
    text = re.sub(r"\b(resample|time_step|windows)=(\w*)",
                  lambda x: f"--{x[1].replace('_', '-')} {x[2]}".rstrip(), text)
    if known:
        text = re.sub(r"\w\((?:[^()]|\([^()]*\))*\)|(?<![\w'\"=(-])([a-z_]+)="
                      r"(\([^()]*\)|\[[^\]]*\]|'[^']*'|[^\s,;()]+)(?![\w(])", given, text)
    return re.sub(r"\b(key|kind|unit|weights|mask)=('[^']*'|(?= ))", lambda x: f"--{x[1]} " + x[2].strip("'"), text)


def of_the_sphere(data: Dataset) -> bool:
    """Whether this is one map of the whole sphere, HEALPix or CAR."""
    if "sphere" not in data.provenance and "-CAR" not in str(data.provenance.get("wcs", "")):
        return False  # without the library of harmonics
    from sundog.tasks.sky.project import on_sphere

    return on_sphere(data)


def seen(mask: str | None, *data: Dataset) -> np.ndarray | None:
    """What --mask says of the pixels of maps, 0 where they are hidden: of a file, or where a map holds no number.

    Raises
    ------
    DataError : missing pixels, which are 0 by now, cannot be told from others.
    """
    import numpy as np

    from sundog.errors import DataError

    if mask is None:
        return None
    if mask != "missing":
        held = load(Path(mask), kind="images", mask="missing", say=False).values.numpy()
        return np.asarray(held if held.ndim == 3 else held.any(1))
    shown = np.ones(data[0].values.shape[-2:], bool)
    for maps in data:
        told = [int(found[1]) for note in maps.provenance.get("notes", ())
                if (found := re.match(r"(\d+) of \d+ pixels hold no number", note))]
        zero = (maps.values == 0).numpy()
        if told and zero.sum() != sum(told):
            raise DataError("missing pixels cannot be told from zeros", got=f"{zero.sum()} zeros, {sum(told)} missing",
                            expected="as many", do="pass a map that is 0 in missing pixels, --mask mask.fits")
        shown &= ~zero.reshape(-1, *shown.shape).any(0) if told else True
    return shown


def in_patches(*data: Dataset, mask: np.ndarray | None = None, apart: bool = False, sizes: Sequence[int] = (64,),
               ) -> tuple[list[Dataset], np.ndarray | None]:
    """The datasets, single maps of the sphere among them, HEALPix or CAR, cut into flat patches; and the mask.

    That they were cut is said; ``apart`` and ``sizes`` as in `projected`.
    """
    if not any(map(of_the_sphere, data)):
        return list(data), mask
    from sundog.tasks.sky.project import projected

    found, mask = projected(*data, mask=mask, apart=apart, sizes=sizes)
    for before, after in zip(data, found):
        if before is not after:
            typer.echo(f"sundog: a map of the sphere was cut into {len(after)} flat patches of "
                       f"{after.values.shape[-1]} pixels of {after.pixel_arcmin:.4g} arcmin; other sizes: sundog sky "
                       "project", err=True)
    return found, mask


def _units(text: str | None) -> str | dict[str, str] | None:
    if text is None or "=" not in text:
        return text
    pairs = (pair.partition("=") for pair in text.split(","))
    return {name.strip(): unit.strip() for name, _, unit in pairs}


def formulas_of(given: Sequence[str] | None) -> dict[str, str | None] | None:
    """{name: formula} of the words of --reparametrise.

    Example
    -------
    >>> formulas_of(["tau=log(tau)", "h="])
    {'tau': 'log(tau)', 'h': None}
    """
    pairs = [text.partition("=") for text in given or ()]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise OptionError("cannot read --reparametrise", got=wrong[0], expected="name=formula",
                          do="write e.g. --reparametrise 'tau=log(tau)'")
    return {name.strip(): formula.strip() or None for name, _, formula in pairs} or None


def plan_of(path: Path | None, settings: dict[str, Any]) -> Plan:
    """The plan of a file, with the settings given on the command line in place of its own."""
    import sundog

    given = {name: value for name, value in settings.items() if value is not None}
    return sundog.Plan(**given) if path is None else sundog.Plan.load(path).with_(**given)


def settings(texts: Sequence[str] | None, *reserved: str) -> dict[str, Any]:
    """What --set gave, name -> value; reserved names, which the command fills itself, are refused."""
    found = dict(map(setting, texts or []))
    for name in found:
        if name in reserved:
            raise OptionError(f"--set {name} cannot be", got=f"--set {name}=...", expected="an option of the method",
                              do=f"give --{name.replace('_', '-')} where the command has it, else leave it out")
    return found


def setting(text: str) -> tuple[str, Any]:
    """Name and value of ``name=value``: the array of a .npy file that exists, JSON where it can be, else the text."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise OptionError("cannot read --set", got=text, expected="name=value", do="write e.g. --set layers=4")
    if value.endswith(".npy") and Path(value).exists():
        import sundog

        return name.replace("-", "_"), sundog.load(value, kind="images").values.squeeze()
    try:
        found = json.loads(value)
    except json.JSONDecodeError:
        found = value
    return name.replace("-", "_"), tuple(found) if isinstance(found, list) else found


def of_the_family(texts: Sequence[str] | None) -> dict[str, Any]:
    """What --set gave for a family of generators."""
    import inspect

    import sundog

    return settings(texts, *set(inspect.signature(sundog.fit).parameters) - {"options"}, "shape", "context_dim", "self")


@contextmanager
def rows_kept(run: Any, out: Path) -> Iterator[None]:
    """Inside, a model that descends to its samples keeps them beside ``out``, batch by batch, and takes those it finds.

    They are taken away at the end; after a stop they stay, and a line says how to go on.
    """
    if not hasattr(run.model, "kept"):
        yield
        return
    import torch

    from sundog.data.parts import forget, kept

    folder = out.with_name(f"{out.name}.rows")
    run.model.kept = lambda of, make: torch.from_numpy(
        kept(folder, (run.identity, of), lambda: {"x": make().numpy()})["x"])
    try:
        with resumable(f"the sample in {out}"):
            yield
        forget(folder)
    finally:
        run.model.kept = None


def fakes_of(run: Run, n: int, context: Any, real: Path | None, seed: int, show: bool,
             measure: Callable[[Tensor], Tensor] | None = None) -> Dataset:
    """n fakes of a run; with ``--real`` those that are kept, and how many stderr says."""
    if real is None:
        return run.sample(n, context, seed)
    if context is not None:
        raise OptionError("--real goes with the conditions of the true rows", got="other conditions",
                          expected="one of the two", do="leave one out")
    from sundog.tasks.rejection import accepted

    fakes = accepted(run, load(real, run.labels["context_names"]), n, measure=measure, seed=seed,
                     progress=show)
    if show:
        told = fakes.provenance["accepted"]
        typer.echo(f"sundog: kept {told['kept']} of {told['drawn']} fakes; {told['beyond']:.1%} of the truth "
                   "stays too rare among them", err=True)
    return fakes


@contextmanager
def steps_shown(model: Any, on: bool) -> Iterator[None]:
    """Inside, a model that descends to its samples shows the step and the mean loss on stderr."""
    if not on or not hasattr(model, "progress"):
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status("descending") as status:
        model.progress = lambda step, loss: status.update(f"descending: step {step}, mean loss {loss:.3g}")
        try:
            yield
        finally:
            model.progress = None


def conditions(given: Sequence[str] | None) -> Dataset | list[list[float]] | None:
    """What fakes are drawn at: a file of one row for each, or one number per condition for all of them.

    Raises
    ------
    OptionError : neither a file nor a number.
    """
    if not given:
        return None
    if len(given) == 1 and Path(given[0]).exists():
        return load(Path(given[0]))
    try:
        return [[float(text) for text in given]]
    except ValueError as error:
        raise OptionError("the context is neither numbers nor a file", got=", ".join(given),
                          expected="one number per condition, or a file of one row for each fake",
                          do="check the path, or pass e.g. -c 3500") from error
