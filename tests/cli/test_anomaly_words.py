"""The search on the command line: what it prints, what it writes, what it refuses."""

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

import sundog
from sundog.cli.anomaly import _told, app
from sundog.errors import OptionError, ShapeError
from sundog.simulate.densities import ResonantToy


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
    assert json.loads(done.stdout) == {"method": "cwola", "window": [3.3, 3.7], "unit": "TeV"}


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
    plain, logit = (json.loads(run(file, *words, *more).stdout) for more in ((), ("--scaling", "logit")))
    assert plain["template_auc"] != logit["template_auc"]
    unknown = run(file, *words, "--scaling", "magic")
    assert isinstance(unknown.exception, OptionError) and "unknown scaling" in str(unknown.exception)


@pytest.mark.parametrize(("control", "excess", "evidence", "said"), [
    (0.004, True, False, "excess that is not trusted, because the learned background is wrong"),
    (0.0, True, False, "excess that is not trusted, because unseen sideband events"),
    (0.0, False, False, "no excess"), (0.004, False, False, "no excess"), (0.0, True, True, "evidence for a signal"),
])
def test_the_words_of_the_verdict(control, excess, evidence, said):
    detector = SimpleNamespace(fraction_=SimpleNamespace(evidence=excess), template_report_=None,
                               control_=SimpleNamespace(low_95=control))
    facts = {"method": "ranode", "window": [3.3, 3.7], "unit": "TeV", "control_fraction": 0.005, "evidence": evidence}
    assert _told(detector, facts)[-1].startswith(said)


def test_clear_errors(file):
    without = run(file, "--mass", "m", "--window", "3.3", "3.7", "--method", "cwola", "--scaling", "logit")
    assert isinstance(without.exception, OptionError) and "learns no background" in str(without.exception)
    wrong = run(file, "--mass", "m", "--window", "3.3", "3.7", "--method", "magic")
    assert isinstance(wrong.exception, OptionError) and "unknown method" in str(wrong.exception)
    nameless = run(file, "--mass", "m_jj", "--window", "3.3", "3.7")
    assert isinstance(nameless.exception, ShapeError) and "no such column" in str(nameless.exception)
