"""The figures of a search show the numbers that they are given."""

import numpy as np
import pytest

from sundog.errors import OptionError, ShapeError
from sundog.reports.figures.anomaly import fraction_figure, sic_figure, signal_figure
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly import Profile, sic_band, sic_curve

LABELS = np.repeat([0, 1], 2000)


def curves(n):
    return [sic_curve(LABELS, LABELS + np.random.default_rng(i).normal(size=4000)) for i in range(n)]


def test_curves_end_at_their_statistical_cut():
    one, *several = curves(4)
    band = sic_band(several)
    ax = sic_figure({"one": one, "band": band}).axes[0]
    line, median = ax.lines[0], ax.lines[1]
    assert line.get_xdata().min() >= one.cut * (1 - 1e-9)
    assert line.get_ydata().max() == one.max_sic
    assert np.array_equal(median.get_ydata(), band.median)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one", "band", "random"]


def test_signal_has_one_panel_per_column_with_units():
    toy = ResonantToy()
    figure = signal_figure(toy.signal(300, 0), toy.background(500, 1), toy.signal(300, 2))
    assert [ax.get_xlabel() for ax in figure.axes] == ["x0", "x1", "x2", "x3", "m [TeV]"]
    with pytest.raises(ShapeError, match="do not fit the signal"):
        signal_figure(toy.signal(300, 0), toy.background(500, 1).with_context("x0"))


def test_fraction_curve_touches_zero_at_the_best():
    ax = fraction_figure(Profile(np.array([0.01, 0.02, 0.03]), np.array([1.0, 4.0, 2.0])), (0.0, 0.04), 0.018).axes[0]
    assert ax.lines[0].get_ydata().tolist() == [6.0, 0.0, 4.0]
    assert ax.lines[1].get_xdata()[0] == 0.018


def test_nothing_to_draw():
    with pytest.raises(OptionError, match="nothing to draw"):
        sic_figure({})
