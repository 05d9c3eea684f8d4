"""Harmonics against closed forms, and what threads must not change."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("ducc0")

from sundog.data.sky import sphere
from sundog.errors import ShapeError


def test_a_spherical_harmonic_is_the_textbook_one() -> None:
    alm = np.zeros(sphere.n_alm(4), complex)
    alm[2] = 1.0  # l = 2, m = 0
    theta = np.array([0.2, 1.0, 2.5])
    expected = math.sqrt(5 / (16 * math.pi)) * (3 * np.cos(theta) ** 2 - 1)
    assert np.allclose(sphere.ring_values(alm, theta, 4)[:, 1], expected)
    assert np.allclose(sphere.values_at(alm, theta, np.array([0.1, 2.0, -3.0])), expected, atol=1e-9)
    south, east = sphere.gradient(alm, 8)
    angle = sphere.pixelisation(8).pix2ang(np.arange(768))[:, 0]
    assert np.allclose(south, -math.sqrt(5 / (16 * math.pi)) * 6 * np.cos(angle) * np.sin(angle))
    assert np.allclose(east, 0)


def test_analysis_undoes_synthesis_and_threads_change_no_bit() -> None:
    alm = sphere.gaussian_alm(np.ones(49), np.random.default_rng(0))
    values = sphere.synthesis(alm, 32)
    assert np.abs(sphere.analysis(values, 48) - alm).max() < 1e-3
    assert np.abs(sphere.analysis(values, 48, iterations=0) - alm).max() > 1e-3  # quadrature alone is not enough
    single = alm.astype(np.complex64)
    assert sphere.synthesis(single, 32).tobytes() == sphere.synthesis(single, 32, threads=2).tobytes()
    one, two = (sphere.adjoint(values, 48, threads=t) for t in (1, 2))
    assert one.tobytes() == two.tobytes()


def test_rotating_and_truncating_keep_the_spectrum() -> None:
    alm = sphere.gaussian_alm(np.ones(33), np.random.default_rng(1))
    turned = sphere.rotated(alm, 0.3, 1.1, -2.0)
    assert np.allclose(sphere.angular_spectrum(turned), sphere.angular_spectrum(alm))
    short = sphere.truncated(alm, 20)
    assert np.allclose(sphere.angular_spectrum(short), sphere.angular_spectrum(alm)[:21])
    doubled = sphere.scaled(alm, np.where(np.arange(33) < 10, 2.0, 0.0))
    assert np.allclose(sphere.angular_spectrum(doubled)[:10], 4 * sphere.angular_spectrum(alm)[:10])
    assert not sphere.angular_spectrum(doubled)[10:].any()


def test_a_spectrum_drawn_is_the_spectrum_asked_for() -> None:
    ell = np.arange(301)
    found = sphere.angular_spectrum(sphere.gaussian_alm(1 / (1.0 + ell), np.random.default_rng(2)))
    share = (found * (1 + ell) * (2 * ell + 1))[2:].sum() / (2 * ell + 1)[2:].sum()
    assert abs(share - 1) < 4 * math.sqrt(2 / (2 * ell + 1)[2:].sum())


def test_wrong_lengths_are_named() -> None:
    with pytest.raises(ShapeError, match="power of two"):
        sphere.nside_of(np.zeros(12 * 9))
    with pytest.raises(ShapeError, match="not a HEALPix map"):
        sphere.nside_of(np.zeros(13))
    with pytest.raises(ShapeError, match="not harmonic coefficients"):
        sphere.lmax_of(np.zeros(11))
