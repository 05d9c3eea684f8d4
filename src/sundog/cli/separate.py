"""``sundog separate``: take a known kind of contamination off a map."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sundog.cli.options import AsJson, Index, Jobs, Quiet, Scheduler, Seed, Seeds, Workers, before_work, many, resumable
from sundog.errors import OptionError

if TYPE_CHECKING:
    from sundog.data.dataset import Dataset
    from sundog.tasks.separation import Loss, Separation

LOSSES = ("match", "residual", "independence")


def separate(
    files: Annotated[list[Path], typer.Argument(
        metavar="MIXTURE [MAPS]...", help="The mixture; further files are contaminations, so that wildcards work.")],
    contamination: Annotated[list[str] | None, typer.Option(
        "--contamination", "-c", metavar="[NAME=]FILES", help="Draws of the contamination: a file of many maps, a "
        "folder, a pattern, or many files; NAME=FILES, repeated, for several contaminations.")] = None,
    observed: Annotated[Path | None, typer.Option(
        help="Patch where the contamination is seen alone; a generator is fitted on it.")] = None,
    mask: Annotated[Path | None, typer.Option(help="Map that is 0 where the mixture is unknown.")] = None,
    update: Annotated[Path | None, typer.Option(help="Map that is 0 where the mixture is clean and stays.")] = None,
    ancillary: Annotated[Path | None, typer.Option(help="Map that knows of the signal only.")] = None,
    loss: Annotated[list[str] | None, typer.Option(
        "--loss", "-l", help="match, residual, independence; may be repeated. Default: match.")] = None,
    method: Annotated[str, typer.Option(help="bias, average or diffusive.")] = "bias",
    patches: Annotated[bool, typer.Option(
        "--patches", help="The maps of the mixture are patches of one kind of sky, matched together.")] = False,
    periodic: Annotated[bool | None, typer.Option(
        "--periodic/--open", help="Whether maps wrap around; default: what the file says, else open.")] = None,
    repeats: Annotated[int, typer.Option(min=0, help="Further solutions; they measure which structures are real.")] = 0,
    eras: Annotated[int, typer.Option(min=1, help="Renewals of the bias.")] = 5,
    iterations: Annotated[int, typer.Option(min=1, help="Steps per era.")] = 30,
    draws: Annotated[int, typer.Option(min=10, help="Contaminations used per era.")] = 64,
    target: Annotated[float, typer.Option(help="Loss at which an era ends; the truth is at 1.")] = 0.1,
    octaves: Annotated[int | None, typer.Option("--octaves", "-J", min=1, help="Default: what the map holds.")] = None,
    truth: Annotated[Path | None, typer.Option(help="The true signal where it is known; for the page.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="npz, h5 or fits.")] = Path("separated.fits"),
    report: Annotated[Path | None, typer.Option("--report", "-r", help="Write one self-contained HTML page.")] = None,
    seeds: Seeds = None,
    workers: Workers = 0,
    scheduler: Scheduler = None,
    jobs: Jobs = None,
    index: Index = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Recover a signal from mixture = signal + contamination, without a model of the signal.

    \b
    sundog separate mixture.fits --contamination noise/*.fits --report out.html
    sundog separate mixture.npy -c noise.npz --repeats 3 --out separated.npz
    sundog separate dust.fits --observed cib.fits --loss match --loss residual
    sundog separate d.fits -c noise=noise.npz -c cib=cib.npz --report out.html
    sundog separate mixture.npy -c noise.npz --seeds 0:20 --workers 2 --out solutions
    """
    if many(separate, locals(), "separated.fits"):
        return
    import torch

    import sundog
    from sundog.cli.options import load, of_the_sphere

    before_work(report, data=out, read=truth)
    valid = None if mask is None else load(mask, kind="images", say=False).values.squeeze().numpy()
    mixture = load(files[0], kind="images", mask=valid)
    if of_the_sphere(mixture):
        raise OptionError("separation works on flat maps", got=f"{files[0].name}, the whole sky", expected="patches",
                          do=f"cut it first: sundog sky project {files[0]} --out patches.npz; --back joins them again")
    sources = _sources(mixture, contamination or [], files[1:], observed, patches)
    with resumable(f"the separation to {out}"):
        found = sundog.separate(
            mixture, sources, _losses(loss or ["match"], ancillary), seed=seed, J=octaves, method=method,
            boundary="auto" if periodic is None else "periodic" if periodic else "edge-mask",
            mask=None if valid is None else torch.as_tensor(valid).reshape(mixture.values.shape[-2:]),
            update=None if update is None else torch.as_tensor(
                load(update, kind="images", say=False).values.reshape(mixture.values.shape[-2:])),
            patches=patches, repeats=repeats, eras=eras, iterations=iterations, draws=draws, target=target,
            progress=None if quiet else _Line(), keep=out.with_name(f"{out.name}.descents"),
        )  # fmt: skip
    _save(found, mixture, out, patches)
    if report is not None:
        from sundog.reports.pages.separation import write_page

        known = None if truth is None else load(truth, kind="images").values.reshape(found.signal.shape)
        unit = mixture.units[0] if mixture.units else ""
        write_page(found, report, truth=known, unit=unit, pixel_arcmin=mixture.pixel_arcmin)
    if as_json:
        facts = {"file": str(out), "deterministic_down_to": _finite(found.report.deterministic_down_to),
                 "statistical_down_to": _finite(found.report.statistical_down_to), "losses": found.report.losses,
                 "endings": found.report.endings, "seconds": found.report.seconds}
        typer.echo(json.dumps(facts))
    elif not quiet:
        typer.echo(str(found.report))
        typer.echo(f"written to {out}; " + (f"report: {report}" if report else "see pictures with: --report out.html"))


class _Line:
    """Steps and loss on one line of stderr."""

    def __init__(self) -> None:
        self.steps = 0

    def __call__(self, step: int, loss: float) -> None:
        self.steps += 1
        typer.echo(f"\rstep {self.steps}, loss {loss:.3f} (the truth is at 1) ", err=True, nl=False)


def _sources(mixture: Dataset, named: list[str], more: list[Path], observed: Path | None, patches: bool) -> Any:
    """What `sundog.separate` takes: maps, a dictionary of maps, or a generator fitted on one patch."""
    from sundog.cli.options import load
    from sundog.tasks.separation import Observed

    groups: dict[str, list[str]] = {}
    for text in named:
        name, equals, path = text.rpartition("=")
        groups.setdefault(name if equals else "contamination", []).append(path)
    if more:
        last = (named[-1].rpartition("=")[0] or "contamination") if named else "contamination"
        groups.setdefault(last, []).extend(str(path) for path in more)
    found: dict[str, Any] = {name: _stack(paths, mixture.values.shape[int(patches) : -2].numel())
                             for name, paths in groups.items()}
    if observed is not None:
        size = mixture.values.shape
        found["observed"] = Observed(load(observed, kind="images"), (size[-2], size[-1]))
    if not found:
        raise OptionError("no contamination", got="a mixture alone", expected="maps of the contamination",
                          do="sundog separate mixture.fits --contamination noise/*.fits, or --observed patch.fits")
    return found if len(found) > 1 else next(iter(found.values()))


def _stack(paths: list[str], channels: int) -> Any:
    """Maps of one contamination, from one file of many maps, a pattern, a folder, or many files."""
    import sundog

    one = sundog.load(paths[0] if len(paths) == 1 else paths, kind="images")
    if channels > 1 and one.values.shape[:-2].numel() % channels == 0:
        return one.values.reshape(-1, channels, *one.values.shape[-2:])  # cubes are read as stacks of maps
    return one


def _losses(words: list[str], ancillary: Path | None) -> list[Loss]:
    from sundog.cli.options import load
    from sundog.tasks.separation import Cross, Independence, Match, Residual

    known: dict[str, Any] = dict(zip(LOSSES, (Match, Residual, Independence)))
    for word in words:
        if word not in known:
            raise OptionError("unknown loss", got=word, expected=" | ".join(LOSSES), do="use --ancillary for Cross")
    extra = [] if ancillary is None else [Cross(load(ancillary, kind="images").values.flatten(0, -3))]
    return [known[word]() for word in words] + extra


def _save(found: Separation, mixture: Dataset, out: Path, patches: bool) -> None:
    """Signal, residual, components and repeats as channels of one map (of every patch), in the unit of the mixture."""
    import torch

    from sundog.data.dataset import Dataset

    maps = {"signal": found.signal, "residual": found.residual, **found.components}
    maps |= {f"repeat{i + 1}": other for i, other in enumerate(found.repeats)}
    planes, names = [], []
    for name, x in maps.items():
        channels = x.reshape(len(x) if patches else 1, -1, *x.shape[-2:])
        planes.append(torch.nan_to_num(channels))  # a Dataset holds no NaN; masked pixels become 0
        names += [name] if channels.shape[1] == 1 else [f"{name}_{word}" for word in mixture.names]
    units = [mixture.units[0] if mixture.units else ""] * len(names)
    kept = {name: mixture.provenance[name] for name in ("wcs",) if name in mixture.provenance}
    Dataset.from_arrays(torch.cat(planes, 1), names=names, units=units, pixel_arcmin=mixture.pixel_arcmin,
                        periodic=mixture.periodic, provenance=kept).save(out)  # fmt: skip


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None
