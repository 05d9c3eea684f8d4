"""Whole skies from a network that knows only tiles: kappa -> tiles -> translator -> blended maps, band by band.

A translator is any callable ``(kappa (n, 1, size, size), generator) -> (n, channels, size, size)``, tensors of float32,
or what ``sundog.fit("translate", ...)`` returns: its ``translate(kappa, seed=...)`` gives the channels beside kappa.
Tiles of a row go through it together, with a generator that depends on the seed, the row and the draw alone: a sky that
was stopped and taken up again has the bits of one that was not.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sundog.data.atomic import alone_in, check_folder, write_text
from sundog.data.sky.healpix import checked_map
from sundog.data.sky.sphere import (
    analysis,
    angular_spectrum,
    gaussian_alm,
    nside_of,
    pixelisation,
    scaled,
    synthesis,
)
from sundog.data.sky.tiles import Blend, TileLayout, read_row
from sundog.errors import OptionError, RunError, ShapeError, TrainingError
from sundog.random import numpy_stream, stream
from sundog.simulate.sky.components import NAMES

Array = NDArray[Any]
Translator = Callable[[Tensor, torch.Generator], Tensor]
BLENDS = {"paired": 2, "linear": 1}
_FACTS = "generated.json"


@dataclass(frozen=True, eq=False)
class GeneratedSky:
    """A stitched sky.

    Attributes
    ----------
    maps : name -> (12 NSIDE^2,) float32 RING map, as the translator made them
    corrected : name -> map after a transfer function; empty where none was given. Report both
    layout : the tiles
    provenance : seed, blend, and what ``assemble`` was called with
    """

    maps: dict[str, Array]
    layout: TileLayout
    corrected: dict[str, Array] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Array:
        """The raw map of that name."""
        return self.maps[name]


def generate_sky(translator: Any, power: Array, nside: int, seed: int = 0, **options: Any) -> GeneratedSky:
    """A new sky: a Gaussian convergence with C_l = ``power``, translated tile by tile and stitched.

    Parameters
    ----------
    translator : see the module
    power : (L + 1,) C_l of kappa; L is its band limit
    nside : of the maps to make
    options : those of ``assemble``

    Example
    -------
    >>> sky = generate_sky(lambda kappa, g: kappa, 1e-4 / (10 + np.arange(41.0)) ** 2, 32, layout=TileLayout(
    ...                    size=32, pixel_arcmin=60.0, overlap=10), names=("kappa",))
    >>> sky["kappa"].shape
    (12288,)
    """
    power = np.asarray(power, float)
    if power.ndim != 1 or len(power) < 3 or not np.isfinite(power).all() or power.min() < 0:
        raise OptionError("not a spectrum", got=f"shape {power.shape}", expected="finite C_l >= 0 from l = 0",
                          do="pass e.g. np.load('s10_clkk.npz')['clkk'][:4097]")
    rng = numpy_stream(operator.index(seed), "sky kappa")
    return assemble(translator, gaussian_alm(power, rng, np.complex64), nside, seed, **options)


def assemble(
    translator: Any,
    kappa: Array,
    nside: int,
    seed: int = 0,
    *,
    layout: TileLayout | None = None,
    names: Sequence[str] = NAMES,
    blend: str = "paired",
    point_like: Sequence[str] = (),
    out: str | Path | None = None,
    transfer: dict[str, Array] | None = None,
    batch: int = 32,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> GeneratedSky:
    """The sky that a translator makes of a convergence, stitched on HEALPix.

    Parameters
    ----------
    kappa : coefficients (complex) or a RING map (12 N^2,), which is used up to l = 2 N
    layout : size, pixel and overlap of the tiles; 128 pixels of 2 arcmin with 20 shared when None
    names : of the channels that come out
    blend : "paired" translates every tile twice with independent noise and keeps both what the draws share and the
        variance of what they do not (see ``data.tiles.Blend``); a translator without noise is found out after the
        first row and called once from then on. "linear" calls once and averages: noise loses variance in overlaps
    point_like : names of channels taken from one tile, nearest pixel, so that point sources stay whole
    out : folder for memory maps; a stopped call with the same arguments goes on there. In memory when None
    transfer : name -> (L + 1,) factors by which ``corrected`` maps are multiplied in harmonic space
    progress : called with (bands done, bands)

    Raises
    ------
    ShapeError : the translator returns another shape. TrainingError : it returns NaN or Inf.
    RunError : the folder holds another sky.
    """
    layout, names = layout or TileLayout(), tuple(names)
    _check(nside, names, blend, point_like)
    alm = kappa if np.iscomplexobj(kappa) else analysis(checked_map(kappa, "kappa").astype(np.float32), threads=threads)
    alm = np.ascontiguousarray(alm, np.complex64)
    facts = {"seed": operator.index(seed), "nside": nside, "names": list(names), "blend": blend, "batch": batch,
             "point_like": list(point_like), "layout": [layout.size, layout.pixel_arcmin, layout.overlap],
             "kappa": _hash(alm)}
    tiles = _Tiles(translator, alm, layout, seed, len(names), BLENDS[blend], batch, threads)
    folder = None if out is None else check_folder(out)
    if folder is not None:
        facts["translator"] = tiles.identity()
        folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder):
        store = _Store.open(folder, names, nside, facts)
        single = tuple(names.index(name) for name in point_like)
        bands = list(_bands(layout, nside))
        for number, (first, last) in enumerate(bands):
            if number not in store.done:
                store.write(number, first, _blended(tiles, layout, number, nside, first, last, single))
            if progress is not None:
                progress(number + 1, len(bands))
    facts = {**facts, "noise": tiles.stochastic}
    if transfer is not None:
        facts["transfer"] = {name: _hash(np.asarray(factor)) for name, factor in transfer.items()}
    corrected = {} if transfer is None else apply_transfer(store.maps, transfer, threads=threads)
    return GeneratedSky(store.maps, layout, corrected, facts)


def _hash(values: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


def _check(nside: int, names: tuple[str, ...], blend: str, point_like: Sequence[str]) -> None:
    if nside < 1 or nside & (nside - 1):
        raise OptionError("NSIDE is not a power of two", got=nside, expected="1, 2, 4 ... 8192", do="pass nside=1024")
    if blend not in BLENDS:
        raise OptionError("unknown blend", got=repr(blend), expected=" | ".join(BLENDS), do="choose one")
    if not names or len(set(names)) < len(names) or set(point_like) - set(names):
        raise OptionError("channel names do not fit", got=f"{names}, point_like {tuple(point_like)}",
                          expected="one name per channel, point_like among them", do="name the channels")


def _bands(layout: TileLayout, nside: int) -> Iterator[tuple[int, int]]:
    """(first, last) RING pixel of the band of each row of tiles: rings nearer to it than to any other."""
    rings = pixelisation(nside).sht_info()
    row = np.rint(rings["theta"] / layout.step).astype(int)
    ends = np.append(rings["ringstart"].astype(np.int64), 12 * nside**2)
    for number in range(layout.rows):
        held = np.flatnonzero(row == number)
        yield (int(ends[held[0]]), int(ends[held[-1] + 1])) if len(held) else (0, 0)


def _blended(tiles: _Tiles, layout: TileLayout, band: int, nside: int, first: int, last: int,
             single: tuple[int, ...]) -> Array:
    """(channels, last - first) pixels of a band, from its row of tiles and the two beside it."""
    theta, phi = pixelisation(nside).pix2ang(np.arange(first, last)).reshape(-1, 2).T
    sum_ = Blend.empty(tiles.channels, last - first)
    for row in range(max(band - 1, 0), min(band + 2, layout.rows)):
        sum_.add(layout, row, (theta, phi), tiles[row], single)
    tiles.forget(before=band)
    return sum_.result(single)


@dataclass(eq=False)
class _Tiles:
    """Translated tiles, row by row; the last three rows are kept."""

    translator: Any
    alm: Array
    layout: TileLayout
    seed: int
    channels: int
    draws: int
    batch: int
    threads: int
    stochastic: bool | None = None
    kept: dict[int, Array] = field(default_factory=dict)

    def __getitem__(self, row: int) -> Array:
        """(draws, tiles, channels, size, size) float32."""
        if row not in self.kept:
            kappa = read_row(self.alm, self.layout, row, threads=self.threads)
            self.kept[row] = self._translated(kappa, row)
        return self.kept[row]

    def forget(self, before: int) -> None:
        """Drop the rows that no later band needs."""
        for row in [row for row in self.kept if row < before]:
            del self.kept[row]

    def identity(self) -> str:
        """That of a run; of anything else a hash of what it makes of one tile, to three digits of some pixels."""
        told = getattr(self.translator, "identity", "")
        if isinstance(told, str) and told:
            return told
        row = self.layout.rows // 2
        kappa = read_row(self.alm, self.layout, row, threads=self.threads)[:1]
        made = self._draw(kappa, row, 0).reshape(self.channels, -1)
        return _hash(np.array([f"{x:.3g}" for x in made[:, :: max(1, made.shape[1] // 16)].ravel()]))

    def _translated(self, kappa: Array, row: int) -> Array:
        if self.draws == 2 and self.stochastic is None:
            self._probe()
        return np.stack([self._draw(kappa, row, number) for number in range(2 if self.stochastic else 1)])

    def _probe(self) -> None:
        """Whether two generators give two results, on one tile of the middle row: the same answer when resumed."""
        row = self.layout.rows // 2
        kappa = read_row(self.alm, self.layout, row, threads=self.threads)[:1]
        first, second = (self._draw(kappa, row, number) for number in range(2))
        self.stochastic = not np.array_equal(first, second)

    def _draw(self, kappa: Array, row: int, number: int) -> Array:
        parts = []
        for i in range(0, len(kappa), self.batch):
            generator = stream(self.seed, "sky tiles", row, number, i)
            parts.append(self._call(torch.from_numpy(kappa[i : i + self.batch, None]), generator))
        return np.concatenate(parts)

    def _call(self, kappa: Tensor, generator: torch.Generator) -> Array:
        with torch.no_grad():
            if callable(self.translator):
                made = self.translator(kappa, generator)
            else:
                made = self.translator.translate(kappa, seed=int(torch.randint(2**31, (1,), generator=generator)))
        made = (made if isinstance(made, Tensor) else torch.as_tensor(made.values)).detach().float().cpu()
        if not callable(self.translator) and made.shape[1] == self.channels - 1:
            made = torch.cat([kappa, made], 1)
        wanted = (len(kappa), self.channels, self.layout.size, self.layout.size)
        if tuple(made.shape) != wanted:
            raise ShapeError("the translator returns another shape", got=tuple(made.shape), expected=wanted,
                             do="return (n, channels, size, size), one channel per name")
        if not torch.isfinite(made).all():
            raise TrainingError("the translator returns NaN or Inf", got="numbers that are not finite",
                                expected="finite maps", do="look at its scaling and its training")
        return made.numpy()


@dataclass(eq=False)
class _Store:
    """The maps being filled, and which bands are done."""

    maps: dict[str, Array]
    folder: Path | None
    facts: dict[str, Any]
    done: set[int]

    @staticmethod
    def open(folder: Path | None, names: tuple[str, ...], nside: int, facts: dict[str, Any]) -> _Store:
        n = 12 * nside**2
        if folder is None:
            return _Store({name: np.zeros(n, np.float32) for name in names}, None, facts, set())
        found = _noted(folder / _FACTS)
        told = json.loads(json.dumps(facts))
        if found is not None and found["facts"] != told:
            changed = [key for key in told if found["facts"].get(key) != told[key]]
            raise RunError(f"{folder} holds another sky", got=f"other {', '.join(changed)}",
                           expected="the arguments it was begun with", do="give them again, or choose another folder")
        mode = "r+" if found is not None else "w+"
        new = (None, None) if found else (np.float32, (n,))
        try:
            maps: dict[str, Array] = {name: np.lib.format.open_memmap(folder / f"{name}.npy", mode, *new)
                                      for name in names}
        except (OSError, ValueError) as error:
            raise RunError(f"the sky begun in {folder} is damaged", got=str(error), expected="maps written by sundog",
                           do="delete the folder, or choose another") from error
        store = _Store(maps, folder, told, set(found["done"]) if found else set())
        store._note()
        return store

    def write(self, band: int, first: int, values: Array) -> None:
        for target, row in zip(self.maps.values(), values):
            target[first : first + values.shape[1]] = row
            if self.folder is not None:
                target.flush()  # type: ignore[attr-defined]
        self.done.add(band)
        self._note()

    def _note(self) -> None:
        if self.folder is not None:
            write_text(self.folder / _FACTS, json.dumps({"facts": self.facts, "done": sorted(self.done)}))


def _noted(path: Path) -> dict[str, Any] | None:
    """What a sky begun in a folder says of itself; None where there is none."""
    if not path.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found["facts"].get("seed")
        set(map(operator.index, found["done"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"cannot read {path}", got=f"{type(error).__name__}: {error}", expected="JSON written by sundog",
                       do="delete the folder, or choose another") from error
    return found


def transfer_function(truth: Sequence[dict[str, Array]], made: Sequence[dict[str, Array]], lmax: int, *,
                      width: float = 0.1, threads: int = 1) -> dict[str, Array]:
    """Name -> t_l = sqrt(C_l of the truth / C_l of what was made), (lmax + 1,), from skies that training never saw.

    Spectra are summed over the skies, then averaged in bins of relative width ``width`` (at least 8 wide), and t_l is
    interpolated between the bins; t_0 = 1, so that means stay.

    Parameters
    ----------
    truth, made : maps by name, pair by pair; ``made`` is ``assemble(translator, sky["kappa"], ...).maps``
    """
    found = {}
    for name in made[0]:
        real, fake = (np.sum([angular_spectrum(analysis(np.asarray(sky[name], np.float32), lmax, iterations=1,
                                                        threads=threads)) for sky in skies], axis=0)
                      for skies in (truth, made))
        edges, weight = bin_edges(lmax, width), 2 * np.arange(lmax + 1) + 1
        ell = 0.5 * (edges + np.append(edges[1:], lmax + 1) - 1)
        ratio = np.add.reduceat(real * weight, edges) / np.maximum(np.add.reduceat(fake * weight, edges), 1e-300)
        found[name] = np.interp(np.arange(lmax + 1), ell, np.sqrt(ratio))
        found[name][0] = 1.0  # the monopole is in no bin: the mean of a map stays
    return found


def bin_edges(lmax: int, width: float = 0.1, lowest: int = 2) -> Array:
    """Lower edges of bins from ``lowest`` to lmax, each 8 wide or ``width`` times its l, whichever is more.

    Example
    -------
    >>> bin_edges(40).tolist()
    [2, 10, 18, 26, 34]
    """
    edges = [lowest]
    while edges[-1] + max(8, math.ceil(width * edges[-1])) <= lmax:
        edges.append(edges[-1] + max(8, math.ceil(width * edges[-1])))
    return np.array(edges)


def apply_transfer(maps: dict[str, Array], transfer: dict[str, Array], *, threads: int = 1) -> dict[str, Array]:
    """The maps multiplied by t_l in harmonic space, where a t_l is given; others as they are."""
    out = dict(maps)
    for name, factor in transfer.items():
        values = np.asarray(maps[name], np.float32)
        alm = analysis(values, len(factor) - 1, iterations=1, threads=threads)
        out[name] = values + synthesis(scaled(alm, np.asarray(factor) - 1), nside_of(values), threads=threads)
    return out

