"""The public data sets that sundog knows: where they lie, what they are, how to read them."""

from __future__ import annotations

import gzip
import importlib.util
import io
import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sundog.data.formats import hdf5
from sundog.data.formats.raw import unreadable
from sundog.data.public.fetch import RemoteFile

Arrays = tuple[np.ndarray, np.ndarray]  # values and labels (n,)


@dataclass(frozen=True)
class PublicSet:
    """One public data set.

    Attributes
    ----------
    title, licence, cite : for people
    files : to fetch; none where an installed package brings the data
    read : (folder, size) -> values and labels; ``size`` is the side of the central part of images, or None
    names, units, pixel_arcmin : of the values
    classes : meaning of the labels
    size : side of the central part that is read unless another is asked for, or None for all
    installed : finds the folder where a package has put the files already, or None
    hint : another way to get the data, for the error message
    """

    title: str
    licence: str
    cite: str
    files: tuple[RemoteFile, ...]
    read: Callable[[Path, int | None], Arrays]
    names: tuple[str, ...]
    units: tuple[str, ...]
    classes: tuple[str, ...]
    pixel_arcmin: float | None = None
    size: int | None = None
    installed: Callable[[], Path | None] = lambda: None
    hint: str = ""


LHCO_NAMES = ("m_jj", "m_j1", "delta_m", "tau21_j1", "tau21_j2")
LHCO_UNITS = ("TeV", "TeV", "TeV", "", "")
_LHCO_FILE = "events_anomalydetection_v2.features.h5"
_EXTRA_FILE = "events_anomalydetection_qcd_extra_inneronly_features.h5"
_FIRST_WHEEL = "firstgalaxydata-0.2.1-py3-none-any.whl"
_IDX = ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz")


def dijet_features(jets: dict[str, np.ndarray]) -> np.ndarray:
    """The benchmark features of two jets each: m_JJ, m_J1, m_J2 - m_J1 [TeV], tau21 of J1 and J2, (n, 5).

    J1 is the lighter jet. m_JJ^2 = (E_1 + E_2)^2 - |p_1 + p_2|^2, tau21 = tau_2 / tau_1 (0 where tau_1 = 0).

    Parameters
    ----------
    jets : columns pxj1, pyj1, pzj1, mj1, tau1j1, tau2j1 and the same for j2, GeV

    Source: Hallin et al. 2021 (arXiv:2109.00546), section 2.
    """
    def both(stem: str) -> np.ndarray:
        return np.stack([jets[f"{stem}j1"], jets[f"{stem}j2"]], 1).astype(np.float64)

    mass, momentum = both("m"), np.stack([both(f"p{axis}") for axis in "xyz"], 2)
    energy = np.sqrt(mass**2 + (momentum**2).sum(2))
    m_jj = np.sqrt(np.maximum(energy.sum(1) ** 2 - (momentum.sum(1) ** 2).sum(1), 0))
    tau1, tau2 = both("tau1"), both("tau2")
    tau21 = np.divide(tau2, tau1, out=np.zeros_like(tau1), where=tau1 > 0)
    order = np.argsort(mass, axis=1, kind="stable")
    mass, tau21 = np.take_along_axis(mass, order, 1), np.take_along_axis(tau21, order, 1)
    return np.column_stack([m_jj / 1e3, mass[:, 0] / 1e3, (mass[:, 1] - mass[:, 0]) / 1e3, tau21])


def read_idx(path: Path) -> np.ndarray:
    """The unsigned bytes of a (gzipped) IDX file, in the shape that its header states.

    Source: LeCun, Cortes & Burges, the MNIST page: two zeros, type 8, rank, then big-endian sizes.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, gzip.zlib.error) as error:  # type: ignore[attr-defined]
        raise unreadable(path, f"a damaged archive ({error})") from error
    rank = content[3] if len(content) > 3 else 0
    shape = tuple(np.frombuffer(content, ">u4", rank, 4).tolist()) if len(content) >= 4 + 4 * rank else ()
    if content[:3] != b"\x00\x00\x08" or len(content) != 4 + 4 * rank + math.prod(shape):
        raise unreadable(path, "no complete IDX file of bytes")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _lhco(folder: Path, size: int | None, name: str = _LHCO_FILE) -> Arrays:
    raw = hdf5.read(folder / name)
    columns = dict(zip(raw.facts["names"], raw.values.T))
    # every event of the extra background is QCD and carries no label
    return dijet_features(columns), columns.get("label", np.zeros(len(raw.values)))


def _mnist(folder: Path, size: int | None) -> Arrays:
    parts = [read_idx(folder / name) for name in _IDX]
    return _centre(np.concatenate(parts[:2]), size), np.concatenate(parts[2:])


def _digits(folder: Path, size: int | None) -> Arrays:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return _centre(digits.images, size), digits.target


def _first(folder: Path, size: int | None) -> Arrays:
    """Read the archive inside the package (or its wheel): the package itself would import torchvision."""
    import h5py

    wheel = folder / _FIRST_WHEEL
    inner = folder / "galaxy_data_h5.zip"
    try:
        if not inner.exists():
            with zipfile.ZipFile(wheel) as archive:
                content: Path | io.BytesIO = io.BytesIO(archive.read("firstgalaxydata/galaxy_data_h5.zip"))
        else:
            content = inner
        with zipfile.ZipFile(content) as archive, h5py.File(io.BytesIO(archive.read("galaxy_data_h5.h5"))) as file:
            groups = [file[f"data_{i}"] for i in range(len(file))]
            images = np.stack([_centre(group["Img"][()][None], size)[0] for group in groups])
            return images, np.array([float(group["Label_literature"][()]) for group in groups])
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise unreadable(wheel, f"a damaged archive ({error})") from error


def _centre(images: np.ndarray, size: int | None) -> np.ndarray:
    """The central size x size pixels of (n, ny, nx)."""
    if size is None or size >= min(images.shape[1:]):
        return images
    y, x = ((side - size) // 2 for side in images.shape[1:])
    return images[:, y : y + size, x : x + size]


def _package_folder() -> Path | None:
    """Where pip has put firstgalaxydata, without importing it."""
    found = importlib.util.find_spec("firstgalaxydata")
    return Path(found.origin).parent if found is not None and found.origin else None


def _debian_folder(name: str) -> Path | None:
    """Where Debian's packages put data sets; dpkg has verified them."""
    folder = Path("/usr/share/datasets") / name
    return folder if all((folder / file).exists() for file in _IDX) else None


def _zenodo(record: int, name: str) -> RemoteFile:
    # No checksum of these files could be verified when this was written: the MD5 that Zenodo publishes is asked
    # for at download time, and the SHA-256 of the first copy is noted beside it.
    return RemoteFile(name, f"https://zenodo.org/records/{record}/files/{name}?download=1",
                      checksum_url=f"https://zenodo.org/api/records/{record}")


def _idx_files(root: str, md5: tuple[str, ...]) -> tuple[RemoteFile, ...]:
    return tuple(RemoteFile(name, f"{root}/{name}", f"md5:{digest}") for name, digest in zip(_IDX, md5))


PUBLIC: dict[str, PublicSet] = {
    "lhco": PublicSet(
        "LHC Olympics 2020 R&D: 1M QCD di-jet and 100k W' -> XY events, jet features (about 150 MB)",
        "CC-BY-4.0", "Kasieczka, Nachman & Shih, doi:10.5281/zenodo.6466204; arXiv:2101.08320",
        (_zenodo(6466204, _LHCO_FILE),), _lhco, LHCO_NAMES, LHCO_UNITS, ("QCD", "W' -> XY")),
    "lhco-extra": PublicSet(
        "LHC Olympics 2020 R&D: more QCD events with 3.3 < m_JJ < 3.7 TeV, jet features (about 100 MB)",
        "CC-BY-4.0", "Shih, doi:10.5281/zenodo.8370758; arXiv:2109.00546",
        (_zenodo(8370758, _EXTRA_FILE),), lambda folder, size: _lhco(folder, size, _EXTRA_FILE),
        LHCO_NAMES, LHCO_UNITS, ("QCD",)),
    "firstgalaxydata": PublicSet(
        "2158 radio galaxies of the VLA FIRST survey, 300 x 300 pixels of 8 bits (14 MB)",
        "package MIT; FIRST images: scholarly, educational and private non-commercial use",
        "Griese, Kummer & Rustige 2022, doi:10.5281/zenodo.7120632; Becker, White & Helfand 1995",
        (RemoteFile(_FIRST_WHEEL, f"https://files.pythonhosted.org/packages/py3/f/firstgalaxydata/{_FIRST_WHEEL}",
                    "sha256:5bb01ee0cc2d9f47a2f3b4dfa1282fe9f2eb94cfc1967840e60f6dc184c7a82b"),),
        _first, ("brightness",), ("",), ("FRI", "FRII", "Compact", "Bent"), pixel_arcmin=1.8 / 60, size=80,
        installed=_package_folder,
        hint="pip install --no-deps firstgalaxydata==0.2.1 (its stated needs would replace torch)"),
    "mnist": PublicSet(
        "70k handwritten digits, 28 x 28 pixels (11 MB)", "CC-BY-SA-3.0",
        "LeCun, Bottou, Bengio & Haffner 1998",
        _idx_files("https://ossci-datasets.s3.amazonaws.com/mnist", (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873", "9fb629c4189551a2d022fa330f9573f3",
            "d53e105ee54ea40749a09fcbcd1e9432", "ec29112dd5afa0611ce80d1b7f02629c")),
        _mnist, ("brightness",), ("",), tuple("0123456789"), installed=lambda: _debian_folder("mnist")),
    "fashion-mnist": PublicSet(
        "70k pictures of clothes, 28 x 28 pixels (31 MB)", "MIT", "Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747",
        _idx_files("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com", (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d", "bef4ecab320f06d8554ea6380940ec79",
            "25c81989df183df01b3e8a0aad5dffbe", "bb300cfdad3c16e7a12a480ee83cd310")),
        _mnist, ("brightness",), ("",),
        ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"),
        installed=lambda: _debian_folder("fashion-mnist"), hint="apt install dataset-fashion-mnist"),
    "digits": PublicSet(
        "1797 handwritten digits, 8 x 8 pixels, part of scikit-learn", "CC-BY-4.0",
        "Alpaydin & Kaynak 1998, UCI Machine Learning Repository", (), _digits, ("brightness",), ("",),
        tuple("0123456789"), installed=lambda: Path()),
}
