"""Tiles cover the sphere; what is cut and blended comes back, at the poles as anywhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import map_coordinates, spline_filter

pytest.importorskip("ducc0")

from sundog.data.sky.sphere import gaussian_alm, pixelisation, values_at
from sundog.data.sky.splines import coefficients, sampling_matrix
from sundog.data.sky.tiles import Blend, TileLayout, read_row
from sundog.errors import OptionError


def test_spline_matrix_agrees_with_scipy() -> None:
    image = np.random.default_rng(0).normal(size=(1, 20, 30))
    y, x = np.random.default_rng(1).uniform(2, 17, 50), np.random.default_rng(2).uniform(2, 27, 50)
    y[:2], x[:2] = 16.9, 26.9  # as close to the edge as the taps allow
    for order in (3, 5):
        table = coefficients(image, order)
        found = sampling_matrix(np.zeros(50, int), y, x, table.shape, order=order) @ table.reshape(-1)
        expected = map_coordinates(spline_filter(image[0], order, mode="mirror"), [y, x], order=order, prefilter=False)
        assert np.allclose(found, expected, atol=1e-5)
    nearest = sampling_matrix(np.zeros(50, int), y, x, image.shape, order=0) @ image.reshape(-1)
    assert (nearest == image[0][np.rint(y).astype(int), np.rint(x).astype(int)]).all()


@pytest.mark.parametrize(("size", "pixel", "overlap"), [(64, 30.0, 20), (32, 60.0, 10), (48, 17.0, 8)])
def test_every_direction_is_well_inside_some_tile(size: int, pixel: float, overlap: int) -> None:
    layout = TileLayout(size, pixel, overlap)
    theta, phi = pixelisation(32).pix2ang(np.arange(12 * 32**2)).T
    total, largest = np.zeros(len(theta)), np.zeros(len(theta))
    for row in range(layout.rows):
        for place, tile, y, x, weight in layout.covering(row, theta, phi):
            total[place] += weight
            largest[place] = np.maximum(largest[place], weight)
            there, _ = layout.directions(row)  # plane() undoes directions()
            i = place[:20]
            near = there[np.rint(y[:20]).astype(int), np.rint(x[:20]).astype(int)]
            assert np.abs(near - theta[i]).max(initial=0) < 1.5 * layout.pixel
            assert (tile < layout.count(row)).all()
    assert largest.min() > 0.2
    assert total.min() > 0.5


def test_a_row_at_the_pole_reads_what_the_harmonics_say() -> None:
    layout = TileLayout(32, 60.0, 10)
    alm = gaussian_alm(1 / (10 + np.arange(55.0)), np.random.default_rng(3), np.complex64)
    for row in (0, 1, layout.rows - 1):
        tiles = read_row(alm, layout, row)
        theta, longitude = layout.directions(row)
        for number in (0, layout.count(row) - 1):
            exact = values_at(alm, theta.ravel(), longitude.ravel() + layout.longitudes(row)[number])
            assert np.abs(tiles[number].ravel() - exact).max() < 1e-3 * exact.std()


@pytest.mark.slow
def test_blending_keeps_what_draws_share_and_the_variance_of_what_they_do_not() -> None:
    layout = TileLayout(32, 60.0, 12)
    theta, phi = pixelisation(16).pix2ang(np.arange(3072)).T
    rng, n = np.random.default_rng(4), 40
    squares = {"paired": np.zeros(3072), "one": np.zeros(3072)}
    crowd = np.zeros(3072)
    for i in range(n):
        both = {name: Blend.empty(1, 3072) for name in squares}
        for row in range(layout.rows):
            noise = rng.standard_normal((2, layout.count(row), 1, 32, 32)).astype(np.float32)
            both["paired"].add(layout, row, (theta, phi), noise)
            both["one"].add(layout, row, (theta, phi), noise[:1])
        for name, blend in both.items():
            squares[name] += blend.result()[0] ** 2 / n
        if i == 0:
            crowd = both["one"].square / both["one"].weight ** 2
    alone, crowded = crowd > 0.999, crowd < 0.6
    assert min(alone.sum(), crowded.sum()) > 100
    ratio = {name: v[crowded].mean() / v[alone].mean() for name, v in squares.items()}
    error = math.sqrt(2 / n) * math.sqrt(1 / alone.sum() + 1 / crowded.sum())
    assert abs(ratio["paired"] - 1) < 4 * error + 0.01
    assert ratio["one"] < 0.7  # plain averaging does lose variance


def test_impossible_tiles_are_named() -> None:
    with pytest.raises(OptionError, match="impossible tiles"):
        TileLayout(64, 2.0, 4)
    with pytest.raises(OptionError, match="too large"):
        TileLayout(128, 60.0, 20)


@pytest.mark.parametrize(("size", "pixel", "overlap"), [(64, 30.0, 20), (32, 60.0, 10)])
def test_every_tile_that_sees_a_direction_is_found(size: int, pixel: float, overlap: int) -> None:
    layout = TileLayout(size, pixel, overlap)
    theta, phi = pixelisation(16).pix2ang(np.arange(12 * 16**2)).T
    for row in range(layout.rows):
        told = {(int(i), int(tile)) for places, tiles, *_ in layout.covering(row, theta, phi)
                for i, tile in zip(places, tiles)}
        seen = set()
        for tile, centre in enumerate(layout.longitudes(row)):
            y, x = layout.plane(row, theta, phi - centre)
            weight = layout.taper(np.nan_to_num(y, nan=-1.0), np.nan_to_num(x, nan=-1.0))
            seen |= {(int(i), tile) for i in np.flatnonzero(weight > 0)}
        assert told == seen
