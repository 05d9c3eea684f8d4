"""Flat patches of a map of the whole sphere, HEALPix or CAR, and the map that patches make again.

What is cut are the tiles of a `TileLayout`: gnomonic, overlapping, none of which knows where the pole is. Where a map
was not observed, tiles that would see it are left out, and pixels that no tile covers come back as NaN.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from sundog.data.atomic import atomic_write
from sundog.data.dataset import Dataset
from sundog.data.sky.healpix import UNSEEN, HealpixMap, filled, observed, write_healpix
from sundog.data.sky.sphere import analysis, nside_of, pixelisation
from sundog.data.sky.splines import coefficients, sampling_matrix
from sundog.data.sky.tiles import TileLayout, read_row
from sundog.errors import DataError, ShapeError

Array = NDArray[Any]
_BLOCK = 100_000  # pixels put together at once
APART = 0.95  # sides between centres of tiles that do not overlap but for their corners
ENOUGH = 40  # tiles for a verdict
_SPLINE, _EDGE = 5, 6  # order of splines in CAR maps, and pixels of them continued beyond an edge


def on_sphere(sky: Dataset) -> bool:
    """Whether a dataset is one map of the sphere: a HEALPix file, or a whole turn in CAR projection."""
    if len(sky) != 1 or "tiles" in sky.provenance:
        return False
    if "sphere" in sky.provenance:
        return True
    return _is_car(sky) and sky.values.shape[-1] > _Grid(sky.provenance).turn - 1


def _check_sphere(sky: Dataset) -> None:
    if len(sky) != 1 or not ("sphere" in sky.provenance or _is_car(sky)):
        raise DataError("not a map of the sphere", got=f"{len(sky)} {sky.kind} of {tuple(sky.values.shape[1:])}",
                        expected="one HEALPix map, or an image in CAR projection", do="load the file of a whole sky")


def _is_car(sky: Dataset) -> bool:
    return bool(re.search(r"CTYPE1 *= *'\w+-+CAR", str(sky.provenance.get("wcs", ""))))


def flat_patches(sky: Dataset, layout: TileLayout | None = None, *, mask: Array | None = None, nearest: bool = False,
                 threads: int = 1) -> Dataset:
    """All tiles of a map of the sphere that were observed whole, (n, [channels,] size, size).

    A HEALPix map is read from its harmonics up to l = 2 NSIDE, a CAR map by quintic splines between its pixels.

    Parameters
    ----------
    sky : what `sundog.load` makes of a HEALPix or CAR file
    layout : 64 pixels as wide as those of the map, 16 of them shared, when None
    mask : as large as the map, 0 where it was not observed
    nearest : take the nearest pixel instead: point sources stay whole, noise keeps its variance

    Raises
    ------
    DataError : not a map of the sphere, or no tile that was observed whole.

    Example
    -------
    >>> from sundog.simulate.sky.maps import SkyMaps
    >>> ramp = pixelisation(16).pix2vec(np.arange(3072))[:, 2].astype(np.float32)
    >>> sky = Dataset.from_arrays(ramp[None, None], provenance={"sphere": {"nside": 16}})
    >>> patches = flat_patches(sky, TileLayout(16, 120.0, 8))
    >>> again = stitched(patches)
    >>> bool(np.abs(again[0] - ramp).max() < 0.01)
    True
    """
    _check_sphere(sky)
    planes = sky.values[0].numpy().reshape(-1, *sky.values.shape[-2:])
    healpix = "sphere" in sky.provenance
    layout = layout or usual_layout(sky)
    if mask is not None and np.size(mask) != planes[0].size:
        raise ShapeError("mask and map differ in size", got=np.shape(mask), expected=planes.shape[1:],
                         do="bring the mask to the pixels of the map")
    used = observed(planes).all(0) & (True if mask is None else np.reshape(mask, planes.shape[1:]) != 0)
    planes = np.where(used, planes, np.float32(np.nan))
    readers = [(_harmonics if healpix and not nearest else _pixels)(sky, plane, layout, nearest, threads)
               for plane in planes]
    seen = _pixels(sky, np.where(used, np.float32(1), np.float32(np.nan)), layout, True, threads)
    tiles, places = [], []
    for row, (coverage, *channels) in enumerate(zip(seen, *readers)):
        whole = np.flatnonzero(np.isfinite(coverage).all((1, 2)))
        tiles += [np.stack([channel[whole] for channel in channels], 1)] if len(whole) else []
        places += [[row, int(k)] for k in whole]
    if not places:
        raise DataError("no tile was observed whole", got=f"{layout.size} pixels of {layout.pixel_arcmin:g} arcmin",
                        expected="tiles smaller than the observed patch", do="use a smaller size or pixel")
    facts = {**sky.provenance, "tiles": {"size": layout.size, "pixel_arcmin": layout.pixel_arcmin,
                                         "overlap": layout.overlap, "places": places, "shape": list(planes.shape[1:])}}
    found = torch.from_numpy(np.concatenate(tiles))
    return Dataset.from_arrays(found[:, 0] if len(planes) == 1 else found, names=sky.names, units=sky.units,
                               pixel_arcmin=layout.pixel_arcmin, provenance=facts)


def stitched(patches: Dataset, like: Dataset | None = None) -> Array:
    """The map of the sphere that patches make, (channels, pixels) of HEALPix or (channels, ny, nx) of CAR, float32.

    Each pixel is the mean of the tiles that cover it, weighted by sin^2 flanks over what tiles share; NaN where none
    does. Independent noise of tiles loses variance where they meet; what they agree on comes back.

    Parameters
    ----------
    patches : in the order in which `flat_patches` cut them
    like : what `flat_patches` made, where ``patches`` have lost their places: fakes, separated maps

    Raises
    ------
    DataError : places unknown. ShapeError : another number or size of patches than was cut.
    """
    facts = (like or patches).provenance
    if "tiles" not in facts:
        raise DataError("it is not known where these patches lie", got="no places in their provenance",
                        expected="what flat_patches (sundog sky project) wrote", do="pass like=, the patches cut first")
    told = facts["tiles"]
    layout, places = TileLayout(told["size"], told["pixel_arcmin"], told["overlap"]), np.array(told["places"])
    values = patches.values.numpy().reshape(len(patches), -1, *patches.values.shape[-2:]).astype(np.float32)
    if len(values) != len(places) or values.shape[-1] != layout.size:
        raise ShapeError("not the patches that were cut", got=f"{len(values)} of {values.shape[-1]} pixels",
                         expected=f"{len(places)} of {layout.size}", do="keep their number and order")
    channels, shape = values.shape[1], tuple(told["shape"])
    table = coefficients(values)
    number = {tuple(place): i for i, place in enumerate(places.tolist())}
    out = np.full((channels, math.prod(shape)), np.nan, np.float32)
    for part, theta, phi in _directions(facts, shape):
        total, weights = np.zeros((channels, len(theta))), np.zeros(len(theta))
        for row in np.unique(places[:, 0]):
            if not theta.min() - layout.side < layout.theta(int(row)) < theta.max() + layout.side:
                continue
            which = np.array([number.get((int(row), k), -1) for k in range(layout.count(row))])
            for where, tile, y, x, weight in layout.covering(int(row), theta, phi):
                kept = which[tile] >= 0
                where, weight = where[kept], weight[kept]
                matrix = sampling_matrix(which[tile[kept]], y[kept], x[kept], (len(values), layout.size, layout.size))
                for c in range(channels):
                    total[c, where] += weight * (matrix @ table[:, c].ravel())
                weights[where] += weight
        out[:, part] = np.where(weights > 1e-3, total / np.maximum(weights, 1e-3), np.nan)
    return out.reshape(channels, *(shape[1:] if "sphere" in facts else shape))


def write_sphere(path: str | Path, values: Array, like: Dataset) -> list[Path]:
    """The files, after `stitched` values were written as the map that was cut: HEALPix or CAR, one file per channel.

    Several channels go into files that bear their names: ``map-Q.fits``.

    Raises
    ------
    ShapeError : several channels, but not as many as were cut.
    """
    path, names, units = Path(path), like.names or ("map",) * len(values), like.units or ("",) * len(values)
    if len(values) not in (1, len(names)):
        raise ShapeError("maps without a name", got=f"{len(values)} channels", expected=", ".join(names),
                         do="put back one channel alone, or as many as were cut")
    return [_written(path if len(values) == 1 else path.with_stem(f"{path.stem}-{name}"), plane, unit, like.provenance)
            for plane, name, unit in zip(values, names, units)]


def _written(path: Path, plane: Array, unit: str, facts: Mapping[str, Any]) -> Path:
    if "sphere" in facts:
        whole = np.where(np.isfinite(plane), plane, np.float32(UNSEEN))
        return write_healpix(path, HealpixMap(whole.astype(np.float32), unit, facts["sphere"].get("frame", "")))
    from astropy.io import fits

    image = fits.PrimaryHDU(plane.astype(np.float32), fits.Header.fromstring(facts["wcs"]))
    if unit:
        image.header["BUNIT"] = unit
    return atomic_write(path, lambda temporary: image.writeto(temporary, overwrite=True, checksum=True))


def _harmonics(_: Dataset, plane: Array, layout: TileLayout, nearest: bool, threads: int) -> Iterator[Array]:
    """The tiles of every row, (tiles, size, size), of a HEALPix map."""
    alm = analysis(filled(plane[0].astype(np.float32)), threads=threads)
    for row in range(layout.rows):
        yield read_row(alm, layout, row, threads=threads)


def _pixels(sky: Dataset, plane: Array, layout: TileLayout, nearest: bool, _: int) -> Iterator[Array]:
    """The same from the pixels: the nearest of a HEALPix map, splines between those of a CAR map."""
    grid = None if "sphere" in sky.provenance else _Grid(sky.provenance).of(plane, 0 if nearest else _SPLINE)
    for row in range(layout.rows):
        theta, longitude = layout.directions(row)
        phi = np.mod(longitude[None] + layout.longitudes(row)[:, None, None], 2 * math.pi)
        angles = np.broadcast_to(theta, phi.shape)
        if grid is None:
            ring = pixelisation(nside_of(plane[0])).ang2pix(np.stack([angles, phi], -1).reshape(-1, 2))
            values = plane[0][ring].astype(np.float32)
            yield np.where(observed(values), values, np.float32(np.nan)).reshape(phi.shape)
        else:
            yield grid.at(angles, phi)


class _Grid:
    """Places of the pixels of a CAR image, by astropy."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        from astropy.io import fits
        from astropy.wcs import WCS

        self.wcs = WCS(fits.Header.fromstring(facts["wcs"]), naxis=2)
        self.step = 60 * float(abs(self.wcs.wcs.cdelt[1]))
        self.turn = 360 / float(abs(self.wcs.wcs.cdelt[0]))  # columns of a whole turn

    def of(self, image: Array, order: int) -> _Grid:
        """With an image; wrapped around where it is a whole turn, and continued beyond the poles that it reaches."""
        wrap = abs(image.shape[1] - self.turn) < 1e-3
        image, self.order, self.shape = image.astype(np.float32), order, image.shape
        if wrap:
            lat = self.wcs.wcs_pix2world([0, 0], [0, image.shape[0] - 1], 0)[1]
            ends = [abs(abs(x) - 90) < 0.51 * self.step / 60 for x in lat]
            beyond = np.roll(image, image.shape[1] // 2, 1)
            nothing = np.full_like(image[:_EDGE], np.nan)
            image = np.concatenate([beyond[:_EDGE][::-1] if ends[0] else nothing, image,
                                    beyond[-_EDGE:][::-1] if ends[1] else nothing])
            image = np.concatenate([image[:, -_EDGE:], image, image[:, :_EDGE]], 1)
        self.edge = _EDGE if wrap else 0
        seen = np.isfinite(image)
        self.hole = (~seen).astype(np.float32)
        image = np.where(seen, image, image[seen].mean() if seen.any() else np.float32(0))
        self.image = image if order == 0 else coefficients(image, order)
        return self

    def at(self, theta: Array, phi: Array) -> Array:
        """Values at directions of any shape, float32; NaN outside and in holes."""
        x, y = self.wcs.wcs_world2pix(np.degrees(phi).ravel(), 90 - np.degrees(theta).ravel(), 0)
        x = np.mod(x + 0.5, self.turn) - 0.5
        place = np.stack([y, x]) + self.edge
        values = map_coordinates(self.image, place, order=self.order, mode="nearest", prefilter=False,
                                 output=np.float32)
        missing = map_coordinates(self.hole, place, order=0, mode="nearest", output=np.float32) > 0
        outside = (y < -0.5) | (y > self.shape[0] - 0.5) | (x > self.shape[1] - 0.5)
        return np.where(missing | outside & (self.edge == 0), np.float32(np.nan), values).reshape(phi.shape)


def _directions(facts: Mapping[str, Any], shape: tuple[int, ...]) -> Iterator[tuple[slice, Array, Array]]:
    """(pixels, colatitude, longitude) of a map, some at a time."""
    total = math.prod(shape)
    for first in range(0, total, _BLOCK):
        part = slice(first, min(first + _BLOCK, total))
        pixels = np.arange(part.start, part.stop)
        if "sphere" in facts:
            theta, phi = pixelisation(math.isqrt(total // 12)).pix2ang(pixels).T
        else:
            lon, lat = _Grid(facts).wcs.wcs_pix2world(pixels % shape[1], pixels // shape[1], 0)
            theta, phi = np.radians(90 - lat), np.mod(np.radians(lon), 2 * math.pi)
        yield part, theta, phi


def usual_layout(sky: Dataset, size: int = 64) -> TileLayout:
    """Tiles of 64 pixels as wide as those of a map of the sphere, at most half a degree."""
    _check_sphere(sky)
    if "sphere" in sky.provenance:
        pixel = 60 * math.degrees(math.sqrt(math.pi / 3) / nside_of(sky.values[0].numpy()))
    else:
        pixel = _Grid(sky.provenance).step
    return TileLayout(size, min(pixel, 30.0), max(12, size // 4))


def projected(*skies: Dataset, mask: Array | None = None, apart: bool = False, sizes: Sequence[int] = (64,),
              ) -> tuple[list[Dataset], Array | None]:
    """The datasets, maps of the sphere among them cut into patches of one layout, that of the coarsest; and the mask.

    The channel of a map that has one is called "map": files call it as they like.

    Parameters
    ----------
    mask : (pixels,) of the same sphere, 0 where it hides. Tiles stay of which half is seen, and the mask is cut as they
        are, (tiles, size, size): what `sundog.judge` takes as ``mask``. Hidden pixels have the mean of the others
        before patches are read
    apart : only tiles that do not overlap, as a judge must have them: rows that share pixels are no independent rows.
    sizes : of tiles in pixels, the next where there would be fewer than 40
    """
    spheres = [sky for sky in skies if on_sphere(sky)]
    if not spheres:
        return list(skies), mask
    coarsest = max(spheres, key=lambda sky: usual_layout(sky).pixel_arcmin)
    for size in sizes:
        layout = usual_layout(coarsest, size)
        cut = [flat_patches(_covered(sky, mask), layout) if on_sphere(sky) else sky for sky in skies]
        shown = None if mask is None else _cut_mask(spheres[0], mask, layout)
        like = next(found for found, sky in zip(cut, skies) if found is not sky)
        kept = np.ones(len(like), bool) if shown is None else shown.mean((1, 2)) >= 0.5
        if apart:
            kept[kept] = _apart(layout, np.array(like.provenance["tiles"]["places"])[kept])
        if kept.sum() >= ENOUGH:
            break
    if not kept.any():
        raise DataError("the mask hides every tile", got=f"{len(kept)} tiles", expected="one of which half is seen",
                        do="cut smaller tiles, sundog sky project --size, and their mask")
    chosen = torch.from_numpy(kept)
    found = [sky if patches is sky else replace(patches[chosen], names=("map",) if len(sky.names) == 1 else sky.names,
                                                provenance=_chosen(patches.provenance, kept))
             for sky, patches in zip(skies, cut)]
    return found, None if shown is None else shown[kept]


def _cut_mask(like: Dataset, mask: Array, layout: TileLayout) -> Array:
    """A mask of the sphere as tiles of booleans."""
    where = replace(like, values=torch.from_numpy(np.reshape(mask, (1, *like.values.shape[-2:])) != 0).float(),
                    names=("mask",), units=("",))
    return flat_patches(where, layout, nearest=True).values.numpy() > 0


def _apart(layout: TileLayout, places: Array) -> Array:
    """Which of the tiles at (row, number) do not overlap any before them that was chosen, one after the other."""
    theta = np.array([layout.theta(int(row)) for row, _ in places])
    phi = np.array([layout.longitudes(int(row))[k] for row, k in places])
    centres = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], 1)
    chosen = np.zeros(len(places), bool)
    for i, centre in enumerate(centres):
        chosen[i] = not (centres[chosen] @ centre > math.cos(APART * layout.side)).any()
    return chosen


def _chosen(facts: Mapping[str, Any], kept: Array) -> dict[str, Any]:
    places = [place for place, stays in zip(facts["tiles"]["places"], kept) if stays]
    return {**facts, "tiles": {**facts["tiles"], "places": places}}


def _covered(sky: Dataset, mask: Array | None) -> Dataset:
    """The map with the mean of what is seen in hidden pixels."""
    if mask is None:
        return sky
    if np.size(mask) != math.prod(sky.values.shape[-2:]):
        raise ShapeError("mask and map differ in size", got=np.shape(mask), expected=tuple(sky.values.shape[-2:]),
                         do="bring the mask to the pixels of the map")
    seen = torch.from_numpy(np.reshape(mask, sky.values.shape[-2:]) != 0)
    mean = sky.values[..., seen].mean(-1)[..., None, None]
    return replace(sky, values=torch.where(seen, sky.values, mean))
