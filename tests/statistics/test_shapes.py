"""Shapes of planted objects whose centre, axes and light profile are known."""

from __future__ import annotations

import math

import pytest
import torch

from sundog.errors import DataError, OptionError, ShapeError
from sundog.statistics import (
    asymmetry,
    concentration,
    gini,
    m20,
    pixel_metrics,
    shape_features,
    shape_metrics,
)


def ellipse(angle: float, *, major: float = 8.0, minor: float = 4.0, dy: float = 0.0, dx: float = 0.0) -> torch.Tensor:
    """A Gaussian with its main axis turned by ``angle`` degrees from +x towards +y, on 81 x 81 pixels."""
    y, x = torch.meshgrid(torch.arange(81.0) - 40 - dy, torch.arange(81.0) - 40 - dx, indexing="ij")
    a = math.radians(angle)
    along, across = x * math.cos(a) + y * math.sin(a), -x * math.sin(a) + y * math.cos(a)
    return torch.exp(-(along**2) / (2 * major**2) - across**2 / (2 * minor**2)).double()


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 160.0])
def test_elongation_and_angle_of_an_ellipse(angle: float) -> None:
    m = shape_metrics(ellipse(angle)[None])
    # axes 8 and 4: share of variance 64/80, elongation 2 (0.8 - 0.5)
    assert float(m["elongation"]) == pytest.approx(0.6, abs=1e-3)
    turn = (float(m["pca_angle"]) - angle + 90) % 180 - 90
    assert abs(turn) < 0.1
    assert float(m["com_radius"]) < 1e-6


def test_centre_of_mass_and_scatter() -> None:
    m = shape_metrics(torch.stack([ellipse(0.0, major=3, minor=3, dy=3, dx=-4), ellipse(0.0, major=3, minor=3)]))
    assert float(m["com_radius"][0]) == pytest.approx(5.0, abs=1e-3)
    assert float(m["com_angle"][0]) == pytest.approx(math.degrees(math.atan2(3, -4)), abs=0.01)
    assert m["elongation"].max() < 1e-3
    assert m["scatter"].tolist() == pytest.approx([3 * math.sqrt(math.pi / 2)] * 2, rel=2e-3)


def test_pixel_metrics_count_what_is_there() -> None:
    x = torch.zeros(1, 10, 10)
    x[0, 0, :4] = torch.tensor([0.25, 0.3, 0.6, 1.0])
    m = {name: float(value) for name, value in pixel_metrics(x).items()}
    assert m["active_fraction"] == pytest.approx(0.04)
    assert [m[f"fraction_{i}"] for i in (1, 2, 3, 4)] == pytest.approx([0.01, 0.01, 0.01, 0.01])
    assert [m[f"mean_{i}"] for i in (1, 2, 3, 4)] == pytest.approx([0.25, 0.3, 0.6, 1.0])
    assert m["mean"] == pytest.approx(0.0215) and m["sigma"] == pytest.approx(float(x.std(unbiased=False)))
    with pytest.raises(OptionError):
        pixel_metrics(x, low=1.0, high=0.0)


def test_every_intensity_bin_has_mean_and_sigma() -> None:
    # Uniform pixels: mean at the middle of the bin, sigma = width / sqrt(12); errors from n = 10^4 / 4 per bin.
    x = torch.rand(1, 100, 100, generator=torch.Generator().manual_seed(0)).double()
    m = {name: float(value) for name, value in pixel_metrics(x).items()}
    width, n = 0.25, 2500
    for i in range(4):
        assert m[f"mean_{i + 1}"] == pytest.approx(width * (i + 0.5), abs=4 * width / math.sqrt(12 * n))
        assert m[f"sigma_{i + 1}"] == pytest.approx(width / math.sqrt(12), rel=4 * math.sqrt(0.2 / n))  # kurtosis 1.8
    empty = pixel_metrics(torch.zeros(1, 4, 4))
    assert [float(empty[f"{word}_{i}"]) for word in ("mean", "sigma") for i in (1, 2, 3, 4)] == [0.0] * 8


def test_positions_are_measured_from_the_centre_asked_for() -> None:
    x = torch.zeros(1, 80, 80)
    x[0, 43, 44] = 1.0
    m = shape_metrics(x, centre=(40, 40))
    assert (float(m["com_radius"]), float(m["scatter"])) == (5.0, 0.0)
    assert float(m["com_angle"]) == pytest.approx(math.degrees(math.atan2(3, 4)), abs=1e-4)
    assert float(shape_metrics(x)["com_radius"]) == pytest.approx(math.hypot(3.5, 4.5), abs=1e-5)


def test_gini_of_known_laws() -> None:
    g = torch.Generator().manual_seed(0)
    uniform = torch.rand(4, 80, 80, generator=g)
    exponential = torch.empty(4, 80, 80).exponential_(generator=g)
    assert (gini(uniform) - 1 / 3).abs().max() < 0.02
    assert (gini(exponential) - 1 / 2).abs().max() < 0.02
    assert gini(torch.ones(1, 5, 5)).abs().max() < 1e-6
    assert torch.allclose(gini(-exponential), gini(exponential))


def test_concentration_and_m20_of_gaussians_and_discs() -> None:
    # growth curve 1 - exp(-r^2 / 2 s^2): r80 / r20 = sqrt(ln 5 / ln 1.25)
    truth = 5 * math.log10(math.sqrt(math.log(5) / math.log(1.25)))
    gauss = ellipse(0.0, major=7, minor=7)[None]
    assert float(concentration(gauss)) == pytest.approx(truth, rel=0.03)
    # brightest 20 %: sum w r^2 within u = r^2/2s^2 < ln 1.25 over all is 1 - exp(-u)(1 + u)
    u = math.log(1.25)
    assert float(m20(gauss)) == pytest.approx(math.log10(1 - math.exp(-u) * (1 + u)), abs=0.03)
    y, x = torch.meshgrid(torch.arange(81.0) - 40, torch.arange(81.0) - 40, indexing="ij")
    disc = ((y**2 + x**2) < 30**2).double()[None]
    assert float(concentration(disc)) == pytest.approx(5 * math.log10(2), rel=0.03)  # light goes as r^2


def test_asymmetry() -> None:
    assert asymmetry(ellipse(30.0)[None]).item() < 1e-6
    assert asymmetry(ellipse(0.0, major=2, minor=2, dx=25)[None]).item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("image", [torch.zeros(2, 8, 7), torch.full((2, 5, 5), -3.0), torch.full((1, 6, 9), 1e-12)])
def test_empty_and_constant_images_are_finite(image: torch.Tensor) -> None:
    for name, value in {**shape_features(image), **shape_metrics(image), **pixel_metrics(image)}.items():
        assert torch.isfinite(value).all(), name
        assert value.shape == (len(image),)
    if image.max() <= 0:
        assert shape_metrics(image)["elongation"].abs().max() == 0


def test_single_pixel_images_and_single_pixels() -> None:
    assert all(torch.isfinite(v).all() for v in shape_features(torch.ones(1, 1, 1)).values())
    spike = torch.zeros(1, 9, 9)
    spike[0, 4, 4] = 5.0
    f = {name: float(value) for name, value in shape_features(spike).items()}
    assert (f["scatter"], f["elongation"], f["concentration"], f["m20"]) == (0.0, 0.0, 0.0, 0.0)
    assert f["gini"] == pytest.approx(1.0)


def test_the_combined_features_repeat_the_single_functions() -> None:
    x = torch.randn(3, 12, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    f = shape_features(x)
    for name, function in (("gini", gini), ("m20", m20), ("concentration", concentration), ("asymmetry", asymmetry)):
        assert torch.allclose(f[name], function(x))
    assert torch.allclose(torch.hypot(f["e1"], f["e2"]), f["elongation"])
    assert torch.allclose(torch.hypot(f["com_x"], f["com_y"]), f["com_radius"])


def test_bad_input() -> None:
    with pytest.raises(ShapeError, match="single-channel"):
        shape_metrics(torch.zeros(2, 3, 8, 8))
    with pytest.raises(DataError):
        gini(torch.full((1, 4, 4), math.nan))
