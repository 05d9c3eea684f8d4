"""``sundog sky``: simulate skies, rescale them, learn to make them, generate them whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sundog.checks import enough_memory
from sundog.cli.options import (
    AsJson,
    Columns,
    Index,
    Jobs,
    Key,
    Mask,
    Quiet,
    Scheduler,
    Seed,
    Seeds,
    Workers,
    before_work,
    load,
    many,
    resumable,
)  # fmt: skip
from sundog.errors import FileError, OptionError

if TYPE_CHECKING:
    from sundog.data.sky.tiles import TileLayout

app = typer.Typer(no_args_is_help=True, help="Microwave skies: simulate one or many, cut, rescale, train, generate.")
Threads = Annotated[int, typer.Option(min=1, help="Of the spherical transforms; the numbers do not depend on it.")]
Fits = Annotated[bool, typer.Option("--fits", help="Write HEALPix FITS files too.")]
Car = Annotated[float | None, typer.Option("--car", metavar="ARCMIN", help="Write CAR FITS images of that pixel too.")]


@app.callback()
def _group() -> None:
    """Microwave skies: simulate one or many, cut, rescale, train, generate."""


@app.command()
def simulate(
    nside: Annotated[int, typer.Option(help="Power of two; 512 takes 20 s of CPU, 2048 some minutes.")] = 256,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the maps; a stopped sky goes on there.")] = Path(
        "sky"),
    cosmology: Annotated[str, typer.Option(help="wmap5 or planck18.")] = "wmap5",
    extra: Annotated[list[str] | None, typer.Option(help="Further component, such as free_free; repeatable.")] = None,
    tsz_beam: Annotated[float, typer.Option(
        "--tsz-beam", metavar="ARCMIN", help="FWHM that clusters are seen with before they get pixels.")] = 0.0,
    cap: Annotated[float | None, typer.Option(
        metavar="DEGREES", help="Only what is within so many degrees of the north pole.")] = None,
    cmb: Annotated[bool, typer.Option("--cmb", help="Add cmb.npy: a CMB lensed by the kappa of this sky.")] = False,
    fits: Fits = False,
    car: Car = None,
    seeds: Seeds = None,
    workers: Workers = 0,
    scheduler: Scheduler = None,
    jobs: Jobs = None,
    index: Index = None,
    threads: Threads = 1,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make a sky: kappa, tSZ, kSZ, CIB and radio maps at 148 GHz, in uK_CMB; or many of them.

    \b
    sundog sky simulate --nside 512 --seed 1 --out sky1
    sundog sky simulate --nside 256 --cosmology planck18 --cmb --fits
    sundog sky simulate --nside 256 --car 5
    sundog sky simulate --nside 256 --seeds 0:1000 --workers 4 --out skies
    sundog sky simulate --nside 256 --seeds 0:1000 --jobs slurm --out skies
    """
    if many(_made, locals(), name="sky"):
        return
    before_work(folder=out)
    with resumable(f"the sky in {out}"):
        sky, files = _made(out, seed, nside=nside, cosmology=cosmology, extra=extra, tsz_beam=tsz_beam, cap=cap,
                           cmb=cmb, fits=fits, car=car, threads=threads)
    _tell(sky, files, quiet, as_json, f"sundog sky rescale {out} --ghz 217")


def _made(out: Path, seed: int, *, nside: int, cosmology: str, extra: list[str] | None, tsz_beam: float,
          cap: float | None, cmb: bool, fits: bool, car: float | None, threads: int,
          quiet: bool = True) -> tuple[Any, list[str]]:
    """One sky, and the files that it wrote."""
    from sundog.simulate.sky import simulate_sky

    _check_car(car)
    if cap is not None and (cmb or car is not None):
        raise OptionError("a cap has no CMB and no CAR image", got="--cap with --cmb or --car", expected="one of them",
                          do="leave --cap out, or cut patches: sundog sky project")
    sky = simulate_sky(nside, seed, cosmology, out, extra=extra or (), tsz_beam=tsz_beam, cap=cap, threads=threads)
    files = [str(out)]
    if cmb:
        import numpy as np

        from sundog.simulate.sky.cmb import lensed_cmb

        np.save(out / "cmb.npy", lensed_cmb(sky.kappa, seed, model=cosmology, threads=threads).astype(np.float32))
        files.append(str(out / "cmb.npy"))
    return sky, files + _exported(sky, out, "uK_CMB", fits, car, threads)


@app.command()
def covariance(
    skies: Annotated[list[Path], typer.Argument(help="Folders of skies, or of many skies.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="npz: names, edges, mean, covariance, gaussian.")] = Path(
        "covariance.npz"),
    lmax: Annotated[int | None, typer.Option(help="Of the spectra; 1.5 NSIDE unless given.")] = None,
    lmin: Annotated[int, typer.Option(min=1, help="Of the spectra.")] = 20,
    bins: Annotated[int, typer.Option(min=1, help="Of equal width in ln l.")] = 8,
    threads: Threads = 1,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Means, covariances and correlations of all spectra of many skies, compared with those of Gaussian maps.

    \b
    sundog sky covariance skies --lmax 500 --bins 10 --out covariance.npz
    """
    from rich.console import Console
    from rich.progress import track

    from sundog.simulate.sky import SkyMaps
    from sundog.tasks.sky import geometric_edges, skies_in, sky_covariance

    before_work(out)
    folders = skies_in(skies)
    top = 3 * SkyMaps.load(folders[0]).nside // 2 if lmax is None else lmax
    if top <= lmin:
        raise OptionError("no multipoles between", got=f"--lmin {lmin}, lmax {top}", expected="lmin below lmax",
                          do="pass a lower --lmin or a higher --lmax")
    edges = geometric_edges(lmin, top, bins)
    shown = track(folders, "skies", console=Console(stderr=True), disable=quiet)
    found = sky_covariance(shown, edges, threads=threads)
    found.save(out)
    if as_json:
        typer.echo(json.dumps({"file": str(out), "skies": found.count, "names": found.names, "edges": edges.tolist(),
                               "excess": found.excess.tolist(), "between_bins": found.between_bins.tolist()}))
    elif not quiet:
        typer.echo(f"{found}\nwritten to {out}")


@app.command()
def project(
    file: Annotated[Path, typer.Argument(help="A HEALPix or CAR file; with --back, patches.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Data file of patches; with --back, FITS.")],
    size: Annotated[int, typer.Option(min=16, help="Pixels per side of a patch.")] = 64,
    pixel: Annotated[float | None, typer.Option(help="Arcmin; default: that of the map, at most 30.")] = None,
    overlap: Annotated[int | None, typer.Option(help="Pixels that neighbours share; a quarter unless given.")] = None,
    mask: Mask = None,
    key: Key = None,
    columns: Columns = None,
    nearest: Annotated[bool, typer.Option("--nearest", help="The nearest pixel: point sources stay whole.")] = False,
    back: Annotated[bool, typer.Option("--back", help="Put patches together again, as the map that was cut.")] = False,
    like: Annotated[Path | None, typer.Option(help="With --back: the patches as they were cut, where these have "
                                              "lost their places.")] = None,
    threads: Threads = 1,
    quiet: Quiet = False,
) -> None:
    """Cut flat patches from a map of the sphere, or put them back.

    \b
    sundog sky project planck.fits --size 128 --pixel 5 --out patches.npz
    sundog sky project dust.fits --mask missing --out patches.npz
    sundog sky project cleaned.npz --back --like patches.npz --out cleaned.fits
    """
    import numpy as np

    from sundog.data.sky.tiles import TileLayout
    from sundog.tasks.sky.project import flat_patches, stitched, usual_layout, write_sphere

    if back:
        before_work(out)
        patches = load(file)
        cut = patches if like is None else load(like)
        files = write_sphere(out, stitched(patches, cut), cut)
        if not quiet:
            typer.echo(f"written to {', '.join(map(str, files))}")
        return
    before_work(data=out)
    sky = load(file, mask=mask, key=key, columns=columns)
    shown = None
    if mask is not None:  # what holds no number is 0 by now
        held = (sky if mask == "missing" else load(Path(mask), mask="missing", say=False)).values[0].numpy()
        shown = np.any(held.reshape(-1, *held.shape[-2:]), axis=0)
        typer.echo(f"sundog: {file.name}: pixels that are 0 are taken for missing: {(~shown).sum()} of {shown.size}",
                   err=True)
    usual = usual_layout(sky)
    layout = TileLayout(size, usual.pixel_arcmin if pixel is None else pixel,
                        max(8, size // 4) if overlap is None else overlap)
    found = flat_patches(sky, layout, mask=shown, nearest=nearest, threads=threads)
    found.save(out)
    if not quiet:
        typer.echo(f"{found}\nwritten to {out}, {len(found)} of {layout.number} tiles of the sphere; "
                   f"back: sundog sky project {out} --back --out map.fits")


@app.command()
def rescale(
    sky: Annotated[Path, typer.Argument(help="Folder that simulate wrote.")],
    ghz: Annotated[float, typer.Option(help="20 to 500.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder; default SKY_GHZ.")] = None,
    unit: Annotated[str, typer.Option(help="Of exported files: uK_CMB, K_CMB, Jy/sr, MJy/sr.")] = "uK_CMB",
    t_cmb: Annotated[float, typer.Option(help="Kelvin.")] = 2.7255,
    mean_index: Annotated[bool, typer.Option("--mean-index", help="No scatter of spectral indices.")] = False,
    fits: Fits = False,
    car: Car = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Take a sky to another frequency.

    \b
    sundog sky rescale sky --ghz 217
    sundog sky rescale sky --ghz 353 --fits --unit MJy/sr --seed 4
    """
    from sundog.simulate.sky import SkyMaps
    from sundog.tasks.sky import rescale as to_band

    out = out or Path(f"{sky}_{ghz:g}")
    before_work(folder=out)
    _check_car(car)
    found = to_band(SkyMaps.load(sky), ghz, t_cmb=t_cmb, seed=seed, scatter=not mean_index)
    found.save(out)
    _tell(found, [str(out), *_exported(found, out, unit, fits, car, 1)], quiet, as_json, "")


@app.command()
def train(
    skies: Annotated[list[Path], typer.Argument(help="Folders of simulated skies.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder; an unfinished run there goes on.")] = Path("skyrun"),
    method: Annotated[str, typer.Option(help="flow-matching or gan.")] = "flow-matching",
    noise: Annotated[str, typer.Option(
        help="What it starts from: heavy-tailed, gaussian, white, or none (gan alone).")] = "heavy-tailed",
    size: Annotated[int, typer.Option(min=16, help="Pixels per side of a tile.")] = 64,
    pixel: Annotated[float | None, typer.Option(help="Arcmin; default: that of the maps, at most 30.")] = None,
    patches: Annotated[int, typer.Option(
        min=50, help="Most tiles to cut from the skies; all are shown in all positions.")] = 2000,
    steps: Annotated[int | None, typer.Option(min=1, help="Budget in optimiser steps.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Budget in CPU seconds (on a GPU, wall time).")] = None,
    threads: Threads = 1,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Learn to draw tSZ, kSZ, CIB and radio maps for a given kappa, on tiles of simulated skies.

    \b
    sundog sky train sky0 sky1 --out skyrun --seconds 600
    sundog sky train sky0 --method gan --size 64 --steps 2000
    """
    import math

    import sundog
    from sundog.data.sky.tiles import TileLayout
    from sundog.simulate.sky import SkyMaps
    from sundog.tasks.sky import sky_patches

    before_work(folder=out)
    maps = [SkyMaps.load(folder) for folder in skies]
    finest = min(60 * math.degrees(math.sqrt(math.pi / 3) / sky.nside) for sky in maps)
    layout = TileLayout(size, min(finest, 30.0) if pixel is None else pixel, max(8, size // 6))
    there = len(maps) * sum(layout.count(row) for row in range(layout.rows))
    data = sky_patches([dict(sky) for sky in maps], min(patches, there), layout, seed=seed, threads=threads)
    budget = {"steps": steps, "seconds": seconds}
    plan = sundog.Plan(**{name: value for name, value in budget.items() if value is not None})  # type: ignore[arg-type]
    with resumable(f"the run in {out}"):
        run = sundog.fit("translate", data, plan=plan, seed=seed, out=out, progress=not quiet, method=method,
                         noise=noise, symmetry="dihedral")
    facts = {"size": size, "pixel_arcmin": layout.pixel_arcmin, "overlap": layout.overlap, "names": list(data.names)}
    (out / "tiles.json").write_text(json.dumps(facts))
    if as_json:
        typer.echo(json.dumps({"folder": str(out), **facts, "seconds": run.history.seconds}))
    elif not quiet:
        typer.echo(f"{run}\nsaved in {out}; next: sundog sky generate {out} --seed 1 --out generated")


@app.command()
def generate(
    run: Annotated[Path, typer.Argument(help="Folder that train wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder; a stopped sky goes on there.")] = Path("generated"),
    nside: Annotated[int, typer.Option(help="Of the maps to make.")] = 256,
    cosmology: Annotated[str, typer.Option(help="Of the convergence: wmap5 or planck18.")] = "wmap5",
    spectrum: Annotated[Path | None, typer.Option(help="npz with clkk, or npy: C_l of kappa, in its place.")] = None,
    blend: Annotated[str, typer.Option(help="paired (keeps the variance of noise) or linear.")] = "paired",
    held_out: Annotated[list[Path] | None, typer.Option(
        "--held-out", help="Skies that training never saw: a transfer function is measured on them; maps with it are "
        "written beside the raw ones.")] = None,
    fits: Fits = False,
    threads: Threads = 1,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Generate a whole sky: a Gaussian kappa, translated tile by tile and stitched.

    \b
    sundog sky generate skyrun --nside 256 --seed 1 --out generated
    sundog sky generate skyrun --held-out sky2 --blend linear
    """
    import numpy as np

    import sundog
    from sundog.tasks.sky import generate_sky

    before_work(folder=out)
    layout, names = _layout(run)
    translator = sundog.load_run(run)
    lmax = min(2 * nside, int(180 * 60 / layout.pixel_arcmin))
    power = _spectrum(spectrum, cosmology, lmax)
    options = {"layout": layout, "names": names, "blend": blend, "threads": threads}
    transfer = None if not held_out else _transfer(translator, held_out, lmax, options)
    with resumable(f"the sky in {out}"):
        sky = generate_sky(translator, power, nside, seed, out=out, transfer=transfer,
                           **options)
    files = [str(out / f"{name}.npy") for name in names]
    for name, values in sky.corrected.items():
        np.save(out / f"{name}_corrected.npy", values)
        files.append(str(out / f"{name}_corrected.npy"))
    if fits:
        files += _healpix_files(sky.maps, out, "uK_CMB", "")
    if as_json:
        typer.echo(json.dumps({"files": files, **sky.provenance}))
    elif not quiet:
        typer.echo(f"{nside=} sky of {', '.join(names)} in {out}" + ("; raw and corrected" if transfer else ", raw"))


def _layout(run: Path) -> tuple[TileLayout, tuple[str, ...]]:
    from sundog.data.sky.tiles import TileLayout

    if not (run / "tiles.json").exists():
        raise FileError(f"no tiles known in {run}", got="no tiles.json", expected="a folder that sky train wrote",
                        do="sundog sky train SKY --out " + str(run))
    facts = json.loads((run / "tiles.json").read_text())
    return TileLayout(facts["size"], facts["pixel_arcmin"], facts["overlap"]), tuple(facts["names"])


def _spectrum(path: Path | None, cosmology: str, lmax: int) -> Any:
    import numpy as np

    if path is None:
        from sundog.simulate.sky.cosmology import cosmology as preset
        from sundog.simulate.sky.cosmology import matter_power
        from sundog.simulate.sky.shells import lensing_power

        return lensing_power(matter_power(preset(cosmology)), lmax)
    try:
        held = np.load(path, allow_pickle=False)
        found = np.asarray(held["clkk"] if hasattr(held, "files") else held, float)
    except (OSError, ValueError, KeyError) as error:
        raise FileError(f"cannot read {path}", got=str(error), expected="npz with clkk, or npy with C_l from l = 0",
                        do="leave --spectrum out for the expected one") from error
    if found.ndim != 1:
        raise OptionError("not a spectrum", got=f"shape {found.shape}", expected="C_l from l = 0", do="save one array")
    return found[: lmax + 1]


def _transfer(translator: Any, folders: list[Path], lmax: int, options: dict[str, Any]) -> dict[str, Any]:
    from sundog.simulate.sky import SkyMaps
    from sundog.tasks.sky import assemble, transfer_function

    truth = [SkyMaps.load(folder) for folder in folders]
    made = [assemble(translator, sky.kappa, sky.nside, 10_000 + i, **options).maps for i, sky in enumerate(truth)]
    top = min(lmax, 2 * min(sky.nside for sky in truth))
    return transfer_function([dict(sky) for sky in truth], made, top)


def _check_car(pixel: float | None) -> None:
    """OptionError, before any work, for pixels that do not fill the sphere, or fill the memory."""
    if pixel is not None:
        from sundog.data.sky.car import car_rows

        ny = car_rows(pixel)
        enough_memory(4 * 8.0 * ny * 2 * ny, f"a sky of {2 * ny} x {ny} pixels", "pass larger pixels")


def _exported(sky: Any, out: Path, unit: str, fits: bool, car: float | None, threads: int) -> list[str]:
    from sundog.data.sky.car import car_map, write_car
    from sundog.simulate.sky.components import component
    from sundog.tasks.sky import in_unit

    if not fits and car is None:
        return []
    maps = in_unit(sky, unit)
    files = _healpix_files(maps, out, unit, sky.frame) if fits else []
    for name, values in maps.items() if car is not None else ():
        image = car_map(values, float(car or 0), point_like=component(name).point_like, threads=threads)
        files.append(str(write_car(out / f"{name}_car.fits", image, component(name).unit and unit, sky.frame)))
    return files


def _healpix_files(maps: dict[str, Any], out: Path, unit: str, frame: str) -> list[str]:
    import numpy as np

    from sundog.data.sky.healpix import UNSEEN, HealpixMap, observed, write_healpix

    whole = {name: np.where(observed(values), values, np.float32(UNSEEN)) for name, values in maps.items()}
    return [str(write_healpix(out / f"{name}.fits", HealpixMap(values, "1" if name == "kappa" else unit, frame)))
            for name, values in whole.items()]


def _tell(sky: Any, files: list[str], quiet: bool, as_json: bool, following: str) -> None:
    from sundog.data.sky.healpix import observed

    if as_json:
        typer.echo(json.dumps({"files": files, "nside": sky.nside, "ghz": sky.frequency_ghz, **sky.provenance}))
    elif not quiet:
        lines = [f"  {name:6} rms {float(values[observed(values)].std()):.4g}" for name, values in sky]
        typer.echo("\n".join([f"sky of NSIDE {sky.nside} at {sky.frequency_ghz:g} GHz in {', '.join(files)}", *lines]))
        if following:
            typer.echo(f"next: {following}")
