"""The page of a synthesis from one map: maps side by side, and every statistic of texture.

Each figure function returns one matplotlib Figure and touches no global state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sundog.data.atomic import write_text
from sundog.errors import OptionError
from sundog.reports.figures.verdict import FAKE, GREY, INK, REAL
from sundog.reports.html import Picture, picture_of, render
from sundog.verdicts.textures import TRUTH, Measure, Textures

COLOURS = (REAL, FAKE, GREY, "#4c8c5b")


def row_of_maps(maps: Mapping[str, Tensor], missing: Mapping[str, Tensor] | None = None, label: str = "") -> Figure:
    """Maps (ny, nx) side by side under their names, on one colour scale that the first one fixes.

    ``missing``: name -> booleans (ny, nx), true for pixels to be left grey. ``label``: of the colour bar.

    Example
    -------
    >>> x = torch.eye(8)
    >>> [ax.get_title() for ax in row_of_maps({"truth": x, "fake": x.T}).axes][:2]
    ['truth', 'fake']
    """
    if not maps:
        raise OptionError("nothing to draw", got="no map", expected="at least one", do="pass {name: map}")
    first = next(iter(maps.values()))
    low, high = (float(v) for v in np.quantile(first.numpy(), [0.005, 0.995]))
    figure = Figure(figsize=(2.75 * len(maps) + 0.6, 3.0), layout="constrained")
    for ax, (name, x) in zip(np.atleast_1d(figure.subplots(1, len(maps))), maps.items()):
        hidden = None if missing is None else missing.get(name)
        image = x.numpy() if hidden is None else np.where(hidden.numpy(), np.nan, x.numpy())
        ax.set_facecolor("#c8c8c8")
        drawn = ax.imshow(image, origin="lower", vmin=low, vmax=high, cmap="inferno", interpolation="nearest")
        ax.set(title=name, xticks=[], yticks=[])
    bar = figure.colorbar(drawn, ax=figure.axes, shrink=0.8, pad=0.01)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure


def measures_figure(found: Textures) -> Figure:
    """One panel per statistic: truth as a line, each set of fakes as its mean with the spread between its maps.

    Example
    -------
    >>> from sundog.verdicts.textures import compare_textures
    >>> x = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    >>> len(measures_figure(compare_textures(x, {"turned": x.T[None]})).axes)
    7
    """
    columns = 2
    lines = -(-len(found.measures) // columns)
    figure = Figure(figsize=(9.6, 2.9 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax in panels[len(found.measures) :]:
        ax.remove()
    for ax, measure in zip(panels, found.measures):
        _panel(ax, measure)
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def write_texture_page(
    found: Textures, path: str | Path, *, title: str, lead: str, pictures: Sequence[Picture] = (),
    facts: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Write the comparison as one HTML file that loads nothing, atomically; returns the path."""
    rows = [(measure, [measure.error(name) for name in found.names]) for measure in found.measures]
    numbers = {m.title: dict(zip(found.names, errors)) for m, errors in rows}
    statistics = picture_of("Every statistic", measures_figure(found), "Truth as a black line. Fakes: mean, with the "
                            "range between the maps as a band. Scattering pairs are sorted by the true value.")
    return write_text(path, render("texture.html", numbers, title=title, lead=lead, names=found.names, rows=rows,
                                   pictures=[*pictures, statistics], facts=facts or {}))


def _panel(ax: Axes, measure: Measure) -> None:
    truth = measure.values[TRUTH][0]
    listed = "pair of wavelets" in measure.x_label or "triangle" in measure.x_label
    order = truth.argsort() if listed else torch.arange(len(truth))
    for (name, values), colour in zip(measure.values.items(), COLOURS):
        rows = values[:, order].numpy()
        x = measure.x.numpy()
        if name == TRUTH:
            ax.plot(x, rows[0], color=INK, lw=1.4, label=name, zorder=3)
            continue
        ax.fill_between(x, rows.min(0), rows.max(0), color=colour, alpha=0.25, lw=0)
        ax.plot(x, rows.mean(0), color=colour, lw=1.2, ls="" if listed else "-", marker="." if listed else "", ms=2,
                label=name)  # fmt: skip
    ax.set(xlabel=measure.x_label + (", sorted" if listed else ""), ylabel=measure.y_label, title=measure.title)
    ax.set_xscale("log" if measure.log_x else "linear")
    ax.set_yscale("log" if measure.log_y else "linear")
    ax.title.set_fontsize(9)
