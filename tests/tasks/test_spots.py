"""Spot statistics against what spots must give: counts, profiles, spectra and sums in closed form."""

import math

import pytest
import torch

from sundog.errors import SampleSizeError, ShapeError
from sundog.simulate.blobs import blobs
from sundog.tasks.spots import histogram_edges, spectrum_error, spot_statistics

SIGMA = 2.0


@pytest.fixture(scope="module")
def one():
    return spot_statistics(blobs(400, 1, size=32, seed=0, sigma_pixel=SIGMA), sigma_pixel=SIGMA, threshold=0.5)


def test_one_spot_is_one_peak(one):
    """Centres uniform over 32 pixels; a peak needs all neighbours: its pixel lies off the border, 30^2 of 32^2."""
    share = (30 / 32) ** 2
    assert abs(float(one.peaks.value) - share) < 4 * math.sqrt(share * (1 - share) / 400)
    assert float(one.peaks.error) == pytest.approx(math.sqrt(share * (1 - share) / 400), rel=0.15)
    # The filter sees spots at the border too; one of 200 there leaves a residual above the threshold.
    assert 1.0 <= float(one.matched.value) <= 1.01 and one.amplitudes.median() > 0.9


def test_profile_is_that_of_the_spot(one):
    """exp(-r^2 / 2 sigma^2) seen from the nearest pixel: smeared by 1/12 + 1/12 of a square pixel."""
    r2, wide = one.profile.x.square(), SIGMA**2 + 1 / 12
    expected = SIGMA**2 / wide * torch.exp(-r2 / (2 * wide))
    off = (one.profile.value - expected).abs()
    assert (off < 0.02).all() and one.profile.error[0] < 0.01
    assert (off - (one.profile.value - torch.exp(-r2 / 8)).abs())[0] < 0  # negative control: without the smearing


def test_sums_and_spectrum(one):
    """Rows far from the border sum to sigma sqrt(2 pi) * 2 pi sigma^2 / (sigma sqrt(2 pi)) / 32 on average."""
    middle = slice(10, 22)
    expected = 2 * math.pi * SIGMA**2 / 32
    for part in (one.rows, one.columns):
        off = (part.value[middle] - expected).mean()
        # Neighbouring rows share spots: the error of their mean is that of a single spot being there or not.
        assert abs(float(off)) < 4 * float(part.error[middle].max())
    k = one.fourier.value[16, 17:24] / one.fourier.value[16, 17]
    f = torch.arange(1, 8).double() / 32
    shape = torch.exp(-((2 * math.pi * SIGMA) ** 2) * (f.square() - f[0] ** 2))
    assert (k[:4] / shape[:4] - 1).abs().max() < 0.35 and one.fourier.value[16, 16] < 1e-20
    assert one.n == 400 and float(one.histogram.value.sum()) > 0


def test_histogram_is_a_density_with_shared_edges():
    real, wide = torch.rand(50, 8, 8), 2 * torch.rand(50, 8, 8)
    edges = histogram_edges(real)
    found = [spot_statistics(x, sigma_pixel=1.0, threshold=0.5, edges=edges).histogram for x in (real, wide)]
    step = float(edges[1] - edges[0])
    assert float(found[0].value.sum()) * step == pytest.approx(1, abs=1e-9)
    assert float(found[1].value.sum()) * step == pytest.approx(0.6, abs=0.03)  # the rest lies beyond the edges
    assert torch.equal(found[0].x, found[1].x)


def test_spectrum_error():
    a, b = (spot_statistics(blobs(300, 10, size=32, seed=s, sigma_pixel=SIGMA), sigma_pixel=SIGMA, threshold=0.2)
            for s in (0, 1))
    assert spectrum_error(a, a) == 0 and spectrum_error(a, b) < 0.1
    wide = spot_statistics(blobs(300, 10, size=32, seed=1, sigma_pixel=3.0), sigma_pixel=3.0, threshold=0.2)
    assert spectrum_error(wide, b) > 0.3
    # The matched filter tells overlapping spots apart that have one summit.
    assert float(a.matched.value) > float(a.peaks.value) + 4 * float(a.peaks.error)


def test_bad_input():
    with pytest.raises(SampleSizeError, match="too few images"):
        spot_statistics(torch.rand(5, 8, 8), sigma_pixel=1.0, threshold=0.5)
    with pytest.raises(ShapeError, match="one channel"):
        spot_statistics(torch.rand(30, 2, 8, 8), sigma_pixel=1.0, threshold=0.5)
    edges = torch.linspace(-1, 1, 5).double()
    empty = spot_statistics(torch.zeros(30, 8, 8), sigma_pixel=1.0, threshold=0.5, edges=edges)
    assert empty.stack is None and empty.profile is None and float(empty.peaks.value) == 0
