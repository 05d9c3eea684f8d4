"""Synthesis on the sphere: spectrum and skewness of the example, order of the pixels, masks, gradients."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import sundog
from sundog.errors import OptionError
from sundog.models.microcanonical.family import MicrocanonicalModel
from sundog.models.microcanonical.sky import SkyConstraints

pytest.importorskip("ducc0")
from sundog.statistics.sphere.transforms import copies, degrees, ring_order, synthesise_healpix

DATA = Path(os.environ.get("SUNDOG_DATA", "../shared/data")) / "fields"


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian_sky(nside: int, seed: int, slope: float = -2.0) -> Tensor:
    """A sky of C_l = l^slope in RING order."""
    lmax = 3 * nside - 1
    ell = degrees(lmax)
    alm = torch.view_as_complex(torch.randn(1, len(ell), 2, generator=generator(seed)))
    alm = torch.where(copies(lmax) == 1, alm.real + 0j, alm / 2**0.5)
    power = torch.where(ell > 0, ell.clamp_min(1).float() ** slope, 0.0)
    return synthesise_healpix(alm * power.sqrt(), nside, lmax)[0]


def skewness(x: Tensor) -> float:
    return float((((x - x.mean()) / x.std()) ** 3).mean())


def band_ratio(model: MicrocanonicalModel, x: Tensor, y: Tensor) -> Tensor:
    sky = model.constraints
    assert isinstance(sky, SkyConstraints)
    a, b = (sky._powers(sky._analysed(model._inward(m.reshape(1, 1, -1))[:, 0])) for m in (x, y))
    return (a / b)[0]


def test_maps_of_coefficients_have_the_right_gradient() -> None:
    alm = torch.view_as_complex(torch.randn(2, len(degrees(6)), 2, generator=generator(0), dtype=torch.float64))
    alm = torch.where(copies(6) == 1, alm.real + 0j, alm).requires_grad_()
    w = torch.randn(2, 12 * 16, generator=generator(1), dtype=torch.float64)
    found = torch.autograd.grad((synthesise_healpix(alm, 4, 6) * w).sum(), alm)[0]
    step = torch.where(copies(6) == 1, 1.0 + 0j, 0.6 + 0.8j) * torch.linspace(0.5, 1, len(degrees(6)))
    moved = (synthesise_healpix(alm.detach() + step, 4, 6) - synthesise_healpix(alm.detach(), 4, 6)) * w
    assert torch.allclose((found.conj() * step).real.sum(), moved.sum())


def test_the_start_has_the_spectrum_of_the_example() -> None:
    sky = gaussian_sky(8, seed=0)[None]
    model = MicrocanonicalModel((768,), domain="sphere", levels=0)
    model.prepare(sky, None)
    started = model.constraints.start(model.row_noise(100, generator(1)))
    powers = model.constraints._powers(model.constraints._analysed(started[:, 0]))  # type: ignore[union-attr, operator]
    error = powers.std(0) / 10
    truth = model.constraints.powers[0]
    # Without iterations the quadrature of HEALPix mixes a few per cent of the power between bands.
    assert ((powers.mean(0) - truth).abs() < 4 * error + 0.05 * truth)[1:].all()
    assert not ((1.5 * powers.mean(0) - truth).abs() < 4 * error + 0.05 * truth)[1:].all()


@pytest.mark.slow
def test_a_skewed_sky_is_reproduced_in_either_order() -> None:
    sky = (0.7 * gaussian_sky(16, seed=2) / gaussian_sky(16, seed=2).std()).exp()
    nest = torch.empty_like(sky)
    nest[ring_order(16)] = sky
    drawn = {}
    for nested, x in ((False, sky), (True, nest)):
        data = sundog.Dataset.from_arrays(x[None])
        run = sundog.fit("scattering", data, domain="sphere", nested=nested, iterations=80)
        drawn[nested] = run.sample(1, seed=1).values[0]
        model = run.model
        assert isinstance(model, MicrocanonicalModel)
        assert (band_ratio(model, drawn[nested], x) - 1).abs().max() < 0.05
        start = model.constraints.start(model.row_noise(1, generator(3)))
        assert skewness(drawn[nested]) > 0.5 * skewness(x) > 2 * abs(skewness(start))
    back = drawn[True][ring_order(16)]
    assert (back - drawn[False]).abs().mean() < 0.2 * sky.std()  # the same descent, up to rounding
    assert (drawn[True] - drawn[False]).abs().mean() > 0.5 * sky.std()


@pytest.mark.slow
def test_masked_pixels_have_no_influence() -> None:
    sky = gaussian_sky(16, seed=2)
    mask = torch.ones(len(sky))
    mask[:200] = 0
    found = []
    for value in (0.0, 50.0):
        model = MicrocanonicalModel((len(sky),), domain="sphere", mask=mask, iterations=3, J=2)
        model.prepare(torch.where(mask > 0, sky, value)[None], None)
        found.append(model.sample(1, None, generator(0)))
    assert torch.allclose(*found)


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "lss_sphere_nside128_nest.npy").exists(), reason="needs the sky of SUNDOG_DATA")
def test_large_scale_structure_on_the_sphere() -> None:
    sky = torch.from_numpy(np.load(DATA / "lss_sphere_nside128_nest.npy")).float().reshape(-1, 16).mean(1)
    model = MicrocanonicalModel((len(sky),), domain="sphere", nested=True, iterations=60)
    model.prepare(sky[None], None)
    (found,) = model.synthesise(1, generator(0))
    start = model.constraints.start(model.row_noise(1, generator(0)))
    assert found.loss < 0.01 * float(model.constraints.energies(start))
    assert (band_ratio(model, found.x, sky) - 1).abs().max() < 0.03


def test_bad_skies_are_named() -> None:
    with pytest.raises(OptionError, match="HEALPix"):
        MicrocanonicalModel((1000,), domain="sphere")
    for options in ({"boundary": "edge-mask"}, {"canvas": (3072,)}, {"inpaint": True, "mask": torch.ones(768)}):
        with pytest.raises(OptionError, match=f"the sphere does not know: got {next(iter(options))},.*square patches"):
            MicrocanonicalModel((768,), domain="sphere", **options)
    model = MicrocanonicalModel((768,), domain="sphere", levels=0, iterations=1)
    model.prepare(gaussian_sky(8, seed=0)[None], None)
    with pytest.raises(OptionError, match="gaps"):
        model.fill(torch.zeros(1, 768), torch.ones(768), generator(0))
