"""The page of a separation: maps, spectra, and which scales to trust.

Each figure function returns one matplotlib Figure and touches no global state.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from sundog.data.atomic import write_text
from sundog.errors import ShapeError
from sundog.reports.figures.verdict import FAKE, GREY, INK, REAL
from sundog.reports.html import Picture, picture_of, render
from sundog.tasks.separation.result import DETERMINISTIC, KNOWN, OUTSIDE, Separation

GREEN = "#4c8c5b"
REGIMES = {"deterministic": REAL, "statistical": FAKE, "lost": GREY}
CHANNELS_SHOWN = 3
LOSSES = {"Match": "The recovered map, contaminated again, against the data",
          "Residual": "What was taken away against draws of the contamination",
          "Independence": "Recovered map and residual, which should know nothing of each other",
          "Cross": "The recovered map against the ancillary one"}  # in the words of the page
ENDINGS = {"target": "at the expected difference", "iterations": "at the limit of steps",
           "converged": "at a minimum", "line search": "where no step led further down"}
MOST_SHOWN = 1.5  # of relative errors


def maps_figure(found: Separation, truth: Tensor | None = None, channel: int = 0, unit: str = "") -> Figure:
    """Truth (where known), mixture, recovered map and residual of one channel, on one scale fixed by the mixture.

    Below, where they exist: another solution, the spread of the solutions, a draw of the contamination, components.

    Example
    -------
    >>> from sundog.tasks.separation import separate
    >>> noise = torch.randn(20, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> found = separate(3 * torch.eye(16) + noise[0], noise[1:], J=2, eras=1, iterations=2, polish=0, draws=12)
    >>> [ax.get_title() for ax in maps_figure(found).axes[:3]]
    ['mixture', 'recovered', 'residual']
    """
    rows = [list(row) for row in _rows(found, truth, channel)]
    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(2.9 * columns + 0.6, 2.75 * len(rows)), layout="constrained")
    axes = np.atleast_2d(figure.subplots(len(rows), columns, squeeze=False))
    seen = _one(found.mixture, channel)
    low, high = np.nanquantile(seen, [0.005, 0.995])
    reach = max(abs(float(v)) for v in np.nanquantile(_one(found.residual, channel), [0.005, 0.995]))
    for line, row in zip(axes, rows):
        for ax in line[len(row) :]:
            ax.axis("off")
        for ax, (title, image, kind) in zip(line, row):
            limits = {"map": (low, high), "noise": (-reach, reach), "spread": (0.0, float(np.nanmax(image)))}[kind]
            drawn = ax.imshow(image, origin="lower", vmin=limits[0], vmax=limits[1], interpolation="nearest",
                              cmap={"map": "inferno", "noise": "RdBu_r", "spread": "viridis"}[kind])
            ax.set(title=title, xticks=[], yticks=[])
            bar = figure.colorbar(drawn, ax=ax, shrink=0.8, pad=0.02)
            bar.ax.tick_params(labelsize=7)
            bar.set_label(unit or "in units of the map", fontsize=7)
    return figure


def spectra_figure(found: Separation, truth: Tensor | None = None, pixel_arcmin: float | None = None,
                   unit: str = "") -> Figure:
    """Power against wavenumber of mixture, contamination, recovered map (with its error) and truth; below, ratios."""
    k = found.report.k.numpy()
    x = k if pixel_arcmin is None else 360 * 60 / pixel_arcmin * k
    mixture, signal = (found.spectrum(m).numpy() for m in (found.mixture, found.signal))
    contamination = signal / found.report.signal_to_noise.numpy()
    error = signal * found.report.power_error.numpy()
    figure = Figure(figsize=(6.8, 5.2), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.2))
    top.plot(x, mixture, color=GREY, lw=1.3, label="mixture")
    top.plot(x, contamination, color=GREEN, lw=1.3, ls="--", label="contamination, mean of the draws")
    top.plot(x, found.spectrum(found.residual).numpy(), color=GREEN, lw=0.9, label="residual")
    top.fill_between(x, np.maximum(signal - error, 1e-3 * signal), signal + error, color=FAKE, alpha=0.2, lw=0)
    top.plot(x, signal, color=FAKE, lw=1.6, label="recovered")
    bottom.axhline(1, color=INK, lw=0.8)
    base, word = signal, "recovered"
    if truth is not None:
        base, word = found.spectrum(truth).numpy(), "truth"
        top.plot(x, base, color=REAL, lw=1.6, label="truth")
        bottom.fill_between(x, (signal - error) / base, (signal + error) / base, color=FAKE, alpha=0.2, lw=0)
        bottom.plot(x, signal / base, color=FAKE, lw=1.6)
    bottom.plot(x, mixture / base, color=GREY, lw=1.3)
    top.set(xscale="log", yscale="log", ylabel=f"power per mode [{unit}²]" if unit else "power per mode")
    bottom.set(ylim=(0, 2.5), ylabel=f"power / {word}",
               xlabel="k  [cycles per pixel]" if pixel_arcmin is None else "multipole")
    top.legend(frameon=False, fontsize=8)
    return figure


def trust_figure(found: Separation) -> Figure:
    """Agreement of the solutions and relative error of the power against signal-to-noise; colour says the regime."""
    report = found.report
    figure = Figure(figsize=(6.8, 4.6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for word, colour in REGIMES.items():
        some = torch.tensor([regime == word for regime in report.regimes])
        top.errorbar(report.signal_to_noise[some], report.agreement[some], report.agreement_error[some], fmt="o", ms=6,
                     lw=1, color=colour, label=word)
        bottom.plot(report.signal_to_noise[some], report.power_error[some].clamp_max(MOST_SHOWN), "o", ms=6,
                    color=colour)
    bottom.plot(report.signal_to_noise, report.chance.clamp_max(MOST_SHOWN), "_", ms=9, color=INK,
                label="of it chance: no subtraction does better")
    top.axhline(DETERMINISTIC, color=GREY, lw=0.8, ls=":")
    bottom.axhline(KNOWN, color=GREY, lw=0.8, ls=":")
    top.set(xscale="log", ylim=(-0.2, 1.2), ylabel="agreement (correlation)")
    bottom.set(ylim=(0, 1.05 * MOST_SHOWN), xlabel="signal-to-noise in power, per band", ylabel="error / power")
    bottom.invert_xaxis()
    for ax in (top, bottom):
        ax.legend(frameon=False, fontsize=8)
    return figure


def pictures(found: Separation, truth: Tensor | None, unit: str, pixel_arcmin: float | None) -> Iterator[Picture]:
    """The pictures of the page, in reading order."""
    channels, word = found.signal.shape[:-2].numel(), "channel" if found.phi.patches == 1 else "map"
    for channel in range(min(channels, CHANNELS_SHOWN)):
        name = f", {word} {channel + 1} of {channels}" if channels > 1 else ""
        yield picture_of(f"Maps{name}", maps_figure(found, truth, channel, unit),
                         "One colour scale for all maps of the signal, one for all of the contamination. The recovered "
                         "map is one plausible map, not a mean: look at it, measure it, do not subtract it.")
    yield picture_of("Spectra", spectra_figure(found, truth, pixel_arcmin, unit),
                     "Band: one standard error of the recovered power. Below: recovered and mixture over "
                     + ("the truth." if truth is not None else "the recovered one."))
    yield picture_of("Which scales to trust", trust_figure(found),
                     "Blue: the structures themselves come back (solutions agree). Orange: their statistics come back. "
                     "Grey: neither. Below, the error of the power, relative to it, and how much of it no method can "
                     f"avoid; above {MOST_SHOWN:g} points stand at the edge.")


def write_page(
    found: Separation, path: str | Path, *, truth: Tensor | None = None, unit: str = "",
    pixel_arcmin: float | None = None,
) -> Path:  # fmt: skip
    """Write the separation as one HTML file, atomically; returns the path. Nothing is loaded from anywhere.

    Errors: ShapeError for a truth of another shape; FileError when the folder is missing or not writable.
    """
    if truth is not None and truth.shape != found.signal.shape:
        raise ShapeError("truth and mixture differ in size", got=tuple(truth.shape), expected=tuple(found.signal.shape),
                         do="cut the truth to the mixture")
    report = found.report
    columns: dict[str, list[Any]] = {
        name: getattr(report, name).tolist()
        for name in ("k", "signal_to_noise", "agreement", "agreement_error", "power_error", "chance")
    }
    columns["regime"] = report.regimes
    if truth is not None:
        columns["ratio"] = (found.spectrum(found.signal) / found.spectrum(truth)).tolist()
        columns["pull"] = found.pulls(truth).tolist()
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    html = render("separation.html", {"losses": report.losses, "rows": rows}, found=found, report=report, rows=rows,
                  known=truth is not None, outside=OUTSIDE, solutions=len(found.samples), losses=LOSSES,
                  endings=", ".join(f"{report.endings.count(word)} {said}" for word, said in ENDINGS.items()
                                    if word in report.endings),
                  pictures=list(pictures(found, truth, unit, pixel_arcmin)))
    return write_text(path, html)


def _rows(found: Separation, truth: Tensor | None, channel: int) -> Iterator[list[tuple[str, np.ndarray, str]]]:
    """Rows of at most four panels (title, image, kind)."""
    known = [] if truth is None else [("truth", _one(truth, channel), "map")]
    mixture, signal, residual = (_one(m, channel) for m in (found.mixture, found.signal, found.residual))
    panels = [*known, ("mixture", mixture, "map"), ("recovered", signal, "map"), ("residual", residual, "noise")]
    if len(found.repeats):
        spread = np.stack([_one(m, channel) for m in found.samples]).std(0)
        panels.append(("another solution", _one(found.repeats[0], channel), "map"))
        panels.append(("spread of solutions", spread, "spread"))
    panels.append(("a contamination", _one(found.contaminations[0], channel), "noise"))
    if truth is not None:
        panels.append(("recovered - truth", signal - _one(truth, channel), "noise"))
    panels += [(name, _one(part, channel), "noise") for name, part in found.components.items()]
    for start in range(0, len(panels), 4):
        yield panels[start : start + 4]


def _one(x: Tensor, channel: int) -> np.ndarray:
    return x.reshape(-1, *x.shape[-2:])[channel].detach().cpu().numpy()
