"""Radio galaxies: cores, jets, lobes and hot spots, seen through a beam, in noise, with the truth beside them.

A galaxy is a core and two arms; an arm is a chain of round Gaussian parts along a curved path, plus one hot spot.
Four kinds, told apart by where the light lies along the arm:

* ``compact``: nearly all in the core, barely resolved;
* ``FR I``: brightest near the core, fading into wide, wandering plumes;
* ``FR II``: faint jets that end in lobes with bright hot spots at the far edge;
* ``bent``: both arms swept to one side by the wind of their cluster (wide-angle tails).

A part of flux S [mJy] and width s, seen through a beam of width b, has the brightness
``I(r) = S b^2 / (s^2 + b^2) exp(-r^2 / (2 (s^2 + b^2)))`` in mJy/beam: the sum of an image divided by the beam area
2 pi b^2 (in pixels) is the total flux. Default scales are those of the FIRST survey: 1.8 arcsec pixels, beam 5.4
arcsec (3 pixels, full width at half maximum), noise 0.15 mJy/beam, of slightly finer
grain than the beam.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sundog.checks import at_least, positive
from sundog.data.dataset import Dataset
from sundog.errors import OptionError
from sundog.random import key, stream
from sundog.simulate.blobs import gaussian_profile
from sundog.simulate.fields import gaussian_field

KINDS = ("compact", "FR I", "FR II", "bent")
_FWHM = math.sqrt(8 * math.log(2))  # full width at half maximum of a Gaussian, in standard deviations
_CHAIN = 24  # parts per arm
_BLOCK = 64  # images painted at once

# One column per kind, in the order of KINDS.
_CORE_SHARE = ((0.6, 1.0), (0.03, 0.2), (0.0, 0.06), (0.02, 0.15))  # of the total flux, lowest and highest
_SPOT_SHARE = ((0.0, 0.1), (0.0, 0.05), (0.12, 0.4), (0.03, 0.15))  # of the flux of its arm
_SPOT_PLACE = (0.9, 0.5, 0.97, 0.55)  # along the arm: 0 core, 1 end
_LIGHT_PLACE, _LIGHT_SPREAD = (0.4, 0.1, 0.8, 0.6), (0.3, 0.4, 0.22, 0.35)  # along the arm
_BEND = (0.1, 0.45, 0.12, 0.3)  # radians: scatter of the turn of each arm
_WIDTH = (0.3, 0.16, 0.15, 0.13)  # of the parts where the light lies, per arm length
_LENGTH = (0.04, 0.2, 0.18, 0.22)  # median arm length per image side


@dataclass(frozen=True, eq=False)
class RadioCatalogue:
    """Truth of the images, one row per galaxy; positions in pixels (0 = centre of the first pixel).

    Attributes
    ----------
    kind : (n,) index into KINDS
    flux_mjy : (n,) total flux
    core_x, core_y : (n,) position of the core
    separation_pixel : (n,) distance of the two hot spots
    position_angle_deg : (n,) of the line through the hot spots, from +y towards -x, 0 <= angle < 180
    x, y, part_flux_mjy, part_width_pixel : (n, parts) the Gaussian parts, before the beam; the first is the core
    """

    kind: Tensor
    flux_mjy: Tensor
    core_x: Tensor
    core_y: Tensor
    separation_pixel: Tensor
    position_angle_deg: Tensor
    x: Tensor
    y: Tensor
    part_flux_mjy: Tensor
    part_width_pixel: Tensor

    def paint(self, size: int = 80, beam_pixel: float = 3.0) -> Tensor:
        """Noiseless images through a beam of that full width at half maximum, (n, size, size) float64, mJy/beam."""
        beam = positive(beam_pixel, "beam_pixel") / _FWHM
        width = (self.part_width_pixel.square() + beam**2).sqrt()
        peak = self.part_flux_mjy * (beam / width) ** 2
        return torch.cat([torch.einsum("nky,nkx->nyx", p[..., None] * gaussian_profile(y, size, w),
                                       gaussian_profile(x, size, w))
                          for p, x, y, w in zip(*(t.split(_BLOCK) for t in (peak, self.x, self.y, width)))])


def radio_galaxies(n: int, size: int = 80, seed: int = 0, *, beam_pixel: float = 3.0, rms_mjy: float = 0.15,
                   fractions: Sequence[float] = (0.1, 0.4, 0.35, 0.15)) -> Dataset:
    """``n`` images (n, size, size) of radio galaxies in mJy/beam, one near the centre of each, with noise.

    Parameters
    ----------
    beam_pixel : full width at half maximum of the round restoring beam, pixels.
    rms_mjy : standard deviation of the noise, mJy/beam; its grain is three quarters of the beam.
    fractions : of the kinds compact, FR I, FR II, bent; brought to sum 1.

    Example
    -------
    >>> images = radio_galaxies(4, seed=0)
    >>> images
    Dataset(images, 4 x 80 x 80: brightness [mJy/beam])
    >>> [KINDS[k] for k in radio_catalogue(4, seed=0).kind]
    ['FR I', 'bent', 'bent', 'compact']
    """
    sky = radio_catalogue(n, size, seed, fractions=fractions).paint(size, beam_pixel)
    facts = {"simulator": "sundog.simulate.radio.radio_galaxies", "seed": seed, "beam_pixel": beam_pixel,
             "rms_mjy": rms_mjy}
    if rms_mjy > 0:
        sky = sky + _noise(n, size, seed, 0.75 * beam_pixel / _FWHM, rms_mjy)
    return Dataset.from_arrays(sky, names=("brightness",), units="mJy/beam", pixel_arcmin=0.03, provenance=facts)


def radio_catalogue(n: int, size: int = 80, seed: int = 0, *,
                    fractions: Sequence[float] = (0.1, 0.4, 0.35, 0.15)) -> RadioCatalogue:
    """The truth of ``radio_galaxies`` called with the same n, size, seed and fractions."""
    share = torch.as_tensor(fractions, dtype=torch.float64)
    if share.shape != (len(KINDS),) or (share < 0).any() or share.sum() <= 0:
        raise OptionError("fractions are unusable", got=tuple(fractions), expected=f"4 numbers >= 0, for {KINDS}",
                          do="pass e.g. (0, 0, 1, 0) for FR II alone")
    at_least(size, 16, "size")
    g = stream(seed, "radio")
    kind = torch.multinomial(share, at_least(n, 1, "n"), replacement=True, generator=g)
    # Log-normal, the spread of catalogued FIRST galaxies; the lower bound is what makes one enter a catalogue.
    flux = 68 * torch.exp(1.0 * _normal(g, n).clamp(-1.4, 2.5))
    core = (size - 1) / 2 + 1.0 * _normal(g, n, 2)
    core_share, spot_share = (_between(table, kind, g) for table in (_CORE_SHARE, _SPOT_SHARE))
    x, y, width, light, ends = _arms(kind, core, size, g)
    balance = torch.sigmoid(0.7 * _normal(g, n))  # how the flux is split between the arms
    arm_flux = torch.stack([balance, 1 - balance], 1) * ((1 - core_share) * flux)[:, None]
    parts = arm_flux[..., None] * torch.cat([light * (1 - spot_share)[:, None, None],
                                             spot_share[:, None, None].expand(n, 2, 1)], 2)
    apart = ends[:, 0] - ends[:, 1]
    return RadioCatalogue(
        kind, flux, core[:, 0], core[:, 1], apart.norm(dim=1),
        torch.rad2deg(torch.atan2(-apart[:, 0], apart[:, 1])) % 180,
        torch.cat([core[:, :1], x.flatten(1)], 1), torch.cat([core[:, 1:], y.flatten(1)], 1),
        torch.cat([(core_share * flux)[:, None], parts.flatten(1)], 1),
        torch.cat([torch.full((n, 1), 0.2, dtype=torch.float64), width.flatten(1)], 1))


def _arms(kind: Tensor, core: Tensor, size: int, g: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """x, y, width of the parts (n, 2, chain + 1), light of the chain (n, 2, chain) of sum 1, hot spots (n, 2, 2)."""
    n = len(kind)
    length, turn = _lengths(kind, size, g)[..., None], _turns(kind, g)[..., None]
    s = (torch.arange(_CHAIN, dtype=torch.float64) + 0.5) / _CHAIN
    heading = 2 * math.pi * torch.rand(n, 1, 1, generator=g, dtype=torch.float64)
    heading = heading + torch.tensor([0, math.pi]).double()[:, None] + turn * s
    heading = heading + 0.05 * _normal(g, n, 2, 1)  # the arms are not quite opposite
    heading = heading + 0.08 * _normal(g, n, 2, _CHAIN).cumsum(2)  # and wander
    path = torch.stack([heading.cos(), heading.sin()], -1).cumsum(2) * length[..., None] / _CHAIN
    place, spread = (_column(table, kind)[:, None, None] for table in (_LIGHT_PLACE, _LIGHT_SPREAD))
    light = torch.exp(-0.5 * ((s - place) / spread) ** 2 + 0.45 * _normal(g, n, 2, _CHAIN))
    lobe = torch.where(kind == 2, 1.0, 0.0)[:, None, None]  # lobes are widest at their middle, plumes at their end
    flare = lobe * torch.exp(-0.5 * ((s - 0.75) / 0.2) ** 2) + (1 - lobe) * s
    width = 0.3 + _column(_WIDTH, kind)[:, None, None] * length * (0.2 + flare) * (1 + 0.2 * _normal(g, n, 2, 1)).abs()
    jitter = 0.35 * width[..., None] * _normal(g, n, 2, _CHAIN, 2)
    spot = (_column(_SPOT_PLACE, kind) * _CHAIN).long().clamp(max=_CHAIN - 1)[:, None, None, None].expand(n, 2, 1, 2)
    ends = path.gather(2, spot)
    where = torch.cat([path + jitter, ends], 2) + core[:, None, None]
    spot_width = 0.4 + 0.015 * length
    return (where[..., 0], where[..., 1], torch.cat([width, spot_width], 2), light / light.sum(2, keepdim=True),
            ends[:, :, 0] + core[:, None])


def _lengths(kind: Tensor, size: int, g: torch.Generator) -> Tensor:
    """Arm lengths in pixels, (n, 2): log-normal, the two arms alike within some 15 %, inside the image."""
    scale = torch.exp(0.45 * _normal(g, len(kind), 1) + 0.13 * _normal(g, len(kind), 2))
    return (size * _column(_LENGTH, kind)[:, None] * scale).clamp(max=0.42 * size)


def _turns(kind: Tensor, g: torch.Generator) -> Tensor:
    """Angle through which each arm turns, (n, 2) radians; the arms of a bent galaxy turn to the same side."""
    turn = _column(_BEND, kind)[:, None] * _normal(g, len(kind), 2)
    swept = 1.2 + 0.8 * torch.rand(len(kind), 1, generator=g, dtype=torch.float64)
    return turn + torch.where(kind == 3, 1.0, 0.0)[:, None] * swept * torch.tensor([1.0, -1.0]).double()


def _noise(n: int, size: int, seed: int, grain: float, rms: float) -> Tensor:
    """Gaussian noise of standard deviation ``rms``: white noise smoothed by a Gaussian of ``grain`` pixels."""
    def smoothing(k: Tensor) -> Tensor:
        return torch.exp(-((2 * math.pi * grain * k) ** 2))

    along_one_axis = smoothing(torch.fft.fftfreq(size).double()).mean()  # the variance is its square
    return rms / along_one_axis * gaussian_field(n, size, smoothing, key(seed, "radio noise")).values.double()


def _normal(g: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def _column(table: Sequence[float], kind: Tensor) -> Tensor:
    return torch.tensor(table, dtype=torch.float64)[kind]


def _between(table: Sequence[tuple[float, float]], kind: Tensor, g: torch.Generator) -> Tensor:
    low, high = torch.tensor(table, dtype=torch.float64)[kind].unbind(1)
    return low + (high - low) * torch.rand(len(kind), generator=g, dtype=torch.float64)
