"""Sampling made visible: a contact sheet of noise levels, a film of a sample coming out of the noise."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.animation import FFMpegWriter, PillowWriter
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure
from torch import Tensor

from sundog.data.atomic import atomic_write
from sundog.data.dataset import Dataset
from sundog.errors import OptionError, ShapeError
from sundog.tasks.trajectory import Trajectory

HOLD = 1.5  # seconds for which the finished sample stands at the end of a film
INK = "#22272e"
STATE = Normalize(-3, 3, clip=True)  # noisy states have unit contrast


def contact_sheet(way: Trajectory, columns: int = 8, rows: int = 4) -> Figure:
    """Samples downwards, noise levels to the right: above each pair the noisy state, below what it is denoised to."""
    _images(way.frames)
    n, k = min(rows, way.frames.shape[1]), len(way.levels)
    chosen = np.unique(np.linspace(0, k - 1, min(columns, k)).round().astype(int))
    norm = colour_scale(way.frames[-1])
    figure = Figure(figsize=(1.25 * len(chosen) + 0.5, 2.5 * n + 0.5), layout="constrained", facecolor="white")
    axes = figure.subplots(2 * n, len(chosen), squeeze=False)
    for column, level in enumerate(chosen):
        axes[0, column].set_title(_level(float(way.levels[level])), fontsize=9, color=INK)
        for row in range(n):
            _picture(axes[2 * row, column], way.states[level, row], STATE, "gray")
            _picture(axes[2 * row + 1, column], way.frames[level, row], norm, "inferno")
    figure.suptitle("state and denoised image along the noise levels", fontsize=11, color=INK)
    return figure


def strip(images: Dataset, titles: Sequence[str] | None = None) -> Figure:
    """Images side by side on one colour scale, such as those of an interpolation between two conditions."""
    _images(images.values)
    n = len(images)
    figure = Figure(figsize=(1.4 * n, 1.75), layout="constrained", facecolor="white")
    norm = colour_scale(images.values)
    for i, ax in enumerate(figure.subplots(1, n, squeeze=False)[0]):
        _picture(ax, images.values[i], norm, "inferno")
        if titles is not None:
            ax.set_title(titles[i], fontsize=8, color=INK)
    return figure


def write_film(way: Trajectory, path: str | Path, *, samples: int = 4, frames_per_second: int = 8) -> Path:
    """The path of a GIF (or MP4, where ffmpeg is installed): the noisy state above, the denoised image below.

    One frame per noise level; the last shows the sample itself. A path ending in .npz holds the frames as numbers
    instead: "levels", "states" and "frames", whose last is the sample bit for bit.

    Raises
    ------
    OptionError : another kind of file, or MP4 without ffmpeg.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        arrays = {name: getattr(way, name).numpy() for name in ("levels", "states", "frames")}
        return atomic_write(path, lambda temporary: np.savez_compressed(temporary, **arrays))
    if suffix not in (".gif", ".mp4") or (suffix == ".mp4" and shutil.which("ffmpeg") is None):
        raise OptionError("cannot write such a film", got=path.name, expected=".gif, .npz, or .mp4 with ffmpeg",
                          do="choose a name that ends in .gif")
    _images(way.frames)
    figure, draw = _stage(way, min(samples, way.frames.shape[1]))
    writer: Any = (PillowWriter if suffix == ".gif" else FFMpegWriter)(fps=frames_per_second)

    def filmed(temporary: Path) -> None:
        with writer.saving(figure, str(temporary), dpi=110):
            for i in range(len(way.levels)):
                draw(i)
                writer.grab_frame()
            for _ in range(round(HOLD * frames_per_second)):
                writer.grab_frame()

    return atomic_write(path, filmed)


def colour_scale(images: Tensor) -> Normalize:
    """Black at the 0.5 % quantile, white at 99.95 %; asinh where the range exceeds twenty times the robust noise."""
    x = images.double().numpy()
    low, high = (float(v) for v in np.quantile(x, [0.005, 0.9995]))
    high = max(high, low + 1e-30)
    noise = 1.4826 * float(np.median(np.abs(x - np.median(x))))
    soft = max(3 * noise, 1e-3 * (high - low))
    return AsinhNorm(soft, low, high, clip=True) if high - low > 20 * noise else Normalize(low, high, clip=True)


def _stage(way: Trajectory, n: int) -> tuple[Figure, Any]:
    """The figure of a film and a function that shows frame i on it."""
    norm = colour_scale(way.frames[-1])
    figure = Figure(figsize=(1.7 * n + 0.1, 3.9), layout="constrained", facecolor="white")
    axes = figure.subplots(2, n, squeeze=False)
    shown = [[_picture(axes[0, i], way.states[0, i], STATE, "gray") for i in range(n)],
             [_picture(axes[1, i], way.frames[0, i], norm, "inferno") for i in range(n)]]
    title = figure.suptitle(" ", fontsize=11, color=INK)

    def draw(frame: int) -> None:
        title.set_text("noise level " + _level(float(way.levels[frame])))
        for i in range(n):
            shown[0][i].set_data(way.states[frame, i].numpy())
            shown[1][i].set_data(way.frames[frame, i].numpy())

    return figure, draw


def _picture(ax: Axes, image: Tensor, norm: Normalize, colours: str) -> Any:
    ax.set_axis_off()
    return ax.imshow(image.numpy(), norm=norm, cmap=colours, origin="lower", interpolation="nearest")


def _level(sigma: float) -> str:
    return "σ = 0" if sigma == 0 else f"σ = {sigma:.2g}" if sigma < 100 else f"σ = {sigma:.0f}"


def _images(x: Tensor) -> None:
    if x.ndim not in (3, 4):
        raise ShapeError("only images of one channel can be shown", got=tuple(x.shape), expected="(..., n, ny, nx)",
                         do="choose one channel")
