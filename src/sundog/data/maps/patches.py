"""The one patch cutter: maps into patches, patches back into maps. Geometry only."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import OptionError, ShapeError


def cut(maps: Dataset, size: int, stride: int | None = None) -> Dataset:
    """The patches of side ``size`` of every map, row by row, as a Dataset of images.

    Parameters
    ----------
    maps : (n, [channels,] ny, nx); context and weights go along with each patch
    size : side of a patch in pixels
    stride : distance between neighbouring patches, ``size`` (no overlap) when None; a remainder at the far
        edges is left out

    Returns
    -------
    Dataset (n rows columns, [channels,] size, size), not periodic. ``provenance["patches"]`` holds the layout
    that ``paste`` needs.

    Raises
    ------
    ShapeError : events, or maps smaller than a patch.

    Example
    -------
    >>> maps = Dataset.from_arrays(torch.arange(32.0).view(2, 4, 4))
    >>> cut(maps, 2).values.shape
    torch.Size([8, 2, 2])
    """
    stride = stride or size
    if size < 1 or stride < 1:
        raise OptionError("impossible patches", got=f"size {size}, stride {stride}", expected="at least one pixel",
                          do="pass e.g. size=64")
    if maps.kind != "images" or min(maps.values.shape[-2:]) < size:
        raise ShapeError("cannot cut patches", got=f"{maps.kind} of shape {tuple(maps.values.shape)}",
                         expected=f"maps of at least {size} x {size} pixels", do="choose a smaller size")
    tiles = maps.values.unfold(-2, size, stride).unfold(-2, size, stride)
    rows, columns = tiles.shape[-4:-2]
    channels = maps.values.shape[1:-2]
    order = (0, tiles.ndim - 4, tiles.ndim - 3, *range(1, tiles.ndim - 4), tiles.ndim - 2, tiles.ndim - 1)
    repeats = rows * columns
    ny, nx = maps.values.shape[-2:]
    layout = {"rows": rows, "columns": columns, "stride": stride, "ny": ny, "nx": nx}
    return replace(
        maps,
        values=tiles.permute(order).reshape(-1, *channels, size, size).contiguous(),
        context=None if maps.context is None else maps.context.repeat_interleave(repeats, 0),
        weights=None if maps.weights is None else maps.weights.repeat_interleave(repeats, 0),
        periodic=False,
        provenance={**maps.provenance, "patches": layout},
    )


def paste(patches: Dataset) -> Tensor:
    """The maps (n, [channels,] ny, nx) that ``cut`` took apart; overlapping pixels are averaged.

    Pixels that no patch covers are zero.

    Raises
    ------
    ShapeError : patches without the layout of ``cut``, or a number of them that fills no whole map.

    Example
    -------
    >>> maps = Dataset.from_arrays(torch.arange(32.0).view(2, 4, 4))
    >>> bool((paste(cut(maps, 2, stride=1)) == maps.values).all())
    True
    """
    layout = patches.provenance.get("patches")
    per_map = 0 if layout is None else layout["rows"] * layout["columns"]
    if layout is None or len(patches) % per_map:
        raise ShapeError("cannot paste", got=f"{len(patches)} patches, layout {layout}",
                         expected="all patches of whole maps, as cut returned them", do="keep them in order")
    size, stride = patches.values.shape[-1], layout["stride"]
    tiles = patches.values.view(-1, layout["rows"], layout["columns"], *patches.values.shape[1:])
    total = torch.zeros(len(tiles), *patches.values.shape[1:-2], layout["ny"], layout["nx"])
    count = torch.zeros(layout["ny"], layout["nx"])
    for i in range(layout["rows"]):
        for j in range(layout["columns"]):
            y, x = slice(i * stride, i * stride + size), slice(j * stride, j * stride + size)
            total[..., y, x] += tiles[:, i, j]
            count[y, x] += 1
    return total / count.clamp(min=1)
