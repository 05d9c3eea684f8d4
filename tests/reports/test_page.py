"""The page opens without network, holds every row and picture, and is written whole or not at all."""

import base64
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from matplotlib.figure import Figure

from sundog import Dataset, judge, separate
from sundog.errors import FileError
from sundog.reports.figures.verdict import marginals
from sundog.reports.html import picture_of
from sundog.reports.pages.separation import write_page
from sundog.reports.pages.verdict import measured, page

CHOSEN = {"events": ("marginals", "correlations"), "images": ("moments", "power spectrum", "Minkowski functionals")}
LOADERS = {"src", "href", "srcset", "data", "action", "poster", "background"}


class Elements(HTMLParser):
    """Collects elements, and checks that they nest."""

    void = {"meta", "img", "br", "link"}

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module", params=["events", "images"])
def report(request, tmp_path_factory):
    generator = torch.Generator().manual_seed(0)
    if request.param == "events":
        x = torch.randn(300, 3, generator=generator)
        options = {"names": ("<script>", "m_jj", "a & b"), "units": ("", "TeV", "")}
    else:
        x = torch.rand(60, 16, 16, generator=generator).cumsum(1)
        options = {"names": "flux", "units": "mJy"}
    verdict = judge(Dataset.from_arrays(x[: len(x) * 2 // 3], provenance={"note": "</script>"}, **options),
                    Dataset.from_arrays(1.5 * x[len(x) * 2 // 3 :], **options), splits=4,
                    statistics=(*CHOSEN[request.param], "sliced"))
    path = verdict.report(tmp_path_factory.mktemp("report") / "verdict.html")
    return verdict, path.read_text(encoding="utf-8")


def test_nothing_is_loaded_from_anywhere(report):
    _, text = report
    elements = Elements(text)
    loads = [value for _, a in elements.found for key, value in a.items() if key in LOADERS]
    assert loads and all(value.startswith("data:image/png;base64,") for value in loads)
    assert not re.search(r"url\(|@import|https?://", text)
    assert not [tag for tag, _ in elements.found if tag in {"link", "iframe", "object", "embed"}]


def test_every_picture_is_a_png_with_words_for_those_who_cannot_see_it(report):
    verdict, text = report
    pictures = [a for tag, a in Elements(text).found if tag == "img"]
    assert len(pictures) == len(verdict.evidence.curves) + 3
    for picture in pictures:
        assert base64.b64decode(picture["src"].split(",")[1]).startswith(b"\x89PNG")
        assert len(picture["alt"]) > 20


def test_every_row_is_there_and_marked_in_words(report):
    verdict, text = report
    body = text[text.index("<tbody>") : text.index("</tbody>")]
    assert body.count("<tr ") == len(verdict.rows)
    assert body.count("✗ FAIL") == len(verdict.failures) and body.count("✓ pass") == len(verdict.rows) - len(
        verdict.failures)
    assert f"seed {verdict.seed}" in text and "torch" in text and verdict.provenance["real"]["fingerprint"] in text


def test_names_cannot_break_the_page_and_the_numbers_are_readable_by_machines(report):
    verdict, text = report
    scripts = [a for tag, a in Elements(text).found if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "verdict"}]
    payload = re.search(r'id="verdict">(.*?)</script>', text, re.DOTALL).group(1)
    assert json.loads(payload) == json.loads(verdict.to_json())


def test_measured_values_carry_error_and_unit(report):
    verdict, text = report
    if verdict.kind == "events":
        row = verdict["marginals"]
        assert measured(row).startswith("real ") and "±" in measured(row) and measured(row) in text
        assert (row.worst == "m_jj") == ("TeV" in measured(row))
    assert measured(verdict["copies"]) == ""


@pytest.mark.slow
def test_a_missing_folder_is_named_and_nothing_is_left_behind(report, tmp_path):
    verdict, _ = report
    with pytest.raises(FileError, match="cannot write"):
        verdict.report(tmp_path / "absent" / "x.html")
    assert list(tmp_path.iterdir()) == []


def test_a_row_far_out_that_passes_is_not_shown_as_any_other(report):
    verdict, _ = report
    rows = [replace(verdict.rows[0], passed=True, pull=pull, threshold=0.0003) for pull in (4.6, 1.0)]
    text = page(replace(verdict, rows=tuple(rows)))
    assert text.count("~ far") == 1 and text.count("✓ pass") == 1
    assert "p is not below 0.0003" in text


def test_a_log_axis_of_two_decades_has_few_numbers_that_do_not_overlap():
    figure = Figure(figsize=(3, 3))
    ax = figure.subplots()
    ax.plot([0.015, 0.6], [1e-6, 1e3])
    ax.set(xscale="log", yscale="log")
    picture_of("", figure, "")
    figure.canvas.draw()
    shown = [label.get_text() for label in ax.get_xticklabels(which="both") if label.get_text()]
    assert {"0.02", "0.05", "0.1"} <= set(shown) and len(shown) < 9


@pytest.mark.parametrize("repeats", [0, 1])
def test_a_separation_speaks_no_words_of_the_code(tmp_path, repeats):
    noise = torch.randn(20, 16, 16, generator=torch.Generator().manual_seed(0))
    found = separate(3 * torch.eye(16) + noise[0], noise[1:], J=2, eras=1, iterations=2, polish=0, draws=12,
                     repeats=repeats)
    text = write_page(found, tmp_path / "page.html", unit="MJy/sr").read_text()
    said = re.sub(r"<script.*?</script>|<style.*?</style>|src=\"[^\"]*\"", "", text, flags=re.DOTALL)
    assert not re.search(r"Match|evaluations|\bera\b|iterations|[{}]|_", said)
    assert "contaminated again" in said


def test_weights_reach_the_marginals():
    """Fakes too wide by 1.4, weighted back to the truth: their points stand within errors of the true density."""
    generator = torch.Generator().manual_seed(0)
    real, fake = torch.randn(2000, 1, generator=generator), 1.4 * torch.randn(2000, 1, generator=generator)
    weights = torch.exp(-0.5 * fake[:, 0] ** 2 * (1 - 1 / 1.4**2))
    for given, agree in ((weights, True), (None, False)):
        evidence = judge(real, fake, fake_weights=given, statistics="deciding", splits=4).evidence
        points = marginals(evidence).axes[0].containers[0][0].get_xydata()
        step = points[1, 0] - points[0, 0]
        off = points[:, 1] - torch.exp(-0.5 * torch.from_numpy(points[:, 0]) ** 2).numpy() / (2 * math.pi) ** 0.5
        error = (0.4 / 2000 / step) ** 0.5
        assert (abs(off).max() < 5 * error) == agree
