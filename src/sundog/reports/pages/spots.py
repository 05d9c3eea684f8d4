"""Figures and page of the spot experiments: real beside fake, statistic by statistic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sundog.data.atomic import write_text
from sundog.reports.figures.verdict import BAND, FAKE, GREY, INK, REAL
from sundog.reports.html import Picture, picture_of, render
from sundog.tasks.spots import Mean, SpotStatistics, spectrum_error

SHOWN = 6  # images of each side
INTENSITY = "intensity [of one spot]"


@dataclass(frozen=True)
class SpotExperiment:
    """One training and its judgement: images and statistics of real, other real and fake images."""

    title: str
    note: str
    real_images: Tensor
    fake_images: Tensor
    real: SpotStatistics
    others: SpotStatistics
    fake: SpotStatistics

    def table(self) -> list[tuple[str, ...]]:
        """Rows (statistic, real, other real images, fake), each with its standard error."""
        rows = [("peaks per image", "peaks"), ("matched-filter peaks per image", "matched"),
                ("brightest pixel", "brightest")]
        out = [(name, *(_with_error(getattr(part, field)) for part in (self.real, self.others, self.fake)))
               for name, field in rows]
        spectra = [spectrum_error(part, self.real) for part in (self.others, self.fake)]
        return [*out, ("rms of the spectrum ratio - 1, six largest scales", "", *[f"{e:.3f}" for e in spectra])]


def write_spots(experiments: Sequence[SpotExperiment], path: str | Path, summary: str) -> Path:
    """One self-contained HTML page with the table and all figures of each experiment, written atomically."""
    parts = [{"title": e.title, "note": e.note, "table": e.table(), "pictures": list(pictures(e))}
             for e in experiments]
    return write_text(path, render("spots.html", parts=parts, summary=summary))


def pictures(of: SpotExperiment) -> Iterator[Picture]:
    """The figures of one experiment, in the order of the chapter."""
    yield picture_of("Images", image_figure(of.real_images, of.fake_images),
                     "Drawn at random. One colour scale, fixed by the real images.")
    yield picture_of("Pixel histogram", histogram_figure(of.real, of.fake),
                     "128 images of each side; bands are one standard error of the mean over images.")
    yield picture_of("Marginal sums", marginal_figure(of.real, of.fake),
                     "Sum over each row and each column, mean over images with one standard error.")
    yield picture_of("Peaks", peak_figure(of.real, of.fake),
                     "Pixels higher than their eight neighbours: how many per image, and how high.")
    if of.real.stack is not None:
        yield picture_of("Stacked peaks", stack_figure(of.real, of.fake),
                         "Mean cut-out around peaks away from the border, and its radial profile.")
    yield picture_of("Fourier plane", fourier_figure(of.real, of.fake),
                     "Mean power of the two-dimensional transform, zero frequency in the middle; right: fake / real. "
                     "A checkerboard would show as bright corners.")
    yield picture_of("Power spectrum", spectrum_figure(of.real, of.fake),
                     "Rings of |k|; below, fake / real with the errors of both.")
    yield picture_of("Matched filter", matched_figure(of.real, of.fake),
                     "Sources found by convolution with the spot, taken out one by one: per image, and how bright.")


def image_figure(real: Tensor, fake: Tensor) -> Figure:
    """Real images above fake ones on one scale."""
    figure = Figure(figsize=(1.35 * SHOWN + 1.0, 3.0), layout="constrained")
    axes = figure.subplots(2, SHOWN)
    low, high = float(real.min()), float(real.max())
    for line, (x, name, colour) in zip(axes, ((real, "real", REAL), (fake, "fake", FAKE))):
        for k, ax in enumerate(line):
            _bare(ax)
            if k < len(x):
                drawn = ax.imshow(x[k].numpy(), vmin=low, vmax=high, cmap="inferno", interpolation="nearest")
        line[0].set_ylabel(name, color=colour, fontsize=12)
    figure.colorbar(drawn, ax=axes, shrink=0.8, pad=0.01).set_label(INTENSITY, fontsize=8)
    return figure


def histogram_figure(real: SpotStatistics, fake: SpotStatistics) -> Figure:
    """Density of the pixels on a logarithmic scale."""
    figure, ax = _one(INTENSITY, "density of pixels")
    _both(ax, real.histogram, fake.histogram, step=True)
    ax.set_yscale("log")
    top = float(real.histogram.value.max())
    ax.set_ylim(1e-5 * top, 2 * top)
    ax.legend(frameon=False, fontsize=9)
    return figure


def marginal_figure(real: SpotStatistics, fake: SpotStatistics) -> Figure:
    """Sums over rows and over columns."""
    figure = Figure(figsize=(8.4, 3.0), layout="constrained")
    for ax, name, label in zip(figure.subplots(1, 2), ("rows", "columns"), ("row", "column")):
        _axes(ax, f"{label} [pixel]", f"sum over the {label} [of one spot]")
        _both(ax, getattr(real, name), getattr(fake, name))
        ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
    figure.axes[0].legend(frameon=False, fontsize=9)
    return figure


def peak_figure(real: SpotStatistics, fake: SpotStatistics) -> Figure:
    """Number and height of the peaks by neighbours."""
    return _counts("peaks per image", "height of a peak [of one spot]", (real.peak_counts, fake.peak_counts),
                   (real.heights, fake.heights))


def matched_figure(real: SpotStatistics, fake: SpotStatistics) -> Figure:
    """Number and amplitude of the sources of the matched filter."""
    return _counts("sources per image", "amplitude of a source [of one spot]",
                   (real.matched_counts, fake.matched_counts), (real.amplitudes, fake.amplitudes))


def stack_figure(real: SpotStatistics, fake: SpotStatistics) -> Figure:
    """Mean cut-outs on one scale, and their radial profiles."""
    figure = Figure(figsize=(8.8, 2.9), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=(1, 1, 1.5))
    high = float(real.stack.max())  # type: ignore[union-attr]
    for ax, part, name, colour in zip(axes, (real, fake), ("real", "fake"), (REAL, FAKE)):
        _bare(ax)
        ax.set_title(name, color=colour, fontsize=11)
        if part.stack is not None:
            drawn = ax.imshow(part.stack.numpy(), vmin=0, vmax=high, cmap="inferno", interpolation="nearest")
    figure.colorbar(drawn, ax=axes[:2], shrink=0.8, pad=0.02).set_label(INTENSITY, fontsize=8)
    _axes(axes[2], "radius [pixels]", f"mean {INTENSITY}")
    for part, colour, name in ((real, REAL, "real"), (fake, FAKE, "fake")):
        if part.profile is not None:
            _line(axes[2], part.profile, colour, name)
    if axes[2].lines:
        axes[2].legend(frameon=False, fontsize=9)
    return figure


def fourier_figure(real: SpotStatistics, fake: SpotStatistics) -> Figure:
    """log10 of the power in the Fourier plane, and the ratio."""
    figure = Figure(figsize=(9.4, 2.9), layout="constrained")
    axes = figure.subplots(1, 3)
    floor = 1e-12 * float(real.fourier.value.max())
    planes = [np.log10(part.fourier.value.numpy() + floor) for part in (real, fake)]
    low, high = np.quantile(planes[0], 0.02), planes[0].max()
    shown: dict[str, Any] = {"extent": (-0.5, 0.5, -0.5, 0.5), "origin": "lower", "interpolation": "nearest"}
    for ax, plane, name, colour in zip(axes, planes, ("real", "fake"), (REAL, FAKE)):
        drawn = ax.imshow(plane, vmin=low, vmax=high, cmap="magma", **shown)
        ax.set_title(f"{name}: log10 power", color=colour, fontsize=10)
    figure.colorbar(drawn, ax=axes[1], shrink=0.8).set_label("log10 power", fontsize=8)
    ratio = axes[2].imshow(planes[1] - planes[0], vmin=-1, vmax=1, cmap="coolwarm", **shown)
    axes[2].set_title("log10 fake / real", fontsize=10, color=INK)
    figure.colorbar(ratio, ax=axes[2], shrink=0.8).set_label("log10 ratio", fontsize=8)
    axes[0].set_ylabel("cycles per pixel", fontsize=8, color=INK)
    for ax in axes:
        ax.set_xlabel("cycles per pixel", fontsize=8, color=INK)
        ax.tick_params(labelsize=7)
    return figure


def spectrum_figure(real: SpotStatistics, fake: SpotStatistics) -> Figure:
    """Power in rings, and the ratio."""
    figure = Figure(figsize=(6.2, 4.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    _axes(top, "", "power per mode")
    _both(top, real.spectrum, fake.spectrum)
    top.set_yscale("log")
    top.set_ylim(bottom=max(1e-9 * float(real.spectrum.value.max()), top.get_ylim()[0]))
    top.legend(frameon=False, fontsize=9)
    a, b = real.spectrum, fake.spectrum
    ratio = b.value / a.value
    error = ratio * ((a.error / a.value).square() + (b.error / b.value).square()).sqrt()
    _axes(bottom, "k [cycles per pixel]", "fake / real")
    bottom.axhspan(0.9, 1.1, color=BAND, lw=0)
    bottom.axhline(1, color=GREY, lw=0.8)
    bottom.errorbar(_x(a), ratio.numpy(), error.numpy(), color=FAKE, marker="o", ms=3, lw=1)
    bottom.set_ylim(0, 2)
    return figure


def _counts(count_label: str, height_label: str, counts: tuple[Tensor, Tensor], heights: tuple[Tensor, Tensor]
            ) -> Figure:
    figure = Figure(figsize=(8.4, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    most = int(max(float(c.max()) for c in counts))
    step = max(1, -(-most // 60))
    both = [h.numpy() for h in heights if len(h)]
    low, high = (min(h.min() for h in both), max(np.quantile(h, 0.999) for h in both)) if both else (0.0, 1.0)
    for ax, parts, label, edges in ((left, counts, count_label, np.arange(-0.5, most + step + 0.5, step)),
                                    (right, heights, height_label, np.linspace(low, high + 1e-9, 41))):
        _axes(ax, label, f"share of {'images' if ax is left else 'them'}")
        for part, colour, name in zip(parts, (REAL, FAKE), ("real", "fake")):
            if len(part):
                ax.hist(part.numpy(), edges, weights=np.full(len(part), 1 / len(part)), color=colour, label=name,
                        histtype="stepfilled" if name == "real" else "step", alpha=0.5 if name == "real" else 1, lw=1.4)
    left.legend(frameon=False, fontsize=9)
    return figure


def _both(ax: Axes, real: Mean, fake: Mean, *, step: bool = False) -> None:
    _line(ax, real, REAL, "real", step=step)
    _line(ax, fake, FAKE, "fake", step=step)


def _line(ax: Axes, part: Mean, colour: str, name: str, *, step: bool = False) -> None:
    x, y, e = _x(part), part.value.numpy(), part.error.numpy()
    ax.fill_between(x, y - e, y + e, color=colour, alpha=0.3, lw=0, step="mid" if step else None)
    ax.plot(x, y, color=colour, lw=1.3, label=name, drawstyle="steps-mid" if step else "default")


def _x(part: Mean) -> np.ndarray:
    return np.arange(len(part.value)) if part.x is None else part.x.numpy()


def _one(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.2, 3.4), layout="constrained")
    ax = figure.subplots()
    _axes(ax, x_label, y_label)
    return figure, ax


def _axes(ax: Axes, x_label: str, y_label: str) -> None:
    ax.set_xlabel(x_label, color=INK)
    ax.set_ylabel(y_label, color=INK)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8, colors=INK)


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])


def _with_error(of: Mean) -> str:
    return f"{float(of.value):.2f} ± {float(of.error):.2f}"
