"""The search on the command line: what it prints, what it writes, what it refuses."""

import json
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import sundog
from sundog.cli import app as whole
from sundog.cli.anomaly import METHODS, _told, app
from sundog.errors import DataError, OptionError, ShapeError, SundogError
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly.detectors import prior


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return str(ResonantToy().events(4000, 0.05, seed=0).save(tmp_path_factory.mktemp("anomaly") / "events.npz"))


def run(*words):
    return CliRunner().invoke(app, ["search", *words], catch_exceptions=True)


def test_scores_of_the_events_inside(file, tmp_path):
    done = run(file, "--mass", "m", "--window", "3.3", "3.7", "--method", "cwola", "--out", str(tmp_path))
    assert done.exit_code == 0 and done.stdout.startswith("cwola in 3.3 to 3.7 TeV")
    score, events = sundog.load(tmp_path / "scores.npz"), sundog.load(file)
    inside = (events.context > 3.3) & (events.context < 3.7)
    assert score.names == ("score",) and len(score) == int(inside.sum())


@pytest.mark.slow
def test_json_and_chosen_features(file):
    done = run(file, "--mass", "m", "--window", "3.3", "3.7", "--method", "cwola", "--json", "-f", "x0", "-f", "x2")
    facts = json.loads(done.stdout)
    assert (facts["method"], facts["lo"], facts["hi"], facts["unit"]) == ("cwola", 3.3, 3.7, "TeV")
    assert facts["lower_bound"] and 0 < facts["interval_95"][0] < 0.15


@pytest.mark.slow
def test_signal_density_is_written(file, tmp_path):
    done = run(file, "--mass", "m", "--window", "3.3", "3.7", "--out", str(tmp_path), "--json")
    facts = json.loads(done.stdout)
    assert 0 < facts["signal_fraction"] < 0.3 and facts["interval_95"][0] < facts["signal_fraction"]
    assert sundog.load(tmp_path / "signal.npz").names == ("x0", "x1", "x2", "x3")
    assert (tmp_path / "signal.png").stat().st_size > 1000


@pytest.mark.slow
def test_the_scaling_reaches_the_background(file):
    words = ["--mass", "m", "--window", "3.3", "3.7", "--method", "ranode", "--json", "-f", "x0", "-f", "x1"]
    plain, logit = (json.loads(run(file, *words, *more).stdout) for more in ((), ("--set", "background=logit")))
    assert plain["template_auc"] != logit["template_auc"]


@pytest.mark.parametrize(("control", "excess", "evidence", "said"), [
    (0.004, True, False, "excess that is not trusted, because the learned background is wrong"),
    (0.0, True, False, "excess that is not trusted, because unseen sideband events"),
    (0.0, False, False, "no excess"), (0.004, False, False, "no excess"), (0.0, True, True, "evidence for a signal"),
])
def test_the_words_of_the_verdict(control, excess, evidence, said):
    detector = SimpleNamespace(core_fraction_=SimpleNamespace(evidence=excess), template_report_=None,
                               control_=SimpleNamespace(low_95=control))
    facts = {"method": "ranode", "lo": 3.3, "hi": 3.7, "unit": "TeV", "control_fraction": 0.005, "lower_bound": False,
             "signal_fraction": 0.01, "interval_95": [0.005, 0.02], "core_interval_holds": True,
             "fraction_evidence": evidence}
    assert _told(SimpleNamespace(detector=detector), facts)[-1].startswith(said)


@pytest.mark.slow
def test_choose_tells_the_interpolations_apart(file, monkeypatch):
    monkeypatch.setattr("sundog.tasks.anomaly.background.sigma_field.PLAN", sundog.Plan(steps=20, batch=512))
    words = ["choose", file, "--mass", "m", "--window", "3.3", "3.7", "--tests", "1", "--set", "members=1", "--set",
             "fpr=0.1", "--set", "hidden=[16]", "--json"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    facts = json.loads(done.stdout)
    assert facts["best"] in facts["sic"] and sorted(facts["sic"]) == ["context", "linear", "none"]


def test_clear_errors(file, tmp_path):
    words = [file, "--mass", "m", "--window", "3.3", "3.7"]
    for more, match in ((["--method", "magic"], "unknown method"), (["--method", "cwola", "--set", "scaling=logit"],
                        "unknown setting of cwola"), (["--set", "plan=5"], "unknown setting of ranode"),
                        (["--method", "sigma", "--set", "plan=5"],
                        "no plan of a training"), (["--set", "seed=3"], "--set seed cannot be"),
                        (["-f", "x9"], "no feature 'x9'")):
        wrong = run(*words, *more)
        assert isinstance(wrong.exception, SundogError) and match in str(wrong.exception)
    for name in ("seed", "tests", "m"):
        wrong = CliRunner().invoke(app, ["choose", *words, "--set", f"{name}=3"])
        assert isinstance(wrong.exception, SundogError) and f"--set {name} cannot be" in str(wrong.exception)
    nameless = run(file, "--mass", "m_jj", "--window", "3.3", "3.7")
    assert isinstance(nameless.exception, ShapeError) and "no such column" in str(nameless.exception)


def test_event_weights_are_refused_with_the_reason(tmp_path):
    events = ResonantToy().events(2000, 0.05, seed=0)
    columns = np.column_stack([events.values, events.context, np.linspace(1, 2, 2000)])
    np.savetxt(tmp_path / "e.csv", columns, delimiter=",", header="x0,x1,x2,x3,m,w", comments="")
    done = run(str(tmp_path / "e.csv"), "--mass", "m", "--window", "3.3", "3.7", "--weights", "w")
    assert isinstance(done.exception, DataError) and "a search counts events" in str(done.exception)


def test_features_that_follow_the_mass_and_a_second_resonance_are_told(tmp_path):
    """Without a signal CWoLa counts per cent of it where a feature follows the mass: not trusted, with the reason."""
    events = ResonantToy().background(8000, 5)
    follows = events.values.clone()
    follows[:, 1] = 5 * (events.context[:, 0] - 3.5) + torch.randn(8000, generator=torch.Generator().manual_seed(0))
    signal = ResonantToy().signal(160, 6)
    second = signal.context.clone()
    second[80:] += 0.6
    for x, m, because in ((follows, events.context, "the cut sculpts the background"),
                          (torch.cat([events.values, signal.values]), torch.cat([events.context, second]),
                           "no smooth curve describes the selected spectrum")):
        path = str(sundog.Dataset.from_arrays(x, m, context_names=("m",)).save(tmp_path / "e.npz"))
        words = [path, "--mass", "m", "--window", "3.3", "3.7", "--method", "cwola", "--folds", "3", "--members", "1"]
        said = run(*words).stdout
        assert "not trusted, because" in said and because in said and "What to do: " in said
        facts = json.loads(run(*words, "--json").stdout)
        assert not facts["trusted"] and because in " ".join(facts["remarks"])


@pytest.mark.parametrize("word", ["search", "scan"])
def test_windows_at_an_edge_or_empty_are_refused_by_name(file, tmp_path, word, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for window, match in ((("2.9", "3.3"), "0 events below"), (("4.0", "4.7"), "0 above the window"),
                          (("4.55", "4.57"), "too few events in the signal region"),
                          (("5", "6"), "outside the spectrum"), (("3.7", "3.3"), "not a window")):
        words = [file, "--mass", "m", "--window", *window, "--method", "cwola"]
        wrong = run(*words) if word == "search" else CliRunner().invoke(whole, ["scan", *words])
        assert isinstance(wrong.exception, SundogError) and match in str(wrong.exception), window


@pytest.mark.slow
@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("prior", "ranode")])
def test_every_method_takes_the_same_words(method, tmp_path, monkeypatch):
    """-o -q --key --unit --set --json, and a file below SUNDOG_DATA; of ``prior`` and ``ranode`` see the others."""
    monkeypatch.setenv("SUNDOG_DATA", str(tmp_path))
    events = ResonantToy().events(6000, 0.05, seed=0)
    with h5py.File(tmp_path / "e.h5", "w") as h5:
        for name, column in zip((*events.names, "m"), torch.cat([events.values, events.context], 1).T):
            h5.create_dataset(f"tree/{name}", data=column.numpy())
    sets = {"cwola": "reach=0.3", "radot": "batch=200"}.get(method, 'plan={"steps": 5, "batch": 256}')
    done = run("e.h5", "--key", "tree", "--mass", "m", "--unit", "TeV", "--window", "3.3", "3.7", "--method", method,
               "--folds", "2", "-q", "--json", "-o", str(tmp_path / "out"), "--set", sets,
               *(() if method == "anode" else ("--members", "1")))
    assert done.exception is None, done.exception
    facts = json.loads(done.stdout)
    assert facts["method"] == method and facts["unit"] == "TeV" and set(facts) >= {"trusted", "signal_fraction"}
    assert facts["files"] == [str(tmp_path / "out" / "scores.npz")]


def test_a_prior_is_learned_once_and_searched_for(file, tmp_path, monkeypatch):
    monkeypatch.setattr(prior, "LEAST", 20)
    events = sundog.load(file)
    g, theta = torch.Generator().manual_seed(0), torch.linspace(-1, 1, 1200)[:, None]
    columns = torch.cat([theta + torch.randn(1200, 4, generator=g), 3 + theta.abs().flip(0), theta], 1)
    signals = sundog.Dataset.from_arrays(columns, names=(*events.names, "m", "at")).save(tmp_path / "signals.npz")
    learn = ["prior", str(signals), file, "--mass", "m", "-p", "at", "-o", str(tmp_path / "p.safetensors"), "--json",
             "--unit", "TeV"]
    learned = json.loads(CliRunner().invoke(app, learn, catch_exceptions=False).stdout)
    assert learned["parameters"] == ["at"] and learned["members"] == prior.MOST
    done = run(file, "--mass", "m", "--window", "3.3", "3.7", "--method", "prior", "--folds", "2", "--json", "--set",
               f"prior={learned['files'][0]}", "--members", "1")
    facts = json.loads(done.stdout)
    assert set(facts["parameters"]) == {"at"} and facts["told"].startswith("scored by the ") and facts["lower_bound"]
    without = run(file, "--mass", "m", "--window", "3.3", "3.7", "--method", "prior")
    assert isinstance(without.exception, OptionError) and "--set prior=FILE" in str(without.exception)
