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
from scipy.spatial import cKDTree

from sundog.models.microcanonical import sky_gaps
from sundog.models.microcanonical.sky_gaps import Plane, conditional, constrained
from sundog.statistics.sphere.transforms import copies, degrees, pixel_vectors, ring_order, synthesise_healpix

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


def cap(nside: int, radius_deg: float, *centres: tuple[float, float]) -> Tensor:
    """False within a radius of directions (colatitude, longitude) in degrees, RING order."""
    vectors, shown = pixel_vectors(nside), np.ones(12 * nside**2, bool)
    for place in centres:
        theta, phi = np.radians(place)
        at = np.array([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])
        shown &= vectors @ at < np.cos(np.radians(radius_deg))
    return torch.from_numpy(shown)


def test_constrained_gaussian_skies_have_the_conditional_law() -> None:
    ell = np.arange(60)
    power = torch.from_numpy((1.0 + ell) ** -2.5)
    shown, vectors = cap(8, 14, (40, 70)), pixel_vectors(8)
    gap, known = (np.flatnonzero(x) for x in (~shown.numpy(), shown.numpy()))
    full = np.polynomial.legendre.legval(vectors @ vectors.T, (2 * ell + 1) / (4 * np.pi) * power.numpy())
    sky = torch.from_numpy(np.random.default_rng(0).multivariate_normal(np.zeros(768), full, 161, method="cholesky"))
    sky, other = sky[:-1], sky[-1:]
    among, across = full[np.ix_(known, known)], full[np.ix_(known, gap)]
    filter_ = np.linalg.solve(among + np.eye(len(known)) * float(power[-1]) * 768 / (4 * np.pi), across)
    left = full[np.ix_(gap, gap)] - 2 * across.T @ filter_ + filter_.T @ among @ filter_

    def off(found: Tensor) -> tuple[float, float]:
        """Mean squared error over the gap, in the variance that is left, and its standard error."""
        each = (found - sky[:, gap]).square().mean(1) / left.diagonal().mean()
        return float(each.mean()), float(each.std()) / len(sky) ** 0.5

    mean, error = off(conditional(torch.where(shown, sky, torch.nan), gap, shown, power, vectors))
    assert abs(mean - 1) < 4 * error
    drawn = other[:, gap] + conditional(torch.where(shown, sky - other, torch.nan), gap, shown, power, vectors)
    assert abs(off(drawn)[0] - 2) < 1  # one random sky for all: the scatter of its own gap of eleven pixels stays
    unbound = off(torch.zeros(len(sky), len(gap)))[0]
    rough = off(constrained(torch.where(shown, sky, 0.0), shown, power)[:, gap])[0]  # the way of large gaps
    assert unbound > 3 and rough < 0.5 * unbound


def test_painting_in_a_sky_keeps_what_is_known_in_either_order() -> None:
    nside = 16
    sky, shown, order = gaussian_sky(nside, seed=3), cap(nside, 12, (60, 30), (100, 200)), ring_order(nside)
    found = []
    for nested in (False, True):
        x, mask = torch.empty_like(sky), torch.empty_like(shown)
        x[order if nested else slice(None)], mask[order if nested else slice(None)] = sky, shown
        options = {"nested": nested, "levels": 4, "iterations": 6}
        model = MicrocanonicalModel((len(sky),), domain="sphere", mask=mask, inpaint=True, **options)
        model.prepare(torch.where(mask, x, 40.0)[None], None)
        drawn = model.sample(1, None, generator(1))[0]
        assert torch.equal(drawn[mask], x[mask]) and bool(drawn.isfinite().all()) and drawn.abs().max() < 6 * sky.std()
        found.append(drawn[order] if nested else drawn)
    assert torch.allclose(*found, atol=1e-3)
    assert (found[0] - sky)[~shown].abs().mean() > 0.1 * sky.std()  # a draw, no copy
    assert torch.equal(model.fill(x[None], torch.ones(len(sky)), generator(0))[0], x)


def test_half_a_sky_grows_to_the_whole_of_it() -> None:
    sky, shown = gaussian_sky(16, seed=4), cap(16, 60, (90, 0))
    model = MicrocanonicalModel((len(sky),), domain="sphere", mask=shown, inpaint=True, iterations=8, levels=0)
    model.prepare(sky[None], None)
    drawn = model.sample(1, None, generator(1))[0]
    assert torch.equal(drawn[shown], sky[shown])
    assert 0.4 < float(drawn[~shown].var() / sky[shown].var()) < 2.5


def test_windows_are_those_with_surroundings_like_those_of_the_gap() -> None:
    vectors = pixel_vectors(16)
    north = torch.from_numpy(vectors[:, 2] > 0)
    sky = gaussian_sky(16, seed=5, slope=-0.5) * torch.where(north, 3.0, 1.0)
    for place, up in (((50, 30), 1), ((130, 30), -1)):  # middle latitudes, in the loud half and in the quiet one
        shown = cap(16, 8, place)
        window = sky_gaps._window(np.flatnonzero(~shown.numpy()), sky, shown, vectors, cKDTree(vectors),
                                  (np.pi / 3) ** 0.5 / 16)  # fmt: skip
        assert window is not None
        heights = np.array([vectors[other.pixels[len(other.pixels) // 2, 0], 2] for other in window[2]])
        assert (up * heights > -0.2).mean() > 0.9  # those nearest to the equator see both


@pytest.mark.slow
def test_filled_gaps_of_a_sky_pass_among_windows_cut_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    nside, step, side = 64, (np.pi / 3) ** 0.5 / 64, 10
    g = gaussian_sky(nside, 0, -2.5)
    sky = g / g.std()
    sky = sky + 0.35 * sky**2
    k = np.arange(30)
    centres = np.degrees(np.stack([np.arccos(1 - (2 * k + 1) / 30), k * np.pi * (3 - 5**0.5)], 1))
    shown, vectors = cap(nside, 4.5, *map(tuple, centres)), pixel_vectors(nside)
    tree = cKDTree(vectors)

    def cut(x: Tensor, at: np.ndarray) -> Tensor:
        return torch.stack([Plane.at(place, side, tree, step).of(x) for place in at])

    places, apart = pixel_vectors(32)[::7], []
    for place in places[cKDTree(vectors[~shown.numpy()]).query(places)[0] > 2 * np.sin(np.radians(5) / 2)]:
        if all(place @ other < np.cos(side * step) for other in apart):  # windows share no pixels
            apart.append(place)
    theta, phi = np.radians(centres).T
    holes = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], 1)
    model = MicrocanonicalModel((len(sky),), domain="sphere", mask=shown, inpaint=True, iterations=60)
    model.prepare(sky[None], None)

    def p() -> float:
        filled = cut(model.sample(1, None, generator(1))[0], holes)
        return sundog.judge(cut(sky, np.array(apart)), filled, splits=8, statistics="deciding").p_value

    assert p() > 0.01
    white = SkyConstraints.white  # the control has no noise of its own, and nothing to mend that
    monkeypatch.setattr(SkyConstraints, "white", lambda self, noise: 0 * white(self, noise))
    monkeypatch.setattr(sky_gaps, "CLOSE", 1e9)
    assert p() < 0.01


def test_bad_skies_are_named() -> None:
    with pytest.raises(OptionError, match="HEALPix"):
        MicrocanonicalModel((1000,), domain="sphere")
    for options in ({"boundary": "edge-mask"}, {"canvas": (3072,)}):
        with pytest.raises(OptionError, match=f"the sphere does not know: got {next(iter(options))},.*inpaint=True"):
            MicrocanonicalModel((768,), domain="sphere", **options)
