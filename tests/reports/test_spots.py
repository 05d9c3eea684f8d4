"""The page of the spot experiments holds every figure, and the demonstration writes it."""

import re

import pytest
import torch

from sundog.demos import DEMOS
from sundog.demos import blobs as demo
from sundog.reports.pages.spots import SpotExperiment, pictures, write_spots
from sundog.simulate.blobs import blobs
from sundog.tasks.spots import spot_statistics

FIGURES = ["Images", "Pixel histogram", "Marginal sums", "Peaks", "Stacked peaks", "Fourier plane", "Power spectrum",
           "Matched filter"]


def experiment(fake=None):
    images = [blobs(40, 3, size=16, seed=s, sigma_pixel=1.5).values for s in range(3)]
    images[2] = images[2] if fake is None else fake
    found = [spot_statistics(x, sigma_pixel=1.5, threshold=0.3) for x in images]
    return SpotExperiment("3 spots", "a <note>", images[0], images[2], *found)


def test_page_holds_every_figure_and_number(tmp_path):
    one = experiment()
    text = write_spots([one], tmp_path / "page.html", "summary").read_text()
    assert re.findall(r"<h3>(.*?)</h3>", text) == FIGURES and text.count("data:image/png;base64,") == len(FIGURES)
    assert f"{float(one.fake.peaks.value):.2f} ± {float(one.fake.peaks.error):.2f}" in text
    assert "a &lt;note&gt;" in text and "http" not in text.replace("http-equiv", "")


@pytest.mark.slow
def test_fakes_without_peaks_are_drawn():
    assert [p.title for p in pictures(experiment(torch.zeros(40, 16, 16)))] == FIGURES


@pytest.mark.slow
def test_demo_goes_the_whole_way_and_goes_on_where_it_was(tmp_path, monkeypatch):
    assert "blobs" in DEMOS
    for name, value in {"SETS": (1, 10), "IMAGES": 2000, "FAKES": 200, "QUICK_STEPS": 2}.items():
        monkeypatch.setattr(demo, name, value)
    lines = [list(demo.run_demo(tmp_path, quick=True)) for _ in range(2)]
    assert (tmp_path / "report.html").read_text().count("data:image/png;base64,") == 16
    assert [line for line in lines[0] if "peaks" in line] == [line for line in lines[1] if "peaks" in line]
    assert len([line for line in lines[0] if "peaks" in line]) == 4
    assert any("you should see" in line for line in lines[0]) and any("10 spots: rms" in line for line in lines[0])
