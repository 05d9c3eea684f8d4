"""Figures show the numbers they were given, on one scale, and touch no global state of matplotlib."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from sundog.errors import OptionError
from sundog.reports.figures import verdict as figures
from sundog.verdicts.evidence import Curve, Evidence


def curve(real, fake, axis, names=None):
    real, fake = torch.as_tensor(real).double(), torch.as_tensor(fake).double()
    names = names or tuple(f"P(k={i})" for i in range(len(real)))
    return Curve("power spectrum", "k", "P(k)", names, None if axis is None else torch.as_tensor(axis).double(),
                 real, 0.1 * real.abs(), fake, 0.1 * fake.abs())


@pytest.mark.slow
def test_importing_draws_nothing_and_leaves_pyplot_alone():
    code = "import sys, sundog.reports.pages.verdict; assert 'matplotlib.pyplot' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_ratio_panel_holds_the_ratio():
    figure = figures.curve(curve([4.0, 2.0, 1.0], [2.0, 2.0, 2.0], [1, 2, 3]))
    _, bottom = figure.axes
    assert np.allclose(bottom.lines[-1].get_ydata(), [0.5, 1.0, 2.0])
    assert bottom.get_ylabel() == "fake / real"


def test_a_curve_through_zero_gets_pulls():
    figure = figures.curve(curve([4.0, -2.0, 1.0], [4.0, -2.0, 2.0], [1, 2, 3]))
    _, bottom = figure.axes
    assert bottom.get_ylabel() == "pull"
    assert bottom.lines[-1].get_ydata()[2] == pytest.approx(1 / np.hypot(0.1, 0.2))


def test_an_axis_that_restarts_gives_one_panel_per_part():
    names = ("V0 at -1 sigma", "V0 at 0 sigma", "V1 at -1 sigma", "V1 at 0 sigma")
    figure = figures.curve(curve([1.0, 2, 3, 4], [1.0, 2, 3, 4], [-1, 0, -1, 0], names))
    assert [ax.get_title() for ax in figure.axes if ax.get_title()] == ["V0", "V1"]


def test_components_without_an_axis_are_named():
    figure = figures.curve(curve([0.1, 0.2], [0.1, 0.3], None, ("a x b", "a x c")))
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["a x b", "a x c"]


def test_images_share_the_scale_of_the_real_ones():
    generator = torch.Generator().manual_seed(0)
    evidence = Evidence((), torch.rand(5, 8, 8, generator=generator), 100 * torch.rand(3, 8, 8, generator=generator),
                        ("dust",), ("uK",))
    figure = figures.images(evidence)
    drawn = [ax.images[0] for ax in figure.axes if ax.images]
    assert len(drawn) == 8
    assert len({(image.norm.vmin, image.norm.vmax) for image in drawn}) == 1 and drawn[0].norm.vmax <= 1
    assert any(ax.get_ylabel() == "dust [uK]" for ax in figure.axes)


def test_marginal_ratio_is_one_for_equal_samples():
    x = torch.randn(4000, 2, generator=torch.Generator().manual_seed(1))
    figure = figures.marginals(Evidence((), x, x, ("a", "m"), ("", "TeV")))
    lower = [ax for ax in figure.axes if ax.get_xlabel()]
    assert [ax.get_xlabel() for ax in lower] == ["a", "m [TeV]"]
    ratio = lower[0].lines[-1].get_ydata()
    assert np.nanmax(np.abs(ratio - 1)) < 1e-12


@pytest.mark.parametrize("columns", [2, 9])
def test_corner_plots_cope_with_many_and_with_discrete_columns(columns):
    x = torch.poisson(torch.full((200, columns), 1.0), generator=torch.Generator().manual_seed(2))
    figure = figures.corner(Evidence((), x, x + 1, tuple(f"c{i}" for i in range(columns)), ("",) * columns))
    assert len(figure.axes) == min(columns, 6) ** 2
    figure.draw_without_rendering()


def test_loss_history_marks_the_kept_step():
    history = SimpleNamespace(steps=[10, 20, 30], losses={"flow": [3.0, 2.0, 1.0]}, scores=[2.5, 2.0, 2.2],
                              best_step=20)
    figure = figures.loss_history(history)
    assert isinstance(figure, Figure)
    kept = figure.axes[0].lines[-1]
    assert (kept.get_xdata()[0], kept.get_ydata()[0]) == (20, 2.0)
    with pytest.raises(OptionError, match="empty"):
        figures.loss_history(SimpleNamespace(steps=[], losses={}, scores=[], best_step=0))
