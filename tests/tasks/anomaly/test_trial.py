"""Trials: the benchmark's cut is what it says, a row is measured once, and every figure knows its rows."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from anomaly_figures import fractions_figure, samples_figure, significance_figure
from anomaly_reproduce import Order, rows, signals
from anomaly_trial import METHODS, REGION, Trial, dijet_trial, measure, toy_trial

from sundog.errors import FileError, OptionError
from sundog.simulate.densities import ResonantToy

DATA = Path(os.environ.get("SUNDOG_DATA", "../shared/data"))


class Oracle:
    """A detector that knows both densities."""

    def __init__(self, trial):
        self.toy = ResonantToy()

    def score_samples(self, events):
        return self.toy.log_likelihood_ratio(events.values, events.context)

    def sample_background(self, n, m, seed):
        draws = self.toy.background(n, seed)
        shift = torch.tensor(self.toy.slope) * (torch.as_tensor(m) - draws.context[:, 0])[:, None]
        return type(draws).from_arrays(draws.values + shift, m, context_names=("m",))


def test_a_row_is_measured_once(tmp_path, monkeypatch):
    trial = toy_trial(0, tmp_path, n=30_000, w=0.05, quick=True)
    inside = REGION.contains(trial.events)
    assert abs(trial.true_fraction - 0.05) < 4 * (0.05 * 0.95 / int(inside.sum())) ** 0.5
    monkeypatch.setitem(METHODS, "oracle", (Oracle, (), True))
    row = measure(trial, "oracle")
    # The optimum of the toy at 1e-2 is 9.57; a template of true background cannot be told from background.
    assert abs(row["sic 0.01"] - 9.57) < 4 * row["error 0.01"]
    assert abs(row["auc"] - 0.5) < 4 * row["auc_error"]
    monkeypatch.setitem(METHODS, "oracle", (None, (), True))
    assert measure(trial, "oracle") == json.loads(json.dumps(row))
    with pytest.raises(OptionError):
        measure(trial, "divination")


def test_a_wrong_template_is_seen(tmp_path, monkeypatch):
    class Shifted(Oracle):
        def sample_background(self, n, m, seed):
            return super().sample_background(n, np.asarray(m) + 0.5, seed)

    trial = toy_trial(1, tmp_path, n=30_000, w=0.05, quick=True)
    monkeypatch.setitem(METHODS, "shifted", (Shifted, (), True))
    row = measure(trial, "shifted")
    assert row["auc"] > 0.5 + 4 * row["auc_error"]


def test_what_cannot_be_reproduced(tmp_path):
    with pytest.raises(OptionError):
        Order("fame", tmp_path, tmp_path)
    with pytest.raises(FileError):
        dijet_trial(tmp_path, 0, tmp_path)
    with pytest.raises(OptionError):
        samples_figure({})
    assert not Order("sic", tmp_path, tmp_path).on_dijets


def test_figures_show_their_numbers():
    rows = [{"method": "ranode", "n_signal": n, "n_background": 121_352, "max_sic": 14.0} for n in (200, 772)]
    line = significance_figure(rows).axes[0].lines[0]
    assert np.allclose(line.get_ydata(), [14 * n / 121_352**0.5 for n in (200, 772)])
    learned = [{"fixed": None, "true_fraction": f, "w": f, "low_95": 0.9 * f, "high_95": 1.1 * f, "max_sic": 9.0}
               for f in (0.002, 0.006)]
    _, right = fractions_figure(learned + [{**learned[0], "fixed": w} for w in (0.02, 0.001)]).axes
    assert right.lines[0].get_xdata() == pytest.approx([0.1, 2.0])


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "dijets").exists(), reason="no LHC-Olympics-like events in SUNDOG_DATA")
def test_the_published_cut(tmp_path):
    trial = dijet_trial(DATA, 0, tmp_path)
    inside = int(REGION.contains(trial.events).sum())
    assert inside == 121_352 + 772 and trial.n_signal == 772
    assert len(trial.background) + len(trial.test_background) == 235_093 - 121_352
    assert REGION.contains(trial.test_background).all() and REGION.contains(trial.test_signal).all()


@pytest.mark.slow
def test_one_figure_from_start_to_end_on_the_toy(tmp_path):
    order = Order("sic", tmp_path, tmp_path, injections=1, quick=True)
    trial = order.trial(0)
    found = {method: measure(trial, method) for method in ("idealised", "sigma-context", "sigma-none")}
    assert isinstance(trial, Trial) and found["sigma-context"]["max_sic"] > 1
    assert found["sigma-context"]["cpu"] > found["sigma-context"]["own"] > 0
    parts = signals(Order("samples", tmp_path, tmp_path, injections=1, quick=True))
    assert len(samples_figure(parts).axes) == 8
    assert next(rows(Order("samples", tmp_path, tmp_path, quick=True)))["method"] == "ranode"
