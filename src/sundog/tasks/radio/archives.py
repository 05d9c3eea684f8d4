"""Radio galaxies that come as arrays: MiraBest archives, FIRST from its package, any Dataset of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sundog.data.dataset import Dataset
from sundog.data.files import load
from sundog.errors import FileError
from sundog.tasks.radio.catalogue import Catalogue
from sundog.tasks.radio.cutouts import Beam, Cutout

FIRST_PIXEL, FIRST_BEAM = 1.8, Beam(5.4, 5.4)  # arcsec


def read_archive(path: str | Path, *, pixel_arcsec: float | None = None) -> tuple[list[Cutout], Catalogue | None]:
    """The cut-outs of an array file, and their catalogue if it holds one.

    Two layouts: an npz with "images" (n, ny, nx) in mJy/beam beside "ra", "dec" and "size_arcsec", as the MiraBest
    archives of FIRST cut-outs have it (1.8 arcsec pixels, beam 5.4 arcsec); or a file that ``sundog.load`` reads, such
    as ``sundog public fetch firstgalaxydata --out first.npz`` writes (8-bit images of no unit: prepare them with
    ``broken=False``, for they were clipped).

    Raises
    ------
    FileError : no pixel size, neither in the file nor given.
    """
    path = Path(path)
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as file:
                if {"images", "ra", "dec"} <= set(file.files):
                    return _mirabest({name: file[name] for name in file.files}, pixel_arcsec or FIRST_PIXEL)
        except (OSError, ValueError, EOFError):
            pass  # load says what is wrong with it
    data = load(path)
    pixel = pixel_arcsec or (None if data.pixel_arcmin is None else 60 * data.pixel_arcmin)
    if pixel is None:
        raise FileError(f"{path} does not say how large a pixel is", got="no pixel_arcmin", expected="arcsec per pixel",
                        do="pass pixel_arcsec=1.5, or --pixel-arcsec 1.5")
    return as_cutouts(data, pixel), None


def as_cutouts(data: Dataset, pixel_arcsec: float) -> list[Cutout]:
    """The images (n, ny, nx) of a Dataset as cut-outs named by their number; its unit travels along.

    Example
    -------
    >>> [taken.name for taken in as_cutouts(Dataset.from_arrays(np.ones((2, 4, 4)), units="Jy/beam"), 1.5)]
    ['0', '1']
    """
    per_unit = {"Jy/beam": 1e3, "uJy/beam": 1e-3}.get(data.units[0], 1.0)
    unit = "mJy/beam" if "Jy/beam" in data.units[0] else data.units[0]
    return [Cutout(str(i), per_unit * image.numpy().astype(np.float64), pixel_arcsec, unit=unit)
            for i, image in enumerate(data.values)]


def _mirabest(columns: dict[str, np.ndarray], pixel: float) -> tuple[list[Cutout], Catalogue]:
    names = [str(i) for i in range(len(columns["images"]))]
    taken = [Cutout(name, image.astype(np.float64), pixel, True, FIRST_BEAM)
             for name, image in zip(names, columns["images"])]
    table = {"name": names, "ra": columns["ra"], "dec": columns["dec"]}
    if "size_arcsec" in columns:
        table["las_arcsec"] = columns["size_arcsec"]
    return taken, Catalogue.of(table)
