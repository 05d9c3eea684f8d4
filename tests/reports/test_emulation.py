"""The page of an emulator."""

import json
import re

import pytest
import torch

from sundog import cli
from sundog.data.dataset import Dataset
from sundog.random import stream
from sundog.reports.pages.emulation import calibration_figure, region_figure, run_figure
from sundog.tasks.emulate import emulate


def wave(c, points=30):
    t = torch.linspace(0, 1, points)
    return torch.sin(3 * c[:, :1] * t) * torch.exp(-c[:, 1:2] * t)


def runs(outputs=wave, n=24):
    c = torch.rand(n, 2, generator=stream(0, "page"))
    return Dataset.from_arrays(outputs(c), c, held_out_fraction=0, context_names=["w", "<k>"])


def test_the_page_shows_runs_left_out(tmp_path):
    found = emulate(runs(), families=["ntk"])
    text = found.report(tmp_path / "page.html").read_text()
    assert text.count("data:image/png") == 4
    assert "&lt;k&gt;" in text and "<k>" not in text
    numbers = json.loads(re.search(r'id="emulation">(.*?)</script>', text, re.S).group(1))
    assert numbers["best"] == found.best.name
    worst = int(found.best.errors.argmax())
    assert f"Run {worst}:" in text  # the worst run is the one shown


def test_errors_of_the_page_are_those_of_the_table():
    found = emulate(runs(), families=["ntk"])
    unit = found.data.values.double().std(0, unbiased=False)
    used = unit > 1e-6
    error = ((found.best.mean.double() - found.data.values.double())[:, used] / unit[used]).square().mean(1).sqrt()
    assert torch.allclose(error, found.best.errors, rtol=1e-6)


@pytest.mark.parametrize("outputs", [
    lambda c: c[:, :1, None] * torch.linspace(0, 1, 12) * torch.ones(12, 1) + c[:, 1:, None] ** 2,
    lambda c: torch.stack([wave(c), 2 + wave(c)], 1),
], ids=["images", "channels"])
def test_other_shapes_are_drawn(outputs):
    found = emulate(runs(outputs, 12), families=["ntk"])
    for figure in (run_figure(found, 0), region_figure(found), calibration_figure(found)):
        figure.canvas.draw()


def test_the_word_writes_it(tmp_path):
    runs().save(tmp_path / "runs.npz")
    page = tmp_path / "page.html"
    assert cli.main(["emulate", str(tmp_path / "runs.npz"), "--family", "ntk", "--report", str(page)]) == 0
    assert "answers best" in page.read_text()
