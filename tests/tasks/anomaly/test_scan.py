"""The scan: finds what is planted, stays calm without, resumes, refuses what it cannot use."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from sundog import Dataset, Plan
from sundog.errors import DataError, FileError, OptionError, RunError, SampleSizeError, ShapeError
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly import Cathode, CWoLa, RAnode, SignalRegion, scan, sliding_windows
from sundog.tasks.anomaly.checks.sculpting import Sculpting
from sundog.tasks.anomaly.detectors.base import FeatureSearch, fit_ratio
from sundog.tasks.anomaly.regions import gather
from sundog.tasks.anomaly.scan.bump import common_edges, fit_bump
from sundog.tasks.anomaly.scan.crossfit import CrossFit, background_events, cross_fitted, deal
from sundog.tasks.anomaly.scan.found import WindowResult
from sundog.tasks.anomaly.scan.search import METHODS, ScanPlan, prepare, scan_one

TOY = ResonantToy()
WINDOWS = (SignalRegion(3.3, 3.7), SignalRegion(3.6, 4.0))
QUICK = {"efficiency": 0.05, "folds": 2, "members": 1, "control": False, "pseudo_experiments": 100}


class TrueBackground:
    """The true background of the toy as a template."""

    report = None

    def __init__(self, region):
        self.region = region

    def sample(self, n, seed, m=None):
        if m is None:
            drawn = TOY.background(round(4 * n), seed + 1)
            return drawn[self.region.contains(drawn)][:n]
        m = torch.as_tensor(m).double()
        noise = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return Dataset.from_arrays(torch.tensor(TOY.slope).double() * (m - TOY.peak)[:, None] + noise, m)


class Exact(FeatureSearch):
    """A detector whose template is the true background of the toy."""

    def make_template(self, events):
        return TrueBackground(self.region)


class MassScore:
    """Negative control: a score that is the distance from the middle of the window, with noise."""

    def __init__(self, region, seed):
        self.region, self.seed = region, seed

    def fit(self, events):
        return self

    def score_samples(self, events):
        noise = torch.randn(len(events), generator=torch.Generator().manual_seed(self.seed), dtype=torch.float64)
        return noise - 6 * (events.context[:, 0].double() - self.region.centre).abs()


@pytest.fixture(scope="module")
def planted():
    return TOY.events(12_000, 0.025, seed=0)


@pytest.fixture(scope="module")
def found(planted, tmp_path_factory):
    return scan(planted, WINDOWS, Exact, tmp_path_factory.mktemp("scan") / "s", efficiency=0.02, folds=2, members=1,
                pseudo_experiments=200)


def test_the_planted_resonance_is_found_where_it_is(found):
    assert found.evidence and found.best.region == WINDOWS[0]
    assert found.best.z_local > 5 and found.best.z_global <= found.best.z_local
    assert abs(found.best.peak.mass - 3.5) < 4 * found.best.peak.mass_error < 0.2
    assert found.windows[1].z_local < 3, "beside the resonance there is none"
    assert found.events.context_names == ("m",) and found.events.provenance["seed"] == 0
    assert found.summary().startswith("evidence for a resonance at 3.") and found.doubted is None
    assert found.summary() in str(found)
    facts = json.loads(found.to_json())
    assert facts["best"] == 0 and facts["evidence"] and facts["results"][0]["observed"] == found.best.fit.observed


def test_the_cut_keeps_the_efficiency_asked_for(found, planted):
    for window in found.windows:
        beside = window.region.sidebands(planted).numpy()
        assert abs(window.passed[beside].mean() - 0.02) < 2 / beside.sum() + 1e-3


def test_control_events_are_kept_and_calm(found):
    assert all(window.sculpting.spurious is not None and not window.sculpting.sculpted for window in found.windows)


@pytest.mark.slow
def test_same_seed_same_numbers(found, planted):
    again = scan(planted, WINDOWS, Exact, efficiency=0.02, folds=2, members=1, pseudo_experiments=200)
    assert [w.facts() | {"seconds": 0} for w in again.windows] == [w.facts() | {"seconds": 0} for w in found.windows]


@pytest.mark.slow
def test_scores_of_seen_events_would_fake_a_signal():
    """Why cross-fitting: without it, the events that trained the classifier pile up above any cut."""
    events = gather(TOY.background(8000, 3))
    region, beside = WINDOWS[0], WINDOWS[0].sidebands(events)
    inside = region.contains(events)
    drawn = TrueBackground(region).sample(8000, 5)
    seen = fit_ratio(events.values[inside], drawn.values, members=1, validation=0.01).predict_log_odds(events.values)
    fair = cross_fitted(Exact, events, region, folds=2, members=1).score

    def excess(score):
        passed = score > torch.quantile(score[beside].sort().values, 0.95)
        expected = 0.05 * float(inside.sum())
        return (float(passed[inside].sum()) - expected) / (expected + 0.05 * 0.95 * float(beside.sum()) / 4) ** 0.5

    assert abs(excess(fair)) < 4 < excess(seen)


@pytest.mark.slow
def test_no_signal_no_evidence():
    found = scan(TOY.background(6000, 1), WINDOWS, Exact, folds=2, members=1, efficiency=0.05, pseudo_experiments=100)
    assert not found.evidence and found.doubted is None and found.summary().startswith("no excess")


def test_a_score_that_follows_the_mass_is_not_believed():
    events = TOY.background(20_000, 2)
    caught = scan(events, WINDOWS[:1], MassScore, folds=2, efficiency=0.02, control=False, pseudo_experiments=100)
    assert caught.best.fit.significance > 3, "the control must fake an excess"
    assert caught.best.sculpting.sculpted and not caught.best.trusted and not caught.evidence
    assert caught.summary().startswith("excess that is not trusted") and "scan with the control" in caught.summary()
    assert json.loads(caught.to_json())["verdict"] == "not trusted"
    assert "SCULPTED" in str(caught) and any("sculpts" in remark for remark in caught.best.remarks)


def test_complete_windows_are_not_searched_again(found, planted, tmp_path):
    plan = ScanPlan(WINDOWS, "cwola", {}, 0.05, 2, 1, control=False)
    one = scan_one(planted, plan, 1, tmp_path)
    before = (one / "window.json").stat().st_mtime_ns
    result = scan(planted, WINDOWS, "cwola", tmp_path, **QUICK)
    assert (one / "window.json").stat().st_mtime_ns == before and len(result.windows) == 2
    with pytest.raises(RunError, match="holds another scan: got other efficiency"):
        scan(planted, WINDOWS, "cwola", tmp_path, **QUICK | {"efficiency": 0.1})
    (one / "arrays.npz").write_bytes(b"half")
    with pytest.raises(FileError, match="delete this folder"):
        scan(planted, WINDOWS, "cwola", tmp_path, **QUICK)
    with pytest.raises(OptionError, match="no such window"):
        scan_one(planted, plan, 2, tmp_path)


@pytest.mark.slow
def test_a_killed_scan_goes_on_to_the_same_numbers(planted, tmp_path):
    planted.save(tmp_path / "events.npz")
    words = [sys.executable, "-m", "sundog.cli", "scan", "events.npz", "--mass", "m", "--slide", "3.2", "4.0", "0.4",
             "--method", "cwola", "--members", "1", "--folds", "2", "--efficiency", "0.05", "--no-control",
             "--toys", "100", "--out", "cut"]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not (tmp_path / "cut" / "window_000").is_dir():
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert subprocess.run(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    cut = scan(planted, sliding_windows(3.2, 4.0, 0.4), "cwola", tmp_path / "cut", **QUICK)
    whole = scan(planted, sliding_windows(3.2, 4.0, 0.4), "cwola", **QUICK)
    assert [w.p_local for w in cut.windows] == [w.p_local for w in whole.windows]


@pytest.mark.slow
def test_workers_and_job_array_give_the_numbers_of_one_process(planted, tmp_path):
    pytest.importorskip("distributed")
    alone = scan(planted, WINDOWS, "cwola", **QUICK)
    spread = scan(planted, WINDOWS, "cwola", tmp_path / "dask", workers=2, **QUICK)
    assert [w.facts() | {"seconds": 0} for w in alone.windows] == [w.facts() | {"seconds": 0} for w in spread.windows]
    planted.save(tmp_path / "events.npz")
    words = ["scan", "events.npz", "--mass", "m", "--window", "3.3", "3.7", "--window", "3.6", "4", "--method",
             "cwola", "--members", "1", "--folds", "2", "--efficiency", "0.05", "--no-control", "--toys", "100",
             "--out", "scan"]
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    (tmp_path / "sundog").write_text(f"#!/bin/sh\nexec {sys.executable} -m sundog.cli \"$@\"\n")
    (tmp_path / "sundog").chmod(0o755)
    for call in (["sundog", *words, "--jobs", "shell"], ["bash", "scan/jobs.sh"], ["sundog", *words, "--json", "-q"]):
        done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
    joined = json.loads(done.stdout)
    assert [r["p_local"] for r in joined["results"]] == [w.p_local for w in alone.windows]
    assert (tmp_path / "scan" / "report.html").stat().st_size > 50_000


@pytest.mark.slow
@pytest.mark.parametrize("method", ["cathode", "sigma", "ranode", "anode", "lacathode"])
def test_every_way_of_scoring(method, planted):
    """Templates, one model for all windows, densities, refits, latent space: short trainings, a planted signal."""
    small = {"plan": Plan(steps=60, batch=512), "options": {"hidden": (32,)}}
    settings = {"ranode": {"background": TOY.log_background, "components": (1,)},
                "sigma": small | {"options": {"hidden": (32,)}}}.get(method, small | {"options": {"hidden": (32, 32)}})
    if method in ("cathode",):
        settings = settings | {"template": "flow"}
    trees = None if method in ("ranode", "anode") else 1
    result = scan(planted, WINDOWS[:1], method, settings=settings, folds=2, members=trees, efficiency=0.02,
                  pseudo_experiments=100, control=method == "sigma")
    assert result.best.fit.observed > 0 and np.isfinite(result.best.z_local)
    if method == "ranode":
        assert result.evidence and result.best.fraction_evidence and len(result.best.signal) == 5000
        assert result.best.fraction.low_95 < 0.075 < 2 * result.best.fraction.high_95


def test_deal_is_even_and_random():
    fold = deal(1000, 3, seed=0)
    assert fold.bincount().tolist() == [334, 333, 333] and not torch.equal(fold, deal(1000, 3, seed=1))


def test_plans_are_checked_at_the_door():
    for wrong, match in (({"windows": ()}, "nothing to scan"), ({"method": "magic"}, "unknown method"),
                         ({"efficiency": 1.5}, "efficiency out of range"), ({"folds": 1}, "cross-fitting is unusable")):
        with pytest.raises(OptionError, match=match):
            ScanPlan(**{"windows": WINDOWS, **wrong})
    with pytest.raises(OptionError, match="several units"):
        ScanPlan((WINDOWS[0], SignalRegion(3300, 3700, "GeV")))
    with pytest.raises(OptionError, match=r"unknown setting of cwola: got 'depth', expected reach, members"):
        scan(TOY.background(2000, 0), WINDOWS[:1], "cwola", settings={"depth": 3})
    with pytest.raises(OptionError, match="no plan of a training"):
        scan(TOY.background(2000, 0), WINDOWS[:1], "cathode", settings={"plan": 5})
    assert ScanPlan(WINDOWS, "cathode", {"plan": {"steps": 7}}).maker(None)(WINDOWS[0], 0).plan == Plan(steps=7)
    with pytest.raises(SampleSizeError, match="sidebands are too thin"):  # of what one fold leaves
        scan(TOY.background(6000, 0), [SignalRegion(3.6, 4.0)], "cwola", folds=2)
    for method, name in (("ranode", "folds"), ("cathode", "members"), ("cwola", "members")):
        with pytest.raises(OptionError, match=f"got {name} in the settings of {method}.*pass {name}=7"):
            ScanPlan(WINDOWS, method, {name: 7})
    for method in ("ranode", "anode"):
        with pytest.raises(OptionError, match=f"'{method}' grows no trees: got members=2"):
            ScanPlan(WINDOWS, method, members=2)
    assert ScanPlan(WINDOWS, "cwola", members=3).maker(None)(WINDOWS[0], 0).members == 3
    assert set(METHODS) >= {"cathode", "sigma", "ranode", "anode", "cwola"}


def noise(n=3000, low=3.0, high=4.6, **columns):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(n, 3))
    for column, value in columns.items():
        x[:, int(column[1:])] = value
    return x, generator.uniform(low, high, n)


@pytest.mark.parametrize("events, error, match", [
    (noise(900), SampleSizeError, "too few events for a search"),
    (noise(low=3.29), SampleSizeError, "sidebands are too thin"),
    (noise(low=4.2, high=6.0), DataError, "outside the spectrum"),
    ((noise()[0], noise()[1] * 1000), DataError, "GeV for TeV"),
    (noise(x1=1.0), DataError, "x1 is constant"),
    (noise(x2=noise()[0][:, 0]), DataError, "x0 and x2 are copies"),
    (noise(x0=np.nan), DataError, "NaN"),
    (Dataset.from_arrays(noise()[0], noise()[1], context_units="GeV"), ShapeError, "another unit"),
    (Dataset.from_arrays(*noise(), weights=np.linspace(1, 2, 3000)), DataError, "carry weights"),
    (Dataset.from_arrays(noise()[0]), ShapeError, "without a mass"),
])
def test_bad_input_is_refused_before_any_training(events, error, match, tmp_path):
    with pytest.raises(error, match=match):
        scan(events, WINDOWS[:1], "cathode", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_events_far_outside_the_sidebands_are_scored():
    """One event at 40 standard deviations inside the window: no error, no infinite score."""
    events = TOY.events(6000, 0.0, seed=4)
    row = int(WINDOWS[0].contains(events).nonzero()[0])
    events.values[row] = 40.0
    result = scan(events, WINDOWS[:1], "cwola", **QUICK)
    assert np.isfinite(result.best.score).all()


@pytest.mark.slow
def test_a_shared_model_is_trained_once(planted, tmp_path):
    settings = {"plan": Plan(steps=5, batch=256), "options": {"hidden": (16,)}, "check": False}
    plan = ScanPlan(WINDOWS, "sigma", settings, 0.05, 2, 1, False)
    assert plan.serves_all and not ScanPlan(WINDOWS, "cathode").serves_all
    prepare(gather(planted), plan, tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "generator").glob("*.safetensors")}
    assert before
    scan(planted, WINDOWS, "sigma", tmp_path, settings=settings, efficiency=0.05, folds=2, members=1, control=False,
         pseudo_experiments=100)
    assert before == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "generator").glob("*.safetensors")}


@pytest.mark.slow
def test_cwola_is_refitted_without_the_fold(planted):
    seen = []

    class Spy(CWoLa):
        def fit(self, x, m=None):
            seen.append(len(x))
            return super().fit(x, m)

    cross_fitted(lambda region, seed: Spy(region, seed, members=1), gather(planted), WINDOWS[0], folds=3)
    assert seen == [8000, 8000, 8000]


def test_help_and_words(tmp_path):
    from sundog.cli.scan import grouped

    assert grouped(["e", "--slide", "3", "4", "0.5", "-q"]) == ["e", "--slide", "3 4 0.5", "-q"]


def test_every_window_has_a_seed_of_its_own(planted):
    """With one seed for all, what one window finds by chance its neighbours find too."""
    seeds = []

    def watched(region, seed):
        seeds.append((region.lo, seed))
        return Exact(region, seed)

    scan(planted, WINDOWS, watched, **QUICK)
    first, second = ({seed for lo, seed in seeds if lo == region.lo} for region in WINDOWS)
    first, second = (group - {0} for group in (first, second))  # 0: the check before the work
    assert first | second and not first & second


def test_a_folder_knows_its_events(planted, tmp_path):
    plan = ScanPlan(WINDOWS, "cwola", {}, 0.05, 2, 1, control=False)
    prepare(gather(planted, unit="TeV"), plan, tmp_path / "new" / "scan")  # folders are made as they are named
    prepare(gather(planted, unit="TeV"), plan, tmp_path)
    prepare(gather(planted, unit="TeV"), plan, tmp_path)  # the same again is welcome
    with pytest.raises(RunError, match="holds another scan: got other data"):
        prepare(gather(TOY.events(12_000, 0.025, seed=1), unit="TeV"), plan, tmp_path)
    with pytest.raises(RunError, match="got other seed"):
        prepare(gather(planted, unit="TeV"), replace(plan, seed=1), tmp_path)


@pytest.mark.parametrize(("p_before", "p_after", "says"), [
    (1e-4, 0.5, ["the spectrum beside"]), (0.5, 1e-4, ["the selected spectrum beside"]), (0.5, 0.5, []),
])
def test_a_window_says_which_spectrum_no_curve_describes(p_before, p_after, says):
    m, region = np.random.default_rng(0).uniform(3, 4.6, 5000), WINDOWS[0]
    fit = fit_bump(m, region, common_edges(m, [region]))
    window = WindowResult(region, replace(fit, p_fit=p_before), replace(fit, p_fit=p_after), 0.5, 0.5, 0.1,
                          Sculpting(0.0, 1.0, 0.0, None, None, 10.0), None, None, False, None, m, m > 3, None, 0.0)
    assert window.trusted == (not says)
    assert [word in doubt for word, (doubt, _) in zip(says, window.doubts, strict=True)] == [True] * len(says)
    evolved = replace(window.before, laws=(replace(fit.laws[0], name="ln density = -u"), *fit.laws))
    *_, (doubt, do) = replace(window, before=evolved).doubts
    assert "one (ln density = -u) is too small" in doubt and "another range" in do


def test_new_events_are_judged_by_one_scorer_each():
    """Scorers that agree but cut at 0 and at 1: all above 1 pass, none below 0, half of those between."""
    x = torch.linspace(-1, 2, 3001, dtype=torch.float64)[:, None]
    fit = CrossFit(x[:, 0], torch.zeros(3001), (lambda e: e.values[:, 0], lambda e: e.values[:, 0]), None)
    kept = fit.passing(Dataset.from_arrays(x, held_out_fraction=0.0), torch.tensor([0.0, 1.0]), 3)
    assert kept[x[:, 0] > 1.001].all() and not kept[x[:, 0] < -0.001].any()
    assert abs(float(kept[1001:2000].double().mean()) - 0.5) < 4 * 0.5 / 999**0.5


def test_events_of_the_control_come_from_the_background_of_ranode(planted):
    events, region = gather(planted, unit="TeV"), WINDOWS[0]
    learned = Cathode(region, template="flow", members=1, plan=Plan(steps=5), options={"layers": 1, "hidden": (16,)})
    fit = cross_fitted(lambda region, seed: RAnode(region, seed, background=learned, components=(1,), starts=1),
                       events, region, folds=2)
    drawn = background_events(fit, events, region, 100, 3)
    again = learned.template_.sample(100, 3, drawn.context[:, 0])
    assert torch.equal(drawn.values, again.values)


class KnownRatio:
    """The true ratio of the toy as a score: nothing is trained."""

    def __init__(self, region, seed):
        self.region = region

    def fit(self, events):
        return self

    def score_samples(self, events):
        return TOY.log_likelihood_ratio(events.values, events.context)


def test_two_resonances_are_told_apart_by_the_range():
    """Each lies in the sidebands of the other: said, and undone by a range that leaves the other out."""
    background, signal = TOY.background(20_000, 5), TOY.signal(160, 6)
    second = replace(signal[80:], context=signal[80:].context + 0.6)
    events = Dataset.from_arrays(*(torch.cat([getattr(part, what) for part in (background, signal[:80], second)])
                                   for what in ("values", "context")), context_names=("m",))
    windows = (SignalRegion(3.3, 3.7), SignalRegion(3.9, 4.3))
    settings = {"folds": 2, "efficiency": 0.02, "control": False, "pseudo_experiments": 100}
    found = scan(events, windows, KnownRatio, **settings)
    assert [round(window.peak.mass, 1) for window in found.windows] == [3.5, 4.1]
    assert found.verdict == "not trusted" and "choose another range" in found.summary()
    assert "lies beside this window" in found.windows[0].beside
    for window, ends in zip(windows, ({"stop": 3.9}, {"start": 3.7})):
        assert scan(events, [window], KnownRatio, **settings, **ends).evidence


@pytest.mark.filterwarnings("error")
def test_a_deficit_beside_a_resonance_is_explained_and_no_warning_is_heard():
    background, signal = TOY.background(20_000, 5), TOY.signal(300, 6)
    events = Dataset.from_arrays(*(torch.cat([getattr(part, what) for part in (background, signal)])
                                   for what in ("values", "context")), context_names=("m",))
    windows = [SignalRegion(3.3, 3.7), SignalRegion(3.1, 3.3), SignalRegion(3.7, 4.1)]
    found = scan(events, windows, KnownRatio, folds=2, efficiency=0.02, control=False, pseudo_experiments=100)
    assert found.verdict == "evidence" and found.windows[0].z_global > 10 and not found.windows[0].beside
    for window in found.windows[1:]:
        assert window.fit.significance < -3 and window.beside.endswith("through its sidebands: so the deficit")
        assert window.beside in str(found)


def test_ten_sigma_are_never_called_no_excess(found):
    """Evidence, or not trusted with the reason; "no excess" below three global standard deviations alone."""
    best = found.best
    crooked = replace(best, fit=replace(best.fit, p_fit=1e-5))
    sculpted = replace(best, sculpting=replace(best.sculpting, spurious=100.0, spurious_error=1.0))
    for window, word in ((best, "evidence for a resonance"), (crooked, "excess that is not trusted"),
                         (sculpted, "excess that is not trusted"), (replace(best, p_global=0.01), "no excess"),
                         (replace(crooked, p_global=0.01), "no excess")):
        told = replace(found, windows=(window, *found.windows[1:])).summary()
        assert told.startswith(word) and ("because" in told) == ("What to do" in told) == ("not trusted" in word)


@pytest.mark.parametrize("window, match", [
    ((2.9, 3.3), "sidebands are too thin"), ((4.3, 4.7), "sidebands are too thin"),
    ((4.55, 4.57), "too few events in the signal region"),
])
def test_windows_at_an_edge_and_without_events_are_refused(window, match):
    with pytest.raises(SampleSizeError, match=match):
        scan(TOY.background(12_000, 5), [SignalRegion(*window)], KnownRatio, folds=2)
