"""Figures of an autoencoder hold what they were given."""

import numpy as np
import pytest
import torch

from sundog.errors import ShapeError
from sundog.reports.figures.latent import class_scatter, image_grid


def test_every_class_has_its_points():
    codes = torch.arange(12.0).reshape(6, 2)
    ax = class_scatter(codes, [0, 0, 1, 1, 1, 2], names=("a", "b", "c")).axes[0]
    assert [len(part.get_offsets()) for part in ax.collections] == [2, 3, 1]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b", "c"]
    assert np.allclose(ax.collections[1].get_offsets(), codes[2:5])
    with pytest.raises(ShapeError, match="one per row"):
        class_scatter(codes, [0, 1])


def test_grid_keeps_the_order():
    images = torch.arange(6.0)[:, None, None].expand(6, 4, 4)
    axes = image_grid(images, 3, rows=("x", "y"), columns_named=("1", "2", "3")).axes
    assert [float(ax.images[0].get_array()[0, 0]) for ax in axes] == list(range(6))
    assert axes[3].get_ylabel() == "y" and axes[2].get_title() == "3"
    with pytest.raises(ShapeError, match="multiple of 4"):
        image_grid(images, 4)
