"""Public data sets by name, and the small samples that come with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np

from sundog.checks import near
from sundog.data.dataset import Dataset
from sundog.data.files import load
from sundog.data.public.fetch import cache_folder, download
from sundog.data.public.sets import PUBLIC, PublicSet
from sundog.errors import OfflineError, OptionError

SAMPLES = ("camb", "dijets", "dust", "radio")


def names() -> tuple[str, ...]:
    """Names of the public data sets.

    Example
    -------
    >>> "lhco" in names()
    True
    """
    return tuple(PUBLIC)


def describe(name: str) -> str:
    """What the set is, its licence, whom to cite, and where it comes from; needs no network.

    Example
    -------
    >>> print(describe("digits").splitlines()[0])
    digits: 1797 handwritten digits, 8 x 8 pixels, part of scikit-learn
    """
    known = _known(name)
    lines = [f"{name}: {known.title}", f"licence: {known.licence}", f"cite: {known.cite}",
             f"classes: {', '.join(f'{i} {label}' for i, label in enumerate(known.classes))}"]
    return "\n".join(lines + [f"from: {file.url}" for file in known.files])


def fetch(name: str, folder: str | Path | None = None, progress: bool = False) -> Path:
    """The folder that holds the files of the set: installed by a package, already fetched, or fetched now.

    Parameters
    ----------
    name : one of ``names()``
    folder : where to keep them; SUNDOG_CACHE or ~/.cache/sundog when None, one folder per set
    progress : show a bar

    Raises
    ------
    OfflineError : with the address to download by hand and the place to put the file.
    FileError : a file that changed since it was fetched.
    """
    known = _known(name)
    installed = known.installed() if folder is None else None
    if installed is not None or not known.files:
        return installed or Path()
    place = Path(folder) if folder is not None else cache_folder() / name
    try:
        for remote in known.files:
            download(remote, place, progress)
    except OfflineError as error:
        if not known.hint:
            raise
        raise OfflineError(error.what, got=error.got, expected=error.expected,
                           do=f"{known.hint}; or {error.do}") from error
    return place


def load_public(
    name: str,
    *,
    label: int | None = None,
    label_as_context: bool = False,
    size: int | None = None,
    folder: str | Path | None = None,
    progress: bool = False,
) -> Dataset:
    """Dataset of a public set, fetched first if need be.

    Parameters
    ----------
    name : one of ``names()``
    label : keep the rows of this class only
    label_as_context : condition on the class; else the classes are left out, so that no search sees them
    size : side of the central part of images; 80 for firstgalaxydata, all for the others
    folder, progress : as in ``fetch``

    Example
    -------
    >>> load_public("digits", label=3)
    Dataset(images, 183 x 8 x 8: brightness)
    """
    known = _known(name)
    values, labels = known.read(fetch(name, folder, progress), size if size is not None else known.size)
    if label is not None:
        if not 0 <= label < len(known.classes):
            raise OptionError(f"{name} has no such class", got=label, expected=f"0 to {len(known.classes) - 1}",
                              do=f"choose among {', '.join(f'{i} {c}' for i, c in enumerate(known.classes))}")
        values, labels = values[labels == label], labels[labels == label]
    return Dataset.from_arrays(
        values, labels.astype(np.float32) if label_as_context else None, known.names, known.units,
        context_names=("label",) if label_as_context else None, pixel_arcmin=known.pixel_arcmin,
        provenance={"public": name, "licence": known.licence, "cite": known.cite})


def sample(name: str) -> Dataset:
    """One of the small samples in the package, made by sundog's own simulators or CAMB; no network.

    Parameters
    ----------
    name : "camb" (spectra of 70 cosmologies), "dijets" (LHC-Olympics-like events), "dust" (filamentary maps) or
        "radio" (radio-galaxy-like images)

    Example
    -------
    >>> sample("dijets").kind
    'events'
    """
    if name not in SAMPLES:
        raise OptionError(f"no sample {name!r}", got=name, expected=", ".join(SAMPLES),
                          do=near(name, SAMPLES) or "choose one of these, or load_public for the public sets")
    with resources.as_file(resources.files("sundog.data") / "samples" / f"{name}.npz") as path:
        return load(path)


def _known(name: str) -> PublicSet:
    if name not in PUBLIC:
        raise OptionError(f"no public data set {name!r}", got=name, expected=", ".join(PUBLIC),
                          do=near(name, PUBLIC) or "choose one of these")
    return PUBLIC[name]
