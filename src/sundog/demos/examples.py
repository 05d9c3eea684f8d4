"""The files of ``sundog example NAME``: something to try every command on, each with a truth that is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from sundog.checks import near
from sundog.data.dataset import Dataset
from sundog.data.public.access import sample
from sundog.errors import FileError, MissingExtraError, OptionError
from sundog.simulate.dijets import dijets
from sundog.simulate.fields import filamentary_field, phase_randomised
from sundog.simulate.processes import fractional_gaussian_noise, fractional_ornstein_uhlenbeck
from sundog.simulate.radio import radio_catalogue
from sundog.tasks.radio import mock_survey, write_catalogue, write_mosaic

NOISE_DRAWS = 40
TIMES = torch.linspace(0, 5, 60)  # s


@dataclass(frozen=True)
class Example:
    """Files of one kind: what they hold, what of it is known, what to type next, and who writes them."""

    files: tuple[str, ...]
    holds: str
    then: str
    write: Callable[[Path], None]


def write_examples(names: Sequence[str], folder: Path) -> None:
    """Leaves the files of these examples in the folder; always the same numbers.

    Raises
    ------
    OptionError : unknown names.
    FileError, MissingExtraError : a file is there already; the tree needs uproot. Nothing was written.
    """
    for name in names:
        if name not in EXAMPLES:
            raise OptionError("no such example", got=name, expected=" | ".join(EXAMPLES),
                              do=near(name, EXAMPLES) or "sundog example list")
    there = [file for name in names for file in EXAMPLES[name].files if (folder / file).exists()]
    if there:
        raise FileError("an example never replaces a file", got=f"{', '.join(there)} in {folder}",
                        expected="a folder without them", do="use what is there, or give another folder with --out")
    if "tree" in names and find_spec("uproot") is None:
        raise MissingExtraError("uproot", "hep")
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        EXAMPLES[name].write(folder)


def _spectrum(folder: Path) -> None:
    dijets(20_000, 400, seed=1).save(folder / "spectrum.h5")


def _tree(folder: Path) -> None:
    import uproot

    events = dijets(5000, 0, seed=2)
    assert events.context is not None  # the mass
    columns = {"m_jj": events.context[:, 0], **dict(zip(events.names, events.values.T))}
    with uproot.recreate(folder / "events.root") as file:
        file["events"] = {name: column.numpy() for name, column in columns.items()}


def _dust(folder: Path) -> None:
    """The first built-in map of dust, in its units, and noise as strong as the dust."""
    maps = sample("dust")
    truth = maps.values[0] - maps.values[0].mean()
    generator = torch.Generator().manual_seed(3)
    noise = truth.std() * torch.randn(NOISE_DRAWS + 1, *truth.shape, generator=generator)
    (folder / "noise").mkdir(exist_ok=True)
    for name, values in (("mixture", truth + noise[0]), ("truth", truth),
                         *((f"noise/{i:02d}", draw) for i, draw in enumerate(noise[1:]))):
        Dataset.from_arrays(values[None], names=maps.names, units=maps.units, pixel_arcmin=maps.pixel_arcmin).save(
            folder / f"{name}.fits")


def _texture(folder: Path) -> None:
    np.save(folder / "map.npy", filamentary_field(1, 128, seed=4).values[0].numpy())


def _survey(folder: Path) -> None:
    shapes = radio_catalogue(100, seed=5).paint().numpy()
    survey = mock_survey(shapes, 120, size=1000, flux_mjy=(20.0, 500.0), las_arcsec=(20.0, 90.0), seed=5)
    write_mosaic(survey.mosaic, folder / "mosaic.fits")
    write_catalogue(survey.truth, folder / "lotss.csv")


def _runs(folder: Path) -> None:
    """y(t) = exp(-gamma t) cos(omega t) at 60 times, from 40 pairs of omega and gamma."""
    u = torch.rand(40, 2, generator=torch.Generator().manual_seed(6))
    omega, gamma = 0.5 + u[:, :1], 0.05 + 0.25 * u[:, 1:]
    Dataset.from_arrays(torch.exp(-gamma * TIMES) * torch.cos(omega * TIMES), torch.cat([omega, gamma], dim=1),
                        context_names=("omega", "gamma"), context_units=("1/s", "1/s"), held_out_fraction=0.0
                        ).save(folder / "runs.npz")


def _fakes(folder: Path) -> None:
    maps = sample("dust")
    maps[:24].save(folder / "real.npz")
    phase_randomised(maps[24:], seed=7).save(folder / "phases.npz")


def _series(folder: Path) -> None:
    np.save(folder / "series.npy", fractional_gaussian_noise(1, 4096, hurst=0.3, seed=8)[0].numpy())


def _paths(folder: Path) -> None:
    np.save(folder / "paths.npy", fractional_ornstein_uhlenbeck(200, 63, 0.3, rate=1.0, dt=0.1, seed=9).numpy())


EXAMPLES = {
    "spectrum": Example(
        ("spectrum.h5",), "20 000 di-jet events, and 400 of a resonance at 3.5 TeV (masses of its jets 0.1, 0.5 TeV)",
        "sundog scan spectrum.h5 --mass m_jj --slide 3.2 4.4 0.4", _spectrum),
    "dust": Example(
        ("mixture.fits", "truth.fits", "noise"), f"a map of dust under white noise as strong, {NOISE_DRAWS} further "
        "draws of that noise, and the dust alone",
        "sundog separate mixture.fits --contamination noise/*.fits --report out.html", _dust),
    "texture": Example(
        ("map.npy",), "one periodic map of filaments, 128 x 128", "sundog fit scattering map.npy", _texture),
    "survey": Example(
        ("mosaic.fits", "lotss.csv"), "a radio mosaic, 120 simulated galaxies at a beam of 6 arcsec, and their "
        "catalogue", "sundog radio prepare mosaic.fits --catalogue lotss.csv", _survey),
    "runs": Example(
        ("runs.npz",), "40 runs of a damped oscillator: omega and gamma in, 60 times out", "sundog emulate runs.npz",
        _runs),
    "fakes": Example(
        ("real.npz", "phases.npz"), "maps of dust, and others with their phases drawn anew: the same spectrum, no "
        "filaments", "sundog quiz real.npz phases.npz", _fakes),
    "series": Example(
        ("series.npy",), "4096 increments of a fractional Brownian motion, Hurst exponent 0.3",
        "sundog fit scattering series.npy --kind series", _series),
    "paths": Example(
        ("paths.npy",), "200 paths of dX = -X dt + dB^H, Hurst exponent H = 0.3, 64 times 0.1 s apart",
        "sundog fit sde paths.npy --kind series --time-step '0.1 s'", _paths),
    "tree": Example(
        ("events.root",), "5000 di-jet events as a ROOT tree (needs the extra hep)",
        "sundog info events.root --unit m_jj=TeV", _tree),
}  # fmt: skip
