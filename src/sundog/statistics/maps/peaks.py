"""Peaks of maps: finding them, cutting and stacking their surroundings, and the radial profile of a stack."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sundog.errors import OptionError, SampleSizeError
from sundog.statistics.samples.admission import checked_images, checked_masked


@dataclass(frozen=True)
class Peaks:
    """A list of peaks: the image each lies in (index into the flattened batch), its pixel (y, x) and its height."""

    image: Tensor
    y: Tensor
    x: Tensor
    height: Tensor

    def __len__(self) -> int:
        return len(self.height)

    def count(self, n_images: int) -> Tensor:
        """Return the number of peaks in each of ``n_images`` images: (n_images,)."""
        return torch.bincount(self.image, minlength=n_images)


@dataclass(frozen=True)
class Profile:
    """Mean value in rings around the centre: radius (r,) in pixels, value (..., r), pixels (r,) in each ring."""

    radius: Tensor
    value: Tensor
    pixels: Tensor


def peak_mask(images: Tensor, *, periodic: bool = False, mask: Tensor | None = None) -> Tensor:
    """Return True where a pixel is strictly higher than all 8 neighbours: (..., ny, nx).

    Plateaus are no peaks. Without ``periodic``, border pixels lack neighbours and are no peaks either; nor are pixels
    beside one that a mask hides (0 there).

    Example
    -------
    >>> image = torch.zeros(5, 5); image[1, 2] = 1.0
    >>> peak_mask(image).nonzero().tolist()
    [[1, 2]]
    """
    x, seen = checked_masked(images, mask)
    x = x.detach() if seen is None else torch.where(seen, x.detach(), torch.inf)
    if periodic:
        x = torch.cat([x[..., -1:, :], x, x[..., :1, :]], -2)
        x = torch.cat([x[..., -1:], x, x[..., :1]], -1)
    found = torch.zeros(x.shape, dtype=torch.bool, device=x.device)
    if min(x.shape[-2:]) >= 3:
        sides = torch.maximum(x[..., :-2], x[..., 2:])  # left and right
        three = torch.maximum(sides, x[..., 1:-1])
        around = torch.maximum(torch.maximum(three[..., :-2, :], three[..., 2:, :]), sides[..., 1:-1, :])
        found[..., 1:-1, 1:-1] = x[..., 1:-1, 1:-1] > around
    found = found[..., 1:-1, 1:-1] if periodic else found
    return found if seen is None else found & seen


def find_peaks(images: Tensor, threshold: float | None = None, *, periodic: bool = False) -> Peaks:
    """Return the strict local maxima among 8 neighbours, at or above ``threshold`` when one is given.

    Order: by image, then row, then column. See `peak_mask` for plateaus and borders.

    Example
    -------
    >>> image = torch.zeros(5, 5); image[1, 2] = 3.0
    >>> peaks = find_peaks(image, threshold=1.0)
    >>> peaks.y.item(), peaks.x.item(), peaks.height.item()
    (1, 2, 3.0)
    """
    flat = _flat(images)
    mask = peak_mask(flat, periodic=periodic)
    if threshold is not None:
        mask = mask & (flat >= threshold)
    image, y, x = mask.nonzero(as_tuple=True)
    return Peaks(image, y, x, flat[image, y, x])


def matched_filter_peaks(images: Tensor, sigma_pixel: float, threshold: float, *, max_peaks: int = 50) -> Peaks:
    """Return point sources seen through a Gaussian beam, brightest first within each image.

    The matched filter A(s) = sum x b_s / sum b_s^2 is the best amplitude, in white noise, of a beam b_s centred on
    pixel s. The highest A is taken, A b_s is subtracted from the image, and so on until no A reaches the threshold.

    Parameters
    ----------
    images: (..., ny, nx), background already removed.
    sigma_pixel: standard deviation of the beam (FWHM / 2.355).
    threshold: smallest amplitude (peak height), in units of the images.
    max_peaks: at most so many per image.

    Errors: OptionError unless the beam, the threshold and the number are positive.
    Source: Turin 1960, IRE Trans. Inf. Theory 6, 311; subtraction as in Högbom 1974, A&AS 15, 417 (CLEAN).

    Example
    -------
    >>> r2 = (torch.arange(15.0)[:, None] - 7) ** 2 + (torch.arange(15.0) - 4) ** 2
    >>> peaks = matched_filter_peaks(5 * torch.exp(-r2 / 8), sigma_pixel=2.0, threshold=1.0)
    >>> len(peaks), peaks.y.item(), peaks.x.item(), round(peaks.height.item(), 3)
    (1, 7, 4, 5.0)
    """
    if not (sigma_pixel > 0 and threshold > 0 and max_peaks >= 1):
        got = f"sigma {sigma_pixel}, threshold {threshold}, at most {max_peaks}"
        advice = "pass the beam width and a height above the noise"
        raise OptionError("matched filter settings", got=got, expected="positive numbers", do=advice)
    left = _flat(images).detach().clone()
    n_columns = left.shape[2]
    rows, columns = (_beams(n, sigma_pixel).to(left) for n in left.shape[1:])  # (n, n): one beam per position
    norm = rows.square().sum(1)[:, None] * columns.square().sum(1)
    active = torch.arange(len(left), device=left.device)
    found = []
    for _ in range(max_peaks):
        amplitude = (rows @ left[active] @ columns.T / norm).flatten(1)
        height, place = amplitude.max(1)
        bright = height >= threshold
        active, height, place = active[bright], height[bright], place[bright]
        if not len(active):
            break
        y, x = place // n_columns, place % n_columns
        left[active] -= height[:, None, None] * rows[y][:, :, None] * columns[x][:, None, :]
        found.append((active, y, x, height))
    if not found:
        none = torch.zeros(0, dtype=torch.long)
        return Peaks(none, none, none, left.new_zeros(0))
    image, y, x, height = (torch.cat(parts) for parts in zip(*found))
    order = image.argsort(stable=True)
    return Peaks(image[order], y[order], x[order], height[order])


def stack_peaks(images: Tensor, peaks: Peaks, size: int = 21, *, periodic: bool = False) -> Tensor:
    """Return the mean cut-out around the peaks: (size, size), the peak at the centre. Differentiable in the images.

    Peaks closer than size // 2 to a border are left out unless the maps wrap around.

    Errors: OptionError for an even size; SampleSizeError when no peak is left.

    Example
    -------
    >>> image = torch.zeros(7, 7); image[3, 3] = 2.0
    >>> stack_peaks(image, find_peaks(image), size=3)[1]
    tensor([0., 2., 0.])
    """
    flat = _flat(images)
    ny, nx = flat.shape[1:]
    if size < 1 or size % 2 == 0 or size > min(ny, nx):
        raise OptionError("cut-out size", got=size, expected=f"an odd number up to {min(ny, nx)}", do="pass size=21")
    half = size // 2
    y, x, image = peaks.y, peaks.x, peaks.image
    if not periodic:
        inside = (y >= half) & (y < ny - half) & (x >= half) & (x < nx - half)
        y, x, image = y[inside], x[inside], image[inside]
    if not len(y):
        raise SampleSizeError("no peak to stack", got=f"{len(peaks)} peaks, 0 away from the border",
                              expected="at least 1", do="lower the threshold or the size")  # fmt: skip
    step = torch.arange(-half, half + 1, device=flat.device)
    rows, columns = (y[:, None] + step) % ny, (x[:, None] + step) % nx
    return flat[image[:, None, None], rows[:, :, None], columns[:, None, :]].mean(0)


def radial_profile(images: Tensor, *, n_rings: int | None = None) -> Profile:
    """Return the mean value in rings one pixel wide around the centre of the image: (..., r).

    The centre is ((ny - 1)/2, (nx - 1)/2); ring j holds pixels with j - 1/2 <= distance < j + 1/2. Default: all rings
    that fit into the image. Empty rings (the innermost of an even-sized image) are left out. Differentiable.

    Example
    -------
    >>> radial_profile(torch.ones(5, 5)).radius.round(decimals=2)
    tensor([0.0000, 1.2100, 2.1600])
    """
    x = checked_images(images)
    ny, nx = x.shape[-2:]
    r_y, r_x = torch.arange(ny) - (ny - 1) / 2, torch.arange(nx) - (nx - 1) / 2
    distance = (r_y[:, None] ** 2 + r_x**2).sqrt().flatten()
    n_rings = (min(ny, nx) + 1) // 2 if n_rings is None else n_rings
    ring = (distance + 0.5).floor().long()
    member = torch.stack([ring == j for j in range(n_rings)]).double() if n_rings >= 1 else torch.zeros(0, ny * nx)
    member = member[member.sum(1) > 0]
    if not len(member):
        raise OptionError("number of rings", got=n_rings, expected="at least 1", do="pass None for all that fit")
    pixels = member.sum(1)
    mean = (member / pixels[:, None]).to(x)
    radius = member @ distance.double() / pixels
    return Profile(radius.to(x), x.flatten(-2) @ mean.T, pixels.to(x))


def _beams(n: int, sigma: float) -> Tensor:
    distance = (torch.arange(n)[:, None] - torch.arange(n)).double()
    return torch.exp(-0.5 * (distance / sigma) ** 2)


def _flat(images: Tensor) -> Tensor:
    """(..., ny, nx) -> (n, ny, nx)."""
    x = checked_images(images)
    return x.reshape(-1, *x.shape[-2:])
