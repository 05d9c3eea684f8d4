"""``sundog simulate``: data with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sundog.checks import enough_memory
from sundog.cli.options import (
    Index,
    Jobs,
    Quiet,
    Scheduler,
    Seed,
    Seeds,
    Workers,
    before_work,
    many,
    resumable,
    settings,
)  # fmt: skip
from sundog.errors import OptionError

if TYPE_CHECKING:
    from sundog.data.dataset import Dataset

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


def simulate(
    name: Annotated[str, typer.Argument(help="Which training ground; 'list' shows them.")],
    n: Annotated[int, typer.Option("-n", "--n", "--number", min=1, help="How many events or images.")] = 1000,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; default NAME.npz.")] = None,
    option: Annotated[list[str] | None, typer.Option("--set", help="Simulator option, e.g. size=64.")] = None,
    engine: Annotated[str, typer.Option(help="Of dijets: analytic, or pythia (100 a second).")] = "analytic",
    seeds: Seeds = None,
    workers: Workers = 0,
    scheduler: Scheduler = None,
    jobs: Jobs = None,
    index: Index = None,
    quiet: Quiet = False,
) -> None:
    """Make data with known truth: events or images.

    \b
    sundog simulate list
    sundog simulate dijets -n 20000 --seed 1 --out events.npz
    sundog simulate dijets -n 20000 --engine pythia --workers 2 --set n_signal=100
    sundog simulate gaussian-field -n 100 --set size=64
    sundog simulate radio -n 1000 --seeds 0:50 --workers 4 --out surveys
    """
    if many(simulate, locals(), f"{name}.npz", alone=True):
        return
    if name == "list":
        typer.echo("\n".join(f"{word:16} {entry[0]}" for word, entry in SIMULATORS.items()))
        return
    out, options = out or Path(f"{name}.npz"), settings(option, "n", "seed", "folder", "done")
    before_work(data=out)
    enough_memory(16.0 * n, f"{n:.3g} events", "draw fewer at a time, with another seed each")  # two numbers at least
    if name == "dijets" and engine == "pythia":
        data = _collided(n, seed, out.with_suffix(".parts"), {"workers": workers, "scheduler": scheduler, **options},
                         progress=not quiet)
    elif engine != "analytic" or workers or scheduler is not None:
        raise OptionError("only dijets has an engine", got=f"{name}, engine {engine}, {workers} workers",
                          expected="dijets --engine pythia", do="leave --engine and --workers out")
    else:
        data = _simulated(name, n, seed, options)
    path = data.save(out)
    if engine == "pythia":  # only now: a save that fails must not cost the collisions
        from sundog.simulate.pythia import forget_pieces

        forget_pieces(out.with_suffix(".parts"), n, int(options.get("n_signal", 0)), seed,
                      m_jj_min=options.get("m_jj_min", 3.0))
    if not quiet:
        typer.echo(f"{data}\nwritten to {path}")


def _collided(n: int, seed: int, pieces: Path, options: dict[str, Any], progress: bool) -> Dataset:
    """Di-jet events from Pythia; a stopped simulation goes on from the folder of its pieces."""
    from rich.console import Console
    from rich.progress import Progress

    from sundog.simulate.pythia import pythia_dijets

    with resumable("the simulation"), Progress(console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task("pieces", total=None)
        try:
            data = pythia_dijets(n, int(options.pop("n_signal", 0)), seed, folder=pieces, **options,
                                 done=lambda complete, whole: bar.update(task, completed=complete, total=whole))
        except TypeError as error:
            raise OptionError("the simulator 'dijets' does not take this", got=str(error), expected="its own options",
                              do="see help(sundog.simulate.pythia.pythia_dijets)") from error
    return data


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
