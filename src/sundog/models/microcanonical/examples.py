"""The maps that a synthesis learns from: which pixels count, and what can be measured on those alone."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from sundog.statistics.maps.levels import smoothed_pyramid
from sundog.statistics.maps.resampling import resample

KEPT = 0.2  # share of the pixels that the coarsest octave must keep beside a mask


class Examples:
    """Maps (n, channels, *shape) with the pixels ``valid`` (*shape) in them, wrapping around or not.

    Missing pixels are set to the mean of the others, channel by channel.
    """

    def __init__(self, maps: Tensor, valid: Tensor, boundary: str) -> None:
        self.valid, self.boundary = valid, boundary
        mean = maps[..., valid].mean((0, 2)).view(1, -1, *[1] * valid.ndim)
        self.maps = torch.where(valid, maps, mean)

    @property
    def whole(self) -> bool:
        """Whether no pixel is missing."""
        return bool(self.valid.all())

    def coarser(self, factor: int) -> Examples:
        """The same on a grid coarser by a whole factor; a coarse pixel is valid where all its fine pixels are."""
        shape = tuple(n // factor for n in self.valid.shape)
        blocks = self.valid.reshape([m for n in shape for m in (n, factor)])
        valid = blocks.float().amin(tuple(range(1, blocks.ndim, 2))) > 0
        return Examples(resample(self.maps, shape), valid, self.boundary)

    def windowed(self) -> Tensor:
        """Maps whose transforms estimate the spectrum: as they are, or of mean 0 and tapered at gaps and edges.

        x -> (x - <x>_w) w / <w^2>^(1/2), w = sin^2 of the distance to the nearest missing pixel up to 1/16 of the side.
        """
        if self.whole and self.boundary == "periodic":
            return self.maps
        distance = missing_distance(self.valid, self.boundary == "periodic")
        width = max(2.0, min(self.valid.shape) / 16)
        taper = np.sin(np.pi / 2 * np.clip(distance / (width + 1), 0, 1)) ** 2
        w = torch.from_numpy(taper).to(self.maps)
        dims = tuple(range(-w.ndim, 0))
        mean = (self.maps * w).sum(dims, keepdim=True) / w.sum()
        return (self.maps - mean) * w / w.square().mean().sqrt()

    def smoothed(self, channel: int, sigmas: tuple[float, ...]) -> list[Tensor]:
        """Values (n, k) of a channel smoothed by each Gaussian, at pixels most of whose surroundings are valid."""
        maps = self.maps[:, channel]
        if self.whole and self.boundary == "periodic":
            return [s.flatten(1) for s in smoothed_pyramid(maps, sigmas)]
        weight = self.valid.to(maps)[None]
        mean = maps[:, self.valid].mean()
        inside = (maps - mean) * weight
        if self.boundary != "periodic":
            margin = 4 * int(max(sigmas))
            inside, weight = (torch.nn.functional.pad(t, (margin,) * 2 * self.valid.ndim) for t in (inside, weight))
        found = []
        for value, share in zip(smoothed_pyramid(inside, sigmas), smoothed_pyramid(weight, sigmas)):
            kept = share[0] > 0.8 if bool((share[0] > 0.8).any()) else share[0] >= share.max()
            found.append((value / share.clamp_min(1e-3))[:, kept] + mean)
        return found


def missing_distance(valid: Tensor, periodic: bool) -> np.ndarray:
    """Distance of each pixel from the nearest missing one, and from the edges unless periodic; inf without any."""
    inside = valid.cpu().numpy()
    if not periodic:
        return distance_transform_edt(np.pad(inside, 1))[(slice(1, -1),) * inside.ndim]
    if inside.all():
        return np.full(inside.shape, math.inf)
    reach = [n // 2 for n in inside.shape]
    wrapped = np.pad(inside, [(r, r) for r in reach], mode="wrap")
    return distance_transform_edt(wrapped)[tuple(slice(r, r + n) for r, n in zip(reach, inside.shape))]


def octaves_beside(valid: Tensor, periodic: bool, largest: int) -> int:
    """Most octaves, at most ``largest``, of which the coarsest still keeps a fifth of the pixels; at least 1."""
    distance = missing_distance(valid, periodic)
    J = largest
    while J > 1 and (distance > 2.0**J).mean() < KEPT:
        J -= 1
    return J
