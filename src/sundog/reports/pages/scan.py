"""The page of a scan: spectrum with fit and pulls, p-values of the windows, what the excess looks like.

Each figure function returns one matplotlib Figure and touches no global state.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import norm

from sundog.data.atomic import write_text
from sundog.reports.figures.anomaly import signal_figure
from sundog.reports.figures.verdict import FAKE, GREY, INK, REAL
from sundog.reports.html import Picture, picture_of, render
from sundog.tasks.anomaly.regions import mass_column
from sundog.tasks.anomaly.scan.bump import BumpFit
from sundog.tasks.anomaly.scan.found import ScanResult, WindowResult, measured, percent
from sundog.tasks.anomaly.scan.significance import LookElsewhere

FEATURE_BINS = 24


def spectrum_figure(fits: dict[str, BumpFit], name: str, unit: str) -> Figure:
    """Spectra with the curves through their sidebands, and below the pulls of the last one; the window is shaded.

    fits : label -> fit, on common edges, e.g. before and after the cut
    name, unit : of the mass

    Example
    -------
    >>> from sundog.tasks.anomaly import SignalRegion
    >>> from sundog.tasks.anomaly.scan.bump import common_edges, fit_bump
    >>> m, region = np.random.default_rng(0).uniform(3, 4.6, 5000), SignalRegion(3.3, 3.7)
    >>> len(spectrum_figure({"all": fit_bump(m, region, common_edges(m, [region]))}, "m_jj", "TeV").axes)
    2
    """
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    last = list(fits.values())[-1]
    for (label, fit), colour in zip(fits.items(), (GREY, REAL) if len(fits) > 1 else (REAL,)):
        width = np.diff(fit.edges)
        middle = 0.5 * (fit.edges[1:] + fit.edges[:-1])
        some = fit.counts > 0
        top.errorbar(middle[some], (fit.counts / width)[some], (fit.counts**0.5 / width)[some], fmt="o", ms=3, lw=0.9,
                     color=colour, label=label)
        top.plot(middle, fit.background / width, color=FAKE, lw=1.3,
                 label="fit beside the window" if fit is last else None)
    lowest = min(float((fit.counts / np.diff(fit.edges))[fit.counts > 0].min()) for fit in fits.values())
    top.set(yscale="log", ylabel=f"events per {unit}" if unit else "events per unit of mass", ylim=(0.5 * lowest, None))
    top.legend(frameon=False, fontsize=8)
    middle = 0.5 * (last.edges[1:] + last.edges[:-1])
    colours = np.where(last.inside, FAKE, REAL)
    bottom.bar(middle, last.pulls, np.diff(last.edges), color=colours, alpha=0.75, lw=0)
    bottom.axhline(0, color=INK, lw=0.8)
    bottom.set(ylabel="pull", xlabel=f"{name} [{unit}]" if unit else name)
    for ax in (top, bottom):
        ax.axvspan(last.region.lo, last.region.hi, color=FAKE, alpha=0.08, lw=0)
    return figure


def p_value_figure(found: ScanResult) -> Figure:
    """Local p-value of every window at its place in the spectrum, the global one of the best, and sigma lines."""
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    ax = figure.subplots()
    for i, window in enumerate(found.windows):
        middle = window.region.centre
        ax.errorbar(middle, window.p_local, xerr=window.region.width / 2, fmt="o", ms=4, lw=1.4,
                    color=REAL if window.trusted else GREY, label="local" if i == 0 else None)
        if not window.trusted:
            ax.annotate("not trusted", (middle, window.p_local), fontsize=7, color=GREY, xytext=(3, 4),
                        textcoords="offset points")
    best = found.best
    ax.plot(best.region.centre, best.p_global, "s", ms=6, mfc="none", mec=FAKE, label="best window, global")
    lowest = min(1e-3, *(window.p_local for window in found.windows), best.p_global)
    _sigma_lines(ax, lowest)
    name, unit = found.events.context_names[0], best.region.unit
    ax.set(yscale="log", ylim=(lowest / 5, 1.5), ylabel="p-value", xlabel=f"{name} [{unit}]" if unit else name)
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def look_elsewhere_figure(look: LookElsewhere) -> Figure:
    """The largest significance in each background-only scan, and the one found."""
    figure = Figure(figsize=(4.4, 3.0), layout="constrained")
    ax = figure.subplots()
    largest = look.z_null.max(1)
    ax.hist(largest, 40, color=GREY, label=f"{len(largest)} scans of background alone")
    ax.axvline(look.z.max(), color=FAKE, lw=1.6, label="found")
    ax.set(xlabel="largest significance of a scan [σ]", ylabel="scans")
    ax.legend(frameon=False, fontsize=8)
    return figure


def excess_figure(window: WindowResult, found: ScanResult) -> Figure:
    """Each feature of the events that pass the cut: inside the window, beside it (scaled), and the difference."""
    events = found.events
    inside = window.region.contains(mass_column(events)).numpy()
    x = events.values.numpy()
    picked, beside = x[window.passed & inside], x[window.passed & ~inside]
    figure = Figure(figsize=(2.6 * x.shape[1], 2.7), layout="constrained")
    scale = window.fit.expected / max(len(beside), 1)
    labels = [f"{n} [{u}]" if u else n for n, u in zip(events.names, events.units)]
    for j, (ax, label) in enumerate(zip(figure.subplots(1, x.shape[1], squeeze=False)[0], labels)):
        low, high = np.quantile(np.concatenate([picked[:, j], beside[:, j]]), [0.005, 0.995])
        edges = np.linspace(low, high, FEATURE_BINS + 1)
        counts, base = np.histogram(picked[:, j], edges)[0], scale * np.histogram(beside[:, j], edges)[0]
        middle = 0.5 * (edges[1:] + edges[:-1])
        ax.stairs(base, edges, fill=True, color=GREY, alpha=0.5, label="beside, scaled")
        ax.errorbar(middle, counts, counts**0.5, fmt="o", ms=3, lw=0.9, color=INK, label="inside")
        ax.stairs(np.maximum(counts - base, 0), edges, color=FAKE, lw=1.3, label="excess")
        ax.set(xlabel=label, ylim=(0, None))
    figure.axes[0].set_ylabel("events")
    figure.axes[0].legend(frameon=False, fontsize=7)
    return figure


def write_scan_report(found: ScanResult, path: str | Path) -> Path:
    """The path, after one HTML file was written there atomically; style, pictures and numbers (JSON) are inside.

    Raises
    ------
    FileError : the folder is missing or not writable.
    """
    filters = {"p": lambda value: f"{value:.2g}",
               "sentence": lambda said: said[:1].upper() + said[1:]}  # jinja's capitalize would write tev and auc
    return write_text(path, render("scan.html", found.facts(), filters=filters, found=found,
                                   pictures=list(pictures(found)), percent=percent, measured=measured))


def pictures(found: ScanResult) -> Iterator[Picture]:
    """The pictures of the page, in reading order."""
    best, name, unit = found.best, found.events.context_names[0], found.best.region.unit
    share = f"{100 * found.identity['efficiency']:g} %"
    spectra = {"all events": best.before, f"after the cut ({share})": best.fit}
    yield picture_of("Spectrum of the best window", spectrum_figure(spectra, name, unit),
                     f"All events, and those that pass the cut at {share} of the background. The curves are fitted "
                     "outside the shaded window only. Below: (count - curve) / sqrt(curve) after the cut.")
    yield picture_of("p-values", p_value_figure(found),
                     "Probability of such an excess without a signal, window by window; bars span the windows. The "
                     "square holds for the best window in view of all others.")
    yield picture_of("Elsewhere", look_elsewhere_figure(found.look),
                     "How significant the best window of a scan is where there is only background.")
    yield picture_of("What passes the cut", excess_figure(best, found),
                     "Features of the selected events inside the window, and of those beside it, scaled to the "
                     "background expected inside.")
    if best.signal is not None:
        inside = found.events[best.region.contains(found.events)]
        yield picture_of("The learned signal", signal_figure(best.signal, inside),
                         "Draws of the signal density that was learned together with its fraction, before any cut.")
    for window in found.windows:
        if window is not best:
            yield picture_of(f"Spectrum of {window.region.lo:g} to {window.region.hi:g} {unit}".rstrip(),
                             spectrum_figure({"after the cut": window.fit}, name, unit),
                             f"{window.fit}; {window.sculpting}.")


def _sigma_lines(ax: Axes, lowest: float) -> None:
    highest = int(norm.isf(max(lowest, 1e-300)))
    for sigma in range(1, highest + 1, 1 + highest // 9):  # nine lines at most
        p = float(norm.sf(sigma))
        ax.axhline(p, color=GREY, lw=0.7, ls=":")
        ax.annotate(f"{sigma} sigma", (1, p), xycoords=("axes fraction", "data"), fontsize=7, color=GREY,
                    ha="right", va="bottom")
