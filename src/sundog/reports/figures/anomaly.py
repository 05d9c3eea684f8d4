"""Figures of a resonance search: significance improvement, learned signal, likelihood of the signal fraction.

Each function returns one matplotlib Figure and touches no global state.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import OptionError, ShapeError
from sundog.reports.figures.verdict import FAKE, GREY, INK, REAL
from sundog.tasks.anomaly.checks.evaluation import SicBand, SicCurve
from sundog.tasks.anomaly.detectors.ranode import Profile

COLOURS = (REAL, FAKE, "#4c8c5b", "#8a5a9e", "#b5484b", "#6d6d2f")
BINS = 40


def sic_figure(methods: Mapping[str, SicCurve | SicBand]) -> Figure:
    """SIC = TPR / sqrt(FPR) against background efficiency, one line per method, down to its statistical cut.

    A ``SicBand`` is drawn as its median with the 16 - 84 % band. The grey line is a random cut, SIC = sqrt(FPR).

    Example
    -------
    >>> from sundog.tasks.anomaly import sic_curve
    >>> labels = np.repeat([0, 1], 1000)
    >>> figure = sic_figure({"trees": sic_curve(labels, labels + np.random.default_rng(0).normal(size=2000))})
    >>> figure.axes[0].get_xlabel()
    'background efficiency'
    """
    if not methods:
        raise OptionError("nothing to draw", got="no method", expected="at least one curve", do="pass {name: curve}")
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    ax = figure.subplots()
    lowest = 1.0
    for i, (name, found) in enumerate(methods.items()):
        colour, dashes = COLOURS[i % len(COLOURS)], ("-", "--", ":")[i // len(COLOURS) % 3]
        if isinstance(found, SicBand):
            ax.fill_between(found.fpr, found.low, found.high, color=colour, alpha=0.2, lw=0)
            fpr, sic = found.fpr, found.median
        else:
            fpr, sic = found.fpr[found.valid], found.sic[found.valid]
        ax.plot(fpr, sic, color=colour, ls=dashes, lw=1.4, label=name)
        lowest = min(lowest, float(fpr.min()))
    grid = np.geomspace(lowest, 1, 50)
    ax.plot(grid, np.sqrt(grid), color=GREY, lw=1, ls=":", label="random")
    ax.set(xscale="log", xlabel="background efficiency", ylabel="significance improvement", xlim=(lowest, 1))
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8)
    return figure


def signal_figure(signal: Dataset, data: Dataset, truth: Dataset | None = None) -> Figure:
    """What the found signal looks like: each feature and the mass, learned signal against data, in their units.

    Parameters
    ----------
    signal : draws of the learned signal, e.g. ``RAnode.sample_signal(5000)``
    data : events inside the window
    truth : true signal events where known (a benchmark), drawn as an outline

    Example
    -------
    >>> from sundog.simulate.densities import ResonantToy
    >>> toy = ResonantToy()
    >>> len(signal_figure(toy.signal(200, 0), toy.background(500, 0)).axes)
    5
    """
    drawn = {"data": (data, GREY, True), "learned signal": (signal, FAKE, True)}
    if truth is not None:
        drawn["true signal"] = (truth, INK, False)
    tables = {name: _columns(part, signal) for name, (part, _, _) in drawn.items()}
    labels = [f"{n} [{u}]" if u else n for n, u in
              zip((*signal.names, *signal.context_names), (*signal.units, *signal.context_units))]
    figure = Figure(figsize=(2.5 * len(labels), 2.6), layout="constrained")
    for j, (ax, label) in enumerate(zip(np.atleast_1d(figure.subplots(1, len(labels))), labels)):
        low, high = np.quantile(np.concatenate([table[:, j] for table in tables.values()]), [0.001, 0.999])
        for name, (_, colour, filled) in drawn.items():
            ax.hist(tables[name][:, j], np.linspace(low, high, BINS + 1), density=True, color=colour, label=name,
                    histtype="stepfilled" if filled else "step", alpha=0.5 if filled else 1.0, lw=1.2)
        ax.set(xlabel=label, yticks=[])
    figure.axes[0].set_ylabel("density")
    figure.axes[0].legend(frameon=False, fontsize=7)
    return figure


def fraction_figure(profile: Profile, interval: tuple[float, float] | None = None,
                    truth: float | None = None) -> Figure:
    """Twice the fall of the log-likelihood against the signal fraction; band: 95 % interval, dashes: truth.

    Example
    -------
    >>> fraction_figure(Profile(np.array([0.01, 0.02]), np.array([5.0, 6.0])), (0.005, 0.03)).axes[0].get_xlabel()
    'signal fraction w'
    """
    figure = Figure(figsize=(4.4, 3.2), layout="constrained")
    ax = figure.subplots()
    ax.plot(profile.w, 2 * (profile.gain.max() - profile.gain), color=REAL, marker="o", ms=3, lw=1.2)
    if interval is not None:
        ax.axvspan(*interval, color=REAL, alpha=0.15, lw=0)
    if truth is not None:
        ax.axvline(truth, color=INK, ls="--", lw=1)
    ax.set(xlabel="signal fraction w", ylabel="2 (best - log-likelihood)")
    ax.set_ylim(bottom=0)
    return figure


def _columns(part: Dataset, like: Dataset) -> np.ndarray:
    """Features and mass (n, d + 1)."""
    if part.context is None or like.context is None or part.values.shape[1] != like.values.shape[1]:
        raise ShapeError("events do not fit the signal", got=repr(part), expected=repr(like),
                         do="pass the same features, with the mass as context")
    table: Tensor = torch.cat([part.values, part.context[:, :1]], 1)
    return table.numpy()
