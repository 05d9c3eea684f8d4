"""Figures of labelled scattering coefficients: one panel per kind, one column of points per combination of scales.

All figures are drawn from tables of columns, as the results return them; of many maps they show mean and spread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import Colormap, LinearSegmentedColormap, ListedColormap, Normalize
from matplotlib.figure import Figure

from sundog.errors import OptionError
from sundog.reports.figures.verdict import BAND, GREY, INK, _figure, _plain
from sundog.statistics.harmonics.labels import HarmonicCoefficients
from sundog.statistics.scattering.labels.coefficients import ScatteringCoefficients
from sundog.statistics.scattering.labels.cross import CrossCoefficients
from sundog.statistics.scattering.labels.reduction import ReducedCoefficients
from sundog.statistics.scattering.transform import ScatteringMeans

Table = Mapping[str, np.ndarray]
WHEEL = LinearSegmentedColormap.from_list(  # angles come back to where they start
    "wheel", ["#2f5d8a", "#37a39a", "#c9a227", "#d9731a", "#a8325e", "#6b4a9c", "#2f5d8a"]
)
NAMES = {
    "S1": "$S_1$", "S2": "$S_2$", "S3": "$S_3$", "S4": "$S_4$", "S11": "$S_{11}$", "S00": "$S_{00}$", "S01": "$S_{01}$",
    "C00": "$C_{00}$", "C01": "$C_{01}$", "Cphase": "$C_{\\rm phase}$", "L": "$L$ (low-pass)",
}  # fmt: skip
MANY = 60  # columns of points; beyond, only changes of the first octave are marked


@singledispatch
def coefficients(c: Any) -> Figure:
    """Figure of labelled coefficients: one panel per kind; of many maps the mean and the spread.

    Example
    -------
    >>> import torch
    >>> from sundog.statistics import ScatteringCovariance
    >>> x = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> len(coefficients(ScatteringCovariance((16, 16), J=2, isotropic=True)(x).normalised()).axes)  # and a colour bar
    5
    """
    raise OptionError("no figure for this object", got=type(c).__name__,
                      expected=" | ".join(kind.__name__ for kind in coefficients.registry if kind is not object),
                      do="pass what a scattering transform returned")


def covariances(table: Table, L: int) -> Figure:
    """S1 to S4 of `ScatteringCoefficients`, filled for real and hollow for imaginary parts.

    Colour is the orientation for S1 and S2, the difference of the first two orientations for S3 and S4.
    """
    l1, l2, l3 = (table[name] for name in ("l1", "l2", "l3"))
    kind = table["kind"]
    turn = np.where(kind == "S3", l3 - l2, np.where(kind == "S4", l2 - l1, l1)) % L
    scales = {"S1": ("j1",), "S2": ("j1",), "S3": ("j2", "j3"), "S4": ("j1", "j2", "j3")}
    return _panels(table, scales, np.where(np.maximum(l1, l2) < 0, 0, turn), L)


def cross_covariances(table: Table, L: int) -> Figure:
    """S2 to S4 of `CrossCoefficients`; -1 stands for the octave that a kind does not have.

    Colour is the orientation for S2, for S3 the difference of its two orientations, for S4 that of the first two.
    """
    l1, l2, l3 = (table[name] for name in ("l1", "l2", "l3"))
    kind = table["kind"]
    turn = np.where(kind == "S3", l3 - np.maximum(l1, l2), np.where(kind == "S4", l2 - l1, l1)) % L
    scales = {"S2": ("j1",), "S3": ("j1", "j2", "j3"), "S4": ("j1", "j2", "j3")}
    return _panels(table, scales, np.where(np.maximum(l1, l2) < 0, 0, turn), L)


def harmonics(table: Table, L: int) -> Figure:
    """All kinds of `HarmonicCoefficients`; colour is l2 - l1, or the orientation where they agree. Lags stand apart."""
    l1, l2 = table["l1"], table["l2"]
    turn = np.where(l1 < 0, 0, np.where(l1 == l2, l1, l2 - l1) % (2 * L if l2.max() >= L else L))
    one, two = ("j1", "n"), ("j1", "j2", "n")
    scales = {"S11": one, "S00": one, "S01": one, "C00": two, "C01": two, "Cphase": two, "L": ("j1", "p1", "p2")}
    return _panels(table, scales, turn, 2 * L if turn.max() >= L else L)


def means(table: Table, L: int) -> Figure:
    """S1 and S2 of the wavelet scattering transform, given as logarithms; colour is l2 - l1, or l1 for S1."""
    turn = np.where(table["l2"] >= 0, table["l2"] - table["l1"], table["l1"]) % L
    named = {**table, "part": np.full(len(turn), "re")}
    titles = {"S1": "$\\log_2 S_1$", "S2": "$\\log_2 S_2 / S_1$"}
    return _panels(named, {"S1": ("j1",), "S2": ("j1", "j2")}, turn, L, titles)


def reduced(table: Table) -> Figure:
    """Reduced coefficients by differences of octaves and order of the cosine; colour is the frequency of the angles."""
    f = np.abs(np.column_stack([table[name] for name in ("f1", "f2", "f3")])).sum(1)
    scales = {"S1": ("q",), "S2": ("q",), "S3": ("b", "q"), "S4": ("a", "b", "q")}
    f = f // 2  # differs by 2 within a kind and part
    return _panels(table, scales, f, int(f.max()) + 1, colours=colormaps["viridis"], shade="half the sum of |f|")


@coefficients.register
def _(c: ScatteringCoefficients) -> Figure:
    return covariances(c.table(), c.labels.L)


@coefficients.register
def _(c: CrossCoefficients) -> Figure:
    return cross_covariances(c.table(), c.labels.L)


@coefficients.register
def _(c: HarmonicCoefficients) -> Figure:
    return harmonics(c.table(), c.labels.L)


@coefficients.register
def _(c: ReducedCoefficients) -> Figure:
    return reduced(c.table())


@coefficients.register
def _(c: ScatteringMeans) -> Figure:
    first, ratio = c.logs()
    return means(ScatteringMeans(first, ratio.movedim(-2, -3)).table(), c.s1.shape[-1])


def _panels(
    table: Table,
    scales: Mapping[str, Sequence[str]],
    turn: np.ndarray,
    turns: int,
    titles: Mapping[str, str] = NAMES,
    *,
    colours: Colormap = WHEEL,
    shade: str = "angle index",
) -> Figure:
    shades = ListedColormap([colours(i / turns) for i in range(turns)])
    kinds = [kind for kind in scales if (table["kind"] == kind).any()]
    wide = [kind for kind in kinds if len(scales[kind]) > 1]
    narrow = [kind for kind in kinds if len(scales[kind]) == 1]
    rows = [narrow] * bool(narrow) + [[kind] for kind in wide]
    figure = _figure(9.6, 2.5 * len(rows) + 0.3)
    subfigures = np.atleast_1d(np.asarray(figure.subfigures(len(rows), 1)))
    for subfigure, row in zip(subfigures, rows):
        axes = subfigure.subplots(1, len(row), squeeze=False)[0]
        for ax, kind in zip(axes, row):
            drawn = _panel(ax, table, table["kind"] == kind, scales[kind], turn, shades)
            ax.set_title(titles.get(kind, kind), fontsize=10, color=INK, loc="left")
        if row is rows[0]:
            bar = subfigure.colorbar(drawn, ax=list(axes), fraction=0.04, pad=0.01)
            bar.set_label(shade, fontsize=8, color=INK)
            bar.ax.tick_params(labelsize=7, colors=INK, length=0)
            bar.set_ticks(list(range(0, turns, -(-turns // 12))))
            bar.outline.set_visible(False)
    return figure


def _panel(
    ax: Axes, table: Table, at: np.ndarray, scales: Sequence[str], turn: np.ndarray, shades: ListedColormap
) -> PathCollection:
    """Points of one kind: a column for each combination of scales, spread by angle inside it."""
    _plain(ax)
    columns = np.column_stack([table[name][at] for name in scales])
    unique, column = np.unique(columns, axis=0, return_inverse=True)
    values = table["value"][..., at].reshape(-1, int(at.sum()))
    mean, spread = values.mean(0), values.std(0)
    norm = Normalize(-0.5, shades.N - 0.5)
    x = column.ravel() + 0.7 * ((turn[at] + 0.5) / shades.N - 0.5)
    ax.axhline(0, color=GREY, lw=0.6, zorder=0)
    if len(values) > 1:
        ax.vlines(x, mean - spread, mean + spread, color=GREY, lw=0.7, alpha=0.6, zorder=1)
    imaginary = table["part"][at] == "im"
    size = 16 if len(unique) <= MANY else 6
    rims = shades(norm(turn[at][imaginary]))
    ax.scatter(x[imaginary], mean[imaginary], s=size, facecolors="none", edgecolors=rims, lw=0.8, zorder=2)
    filled = turn[at][~imaginary]
    drawn = ax.scatter(x[~imaginary], mean[~imaginary], s=size, c=filled, cmap=shades, norm=norm, lw=0, zorder=3)
    if mean.min() > 0 and mean.max() / mean.min() > 30:
        ax.set_yscale("log")
    _scale_labels(ax, unique, scales)
    return drawn


def _scale_labels(ax: Axes, unique: np.ndarray, scales: Sequence[str]) -> None:
    """Ticks below the columns: all their octaves, or the first one only where there are many columns."""
    ax.set_xlim(-0.8, len(unique) - 0.2)
    first = np.flatnonzero(np.r_[True, np.diff(unique[:, 0]) != 0])
    if len(scales) > 1:
        for place in first[1:]:
            ax.axvline(place - 0.5, color=BAND, lw=1, zorder=0)
    if len(unique) <= MANY:
        labels = ["\n".join(str(n) for n in row) for row in unique]
        ax.set_xticks(range(len(unique)), labels, fontsize=7 if len(unique) > 20 else 8)
        ax.set_xlabel(" / ".join(scales), fontsize=8)
    else:
        ax.set_xticks(first, [f"{scales[0]}={unique[i, 0]}" for i in first], fontsize=8)
        ax.set_xlabel(", ".join(scales), fontsize=8)
