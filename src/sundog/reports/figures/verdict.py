"""Figures of a verdict and of a run: each function returns one matplotlib Figure and touches no global state.

Figures are built with the object interface (no pyplot), so importing draws nothing and no window can open.
Real is blue, fake is orange, everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from scipy.ndimage import gaussian_filter
from torch import Tensor

from sundog.errors import OptionError
from sundog.verdicts.evidence import Curve, Evidence
from sundog.verdicts.explaining.where import Region
from sundog.verdicts.verdict import Verdict

REAL, FAKE, INK, GREY, BAND = "#2f5d8a", "#d9731a", "#22272e", "#8a929b", "#dfe3e8"
RATIO_ERROR = 0.6  # a curve less well known than this, relatively, gets pulls in place of a ratio
RATIO_TOP = 3.0  # ratios above leave the panel: the panel above shows them
CORNER_COLUMNS = 6  # a corner plot of more is unreadable
CONTOURS = (0.95, 0.68)  # share of the events inside
FEW = 5.0  # events of a cell below which its colour says nothing

Weights = tuple[np.ndarray, np.ndarray]  # of the rows of real and of fake


def overview(verdict: Verdict) -> Figure:
    """How far every row lies from real against real, in null standard deviations; worst on top.

    The grey bar is the 16-84 % band of real against real. Rows that pass are discs, rows that fail crosses.
    """
    rows = verdict.rows
    figure = _figure(8.2, 0.31 * len(rows) + 1.1)
    ax = figure.subplots()
    _plain(ax)
    ax.axvspan(-1, 1, color=BAND, lw=0, zorder=0)
    ax.axvline(0, color=GREY, lw=0.8, zorder=1)
    for y, row in enumerate(rows):
        color, marker, size = (REAL, "o", 46) if row.passed else (FAKE, "X", 80)
        ax.plot([0, row.pull], [y, y], color=color, lw=1.3, alpha=0.55, zorder=2)
        ax.scatter([row.pull], [y], zorder=3, linewidths=0, marker=marker, s=size, color=color)
    ax.set_xscale("symlog", linthresh=3, linscale=1.2)
    reach = max(10.0, *(abs(row.pull) * 1.6 for row in rows))
    low = min(-3.5, *(row.pull * 1.6 for row in rows))
    ax.set_xlim(low, reach)
    ticks = [t for t in (-300, -100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100, 300, 1000) if low <= t <= reach]
    ax.set_xticks(ticks, [f"{t:+d}" if t else "0" for t in ticks])
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_yticks(range(len(rows)), [_row_label(row) for row in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("distance from real against real  [null standard deviations; linear to 3, then logarithmic]")
    return figure


def curve(of: Curve, unit: str = "") -> Figure:
    """Mean of a vector statistic over real and fake with one-sigma bands; below, their ratio (or difference).

    A curve that restarts its axis (three Minkowski functionals, several channels) gets one panel per part. The
    lower panel shows fake / real where the curve stays positive, else the difference in standard errors.
    """
    parts = _segments(of)
    columns = min(len(parts), 3)
    lines = -(-len(parts) // columns)
    width, height = (4.4, 3.5) if len(parts) > 1 else (6.6, 4.0)
    figure = _figure(width * columns if columns < 3 else 3.7 * columns, height * lines)
    outer = figure.add_gridspec(lines, columns)
    for i, part in enumerate(parts):
        top, bottom = _two_panels(outer[i // columns, i % columns])
        _curve_panel(top, bottom, of, part, unit)
        if len(parts) > 1:
            top.set_title(_part_name(of, part), fontsize=10, color=INK)
        if i == 0:
            top.legend(frameon=False, fontsize=9)
    return figure


def marginals(evidence: Evidence) -> Figure:
    """Histogram of every column, real as a filled band of Poisson errors, fake as points; below, fake / real."""
    x, y, labels, weights = evidence.real.numpy(), evidence.fake.numpy(), evidence.labels(), evidence.counts()
    columns = min(len(labels), 3)
    lines = -(-len(labels) // columns)
    figure = _figure(3.7 * columns, 3.3 * lines)
    outer = figure.add_gridspec(lines, columns)
    for i, label in enumerate(labels):
        top, bottom = _two_panels(outer[i // columns, i % columns])
        _marginal_panel(top, bottom, x[:, i], y[:, i], weights)
        bottom.set_xlabel(label)
        if i % columns == 0:
            top.set_ylabel("density")
            bottom.set_ylabel("fake / real")
        if i == 0:
            top.legend(frameon=False, fontsize=9)
    return figure


def corner(evidence: Evidence) -> Figure:
    """All pairs of columns (the first six): contours that hold 68 % and 95 % of real (filled) and fake (lines)."""
    x, y, labels, (w, v) = evidence.real.numpy(), evidence.fake.numpy(), evidence.labels(), evidence.counts()
    d = min(len(labels), CORNER_COLUMNS)
    figure = _figure(1.75 * d + 0.6, 1.75 * d + 0.4)
    axes = figure.subplots(d, d, squeeze=False)
    limits = [_limits(x[:, i], y[:, i]) for i in range(d)]
    for i in range(d):
        for j in range(d):
            ax = axes[i, j]
            if j > i:
                ax.set_visible(False)
                continue
            _plain(ax)
            ax.xaxis.set_major_locator(MaxNLocator(3, prune="both"))
            ax.yaxis.set_major_locator(MaxNLocator(3, prune="both"))
            if i == j:
                _corner_diagonal(ax, x[:, i], y[:, i], limits[i], (w, v))
            else:
                _contours(ax, x[:, [j, i]], w, limits[j], limits[i], REAL, filled=True)
                _contours(ax, y[:, [j, i]], v, limits[j], limits[i], FAKE, filled=False)
                ax.set_ylim(limits[i])
            ax.set_xlim(limits[j])
            _outer_labels(ax, i, j, d, labels)
    handles = [Patch(color=REAL, alpha=0.5, label="real"), Patch(fill=False, edgecolor=FAKE, lw=1.5, label="fake")]
    figure.legend(handles=handles, loc="upper right", frameon=False, fontsize=11)
    return figure


def box(evidence: Evidence, region: Region) -> Figure | None:
    """The plane of the first two columns of a region, or its only one: too many fakes red, too few blue, boxed.

    Cells are coloured by (fake - real) over its Poisson error, of the rows that fulfil the region's other conditions.
    None where the pictures hold another scale of a column.
    """
    names = [name for name, _, _ in region.sides]
    if not set(names) <= set(evidence.names):
        return None
    at, weights, labels = [evidence.names.index(name) for name in names], evidence.counts(), evidence.labels()
    samples = [x.numpy()[:, at] for x in (evidence.real, evidence.fake)]
    held = [np.all([(x[:, i] > (-np.inf if low is None else low)) & (x[:, i] <= (np.inf if high is None else high))
                    for i, (_, low, high) in enumerate(region.sides) if i > 1], axis=0) * np.ones(len(x), bool)
            for x in samples]
    limits = [_limits(samples[0][:, i], samples[1][:, i]) for i in range(min(2, len(at)))]
    ends = [(max(low, limit[0] if above is None else above), min(high, limit[1] if upto is None else upto))
            for limit, (_, above, upto) in zip(limits, region.sides) for low, high in [limit]]
    figure = _figure(6.6, 4.2 if len(limits) > 1 else 4.0)
    if len(limits) == 1:
        top, bottom = _two_panels(figure.add_gridspec(1, 1)[0, 0])
        _marginal_panel(top, bottom, samples[0][:, 0], samples[1][:, 0], weights)
        for ax in (top, bottom):
            ax.axvspan(*ends[0], color=FAKE, alpha=0.12, lw=0)
        bottom.set_xlabel(labels[at[0]])
        top.set_ylabel("density")
        bottom.set_ylabel("fake / real")
        top.legend(frameon=False, fontsize=9)
        return figure
    edges = [np.linspace(*limit, 25) for limit in limits]

    def cells(k: int, power: int) -> np.ndarray:
        """Sum of the weights to a power in every cell, of real (0) or fake (1)."""
        x, w = samples[k][held[k]], weights[k][held[k]]
        return np.histogramdd(x[:, :2], edges, weights=w**power)[0] / weights[k].sum() ** power

    error = np.sqrt(np.maximum(cells(0, 2) + cells(1, 2), 1e-30))
    counted = cells(0, 0) + cells(1, 0)
    pull = np.where(counted >= FEW, (cells(1, 1) - cells(0, 1)) / error, np.nan)
    ax = figure.subplots()
    _plain(ax)
    drawn = ax.pcolormesh(*edges, pull.T, cmap="RdBu_r", vmin=-5, vmax=5)
    (x0, x1), (y0, y1) = ends
    ax.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color=INK, lw=1.8)
    ax.set_xlabel(labels[at[0]])
    ax.set_ylabel(labels[at[1]])
    figure.colorbar(drawn, ax=ax, label="fake − real  [standard errors]").outline.set_visible(False)  # type: ignore[operator]
    return figure


def images(evidence: Evidence, channel: int = 0) -> Figure:
    """Real images beside fake ones on one colour scale, fixed by the real ones (asinh where the tails are long)."""
    real, fake = (_channel(x, channel)[:12] for x in (evidence.real, evidence.fake))
    norm = _colour_scale(real)
    columns, lines = 4, -(-max(len(real), len(fake)) // 4)
    figure = _figure(11.2, 1.22 * lines + 0.45)
    left, right, bar = np.asarray(figure.subfigures(1, 3, width_ratios=(1, 1, 0.2), wspace=0.02))
    for side, x, title, color in ((left, real, "real", REAL), (right, fake, "fake", FAKE)):
        axes = side.subplots(lines, columns, squeeze=False, gridspec_kw={"wspace": 0.03, "hspace": 0.03})
        side.suptitle(title, fontsize=13, fontweight="bold", color=color)
        for k, ax in enumerate(axes.flat):
            ax.set_axis_off()
            if k < len(x):
                drawn = ax.imshow(x[k].numpy(), norm=norm, cmap="inferno", origin="lower", interpolation="nearest")
    scale = figure.colorbar(drawn, cax=bar.add_axes((0.05, 0.04, 0.16, 0.84)))
    stretched = "  (asinh scale)" if isinstance(norm, AsinhNorm) else ""
    scale.set_label(evidence.labels()[channel] + stretched, fontsize=10, color=INK)
    scale.ax.tick_params(labelsize=8, colors=INK)
    scale.outline.set_visible(False)  # type: ignore[operator]
    return figure


def lines(evidence: Evidence, channel: int = 0) -> Figure:
    """Real series above fake ones on one scale, fixed by the real ones; each a little lower than the one before."""
    x, y = ((s if s.ndim == 2 else s[..., channel])[:6].double().numpy() for s in (evidence.real, evidence.fake))
    apart = 4.0 * float(np.std(x))
    figure = _figure(8.2, 6.4)
    for ax, rows, title, color in zip(figure.subplots(1, 2, sharex=True, sharey=True), (x, y), ("real", "fake"),
                                      (REAL, FAKE)):
        _plain(ax)
        for i, row in enumerate(rows):
            ax.plot(row - apart * i, color=color, lw=0.9)
        ax.set_title(title, fontsize=13, fontweight="bold", color=color)
        ax.set_xlabel("step")
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
    figure.axes[0].set_ylabel(evidence.labels()[channel])
    figure.axes[0].set_ylim(float(x.min()) - apart * (max(len(x), len(y)) - 0.5), float(x.max()) + 0.2 * apart)
    return figure


def loss_history(history: Any) -> Figure:
    """Training losses and the held-out score against the step; the kept state is marked.

    ``history`` has ``steps``, ``losses`` (name -> list), ``scores`` and ``best_step``, as a Run's history does.
    """
    steps, losses, scores = history.steps, history.losses, history.scores
    if not steps:
        raise OptionError("the history is empty", got="no validation yet", expected="at least one",
                          do="train for more steps")
    figure = _figure(6.6, 3.6)
    ax = figure.subplots()
    _plain(ax)
    for (name, values), style in zip(_named(losses), ("-", "--", ":", "-.") * 8):
        ax.plot(steps[: len(values)], values, style, color=GREY, lw=1.4, label=f"training: {name}")
    ax.plot(steps[: len(scores)], scores, color=REAL, lw=1.8, label="held out")
    if history.best_step in steps:
        best = scores[steps.index(history.best_step)]
        ax.plot([history.best_step], [best], "o", color=FAKE, ms=7, label="kept")
    ax.set_xlabel("step")
    ax.set_ylabel("loss")
    ax.legend(frameon=False, fontsize=9)
    return figure


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _two_panels(cell: Any) -> tuple[Axes, Axes]:
    """A tall panel above a low one in one cell of a grid."""
    top, bottom = cell.subgridspec(2, 1, height_ratios=(2.6, 1), hspace=0.06).subplots()
    return top, bottom


def _plain(ax: Axes) -> None:
    """Two spines, quiet ticks, dark text."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(GREY)
    ax.tick_params(colors=INK, labelsize=9, color=GREY)
    ax.xaxis.label.set(color=INK, size=10)
    ax.yaxis.label.set(color=INK, size=10)


def _row_label(row: Any) -> str:
    return row.name + ("  ✓" if row.passed else "  ✗")


def _segments(of: Curve) -> list[slice]:
    """Parts of the curve on which the axis rises."""
    if of.axis is None:
        return [slice(0, len(of.real))]
    cuts = [0, *(1 + int(i) for i in torch.nonzero(of.axis.diff() <= 0)), len(of.axis)]
    return [slice(a, b) for a, b in zip(cuts[:-1], cuts[1:])]


def _part_name(of: Curve, part: slice) -> str:
    """Name of one part of a curve: ``V0 at -1 sigma (dust)``, ``V0 at 0 sigma (dust)`` -> ``V0 (dust)``."""
    first = of.components[part.start]
    head = re.split(r" at | near |\(", first)[0].strip()
    channel = re.search(r" (\([^()=]*\))$", first)
    return head + (f" {channel.group(1)}" if channel else "")


def _curve_panel(top: Axes, bottom: Axes, of: Curve, part: slice, unit: str) -> None:
    _plain(top)
    _plain(bottom)
    a, da, b, db = (t[part].numpy() for t in (of.real, of.real_error, of.fake, of.fake_error))
    listed = of.axis is None
    x = np.arange(len(a)) if of.axis is None else of.axis[part].numpy()
    for y, dy, color, label in ((a, da, REAL, "real"), (b, db, FAKE, "fake")):
        if listed:
            top.errorbar(x + (0.12 if label == "fake" else -0.12), y, dy, fmt="o", ms=4, color=color, label=label)
        else:
            top.fill_between(x, y - dy, y + dy, color=color, alpha=0.25, lw=0)
            top.plot(x, y, color=color, lw=1.6, marker="o", ms=2.8, label=label)
    _lower_panel(bottom, x, a, da, b, db, listed)
    logarithmic = not listed and x.min() > 0 and x[-1] - x[-2] > 3 * (x[1] - x[0])
    for ax in (top, bottom):
        if logarithmic:
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ax.xaxis.set_minor_formatter(NullFormatter())
    if a.min() > 0 and b.min() > 0 and a.max() / a.min() > 30 and not listed:
        top.set_yscale("log")
        top.set_ylim(bottom=0.3 * min(a.min(), b.min()))
    top.tick_params(labelbottom=False)
    if part.start == 0:
        top.set_ylabel(of.value_label)
    if listed:
        bottom.set_xticks(x, of.components[part], rotation=90 if len(x) > 6 else 20, fontsize=8)
    bottom.set_xlabel(f"{of.axis_label} [{unit}]" if unit and of.axis_label == "pixel value" else of.axis_label)


def _lower_panel(ax: Axes, x: np.ndarray, a: np.ndarray, da: np.ndarray, b: np.ndarray, db: np.ndarray,
                 listed: bool) -> None:
    style = "o" if listed else "o-"
    if a.min() > 0 and b.min() >= 0 and (da / a).max() < RATIO_ERROR:
        ax.fill_between(x, 1 - da / a, 1 + da / a, color=REAL, alpha=0.25, lw=0)
        ax.axhline(1, color=REAL, lw=1)
        ax.fill_between(x, (b - db) / a, (b + db) / a, color=FAKE, alpha=0.25, lw=0)
        ax.plot(x, b / a, style, color=FAKE, lw=1.4, ms=2.8)
        ax.set_ylim(max(0.0, ax.get_ylim()[0]), min(RATIO_TOP, ax.get_ylim()[1]))
        ax.set_ylabel("fake / real")
        return
    error = np.sqrt(da**2 + db**2)
    ax.axhspan(-1, 1, color=BAND, lw=0)
    ax.axhline(0, color=REAL, lw=1)
    ax.plot(x, (b - a) / np.where(error > 0, error, 1.0), style, color=FAKE, lw=1.4, ms=2.8)
    ax.set_ylabel("pull")


def _limits(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Range that shows 99 % of both samples, with a margin."""
    low = min(np.quantile(x, 0.003), np.quantile(y, 0.003))
    high = max(np.quantile(x, 0.997), np.quantile(y, 0.997))
    margin = 0.04 * (high - low) or 0.5
    return float(low - margin), float(high + margin)


def _marginal_panel(top: Axes, bottom: Axes, x: np.ndarray, y: np.ndarray, weights: Weights) -> None:
    _plain(top)
    _plain(bottom)
    edges = np.linspace(*_limits(x, y), 1 + int(np.clip(len(x) ** 0.5 / 2, 12, 40)))
    centre, step = 0.5 * (edges[1:] + edges[:-1]), edges[1] - edges[0]
    counts = [np.histogram(z, edges)[0] for z in (x, y)]
    (p, dp), (q, dq) = ((np.histogram(z, edges, weights=w)[0] / (w.sum() * step),
                         np.sqrt(np.histogram(z, edges, weights=w**2)[0]) / (w.sum() * step))
                        for z, w in zip((x, y), weights))
    top.stairs(p + dp, edges, baseline=p - dp, fill=True, color=REAL, alpha=0.35, lw=0)
    top.stairs(p, edges, color=REAL, lw=1.5, label="real")
    top.errorbar(centre, q, dq, fmt="o", ms=3, lw=1, color=FAKE, label="fake")
    top.set_ylim(bottom=0)
    top.tick_params(labelbottom=False)
    some = counts[0] >= 5  # below, a ratio says nothing
    p, dp, q, dq = (np.where(some, z, np.nan) for z in (p, dp, q, dq))
    bottom.stairs(1 + dp / p, edges, baseline=1 - dp / p, fill=True, color=REAL, alpha=0.35, lw=0)
    bottom.axhline(1, color=REAL, lw=1)
    bottom.errorbar(centre, q / p, dq / p, fmt="o", ms=3, lw=1, color=FAKE)
    bottom.set_ylim(0.4, 1.6)
    bottom.set_xlim(edges[0], edges[-1])
    top.set_xlim(edges[0], edges[-1])


def _corner_diagonal(ax: Axes, x: np.ndarray, y: np.ndarray, limits: tuple[float, float], weights: Weights) -> None:
    edges = np.linspace(*limits, 33)
    p, q = (np.histogram(z, edges, weights=w / w.sum())[0] for z, w in zip((x, y), weights))
    ax.stairs(p, edges, fill=True, color=REAL, alpha=0.35)
    ax.stairs(q, edges, color=FAKE, lw=1.5)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)


def _contours(ax: Axes, xy: np.ndarray, weights: np.ndarray, xlim: tuple[float, float], ylim: tuple[float, float],
              color: str, *, filled: bool) -> None:
    edges = np.linspace(*xlim, 41), np.linspace(*ylim, 41)
    smooth = gaussian_filter(np.histogram2d(xy[:, 0], xy[:, 1], edges, weights=weights)[0], 1.2).clip(0).T
    ranked = np.sort(smooth.ravel())[::-1]
    share = np.cumsum(ranked) / max(ranked.sum(), 1e-300)
    levels = [float(ranked[min(int(np.searchsorted(share, c)), len(ranked) - 1)]) for c in CONTOURS]
    if not 0 < levels[0] < levels[1] < smooth.max():
        ax.plot(xy[:500, 0], xy[:500, 1], ".", ms=1.5, color=color)  # too few or too discrete for contours
        return
    centres = [0.5 * (e[1:] + e[:-1]) for e in edges]
    if filled:
        for level, alpha in zip(levels, (0.22, 0.35)):
            ax.contourf(*centres, smooth, levels=[level, smooth.max() * 1.01], colors=[color], alpha=alpha)
    else:
        ax.contour(*centres, smooth, levels=levels, colors=[color], linewidths=(1.0, 1.5))


def _outer_labels(ax: Axes, i: int, j: int, d: int, labels: Sequence[str]) -> None:
    if i == d - 1:
        ax.set_xlabel(labels[j])
        ax.tick_params(axis="x", labelrotation=40, labelsize=8)
    else:
        ax.tick_params(labelbottom=False)
    if j == 0 and i > 0:
        ax.set_ylabel(labels[i])
        ax.tick_params(axis="y", labelsize=8)
    else:
        ax.tick_params(labelleft=False)


def _channel(x: Tensor, channel: int) -> Tensor:
    return x if x.ndim == 3 else x[:, channel]


def _colour_scale(real: Tensor) -> Normalize:
    values = np.sort(real.numpy().ravel())
    low, lower, middle, upper, high = np.quantile(values, [0.002, 0.16, 0.5, 0.84, 0.998])
    width = max(0.5 * float(upper - lower), 1e-12)
    if high - middle > 12 * width or middle - low > 12 * width:
        return AsinhNorm(linear_width=2 * width, vmin=float(low), vmax=float(values[-1]))
    return Normalize(float(low), float(high) if high > low else float(low) + 1)


def _named(losses: Mapping[str, Sequence[float]]) -> list[tuple[str, Sequence[float]]]:
    return sorted(losses.items())
