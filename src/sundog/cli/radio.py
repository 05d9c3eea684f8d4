"""``sundog radio``: from a survey to training images, to a generator, to fakes in mJy/beam, to a mock survey."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sundog.cli.options import AsJson, Quiet, Real, Seed, before_work, beside, fakes_of, load, of_the_family, resumable
from sundog.errors import OptionError

if TYPE_CHECKING:
    from sundog.tasks.radio import Catalogue, Cutout, Mosaic

app = typer.Typer(no_args_is_help=True, help="Radio galaxies: prepare a survey, learn, sample, mock a survey.")


@app.callback()
def _group() -> None:
    """Radio galaxies: prepare a survey, learn, sample, mock a survey."""


@app.command()
def prepare(
    source: Annotated[Path, typer.Argument(help="Mosaic (FITS), cut-outs (folder or FITS with extensions), or npz.")],
    catalogue: Annotated[Path | None, typer.Option("--catalogue", "-c", help="CSV or FITS, as of LoTSS-DR2.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Training images.")] = Path("prepared.npz"),
    size: Annotated[int, typer.Option(help="Pixels per side.")] = 80,
    side: Annotated[str, typer.Option(help="las (1.5 x largest angular size), fixed, or image (all of it).")] = "las",
    side_arcsec: Annotated[float, typer.Option(help="For --side fixed.")] = 120.0,
    negatives: Annotated[str, typer.Option(help="clip, absolute or keep.")] = "clip",
    clip_sigma: Annotated[float, typer.Option(help="Clip below that many robust deviations.")] = 1.5,
    scale: Annotated[str, typer.Option(help="image: each to 0..1, flux in the context; set: mJy/beam.")] = "image",
    min_snr: Annotated[float, typer.Option(help="Smallest signal to noise; 0 keeps all.")] = 5.0,
    max_edge: Annotated[float, typer.Option(help="Largest edge pixel, of the peak.")] = 0.8,
    keep_broken: Annotated[bool, typer.Option("--keep-broken", help="For images that were clipped before.")] = False,
    fill_nan: Annotated[bool, typer.Option("--fill-nan", help="Fill pixels without data instead of dropping.")] = False,
    find: Annotated[bool, typer.Option("--find", help="Find the sources of a mosaic with photutils.")] = False,
    join_arcsec: Annotated[float, typer.Option(help="With --find: join islands that near.")] = 15.0,
    unit: Annotated[str | None, typer.Option(help="Jy/beam or mJy/beam, where the files do not say.")] = None,
    pixel_arcsec: Annotated[float | None, typer.Option(help="Where the files do not say.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the counts as JSON.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Cut, check and scale as published for LOFAR; say how many images were dropped, and why.

    \b
    sundog radio prepare mosaic.fits --catalogue lotss.csv -o prepared.npz
    sundog radio prepare cutouts --catalogue lotss.fits --side fixed
    sundog radio prepare radio/mirabest_first_native112_f16.npz --min-snr 0
    """
    from sundog.data.atomic import write_text
    from sundog.tasks.radio import Preparation
    from sundog.tasks.radio import prepare as prepared

    before_work(report, data=out)
    images, rows = _source(source, catalogue, unit, pixel_arcsec, join_arcsec if find else None)
    settings = Preparation(
        size=size, side=side, side_arcsec=side_arcsec, negatives=negatives, clip_sigma=clip_sigma, scale=scale,
        min_snr=min_snr, max_edge=max_edge, broken=not keep_broken, nan="fill" if fill_nan else "drop")
    found = prepared(images, rows, settings)
    found.dataset.save(out)
    if report is not None:
        write_text(report, found.report.to_json())
    if as_json:
        typer.echo(json.dumps({"file": str(out), **json.loads(found.report.to_json())}))
    elif not quiet:
        typer.echo(f"{found.report}\n{found.dataset}\nwritten to {out}; next: sundog radio train {out}")


@app.command()
def train(
    prepared: Annotated[Path, typer.Argument(help="What prepare wrote.")],
    out: Annotated[Path | None, typer.Option(
        "--out", "-o", help="Folder, where an unfinished run goes on; default run-radio-NAME.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="Budget; default: 10 minutes.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Budget in steps instead: the same numbers again.")] = None,
    option: Annotated[list[str] | None, typer.Option("--set", help="Of the diffusion family, e.g. skip=edm.")] = None,
    precision: Annotated[str, typer.Option(help="float32, or bf16 on processors that have it: 1.5 times as fast.")]
    = "float32",
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    quiet: Quiet = False,
) -> None:
    """Fit diffusion around the covariance of centred sources, which follows flux and size as far as prepared.

    \b
    sundog radio train prepared.npz --minutes 10 -o run
    sundog radio train prepared.npz --steps 20000 --device cuda --set parameters=2e6
    """
    from sundog.tasks.radio.learning import learn

    out = out or beside("run", "radio", prepared)
    before_work(folder=out)
    with resumable(f"the run in {out}"):
        run = learn(load(prepared), out, seconds=None if minutes is None and steps else 60 * (minutes or 10),
                    training_steps=steps, seed=seed, device=device, precision=precision, progress=not quiet,
                    **of_the_family(option))
    if not quiet:
        typer.echo(f"{run}\nsaved in {out}; next: sundog radio sample {out} -n 100 --out fakes.fits")


@app.command()
def sample(
    run: Annotated[Path, typer.Argument(help="Folder that train wrote.")],
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="How many fakes.")] = 100,
    out: Annotated[Path, typer.Option("--out", "-o", help=".fits: an extension each, with coordinates and beam; or "
                                      ".npz, .h5")] = Path("fakes.fits"),
    peak: Annotated[float | None, typer.Option(help="Peak brightness of all, mJy/beam; default: as trained.")] = None,
    las: Annotated[float | None, typer.Option(help="Largest angular size of all, arcsec; default: as trained.")] = None,
    to_peak: Annotated[float | None, typer.Option(help="Go from --peak to this in n steps, on one noise.")] = None,
    to_las: Annotated[float | None, typer.Option(help="Go from --las to this in n steps, on one noise.")] = None,
    real: Real = None,
    scaled: Annotated[bool, typer.Option("--scaled", help="Leave them as prepared, for 'sundog judge'.")] = False,
    film: Annotated[Path | None, typer.Option(help="Also show four coming out of the noise: .gif .mp4 .npz")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also a contact sheet of noise levels: .png or .pdf")] = None,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or mps.")] = "cpu",
    quiet: Quiet = False,
) -> None:
    """Draw fakes in mJy/beam.

    \b
    sundog radio sample run -n 200 --out fakes.fits
    sundog radio sample run -n 200 --real prepared.npz
    sundog radio sample run -n 50 --peak 10 --las 60 --out fakes.npz
    sundog radio sample run -n 9 --las 20 --to-las 120 --out growing.fits
    sundog radio sample run -n 4 --film film.gif --sheet levels.png
    """
    import sundog
    from sundog.tasks.radio import Beam, FluxMemory, write_cutouts
    from sundog.tasks.radio.lie_detector import published

    before_work(film, sheet, data=out)
    if real is not None and (to_peak is not None or to_las is not None):
        raise OptionError("--real chooses among independent fakes", got="a way from one condition to another",
                          expected="one of the two", do="leave --real out")
    fitted = sundog.load_run(run, device=device)
    memory = FluxMemory.of(fitted)
    context = _context(fitted, memory, n, peak, las, seed)
    if to_peak is None and to_las is None:
        wanted = None if real is not None and peak is None and las is None else context
        fakes = fakes_of(fitted, n, wanted, real, seed, not quiet, published)
    else:
        fakes = _between(fitted, memory, context, n, (to_peak, to_las), seed)
    images = fakes if scaled else memory.restored(fakes)
    if out.suffix.lower() in (".fits", ".fit") and not scaled:
        write_cutouts(images.values.numpy(), out, pixel_arcsec=memory.pixels(fakes),
                      beam=Beam(*memory.beam_arcsec) if memory.beam_arcsec else None)
    else:
        images.save(out)
    _shown(fitted, None if context is None else context[:4], min(n, 4), seed, film, sheet)
    if not quiet:
        typer.echo(f"{images}\nwritten to {out}" + "".join(f" and {path}" for path in (film, sheet) if path))


@app.command()
def mock(
    sources: Annotated[Path | None, typer.Argument(help="Fakes or cut-outs; default: simulated galaxies.")] = None,
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="How many objects.")] = 200,
    out: Annotated[Path, typer.Option("--out", "-o", help="The mosaic.")] = Path("mock.fits"),
    truth: Annotated[Path | None, typer.Option(help="The catalogue; default: beside the mosaic.")] = None,
    size: Annotated[int, typer.Option(help="Pixels per side.")] = 2000,
    pixel_arcsec: Annotated[float, typer.Option(help="Of the mosaic.")] = 1.5,
    beam_arcsec: Annotated[float, typer.Option(help="Full width at half maximum.")] = 6.0,
    rms_mjy: Annotated[float, typer.Option(help="Noise, mJy/beam.")] = 0.1,
    flux: Annotated[tuple[float, float], typer.Option(help="Range of total flux, mJy.")] = (2.0, 500.0),
    slope: Annotated[float, typer.Option(help="dN/dS ~ S^slope.")] = -1.7,
    las: Annotated[tuple[float, float], typer.Option(help="Range of largest angular size, arcsec.")] = (15.0, 90.0),
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Place objects on a noise map with a beam; write the mosaic and the catalogue of the truth.

    \b
    sundog radio mock fakes.fits -n 500 --out mock.fits --truth truth.csv
    sundog radio mock -n 100 --size 1000 --rms-mjy 0.3
    """
    from sundog.simulate.radio import radio_catalogue
    from sundog.tasks.radio import mock_survey, write_catalogue, write_mosaic
    from sundog.tasks.radio.cutouts import resized

    before_work(out, truth)
    if sources is None:
        shapes = radio_catalogue(min(n, 200), seed=seed).paint().numpy()
    else:
        images, _ = _source(sources, None, None, pixel_arcsec, None)
        if not isinstance(images, list):
            raise OptionError("these are not sources", got="a mosaic", expected="cut-outs", do="cut it first")
        side = max(len(image.values) for image in images)
        import numpy as np

        shapes = np.stack([resized(image.values, side) for image in images])
    survey = mock_survey(shapes, n, size=size, pixel_arcsec=pixel_arcsec, beam_arcsec=beam_arcsec, rms_mjy=rms_mjy,
                         flux_mjy=flux, slope=slope, las_arcsec=las, seed=seed)
    write_mosaic(survey.mosaic, out)
    table = write_catalogue(survey.truth, truth or out.with_suffix(".csv"))
    if not quiet:
        typer.echo(f"{n} objects, {survey.truth.flux_mjy.sum():.4g} mJy in all, on {size} x {size} pixels\n"
                   f"written to {out} and {table}; next: sundog radio prepare {out} --catalogue {table}")


def _source(path: Path, catalogue: Path | None, unit: str | None, pixel_arcsec: float | None, join: float | None
            ) -> tuple[Mosaic | list[Cutout], Catalogue | None]:
    """Images of any of the layouts, and the catalogue: given, found, or in the file."""
    import os

    from sundog.tasks.radio import find_sources, read_catalogue, read_cutouts, read_mosaic
    from sundog.tasks.radio.archives import read_archive
    from sundog.tasks.radio.cutouts import SUFFIXES

    shared = Path(os.environ.get("SUNDOG_DATA", "../shared/data")) / path
    path = shared if not path.exists() and shared.exists() else path
    rows = None if catalogue is None else read_catalogue(catalogue)
    if not path.name.lower().endswith(SUFFIXES) and not path.is_dir():
        images, inside = read_archive(path, pixel_arcsec=pixel_arcsec)
        return images, rows if rows is not None else inside
    if path.is_dir() or _extensions(path) > 1:
        return read_cutouts(path, unit=unit, pixel_arcsec=pixel_arcsec), rows
    mosaic = read_mosaic(path, unit=unit)
    return mosaic, find_sources(mosaic, join_arcsec=join) if rows is None and join is not None else rows


def _extensions(path: Path) -> int:
    """How many images a FITS file holds."""
    from astropy.io import fits

    from sundog.errors import FileError

    try:
        with fits.open(path) as units:
            return sum(unit.header.get("NAXIS", 0) >= 2 and not hasattr(unit, "columns") for unit in units)
    except (OSError, TypeError) as error:
        raise FileError(f"cannot read {path}", got=error, expected="a FITS file", do="check the path") from error


def _context(run: Any, memory: Any, n: int, peak: float | None, las: float | None, seed: int) -> Any:
    """The conditions of n fakes: those of training, with peak and size replaced where asked for; None for none."""
    import torch

    from sundog.random import short

    if run.contexts is None:
        if peak is not None or las is not None:
            memory.asked(torch.zeros(n, 0), peak, las)  # raises
        return None
    rows = torch.randint(len(run.contexts), (n,), generator=torch.Generator().manual_seed(short(seed, 64, "context")))
    return memory.asked(run.contexts[rows], peak, las)


def _between(run: Any, memory: Any, context: Any, n: int, ends: tuple[float | None, float | None], seed: int) -> Any:
    """n fakes on one noise, from the first condition to the same with another peak or size."""
    from sundog.tasks.trajectory import interpolate

    if context is None:
        memory.asked(None, *ends)  # raises: nothing can be asked for
    return interpolate(run, context[0], memory.asked(context[:1], *ends)[0], n, seed)


def _shown(run: Any, context: Any, n: int, seed: int, film: Path | None, sheet: Path | None) -> None:
    if film is None and sheet is None:
        return
    from sundog.data.atomic import atomic_write
    from sundog.reports.figures.film import contact_sheet, write_film
    from sundog.tasks.trajectory import trajectory

    way = trajectory(run, n, context, seed)
    if film is not None:
        write_film(way, film)
    if sheet is not None:
        atomic_write(sheet, lambda temporary: contact_sheet(way).savefig(temporary, dpi=130))
