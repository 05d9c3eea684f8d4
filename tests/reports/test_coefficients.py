"""Plots of scattering coefficients show the numbers of the table, one panel per kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection

from sundog.reports.figures.coefficients import coefficients
from sundog.statistics import PhaseHarmonics, ScatteringCovariance, WaveletScattering

X = torch.randn(12, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64).exp()


def shown(figure, kind):
    """Heights of all points of the panel whose title names the kind."""
    [ax] = [ax for ax in figure.axes if ax.get_title(loc="left") == kind]
    points = [item for item in ax.collections if isinstance(item, PathCollection)]
    return np.sort(np.concatenate([item.get_offsets()[:, 1] for item in points]))


@pytest.mark.parametrize("isotropic", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_covariances(isotropic):
    c = ScatteringCovariance((16, 16), 2, 4, isotropic=isotropic)(X).normalised()
    for kind, title in (("S1", "$S_1$"), ("S3", "$S_3$"), ("S4", "$S_4$")):
        assert np.allclose(shown(coefficients(c), title), np.sort(c[kind].mean(0).numpy()))
    one = coefficients(c.mean())
    assert np.allclose(shown(one, "$S_2$"), np.sort(c["S2"].mean(0).numpy()))


@pytest.mark.parametrize("isotropic", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_cross_covariances(isotropic):
    c = ScatteringCovariance((16, 16), 2, 4, isotropic=isotropic)(X[:2], X[2:4])
    for kind, title in (("S2", "$S_2$"), ("S3", "$S_3$"), ("S4", "$S_4$")):
        assert np.allclose(shown(coefficients(c), title), np.sort(c[kind].mean(0).numpy()))


def test_means_harmonics_and_reduced():
    c = WaveletScattering((16, 16), 2, 4)(X)
    assert np.allclose(shown(coefficients(c), "$\\log_2 S_1$"), np.sort(c.s1.log2().mean(0).flatten().numpy()))
    h = PhaseHarmonics((16, 16), 2, 4, translations=1)(X).normalised()
    for kind, title in (("C01", "$C_{01}$"), ("L", "$L$ (low-pass)")):
        assert np.allclose(shown(coefficients(h), title), np.sort(h[kind].mean(0).numpy()))
    r = ScatteringCovariance((16, 16), 2, 4, isotropic=True)(X).normalised().reduce()
    assert np.allclose(shown(coefficients(r), "$S_4$"), np.sort(r["S4"].mean(0).numpy()))
