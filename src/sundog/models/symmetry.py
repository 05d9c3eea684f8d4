"""Images in their eight positions: laws that do not change under flips and quarter turns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sundog.models.base import Noise


def positions(grid: Sequence[int]) -> int:
    """How many flips and quarter turns leave the frame of an image (..., ny, nx) as it is: 8 for squares, else 4.

    Example
    -------
    >>> positions((1, 8, 8)), positions((1, 8, 6))
    (8, 4)
    """
    return 8 if grid[-1] == grid[-2] else 4


def turned(x: Tensor, which: Tensor) -> Tensor:
    """Images x (n, c, ny, nx), each flipped or turned by its number (n,) in 0 .. 7 (0 .. 3: flips only).

    Example
    -------
    >>> turned(torch.arange(4.0).reshape(1, 1, 2, 2), torch.tensor([1])).flatten().tolist()
    [1.0, 0.0, 3.0, 2.0]
    """
    changes = lambda x: x.flip(-1), lambda x: x.flip(-2), lambda x: x.transpose(-1, -2)
    for bit, change in enumerate(changes[: 3 if positions(x.shape) == 8 else 2]):
        x = torch.where(((which >> bit) & 1 == 1)[:, None, None, None], change(x), x)
    return x


def all_turned(x: Tensor, at_most: int) -> Tensor:
    """Every image in every position; where that is more than ``at_most`` images, each in one position by turns."""
    n, count = len(x), positions(x.shape)
    if n * count > at_most:
        return turned(x, torch.arange(n, device=x.device) % count)
    return torch.cat([turned(x, torch.full((n,), i, device=x.device)) for i in range(count)])


def placed(x: Tensor, symmetry: str, noise: Noise) -> Tensor:
    """Images of a training step, in random positions where the symmetry is ``dihedral``."""
    return x if symmetry == "none" else turned(x, (noise.uniform(1)[:, 0] * positions(x.shape)).long())
