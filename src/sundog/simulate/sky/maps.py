"""SkyMaps: the maps of a simulated sky, in memory or on disk."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from sundog.data.atomic import atomic_write, write_text
from sundog.data.sky.sphere import nside_of
from sundog.errors import FileError, ShapeError
from sundog.simulate.sky.components import NAMES, component
from sundog.simulate.sky.points import release
from sundog.version import __version__

Array = NDArray[Any]
_FACTS = "sky.json"
_STATE = 4  # of what an unfinished sky holds: another number, another meaning
EVERY = 60.0  # CPU seconds after which the state of a sky is kept


@dataclass(frozen=True, eq=False, init=False)
class SkyMaps:
    """HEALPix maps of one sky, float32, RING order: ``sky["cib"]``, or ``sky.cib``.

    Attributes
    ----------
    maps : by the name of the component, (12 NSIDE^2,) each; uK_CMB at ``frequency_ghz``, the convergence kappa without
        unit; cib and radio without the brightest sources
    frequency_ghz : of all that depend on it
    frame : "icrs" or "galactic". A simulated sky has no preferred frame; the label says which one users put it in
    provenance : simulator, seed, cosmology, NSIDE
    """

    maps: Mapping[str, Array]
    frequency_ghz: float = 148.0
    frame: str = "icrs"
    provenance: dict[str, Any] = field(default_factory=dict)

    def __init__(self, *held: Any, maps: Mapping[str, Array] | None = None, frequency_ghz: float = 148.0,
                 frame: str = "icrs", provenance: dict[str, Any] | None = None) -> None:
        """From ``{name: map}``, or from the maps of kappa, tsz, ksz, cib and radio in this order."""
        given = maps or (held[0] if held and isinstance(held[0], Mapping) else dict(zip(NAMES, held)))
        for name, value in (("maps", given), ("frequency_ghz", frequency_ghz), ("frame", frame),
                            ("provenance", provenance or {})):
            object.__setattr__(self, name, value)
        sizes = {component(name).name: np.shape(values) for name, values in self.maps.items()}
        if len(set(sizes.values())) != 1:
            raise ShapeError("maps of unequal NSIDE", got=", ".join(f"{n} {s}" for n, s in sizes.items()),
                             expected="maps of one length", do="resample them to one NSIDE")
        nside_of(next(iter(self.maps.values())))

    @property
    def nside(self) -> int:
        """NSIDE of all."""
        return nside_of(next(iter(self.maps.values())))

    def __getitem__(self, name: str) -> Array:
        return self.maps[name]

    def __getattr__(self, name: str) -> Array:
        maps = self.__dict__.get("maps", {})
        if name not in maps:
            raise AttributeError(f"a sky of {', '.join(maps)} has no attribute {name!r}")
        return maps[name]

    def __iter__(self) -> Iterator[tuple[str, Array]]:
        """Pairs of name and map."""
        return iter(self.maps.items())

    def __repr__(self) -> str:
        return f"SkyMaps(NSIDE {self.nside}, {self.frequency_ghz:g} GHz, {self.frame}, {self.provenance})"

    def save(self, folder: str | Path) -> Path:
        """The folder, after writing kappa.npy, tsz.npy ... and, last, sky.json.

        All maps are written beside the old ones first, and take their places together; without sky.json, which is gone
        meanwhile, a folder is no sky.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        staged: dict[Path, Path] = {}
        try:
            for name, values in self:
                file = (target / f"{name}.npy").absolute()
                if isinstance(values, np.memmap) and values.filename == file:
                    values.flush()
                elif isinstance(values, np.memmap) and _inside(values, target):
                    values.flush()  # grown in a folder of its own inside: it has only to move
                    staged[file] = Path(str(values.filename))
                else:
                    staged[file] = target / f".{name}.part.npy"
                    np.save(staged[file], values)
            (target / _FACTS).unlink(missing_ok=True)
            for file, beside in staged.items():
                beside.replace(file)
        finally:
            for beside in staged.values():
                beside.unlink(missing_ok=True)
        facts = {"frequency_ghz": self.frequency_ghz, "frame": self.frame, "provenance": self.provenance,
                 "units": {name: component(name).unit for name in self.maps}, "ordering": "RING", "nside": self.nside}
        write_text(target / _FACTS, json.dumps(facts, indent=1))
        return target

    @staticmethod
    def load(folder: str | Path) -> SkyMaps:
        """From a folder that ``save`` or ``simulate_sky(out=...)`` wrote; the maps stay on disk until read.

        Raises
        ------
        FileError : no sky there, or one whose writing was cut short.
        """
        source = Path(folder)
        if not (source / _FACTS).exists():
            raise FileError(f"no finished sky in {source}", got=f"no {_FACTS}", expected="the folder of a whole sky",
                            do="simulate it again: sundog sky simulate --out " + str(source))
        try:
            facts = json.loads((source / _FACTS).read_text(encoding="utf-8"))
            maps = {name: _opened(source / f"{name}.npy") for name in facts["units"]}
            return SkyMaps(maps, frequency_ghz=float(facts["frequency_ghz"]), frame=str(facts["frame"]),
                           provenance=dict(facts["provenance"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise FileError(f"cannot read {source / _FACTS}", got=f"{type(error).__name__}: {error}",
                            expected="JSON written by sundog", do="simulate or copy the sky again") from error


def _inside(values: np.memmap[Any, Any], target: Path) -> bool:
    """Whether a map lies in a file of a folder that is in the target."""
    file = Path(str(values.filename))
    return file.exists() and file.parent.parent == target.resolve()


def _opened(path: Path) -> Array:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read {path}", got=str(error), expected="a map written by sundog",
                        do="simulate or copy the sky again") from error


@contextmanager
def growing(out: str | Path | None) -> Iterator[Path | None]:
    """An empty folder inside ``out`` that is gone after the block: a stopped sky leaves the one before whole."""
    if out is None:
        yield None
        return
    Path(out).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(".part", ".sky-", Path(out).absolute()) as place:
        yield Path(place)


class Unfinished:
    """The state of a sky under construction in a folder, kept once a minute of processor time."""

    def __init__(self, out: str | Path | None, identity: str) -> None:
        self.file = None if out is None else Path(out) / ".unfinished.npz"
        self.identity, self.last = f"state {_STATE} of sundog {__version__}: {identity}", time.process_time()

    def load(self) -> Mapping[str, Array]:
        """What was kept of the same sky, read when asked for; empty where there is nothing."""
        if self.file is None or not self.file.exists():
            return {}
        try:
            held = np.load(self.file, allow_pickle=False)
            return held if held.zip.testzip() is None and str(held["identity"]) == self.identity else {}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):  # of no use: begin anew
            return {}

    def keep(self, state: Callable[[], dict[str, Array]]) -> None:
        """Keep the state, if a minute has gone."""
        if self.file is None or time.process_time() - self.last < EVERY:
            return

        def write(temporary: Path) -> None:
            with ZipFile(temporary, "w") as held:
                for name, values in ({"identity": np.array(self.identity)} | state()).items():
                    with held.open(f"{name}.npy", "w", force_zip64=True) as file:
                        np.lib.format.write_array(file, values, allow_pickle=False)
                    release(values)

        atomic_write(self.file, write)
        self.last = time.process_time()

    def forget(self) -> None:
        """Take it away."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)


def new_maps(folder: Path | None, n_pixels: int, names: Iterable[str]) -> dict[str, Array]:
    """Zero maps, in memory or as memory maps in a folder whose old sky.json is taken away first."""
    if folder is None:
        return {name: np.zeros(n_pixels, np.float32) for name in names}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _FACTS).unlink(missing_ok=True)
    return {name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, (n_pixels,)) for name in names}
