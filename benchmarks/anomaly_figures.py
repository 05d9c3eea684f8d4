"""The figures of published resonance searches, drawn from rows measured by ``anomaly_reproduce.py``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sundog.data.dataset import Dataset
from sundog.errors import OptionError
from sundog.reports.figures.anomaly import COLOURS, sic_figure
from sundog.reports.figures.verdict import FAKE, GREY, INK, REAL
from sundog.tasks.anomaly.checks.evaluation import SicBand

Row = Mapping[str, Any]
BINS = 30


def sic_bands_figure(rows: Sequence[Row]) -> Figure:
    """Significance improvement of every method: median and 16 - 84 % over the injections.

    Example
    -------
    >>> row = {"method": "idealised", "fpr": [0.01, 0.1, 1.0], "sic": [6.0, 2.5, 1.0]}
    >>> sic_bands_figure([row, row]).axes[0].get_ylabel()
    'significance improvement'
    """
    bands = {}
    for method, group in _grouped(rows, "method").items():
        start = max(row["fpr"][0] for row in group)
        fpr = np.array([f for f in group[0]["fpr"] if f >= start])
        table = np.array([np.interp(fpr, row["fpr"], row["sic"]) for row in group])
        low, middle, high = np.quantile(table, [0.16, 0.5, 0.84], axis=0)
        bands[f"{method} ({len(group)})"] = SicBand(fpr, middle, low, high, len(group))
    return sic_figure(bands)


def significance_figure(rows: Sequence[Row]) -> Figure:
    """Significance after the best cut, max SIC x S / sqrt(B), against the number of injected events.

    Example
    -------
    >>> row = {"method": "idealised", "n_signal": 772, "n_background": 121_352, "max_sic": 14.0}
    >>> significance_figure([row]).axes[0].get_xlabel()
    'signal events in the window'
    """
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    ax = figure.subplots()
    for (method, group), colour in zip(_grouped(rows, "method").items(), COLOURS * 5):
        points = sorted(_grouped(group, "n_signal").items())
        n = np.array([count for count, _ in points])
        values = [np.quantile([row["max_sic"] * row["n_signal"] / row["n_background"] ** 0.5 for row in part],
                              [0.16, 0.5, 0.84]) for _, part in points]
        low, middle, high = np.array(values).T
        ax.fill_between(n, low, high, color=colour, alpha=0.2, lw=0)
        ax.plot(n, middle, color=colour, marker="o", ms=3, lw=1.4, label=method)
    counts = np.array(sorted({(row["n_signal"], row["n_background"]) for row in rows}))
    ax.plot(counts[:, 0], counts[:, 0] / counts[:, 1] ** 0.5, color=GREY, ls=":", label="no cut")
    ax.axhline(5, color=GREY, lw=0.8)
    ax.set(xlabel="signal events in the window", ylabel="significance after the best cut")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8)
    return figure


def fractions_figure(rows: Sequence[Row]) -> Figure:
    """Learned against true signal fraction with 95 % intervals; beside it the best SIC at fixed fractions.

    Example
    -------
    >>> row = {"fixed": None, "true_fraction": 0.006, "w": 0.006, "low_95": 0.005, "high_95": 0.007, "max_sic": 14.0}
    >>> len(fractions_figure([row, {**row, "fixed": 0.01}]).axes)
    2
    """
    learned = [row for row in rows if row["fixed"] is None]
    scanned = sorted((row["fixed"], row["max_sic"]) for row in rows if row["fixed"] is not None)
    figure = Figure(figsize=(8.0, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    truth, w = np.array([[row["true_fraction"], row["w"]] for row in learned]).T * 100
    bars = np.array([[row["w"] - row["low_95"], row["high_95"] - row["w"]] for row in learned]).T * 100
    # Points of one truth beside each other, not on top.
    spread = np.linspace(-1, 1, len(truth)) * 0.01 * max(truth.max(), 1e-3)
    left.errorbar(truth + spread, w, yerr=np.abs(bars), fmt="o", ms=3, lw=1, color=REAL)
    left.plot([0, truth.max()], [0, truth.max()], color=GREY, lw=1, ls="--")
    left.set(xlabel="true signal fraction [%]", ylabel="learned signal fraction [%]")
    if scanned:
        right.plot([100 * f for f, _ in scanned], [sic for _, sic in scanned], color=REAL, marker="o", ms=3, lw=1.2)
        right.axvline(100 * max(row["true_fraction"] for row in rows), color=INK, ls="--", lw=1)
        right.set_ylim(0, 1.1 * max(sic for _, sic in scanned))
    right.set(xlabel="fixed signal fraction [%]", ylabel="largest significance improvement", xscale="log")
    return figure


def timing_figure(rows: Sequence[Row]) -> Figure:
    """CPU seconds of every method for one window, the part that a further window costs again, and the SIC reached.

    Example
    -------
    >>> row = {"method": "sigma-context", "cpu": 60.0, "own": 20.0, "max_sic": 14.0, "memory_mib": 900.0}
    >>> timing_figure([row]).axes[0].get_xlabel()
    'CPU seconds'
    """
    figure = Figure(figsize=(6.4, 0.4 * len(rows) + 1.2), layout="constrained")
    ax = figure.subplots()
    names = [row["method"] for row in rows]
    # Only what SIGMA shares between windows is saved in the next one; a flow is trained again for each.
    again = [row["own"] if row["method"].startswith("sigma") else row["cpu"] for row in rows]
    ax.barh(names, [row["cpu"] for row in rows], color=GREY, alpha=0.5, label="first window")
    ax.barh(names, again, color=REAL, height=0.4, label="each further window")
    for name, row in zip(names, rows):
        ax.text(row["cpu"], name, f"  max SIC {row['max_sic']:.1f}", va="center", fontsize=8)
    ax.set(xlabel="CPU seconds", xlim=(0, 1.35 * max(row["cpu"] for row in rows)))
    ax.invert_yaxis()
    ax.legend(frameon=False, fontsize=8)
    return figure


def samples_figure(parts: Mapping[str, Dataset]) -> Figure:
    """Above, what the search learned of the signal; below, each template over the true background.

    parts: from ``tasks.anomaly.reproduce.signals``.
    """
    if not {"data", "learned signal", "true signal", "true background"} <= set(parts):
        raise OptionError("samples are missing", got=", ".join(parts), expected="data, learned signal, true signal, "
                          "true background and templates", do="pass reproduce.signals(order)")
    data = parts["data"]
    figure = Figure(figsize=(2.5 * len(data.names), 4.6), layout="constrained")
    axes = np.asarray(figure.subplots(2, len(data.names), squeeze=False))
    templates = {name: part for name, part in parts.items() if name.startswith("template")}
    for j, (name, unit) in enumerate(zip(data.names, data.units)):
        column = data.values[:, j].numpy()
        low, high = np.quantile(column, [0.002, 0.998])
        edges = np.linspace(low, high, BINS + 1)
        _densities(axes[0, j], {key: parts[key].values[:, j].numpy() for key in
                                ("data", "learned signal", "true signal")}, edges)
        _ratios(axes[1, j], {key: part.values[:, j].numpy() for key, part in templates.items()},
                parts["true background"].values[:, j].numpy(), edges)
        axes[1, j].set_xlabel(f"{name} [{unit}]" if unit else name)
    axes[0, 0].legend(frameon=False, fontsize=7)
    axes[1, 0].set_ylabel("template / true background")
    axes[1, 0].legend(frameon=False, fontsize=7)
    return figure


def _densities(ax: Axes, columns: Mapping[str, np.ndarray], edges: np.ndarray) -> None:
    for (name, column), colour in zip(columns.items(), (GREY, FAKE, INK)):
        ax.hist(column, edges.tolist(), density=True, color=colour, label=name, lw=1.2,
                histtype="step" if name == "true signal" else "stepfilled", alpha=1.0 if name == "true signal" else 0.5)
    ax.set_yticks([])


def _ratios(ax: Axes, columns: Mapping[str, np.ndarray], true: np.ndarray, edges: np.ndarray) -> None:
    middle, below = 0.5 * (edges[1:] + edges[:-1]), np.histogram(true, edges)[0]
    ax.fill_between(middle, 1 - below.clip(1) ** -0.5, 1 + below.clip(1) ** -0.5, color=GREY, alpha=0.3, lw=0)
    for (name, column), colour in zip(columns.items(), COLOURS):
        share = np.histogram(column, edges)[0] / len(column) / (below.clip(1) / len(true))
        ax.plot(middle, share, color=colour, lw=1.2, label=name.removeprefix("template, "))
    ax.set_ylim(0.6, 1.4)


def _grouped(rows: Sequence[Row], key: str) -> dict[Any, list[Row]]:
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row[key]].append(row)
    return dict(groups)
