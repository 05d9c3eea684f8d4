"""The page of an emulator: predictions beside truth, the worst runs, and where in the space of inputs it errs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from sundog.data.atomic import write_text
from sundog.reports.figures.verdict import BAND, FAKE, GREY, INK, REAL
from sundog.reports.html import Picture, picture_of, render
from sundog.tasks.emulate import EmulationResult, mean_and_spread

LINES = 6  # channels of an output up to which it is drawn as lines
PARTS = 3  # of the range of an input, by numbers of runs
COLUMNS = 3
INPUTS = 12  # panels; of more inputs the page shows those along which the error changes most

Array = NDArray[np.float64]


def write_emulation_page(found: EmulationResult, path: str | Path) -> Path:
    """The path, after one HTML file was written there atomically; style, pictures and numbers (JSON) are inside.

    Raises
    ------
    FileError : the folder is missing or not writable.
    """
    return write_text(path, render("emulation.html", found.facts(), found=found, pictures=list(pictures(found)),
                                   filters={"p": lambda value: f"{value:.2g}"}))


def pictures(found: EmulationResult) -> Iterator[Picture]:
    """The pictures of the page, in reading order."""
    order = np.argsort(found.best.errors.numpy())[::-1]
    yield picture_of("The worst run", run_figure(found, int(order[0])), _caption(found, int(order[0])))
    yield picture_of("A run in the middle", run_figure(found, int(order[len(order) // 2])),
                     _caption(found, int(order[len(order) // 2])))
    yield picture_of("Error by region of the inputs", region_figure(found),
                     "Each dot is a run left out; its error is the root mean square over its output, in units of the "
                     f"spread of the runs. Bars: mean over thirds of the range and its standard error. {_where(found)}")
    yield picture_of("Error against what was said", calibration_figure(found),
                     "Error of every run against the standard deviation that the emulator gave it; on the line they "
                     "are equal. Points far above it were not foreseen.")


def run_figure(found: EmulationResult, row: int) -> Figure:
    """Truth and prediction of a run left out; beside them their difference over the spread of the runs."""
    truth, mean, std = (part[row].double().numpy() for part in (found.data.values, found.best.mean, _std(found)))
    if truth.ndim > 1 and (truth.ndim > 2 or len(truth) > LINES):
        return _maps(truth.reshape(-1, *truth.shape[-2:])[0], mean.reshape(-1, *truth.shape[-2:])[0])
    unit = mean_and_spread(found.data)[1].numpy()
    unit = np.atleast_2d(np.where(unit > 0, unit, np.inf))
    truth, mean, std = (np.atleast_2d(part) for part in (truth, mean, std))
    figure = Figure(figsize=(7.2, 2.6 + 1.7 * (len(truth) - 1)), layout="constrained")
    axes = figure.subplots(len(truth), 2, squeeze=False)
    for (left, right), y, m, off, s in zip(axes, truth, mean, (mean - truth) / unit, std / unit):
        x, marker = np.arange(len(y)), "o" if len(y) < 30 else None
        left.plot(x, y, color=REAL, lw=1.6, marker=marker, ms=4, label="simulator")
        left.plot(x, m, color=FAKE, lw=1.2, ls="--", marker=marker, ms=3, label=found.best.name)
        if y.min() > 0 and y.max() > 100 * y.min():
            left.set_yscale("log")
        right.fill_between(x, -2 * s, 2 * s, color=BAND, lw=0, label="2 standard deviations")
        right.plot(x, off, color=FAKE, lw=1.0, marker=marker, ms=3, label="(prediction - simulator) / spread")
        right.axhline(0, color=INK, lw=0.6)
        for ax in (left, right):
            ax.tick_params(labelsize=7)
    axes[0][0].legend(frameon=False, fontsize=7)
    axes[0][1].legend(frameon=False, fontsize=7)
    axes[-1][0].set_xlabel("number along the output", fontsize=8)
    axes[-1][1].set_xlabel("number along the output", fontsize=8)
    return figure


def _maps(truth: Array, mean: Array) -> Figure:
    figure = Figure(figsize=(7.2, 2.7), layout="constrained")
    ends = {"vmin": float(truth.min()), "vmax": float(truth.max())}
    reach = float(abs(mean - truth).max()) or 1.0
    for ax, name, picture, how in zip(
            figure.subplots(1, 3), ("simulator", "prediction", "difference"), (truth, mean, mean - truth),
            (ends, ends, {"vmin": -reach, "vmax": reach, "cmap": "RdBu_r"})):
        figure.colorbar(ax.imshow(picture, origin="lower", **how), ax=ax, shrink=0.8)  # type: ignore[arg-type]
        ax.set(title=name, xticks=[], yticks=[])
    return figure


def region_figure(found: EmulationResult) -> Figure:
    """Error of every run against each input, with the means of thirds."""
    errors, shown = found.best.errors.numpy(), _most_telling(found)
    rows = -(-len(shown) // COLUMNS)
    figure = Figure(figsize=(7.2, 2.1 * rows), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False, sharey=True).ravel()
    for ax, i in zip(axes, shown):
        x = _inputs(found)[:, i]
        ax.plot(x, errors, "o", ms=3, color=REAL, alpha=0.55, mew=0)
        _thirds(ax, x, errors)
        ax.set(xlabel=found.data.context_names[i], yscale="log")
        ax.xaxis.set_major_locator(MaxNLocator(3))
        ax.tick_params(labelsize=7)
    for ax in axes[len(shown):]:
        ax.set_visible(False)
    for ax in axes[::COLUMNS]:
        ax.set_ylabel("error / spread", fontsize=8)
    return figure


def _thirds(ax: Axes, x: Array, errors: Array) -> None:
    for part in np.array_split(np.argsort(x), PARTS):
        mean = np.sqrt((errors[part] ** 2).mean())
        bar = (errors[part] ** 2).std() / np.sqrt(len(part)) / (2 * mean) if mean else 0.0
        ax.plot(x[part][[0, -1]], [mean, mean], color=FAKE, lw=1.8)
        ax.errorbar(np.median(x[part]), mean, bar, color=FAKE, lw=1.2)


def calibration_figure(found: EmulationResult) -> Figure:
    """Error of each run against the root mean square of its standard deviations."""
    figure = Figure(figsize=(4.4, 3.4), layout="constrained")
    ax = figure.subplots()
    unit = mean_and_spread(found.data)[1].flatten()
    used = unit > 0
    said = (_std(found).double().flatten(1)[:, used] / unit[used]).square().mean(1).sqrt().numpy()
    errors = found.best.errors.numpy()
    ax.plot(said, errors, "o", ms=4, color=REAL, alpha=0.6, mew=0)
    positive = np.concatenate([said, errors])
    positive = positive[positive > 0]
    if len(positive):
        ends = [positive.min() / 1.3, positive.max() * 1.3]
        ax.plot(ends, ends, color=GREY, lw=1)
        ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    ax.set(xlabel="standard deviation given / spread", ylabel="error / spread")
    return figure


def _inputs(found: EmulationResult) -> Array:
    assert found.data.context is not None
    return found.data.context.double().numpy()


def _std(found: EmulationResult) -> Tensor:
    """What the best emulator gave; 0 where it gives none."""
    return torch.zeros_like(found.best.mean) if found.best.std is None else found.best.std


def _slopes(found: EmulationResult) -> Array:
    """Rank correlation of the error with the distance of each input from its middle, and with the input: the larger."""
    errors = found.best.errors.numpy().argsort().argsort()
    x = _inputs(found)
    far = abs(x - (x.max(0) + x.min(0)) / 2)
    ranks = np.stack([x.argsort(0).argsort(0), far.argsort(0).argsort(0)])
    with np.errstate(invalid="ignore"):
        return np.nan_to_num([max(abs(np.corrcoef(errors, part[:, i])[0, 1]) for part in ranks)
                              for i in range(x.shape[1])])


def _most_telling(found: EmulationResult) -> list[int]:
    return sorted(np.argsort(-_slopes(found))[:INPUTS].tolist())


def _where(found: EmulationResult) -> str:
    slopes, limit = _slopes(found), 3 / np.sqrt(found.runs)
    if slopes.max() < limit:
        return "No input has a part of its range that stands out (rank correlations within 3 / sqrt(n))."
    return f"The error changes most along {found.data.context_names[int(slopes.argmax())]}."


def _caption(found: EmulationResult, row: int) -> str:
    at = ", ".join(f"{name} = {float(value):.4g}" for name, value in zip(found.data.context_names, _inputs(found)[row]))
    return f"Run {row}: {at}. The emulator ({found.best.name}) had not seen it. Error {found.best.errors[row]:.3g}."
