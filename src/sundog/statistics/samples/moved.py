"""Copies that moved: patches of images that stand anywhere in the training images, turned, mirrored, with mismatches.

Images become three symbols, patches are recognised by the size of their Fourier modes, which a shift hardly changes,
and what looks most alike is counted symbol by symbol at every shift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sundog.checks import at_least
from sundog.errors import ShapeError
from sundog.random import stream

LARGEST_PATCH = 40  # pixels; below, five eighths of the side of an image
MODES = 8  # periods in a patch, up to which its spectrum is looked at
DEAD = 0.5  # standard deviations of the whitened image within which a pixel says nothing
NOISE = 0.4  # over the standard deviation of the images: what may lie on top of a copy
CANDIDATES = 8  # training images per image in which symbols are counted
WORK = 4e11  # products of the search, some 20 CPU s; beyond, images are left out at random
ONE = 1.0  # symbol that is always said to differ: that a patch of few symbols is found again is no evidence
LEAST = 0.05  # share of the pixels of a patch that must say something
AT_ONCE = 2**24  # numbers held at once
TURNS = ("", "mirrored", "turned by 90 degrees", "mirrored and turned by 90 degrees",
         "turned by 180 degrees", "mirrored and turned by 180 degrees",
         "turned by 270 degrees", "mirrored and turned by 270 degrees")


@dataclass(frozen=True, eq=False)
class Places:
    """Where in the training images each image finds its likest patch, and how unlike the patch still is there.

    Attributes
    ----------
    likeness : (n,) log of the share of differing symbols, one counted on top, over its median in the likest training
        images: about 0 for a new image, far below for a copy. 0 for what was not searched
    differing : (n,) share of differing symbols at the best place
    image : (n,) number of the training image
    turn : (n,) index into ``TURNS``: what turns the training image into the copy
    searched : (n,) whether the image was searched
    trained : share of the training images that were searched
    """

    likeness: Tensor
    differing: Tensor
    image: Tensor
    turn: Tensor
    searched: Tensor
    trained: float


def moved_copies(images: Tensor, train: Tensor, *, seed: int = 0) -> Places:
    """Return where in the training images, at any shift, quarter turn or mirroring, each image is likest to them.

    Nine patches of five eighths of the side (at most 40 pixels) of each image are sought. Images are levelled by an
    asinh of the common width of a pixel, whitened by the spectrum P of the training images, sqrt(P) / (P + N) with
    white noise N of 0.4 of their standard deviation, and cut into symbols: -1 below, 1 above half a standard deviation,
    else 0. Of symbols a of a patch and b of an image,
    differing = 1 - #{a = b != 0} / #{a != 0 or b != 0}, counted by FFT at all shifts, in the eight training images
    whose windows have the likest Fourier moduli. Edges are joined: an image may have been rolled.

    Parameters
    ----------
    images, train: (n, ny, nx) and (t, ny, nx), in the same units.
    seed: of which images are left out where the search would take more than 4e11 products (some 20 CPU s).

    Errors: ShapeError for other shapes, or sides below 8 pixels.

    Example
    -------
    >>> train = torch.randn(30, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> found = moved_copies(train[:2].roll((5, 9), (1, 2)).rot90(1, (1, 2)), train)
    >>> found.image.tolist(), [TURNS[t] for t in found.turn], float(found.differing.max()) < 0.01
    ([0, 1], ['turned by 90 degrees', 'turned by 90 degrees'], True)
    """
    if images.ndim != 3 or train.ndim != 3 or images.shape[1:] != train.shape[1:] or min(train.shape[1:]) < 8:
        raise ShapeError("no images to compare", got=f"{tuple(images.shape)} and {tuple(train.shape)}",
                         expected="(n, ny, nx) and (t, ny, nx), sides of at least 8", do="pass single channels alike")
    at_least(len(train), 3, "number of training images")
    images, train = _levelled(images, train)
    filtered = _filter(train)
    a, b = _symbols(images, filtered), _symbols(train, filtered)
    side = min(LARGEST_PATCH, 5 * min(a.shape[1:]) // 8)
    rows, of_train = _affordable(a, b, side, seed)
    windows = _windows(b[of_train], side)
    centre = windows.mean((0, 1))
    windows = torch.nn.functional.normalize(windows - centre, dim=2)
    n = len(a)
    likeness, differing = torch.zeros(n), torch.ones(n)
    image, turn = torch.zeros(n, dtype=torch.long), torch.zeros(n, dtype=torch.long)
    searched = torch.zeros(n, dtype=torch.bool)
    size = max(1, AT_ONCE // (36 * windows[..., 0].numel() + 6 * CANDIDATES * a[0].numel()))
    for part in rows.split(size):
        patches = _patches(a[part], side)
        near, which = _likest(patches, windows, centre)
        likeness[part], differing[part], best, turn[part] = _counted(patches, which, b[of_train[near]], side)
        image[part] = of_train[near.gather(1, best[:, None])[:, 0]]
        searched[part] = True
    return Places(likeness, differing, image, turn, searched, len(of_train) / len(b))


def _levelled(images: Tensor, train: Tensor) -> tuple[Tensor, Tensor]:
    """asinh of both over the common width of a pixel: faint images say as much as bright ones."""
    middle = train.median()
    away = (train - middle).abs()
    width = 1.4826 * away.median()
    if not width > 1e-6 * away.max():
        width = away.square().mean().sqrt() + 1e-30
    return tuple(torch.asinh((x - middle) / width) for x in (images, train))  # type: ignore[return-value]


def _filter(train: Tensor) -> Tensor:
    """(ny, nx // 2 + 1) whitening, the same in all directions that a turn exchanges."""
    power = torch.fft.fft2(train - train.mean()).abs().square().mean(0)
    power = (power + torch.cat([power[:, :1], power[:, 1:].flip(1)], 1)) / 2
    if power.shape[0] == power.shape[1]:
        power = (power + power.T) / 2
    power[0, 0] = 0
    return (power.sqrt() / (power + NOISE**2 * power.mean() + 1e-30))[:, : train.shape[2] // 2 + 1]


def _symbols(x: Tensor, filtered: Tensor) -> Tensor:
    """-1, 0 or 1 of each pixel."""
    white = torch.fft.irfft2(torch.fft.rfft2(x) * filtered, s=x.shape[1:])
    level = DEAD * white.std()
    return (white > level).float() - (white < -level).float()


def _affordable(a: Tensor, b: Tensor, side: int, seed: int) -> tuple[Tensor, Tensor]:
    """Numbers of the images, and of the training images, that are searched: at random as many as WORK allows."""
    per_pair = 36 * math.prod(-(-length // _stride(side)) for length in b.shape[1:]) * int(_modes(side).sum())
    share = min(1.0, WORK / (per_pair * len(a) * len(b)))
    kept = [torch.randperm(len(x), generator=stream(seed, "moved", i))[: max(CANDIDATES, round(len(x) * share**0.5))]
            for i, x in enumerate((a, b))]
    return kept[0].sort().values, kept[1].sort().values


def _stride(side: int) -> int:
    return max(1, side // 4)


def _modes(side: int) -> Tensor:
    """Which of the Fourier modes of a patch are looked at, (side, side // 2 + 1); a conjugate pair counts once."""
    ky, kx = torch.fft.fftfreq(side)[:, None] * side, torch.fft.rfftfreq(side)[None] * side
    k = (ky**2 + kx**2).sqrt()
    return (k >= 1) & (k <= min(MODES, side / 3)) & ((kx > 0) | (ky > 0))


def _moduli(patches: Tensor) -> Tensor:
    """(..., D) Fourier moduli of tapered patches (..., side, side)."""
    side = patches.shape[-1]
    taper = torch.hann_window(side + 1)[1:]
    return torch.fft.rfft2(patches * taper * taper[:, None])[..., _modes(side)].abs()


def _windows(b: Tensor, side: int) -> Tensor:
    """(t, W, D) of windows a quarter of their side apart, over the edges too."""
    around = torch.cat([b, b[:, : side - 1]], 1)
    around = torch.cat([around, around[:, :, : side - 1]], 2)
    cut = around.unfold(1, side, _stride(side)).unfold(2, side, _stride(side))
    return torch.stack([_moduli(x.flatten(0, 1)) for x in cut])


def _patches(a: Tensor, side: int) -> Tensor:
    """(n, 9, 8, side, side): nine patches of each image in eight positions; blank ones all 0."""
    starts = [[0, (length - side) // 2, length - side] for length in a.shape[1:]]
    cut = torch.stack([a[:, y : y + side, x : x + side] for y in starts[0] for x in starts[1]], 1)
    cut = cut * (cut.abs().mean((2, 3), keepdim=True) > LEAST)
    return torch.stack([(cut.flip(3) if mirrored else cut).rot90(turns, (2, 3))
                        for turns in range(4) for mirrored in (False, True)], 2)


def _likest(patches: Tensor, windows: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """(n, c) numbers of the training images with the likest windows, and of the patch and position that found them.

    Half a turn does not change moduli: four positions are looked at.
    """
    blank = (patches[:, :, :4] == 0).all(-1).all(-1)
    moduli = torch.nn.functional.normalize(_moduli(patches[:, :, :4]) - centre, dim=3)
    moduli[blank] = 0
    score = moduli.flatten(0, 2) @ windows.flatten(0, 1).T
    score = score.view(len(patches), 36, *windows.shape[:2]).amax(3)
    best, which = score.max(1)
    near = best.topk(min(CANDIDATES, best.shape[1]), dim=1).indices
    return near, which.gather(1, near)


def _counted(patches: Tensor, which: Tensor, images: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Likeness, least share of differing symbols, number of the candidate and turn, each (n,).

    patches (n, 9, 8, side, side), which (n, c) of 36, images (n, c, ny, nx).
    """
    n = len(which)
    position = torch.stack([which % 4, which % 4 + 4], 2)
    patch = patches[torch.arange(n)[:, None, None], (which // 4)[:, :, None], position]
    mask = torch.ones(side, side)
    size = tuple(images.shape[2:])
    of_image = torch.fft.rfft2(torch.stack([images, images.abs()], 2))[:, :, None]
    of_patch = torch.fft.rfft2(torch.stack([patch, patch.abs()], 3), s=size).conj()
    product, both = torch.fft.irfft2(of_image * of_patch, s=size).unbind(3)
    there = torch.fft.irfft2(of_image[:, :, :, 1] * torch.fft.rfft2(mask, s=size).conj(), s=size)
    told = patch.abs().sum((3, 4))
    differing = 1 - (product + both) / 2 / (told[..., None, None] + there - both).clamp_min(1)
    differing = differing.flatten(3).amin(3).clamp(0, 1)
    differing[told == 0] = 1
    least = (differing + ONE / told.clamp_min(1)).round(decimals=6)
    least, half = least.min(2)
    best = least.argmin(1)
    at = torch.arange(n)
    turn = position[at, best, half[at, best]]
    inverse = torch.where(turn % 2 == 1, turn, (8 - turn) % 8)  # a mirroring is its own inverse, a turn is not
    return (least[at, best] / least.median(1).values).log(), differing[at, best, half[at, best]], best, inverse
