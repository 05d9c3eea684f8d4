"""Strips show the turned sky where it is, sources whole; patches are made when asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

pytest.importorskip("ducc0")

from sundog.data.sky.sphere import adjoint, gaussian_alm, gaussian_beam, pixelisation, rotated, scaled, values_at
from sundog.data.sky.strips import ROTATIONS, SkyPatches, Sources, Strip, equatorial_strip
from sundog.errors import OptionError, ShapeError


def test_a_strip_holds_the_values_of_the_turned_sky() -> None:
    alm = gaussian_alm(1 / (10 + np.arange(65.0)), np.random.default_rng(0))
    strip = equatorial_strip({"kappa": alm}, pixel_arcmin=60.0, rotation=(15.0, 40.0))
    turned = rotated(alm, math.radians(15), math.radians(40), 0.0)
    for row, column in ((0, 0), (7, 100), (19, 359)):
        exact = values_at(turned, strip.theta[row : row + 1], np.array([math.radians(column)]))
        assert abs(strip.values[0, row, column] - exact[0]) < 1e-4
    assert abs(strip.theta.mean() - math.pi / 2) < 1e-12


def test_sources_turn_with_the_harmonics_and_keep_their_flux() -> None:
    pixel = 7000
    peak = np.zeros(12 * 32**2)
    peak[pixel] = 1.0
    theta, phi = pixelisation(32).pix2ang(np.array([pixel]))[0]
    smooth = scaled(adjoint(peak, 96), gaussian_beam(96, 300.0))
    spot = Sources(np.array([theta]), np.array([phi]), np.array([2.5]))
    for rotation in ((0.0, 0.0), (15.0, 60.0), (75.0, 20.0)):
        strip = equatorial_strip({"wide": smooth, "spot": spot}, pixel_arcmin=30.0, half_height_deg=60.0,
                                 rotation=rotation)
        wide, narrow = strip.values
        if narrow.any():
            where = [np.unravel_index(v.argmax(), v.shape) for v in (wide, narrow)]
            assert np.abs(np.subtract(*where)).max() <= 1
            area = math.radians(0.5) * 2 * math.sin(math.radians(0.25)) * np.sin(strip.theta)
            assert abs((narrow * area[:, None]).sum() / 2.5 - 1) < 1e-5
            assert (narrow > 0).sum() == 1  # a harmonic rotation would ring


def test_patches_are_pixels_of_the_strip_reproducible_and_wrap_around() -> None:
    values = np.arange(2 * 10 * 40, dtype=np.float32).reshape(2, 10, 40)
    strip = Strip(values, ("a", "b"), 540.0, (0.0, 0.0))
    assert (strip.crop(2, 38, 5)[0, 0] == [values[0, 2, c] for c in (38, 39, 0, 1, 2)]).all()
    plain, turned = (SkyPatches([strip], 4, number=400, seed=1, augment=a) for a in (False, True))
    starts = {(int(p[0, 0, 0])) for p in plain}
    assert len(starts) > 150  # of 7 x 40 places
    for i in (0, 5, 399):
        assert torch.equal(turned[i], turned[i])
        assert sorted(turned[i][0].ravel().tolist()) == sorted(plain[i][0].ravel().tolist())
    ways = {tuple(np.argsort(np.argsort(turned[i][0].ravel().numpy()))) for i in range(60)}
    assert len(ways) >= 8
    assert not torch.equal(SkyPatches([strip], 4, seed=2)[0], plain[0])
    data = plain.dataset(16)
    assert torch.equal(data.values[3], plain[3])
    assert data.names == ("a", "b")


def test_there_are_25_rotations() -> None:
    assert len(set(ROTATIONS)) == 25


def test_impossible_strips_and_patches_are_named() -> None:
    alm = gaussian_alm(np.ones(5), np.random.default_rng(0))
    strip = equatorial_strip({"a": alm}, pixel_arcmin=240.0)
    with pytest.raises(OptionError, match="impossible strip"):
        equatorial_strip({"a": alm}, pixel_arcmin=-1.0)
    with pytest.raises(OptionError, match="impossible strip"):
        equatorial_strip({"a": alm}, pixel_arcmin=360 * 60 / 15, half_height_deg=60.0)
    with pytest.raises(OptionError, match="impossible strip"):
        equatorial_strip({"a": alm}, pixel_arcmin=240.0, half_height_deg=60.5)
    assert equatorial_strip({"a": alm}, pixel_arcmin=360 * 60 / 16, half_height_deg=60.0).values.shape[2] == 16
    with pytest.raises(OptionError, match="does not fit"):
        SkyPatches([strip], 16)
    with pytest.raises(ShapeError, match="belong together"):
        SkyPatches([strip, equatorial_strip({"b": alm}, pixel_arcmin=240.0)], 2)
    with pytest.raises(ShapeError, match="unequal columns"):
        Sources(np.zeros(2), np.zeros(2), np.zeros(3))


@pytest.mark.slow
def test_patches_come_fast_and_cost_no_memory() -> None:
    import resource
    import time

    strip = Strip(np.zeros((5, 600, 10_800), np.float32), tuple("abcde"), 2.0, (0.0, 0.0))
    patches = SkyPatches([strip], 128)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    for i in range(3000):
        patches[i]
    assert 3000 / (time.process_time() - start) > 2000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
