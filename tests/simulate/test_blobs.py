"""Spot images: the four rules of the thesis, and a truth catalogue that repaints the images."""

import math

import pytest
import torch

from sundog.errors import OptionError
from sundog.simulate.blobs import blob_catalogue, blobs


def test_images_are_the_sum_of_their_catalogue():
    images, truth = blobs(3, 10, (20, 31), seed=1, sigma_pixel=2.0), blob_catalogue(3, 10, (20, 31), 1, sigma_pixel=2.0)
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(31.0), indexing="ij")
    for i in range(3):
        r2 = (x - truth.x[i][:, None, None]) ** 2 + (y - truth.y[i][:, None, None]) ** 2
        painted = (truth.amplitude[i][:, None, None] * torch.exp(-r2 / 8)).sum(0)
        torch.testing.assert_close(images.values[i], painted.float(), atol=1e-6, rtol=1e-5)


def test_the_four_sets_of_the_thesis():
    one, ten, fifty = (blobs(50, k, 64, seed=2) for k in (1, 10, 50))
    assert float(one.values.max()) <= 1 and float(one.values.amax((1, 2)).median()) > 0.95
    torch.testing.assert_close(ten.values.amax((1, 2)), torch.ones(50))
    assert float(fifty.values.amax((1, 2)).min()) > 1
    assert torch.equal(blob_catalogue(50, 50, 64, 2).amplitude, torch.ones(50, 50).double())
    amplitude = blob_catalogue(20, 1000, 64, 2, threshold=0.5).amplitude
    assert float(amplitude.min()) >= 0.5
    # Mean of |z| given |z| > t is phi(t) / (1 - Phi(t)); without the threshold it would be 0.798.
    mean = math.exp(-0.125) / math.sqrt(2 * math.pi) / (0.5 * math.erfc(0.5 / math.sqrt(2)))
    assert abs(float(amplitude.mean()) - mean) < 4 * float(amplitude.std()) / math.sqrt(amplitude.numel())
    assert abs(0.798 - mean) > 0.1


def test_centres_are_uniform_over_the_image():
    truth = blob_catalogue(400, 50, (32, 64), seed=0)
    for place, side in ((truth.y, 32), (truth.x, 64)):
        assert float(place.min()) >= -0.5 and float(place.max()) <= side - 0.5
        n = place.numel()
        assert abs(float(place.mean()) - (side - 1) / 2) < 4 * side / math.sqrt(12 * n)
        assert abs(float(place.var()) - side**2 / 12) < 4 * side**2 * math.sqrt(1 / 180 / n)


def test_mean_brightness_is_the_area_of_the_spots():
    """Away from the edge a spot brings 2 pi sigma^2: check on the expectation over uniform centres, edge included."""
    images = blobs(800, 50, 48, seed=4, sigma_pixel=2.0)
    inner = images.values[:, 12:-12, 12:-12].double().mean((1, 2))  # 6 sigma from the edge
    known = 50 * 2 * math.pi * 4 / 48**2
    assert abs(float(inner.mean()) - known) < 4 * float(inner.std()) / math.sqrt(800)
    assert abs(float(images.values[:, :2].mean()) - known) > 0.1 * known  # negative control: the edge lacks light


def test_same_seed_same_images_and_bad_requests_are_named():
    assert torch.equal(blobs(2, 5, 16, seed=0).values, blobs(2, 5, 16, seed=0).values)
    assert not torch.equal(blobs(2, 5, 16, seed=0).values, blobs(2, 5, 16, seed=1).values)
    with pytest.raises(OptionError, match="n_blobs"):
        blobs(2, 0)
    with pytest.raises(OptionError, match="sigma_pixel"):
        blobs(2, 1, sigma_pixel=-1.0)
    with pytest.raises(OptionError, match="threshold"):
        blobs(1, 1000, 16, threshold=9.0)
