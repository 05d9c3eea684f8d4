"""Figures of an autoencoder: rows by class in the plane of two codes, and what walking along the codes does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import ShapeError
from sundog.reports.figures.verdict import INK

SHOWN = 4000  # points: more hide each other


def class_scatter(codes: Tensor, labels: Any, *, first: int = 0, second: int = 1,
                  names: Sequence[str] | None = None) -> Figure:
    """Codes (n, latent) in the plane of two of them, one colour per class of ``labels`` (n,)."""
    z, classes = codes.numpy(), np.asarray(labels).reshape(-1).astype(int)
    if len(z) != len(classes):
        raise ShapeError("labels do not fit the codes", got=len(classes), expected=len(z), do="pass one per row")
    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    ax = figure.subplots()
    colours = colormaps["tab10"]
    for k, label in enumerate(np.unique(classes)):
        rows = np.nonzero(classes == label)[0][: SHOWN // len(np.unique(classes))]
        name = str(label) if names is None else names[label]
        ax.scatter(z[rows, first], z[rows, second], s=6, lw=0, alpha=0.6, color=colours(k % 10), label=name)
    ax.set_xlabel(f"code {first}", color=INK)
    ax.set_ylabel(f"code {second}", color=INK)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8, markerscale=3, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def image_grid(images: Dataset | Tensor, columns: int, *, rows: Sequence[str] = (), columns_named: Sequence[str] = (),
               ) -> Figure:
    """Images (n, ny, nx) in lines of ``columns``, on one grey scale; names beside the lines and above the columns."""
    x = (images.values if isinstance(images, Dataset) else images).numpy()
    if x.ndim != 3 or len(x) % columns:
        raise ShapeError("images do not fill a grid", got=x.shape, expected=f"(n, ny, nx), n a multiple of {columns}",
                         do="pass single-channel images")
    lines = len(x) // columns
    figure = Figure(figsize=(0.85 * columns + 1.0, 0.85 * lines + 0.5))
    axes = figure.subplots(lines, columns, squeeze=False, gridspec_kw={
        "wspace": 0.04, "hspace": 0.04, "left": 1.0 / (0.85 * columns + 1.0), "right": 0.99, "bottom": 0.01,
        "top": 1 - 0.4 / (0.85 * lines + 0.5)})
    low, high = np.quantile(x, [0.001, 0.999])
    for k, ax in enumerate(axes.flat):
        ax.imshow(x[k], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        ax.set_xticks([])
        ax.set_yticks([])
        if k % columns == 0 and rows:
            ax.set_ylabel(rows[k // columns], rotation=0, ha="right", va="center", fontsize=8, color=INK)
        if k < columns and columns_named:
            ax.set_title(columns_named[k], fontsize=8, color=INK)
    return figure
