"""The page of a scan says what the scan found, in numbers a machine can read and pictures a person can."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from sundog.reports.pages.scan import (
    excess_figure,
    look_elsewhere_figure,
    p_value_figure,
    spectrum_figure,
    write_scan_report,
)
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly import RAnode, SignalRegion, TemplateReport, scan

TOY = ResonantToy()
WINDOWS = (SignalRegion(3.3, 3.7), SignalRegion(3.5, 3.9))


@pytest.fixture(scope="module")
def found():
    return scan(TOY.events(8000, 0.02, seed=0), WINDOWS, "cwola", efficiency=0.05, folds=2, control=False,
                members=1, pseudo_experiments=100)


def test_the_spectrum_shows_counts_curve_and_pulls(found):
    fit = found.best.fit
    top, bottom = spectrum_figure({"all": found.best.before, "cut": fit}, "m", "TeV").axes
    heights = [patch.get_height() for patch in bottom.patches if patch.get_height() != 1.0]
    assert np.allclose(sorted(heights)[-1], fit.pulls.max())
    curve = top.lines[-1].get_ydata()
    assert np.allclose(curve * np.diff(fit.edges), fit.background)
    assert top.get_yscale() == "log" and bottom.get_xlabel() == "m [TeV]"


def test_p_values_have_sigma_lines(found):
    ax = p_value_figure(found).axes[0]
    drawn = {round(float(y), 12) for line in ax.lines for y in np.atleast_1d(line.get_ydata())}
    assert {round(w.p_local, 12) for w in found.windows} <= drawn and round(found.best.p_global, 12) in drawn
    said = [text.get_text() for text in ax.texts]
    assert "1 sigma" in said and f"{int(found.best.z_local) + 2} sigma" not in said and len(said) > 2


def test_excess_and_look_elsewhere(found):
    assert len(excess_figure(found.best, found).axes) == 4
    line = look_elsewhere_figure(found.look).axes[0].lines[0]
    assert line.get_xdata()[0] == found.look.z.max()


@pytest.mark.slow
def test_the_page_is_whole_and_says_it(found, tmp_path):
    page = write_scan_report(found, tmp_path / "scan.html").read_text()
    stored = json.loads(re.search(r'id="scan">(.*?)</script>', page, re.DOTALL)[1].replace("<\\/", "</"))
    assert stored["results"][0]["observed"] == found.best.fit.observed and stored["evidence"] == found.evidence
    assert "A resonance" in page and f"{found.best.z_global:.1f} σ" in page
    assert page.count("data:image/png;base64,") == 5 and "http" not in page.split("<body>")[1].split("<footer>")[0]


@pytest.mark.slow
def test_page_and_text_use_the_same_words(found, tmp_path):
    copies = TemplateReport(0.43, 0.002, {"x0": 0.1}, 1000)
    windows = [replace(w, before=replace(w.before, p_fit=1e-9), template=copies) for w in found.windows]
    doubted = replace(found, windows=tuple(windows))
    page = write_scan_report(doubted, tmp_path / "scan.html").read_text()
    assert doubted.verdict == "not trusted" and "TeV" in doubted.summary() and doubted.summary()[1:] in page
    assert "An excess that is not trusted" in page and "the template is copies of the events" in page
    assert copies.quality in page and copies.quality.upper() in str(copies)


@pytest.mark.slow
def test_the_learned_signal_joins_the_page(found, tmp_path):
    search = RAnode(WINDOWS[0], background=TOY.log_background, components=(1,), folds=2).fit(found.events)
    told = found.with_signal(search)
    assert told.best.fraction.low_95 < 0.06 < told.best.fraction.high_95 * 1.5 and told.best.fraction_evidence
    page = told.report(tmp_path / "s.html").read_text()
    assert page.count("data:image/png;base64,") == 6 and "Signal fraction inside the window" in page
    with pytest.raises(Exception, match="does not belong to the best window"):
        found.with_signal(RAnode(WINDOWS[1]))
