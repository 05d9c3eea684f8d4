"""The command line: the words of the library on files. The library loads inside the commands, so --help is quick."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sundog import __version__
from sundog.cli_anomaly import app as anomaly_app
from sundog.errors import OptionError, SundogError

if TYPE_CHECKING:
    from sundog.data.dataset import Dataset
    from sundog.train.plan import Plan

app = typer.Typer(
    name="sundog", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
public_app = typer.Typer(no_args_is_help=True, help="Known public data sets: list them, fetch one.")
app.add_typer(public_app, name="public")
app.add_typer(anomaly_app, name="anomaly")


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no talk; results only.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine output: one JSON object on stdout.")]
Seed = Annotated[int, typer.Option(help="Same seed, same numbers.", min=0)]
Names = Annotated[list[str] | None, typer.Option("--context", "-c", help="Column to condition on; may be repeated.")]

# Word -> (what it makes, module, function or law, defaults). A "." in the function means a method of a default law.
SIMULATORS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "two-moons": ("two half circles in the plane", "densities", "TwoMoons.sample", {}),
    "ring": ("eight Gaussians on a circle", "densities", "GaussianMixture.ring.sample", {}),
    "resonance": ("background events of a resonance search", "densities", "ResonantToy.background", {}),
    "gaussian-field": ("periodic Gaussian maps, P(k) ~ k^-3", "fields", "gaussian_field",
                       {"size": 64, "spectrum": -3.0}),
    "lognormal-field": ("positive maps, lognormal in each pixel", "fields", "lognormal_field",
                        {"size": 64, "spectrum": -2.0}),
    "dijets": ("LHC-Olympics-like di-jet events; --set n_signal=100 hides a resonance", "dijets", "dijets",
               {"n_signal": 0}),
    "blobs": ("images of Gaussian spots, ten each", "blobs", "blobs", {"n_blobs": 10}),
    "radio": ("radio galaxies with cores, jets, lobes, beam and noise", "radio", "radio_galaxies", {}),
    "filaments": ("dust-like maps threaded by filaments", "fields", "filamentary_field", {"size": 64}),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code of the command line: 0 fine, 1 failed, 2 the user's error, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        code = app(words, prog_name="sundog", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:  # `sundog info file | head`
        sys.stderr.close()
        return 0
    except Exception as error:
        if debug:
            raise
        return _explain(error)


def _explain(error: Exception) -> int:
    """Exit code of an error, after one clear line about it on stderr."""
    if isinstance(error, SundogError):
        line, code = f"error: {error}", 2
    elif hasattr(error, "format_message"):  # what typer raises for a wrong option or argument
        where = getattr(getattr(error, "ctx", None), "command_path", "sundog")
        line, code = f"error: {error.format_message()} See: {where} --help", 2
    else:
        first = (str(error).splitlines() or [""])[0]
        line, code = f"unexpected {type(error).__name__}: {first}; run it again with --debug to see where", 1
    typer.echo("sundog: " + " ".join(line.split()), err=True)
    return code


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say it.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error (works anywhere).")] = False,
) -> None:
    """Learn a distribution from limited scientific data, generate fakes, judge them with error bars.

    \b
    sundog demo                                    the whole way, three minutes
    sundog fit flow events.npz -c m_jj             learn
    sundog sample run -n 10000 --out fakes.npz     generate
    sundog judge events.npz fakes.npz --held-out   judge
    """


@app.command()
def info(
    file: Annotated[Path, typer.Argument(help="npy, npz, h5, fits, csv or parquet.")],
    as_json: AsJson = False,
) -> None:
    """Say what a file holds: shape, names, units, range of every column.

    \b
    sundog info events.npz
    sundog info dust.fits --json
    """
    data = _load(file)
    facts = {"file": str(file), "kind": data.kind, "shape": list(data.values.shape), "names": list(data.names),
             "units": list(data.units), "context_names": list(data.context_names),
             "context_units": list(data.context_units), "weighted": data.weights is not None,
             "pixel_arcmin": data.pixel_arcmin, "fingerprint": data.fingerprint()}
    typer.echo(json.dumps(facts) if as_json else str(data.describe()))


@app.command()
def fit(
    family: Annotated[str, typer.Argument(help="flow, flow-matching ...; a wrong word lists them all.")],
    file: Annotated[Path, typer.Argument(help="The data; 80 % of the rows are learned, 20 % held out.")],
    context: Names = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder; an unfinished run there goes on.")] = Path("run"),
    steps: Annotated[int | None, typer.Option(min=1, help="Budget in optimiser steps.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Budget in seconds.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Rows per step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="Replaces the family's own.")] = None,
    plan: Annotated[Path | None, typer.Option(help="JSON or YAML file of plan settings; options above win.")] = None,
    scaling: Annotated[str | None, typer.Option(help="auto, standard, logit, asinh, log-modulus or identity.")] = None,
    option: Annotated[list[str] | None, typer.Option("--set", help="Family option, e.g. hidden=[64,64].")] = None,
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
    """
    import sundog

    settings = {"steps": steps, "seconds": seconds, "batch": batch, "learning_rate": learning_rate}
    with _resumable(f"the run in {out}"):
        run = sundog.fit(
            family, _load(file), context=context or None, plan=_plan(plan, settings), seed=seed, device=device,
            out=out, scaling=scaling, progress=not quiet, **dict(map(_setting, option or [])),
        )
    if as_json:
        facts = {"folder": str(out), "family": run.family, "identity": run.identity,
                 "seconds": run.history.seconds, "best_score": run.history.best_score}
        typer.echo(json.dumps(facts))
    elif not quiet:
        typer.echo(f"{run}\nsaved in {out}; next: sundog sample {out} -n 1000 --out fakes.npz")


@app.command()
def sample(
    run: Annotated[Path, typer.Argument(help="Folder that fit wrote.")],
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="How many fakes.")] = 1000,
    out: Annotated[Path, typer.Option("--out", "-o", help="npz, h5, fits, csv or parquet.")] = Path("fakes.npz"),
    context: Annotated[list[float] | None, typer.Option(
        "--context", "-c", help="One value per condition, for all fakes; default: drawn from training.")] = None,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or mps.")] = "cpu",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Draw fakes from a run, in the units of its training data.

    \b
    sundog sample run -n 10000 --out fakes.npz --seed 1
    sundog sample run -n 500 --context 3500
    """
    import sundog

    fakes = sundog.load_run(run, device=device).sample(n, context=[context] if context else None, seed=seed)
    fakes.save(out)
    if as_json:
        typer.echo(json.dumps({"file": str(out), "n": n, "seed": seed, "fingerprint": fakes.fingerprint()}))
    elif not quiet:
        typer.echo(f"{fakes}\nwritten to {out}; next: sundog judge REAL {out} --report report.html")


@app.command()
def judge(
    real: Annotated[Path, typer.Argument(help="The truth.")],
    fake: Annotated[Path, typer.Argument(help="The fakes.")],
    held_out: Annotated[bool, typer.Option(
        "--held-out", help="Judge against the 20 % of REAL that fit never saw, look for copies of the rest.")] = False,
    train: Annotated[Path | None, typer.Option(help="Training data in its own file: look for copies of it.")] = None,
    context: Names = None,
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

    truth, fakes, learned = _load(real, context), _load(fake), None if train is None else _load(train, context)
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


@app.command()
def simulate(
    name: Annotated[str, typer.Argument(help="Which training ground; 'list' shows them.")],
    n: Annotated[int, typer.Option("-n", "--n", "--number", min=1, help="How many events or images.")] = 1000,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; default NAME.npz.")] = None,
    option: Annotated[list[str] | None, typer.Option("--set", help="Simulator option, e.g. size=64.")] = None,
    quiet: Quiet = False,
) -> None:
    """Make data with known truth: events or images.

    \b
    sundog simulate list
    sundog simulate dijets -n 20000 --seed 1 --out events.npz
    sundog simulate gaussian-field -n 100 --set size=64
    """
    if name == "list":
        typer.echo("\n".join(f"{word:16} {entry[0]}" for word, entry in SIMULATORS.items()))
        return
    data = _simulated(name, n, seed, dict(map(_setting, option or [])))
    path = data.save(out or Path(f"{name}.npz"))
    if not quiet:
        typer.echo(f"{data}\nwritten to {path}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of run, fakes and report.")] = Path("demo"),
    quick: Annotated[bool, typer.Option("--quick", help="A few seconds, too short to pass.")] = False,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Go the whole way on a built-in sample of di-jet events: learn, generate, judge. Three minutes on two cores.

    \b
    sundog demo
    sundog demo --out somewhere --seed 3
    """
    from sundog.demo import run_demo

    with _resumable("the demo"):
        for line in run_demo(out, seed=seed, quick=quick, progress=not quiet):
            if not quiet:
                typer.echo(line)


@public_app.command("list")
def public_list(as_json: AsJson = False) -> None:
    """Name the public data sets, with size, licence and source.

    \b
    sundog public list
    """
    from sundog.data import public

    described = {name: public.describe(name) for name in public.names()}
    typer.echo(json.dumps(described) if as_json else "\n\n".join(described.values()))


@public_app.command("fetch")
def public_fetch(
    name: Annotated[str, typer.Argument(help="A name that 'sundog public list' shows.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write it as npz, h5, fits ...")] = None,
    quiet: Quiet = False,
) -> None:
    """Download a public data set, check its checksum, keep it in the cache.

    \b
    sundog public fetch lhco --out lhco.npz
    """
    from sundog.data import public

    path = public.fetch(name, progress=not quiet)
    if out is not None:
        path = public.load_public(name).save(out)
    if not quiet:
        typer.echo(f"{name}: {path}")


@contextmanager
def _resumable(what: str) -> Iterator[None]:
    """Inside, Ctrl-C (exit 130) or SIGTERM (143) end the command with one line that says how to go on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        typer.echo(f"sundog: stopped; give the same command again and {what} goes on", err=True)
        raise typer.Exit(getattr(stop, "code", 130)) from None


def _load(file: Path, context: Sequence[str] | None = None) -> Dataset:
    """The file as a Dataset; a path that is not there is looked for below SUNDOG_DATA too."""
    import os

    import sundog

    shared = Path(os.environ.get("SUNDOG_DATA", "../shared/data")) / file
    data = sundog.load(shared if not file.exists() and shared.exists() else file)
    return data.with_context(context) if context else data


def _plan(path: Path | None, settings: dict[str, Any]) -> Plan:
    """The plan of a file, with the settings given on the command line in place of its own."""
    import sundog

    given = {name: value for name, value in settings.items() if value is not None}
    return sundog.Plan(**given) if path is None else sundog.Plan.load(path).with_(**given)


def _simulated(name: str, n: int, seed: int, options: dict[str, Any]) -> Dataset:
    """n events or images of a training ground."""
    import importlib
    from functools import reduce

    if name not in SIMULATORS:
        raise OptionError("no such simulator", got=name, expected=" | ".join(SIMULATORS), do="sundog simulate list")
    _, module, path, defaults = SIMULATORS[name]
    found: Any = importlib.import_module(f"sundog.simulate.{module}")
    *laws, last = path.split(".")
    options = {**defaults, **options}
    try:
        if laws:
            return getattr(reduce(getattr, laws, found)(**options), last)(n, seed=seed)
        return getattr(found, last)(n, seed=seed, **options)
    except TypeError as error:
        raise OptionError(f"simulator '{name}' does not take this", got=str(error), expected="its own options",
                          do=f"see help(sundog.simulate.{module}.{last})") from error


def _setting(text: str) -> tuple[str, Any]:
    """Name and value of ``name=value``; the value is JSON where it can be, else the text itself."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise OptionError("cannot read --set", got=text, expected="name=value", do="write e.g. --set layers=4")
    try:
        found = json.loads(value)
    except json.JSONDecodeError:
        found = value
    return name.replace("-", "_"), tuple(found) if isinstance(found, list) else found


if __name__ == "__main__":
    sys.exit(main())
