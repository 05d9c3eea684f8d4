"""Every detector on the resonant toy: better than chance where a signal is, silent where none is."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sundog import Dataset, Plan
from sundog.errors import DataError, OptionError, SampleSizeError
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly import Anode, Cathode, CWoLa, IdealisedAD, RAnode, SignalRegion, Supervised, sic_curve
from sundog.tasks.anomaly.detectors import cwola

TOY, REGION = ResonantToy(), SignalRegion(3.3, 3.7)
SMALL = {"plan": Plan(steps=120, batch=256), "options": {"layers": 2, "hidden": (24, 24)}}


@pytest.fixture(scope="module")
def events():
    return TOY.events(15_000, 0.012, seed=0)  # 3.7 % inside the window


@pytest.fixture(scope="module")
def test_sample():
    kept = [e[TOY.in_signal_region(e)] for e in (TOY.background(40_000, 1), TOY.signal(4000, 2))]
    return Dataset.from_arrays(torch.cat([e.values for e in kept]), torch.cat([e.context for e in kept])), \
        np.repeat([0, 1], [len(e) for e in kept])


def sic(detector, test_sample, fpr=1e-2):
    data, labels = test_sample
    curve = sic_curve(labels, detector.score_samples(data))
    return curve.at(fpr), curve.error(fpr)


def best(test_sample):
    data, labels = test_sample
    return sic_curve(labels, TOY.log_likelihood_ratio(data.values, data.context)).at(1e-2)


@pytest.fixture(scope="module")
def cathode(events):
    return Cathode(REGION, template="flow", members=1, oversampling=1.5, **SMALL).fit(events)


@pytest.fixture(scope="module")
def ranode(events):
    return RAnode(REGION, background=TOY.log_background, components=(1, 2), folds=3).fit(events)


def test_references(events, test_sample):
    ideal = IdealisedAD(REGION, members=1).fit(events, background=TOY.background(45_000, 3))
    x = torch.cat([TOY.background(4000, 4).values, TOY.signal(4000, 5).values])
    supervised = Supervised(REGION, members=1).fit(x, torch.arange(8000) >= 4000)
    (weak, error), (strong, _) = sic(ideal, test_sample), sic(supervised, test_sample)
    optimum = best(test_sample)
    assert 3 < weak < optimum + 4 * error and strong > 0.8 * optimum
    assert strong > weak - 4 * error


def test_no_signal_no_improvement(test_sample):
    """Negative control: without signal in the data the idealised detector learns noise."""
    ideal = IdealisedAD(REGION, members=1).fit(TOY.background(15_000, 6), background=TOY.background(45_000, 7))
    assert sic(ideal, test_sample)[0] < 2


def test_cathode_finds_the_signal(cathode, test_sample):
    assert sic(cathode, test_sample)[0] > 2
    drawn = cathode.sample_background(2000, seed=1)
    assert REGION.contains(drawn).all() and drawn.names == ("x0", "x1", "x2", "x3")
    assert torch.equal(drawn.values, cathode.sample_background(2000, seed=1).values)
    at = cathode.sample_background(3, [3.4, 3.5, 3.6])
    assert torch.allclose(at.context[:, 0], torch.tensor([3.4, 3.5, 3.6]))


def test_template_report_and_density(cathode):
    report = cathode.template_report_
    assert 0.4 < report.auc < 0.6 and set(report.distances) == {"x0", "x1", "x2", "x3"}
    assert "AUC" in str(report)
    background = TOY.background(2000, 8)
    inside = background[TOY.in_signal_region(background)]
    found, truth = cathode.log_background(inside), TOY.log_background(inside.values, inside.context)
    assert abs(float((found - truth).mean())) < 0.2  # nat; a small flow trained for 150 steps
    far = Dataset.from_arrays(inside.values + 100, inside.context)
    assert torch.isfinite(cathode.log_background(far)).all()


def test_ranode_learns_signal_and_fraction(events, ranode, test_sample):
    inside = TOY.in_signal_region(events)
    truth = float(TOY.truth(15_000, 0.012, seed=0)[inside].double().mean())
    low, high = ranode.signal_fraction_interval_
    assert ranode.evidence_ and low < truth < high
    assert ranode.signal_fraction_ == pytest.approx(truth, rel=0.3)
    value, error = sic(ranode, test_sample)
    assert value > 0.85 * best(test_sample) - 4 * error
    drawn = ranode.sample_signal(4000, seed=0)
    # The centre is known to 0.4 / sqrt(178 events): 0.03, and drawn to 0.006.
    assert ((drawn.values.mean(0) - torch.tensor(TOY.centre)).abs() < 4 * 0.04).all()
    assert abs(float(drawn.context.mean()) - 3.5) < 0.03 and drawn.context_names == ("m",)


def test_ranode_densities_are_normalised(ranode, events):
    """E_data[p_S / p_data] = 1 when p_data is right; and log_signal is the law that sample_signal draws."""
    x = ranode.sample_signal(20_000, seed=1)
    log_s = ranode.log_signal(x)
    d = 5
    # Entropy of one Gaussian with the covariance of its own draws; several Gaussians have less.
    entropy = 0.5 * torch.logdet(2 * np.pi * np.e * torch.cat([x.values, x.context], 1).double().T.cov())
    assert float(-log_s.mean()) < float(entropy) + 4 * (d / 2) ** 0.5 / 20_000**0.5
    inside = events[REGION.contains(events)]
    reference = TOY.log_background(inside.values, inside.context) + TOY.log_background_mass(inside.context)
    ratio = ranode.log_background(inside) - reference
    assert abs(float(ratio.mean()) + np.log(0.317)) < 0.05


def test_profile_peaks_at_the_fit(ranode):
    profile = ranode.profile([0.01, 0.02, ranode.fit_.w, 0.06, 0.12])
    assert profile.gain.argmax() == list(profile.w).index(ranode.fit_.w)
    assert profile.gain.max() >= ranode.fit_.gain - 0.5


def test_ranode_is_silent_without_signal():
    search = RAnode(REGION, background=TOY.log_background, components=(1,), folds=2)
    search.fit(TOY.background(15_000, seed=9))
    again = RAnode(REGION, background=TOY.log_background, components=(1,), folds=2).fit(TOY.background(15_000, seed=9))
    assert again.fraction_ == search.fraction_ and again.core_fraction_ == search.core_fraction_
    assert not search.evidence_ and search.signal_fraction_ < 0.005 and search.control_ is None
    assert "no excess" in str(search.fraction_)


@pytest.mark.slow
def test_a_poor_template_is_no_evidence():
    """Negative control: five steps of training leave a wrong p_B: a signal for the likelihood, not for the count."""
    background = TOY.background(15_000, seed=10)
    poor = Cathode(REGION, template="flow", members=1, plan=Plan(steps=5, batch=256), options=SMALL["options"])
    search = RAnode(REGION, background=poor, components=(1,), folds=2).fit(background)
    assert search.core_fraction_.evidence and search.control_.low_95 > 0 and not search.fraction_.evidence
    assert not search.evidence_ and not search.template_report_.passed


def test_fixed_fraction(events):
    search = RAnode(REGION, w=0.05, background=TOY.log_background, components=(1,), folds=2).fit(events)
    assert search.signal_fraction_ == 0.05 == search.fit_.w


def test_ranode_takes_a_fitted_estimator(events, cathode, ranode, test_sample):
    search = RAnode(REGION, background=cathode, components=(1,), folds=2).fit(events)
    assert search.control_ is not None and search.control_.n == len(cathode.template_.unseen)
    assert search.evidence_ == (search.signal_fraction_interval_[0] > search.control_.high_95)
    nothing, something = (search.pseudo_experiments(2, w=w) for w in (0.0, 0.05))
    assert not any(one.evidence for one in nothing) and all(one.evidence for one in something)
    assert all(one.low_95 < 0.05 < one.high_95 for one in something)
    with pytest.raises(OptionError, match="pseudo-experiments are impossible"):
        ranode.pseudo_experiments(1)
    assert search.template_report_ is cathode.template_report_ is not None
    assert sic(search, test_sample)[0] > 3


def test_ranode_has_as_many_scorers_as_folds():
    """610 events inside in 50 folds: chunks of equal size are 47, and events of three folds had no score."""
    events, n = TOY.background(3000, 3), 610
    inside = REGION.contains(events).nonzero()[:, 0]
    kept = torch.ones(len(events), dtype=torch.bool)
    kept[inside[n:]] = False
    assert len(inside) > n
    search = RAnode(REGION, background=TOY.log_background, components=(1,), folds=50, starts=1).fit(events[kept])
    assert len(search.scorers()) == 50 and set(search.folded.bincount().tolist()) == {12, 13}


def test_ranode_takes_what_holds_a_template_of_its_window(events, cathode):
    held, bare = (RAnode(REGION, background=background, components=(1,), folds=2).fit(events).fraction_
                  for background in (SimpleNamespace(template_=cathode.template_), cathode.template_))
    assert held == bare
    with pytest.raises(OptionError, match="unknown scaling: got flow"):
        RAnode(REGION, background="flow").fit(events)
    for background in (CWoLa(REGION), SimpleNamespace(template_=None)):
        with pytest.raises(OptionError, match=r"has no density.*pass Cathode\(region"):
            RAnode(REGION, background=background).fit(events)
    # A template of 3.3 to 3.7 has learned 3.7 to 3.9 from all events there, signal included.
    with pytest.raises(OptionError, match=r"another window: got 3.3 to 3.7, expected 3.5 to 3.9 within it"):
        RAnode(SignalRegion(3.5, 3.9), background=cathode).fit(events)
    assert RAnode(SignalRegion(3.4, 3.6), background=cathode, components=(1,), folds=2).fit(events).fraction_.n > 200


@pytest.mark.slow
def test_by_products(events, test_sample):
    cwola = CWoLa(REGION, members=1).fit(events)
    anode = Anode(REGION, check=False, **SMALL).fit(events)
    assert sic(cwola, test_sample)[0] > 1 and sic(anode, test_sample)[0] > 1
    assert anode.template_report_ is None and len(anode.sample_background(10)) == 10


def test_same_seed_same_numbers(events, ranode):
    again = RAnode(REGION, background=TOY.log_background, components=(1, 2), folds=3).fit(events)
    assert again.fraction_ == ranode.fraction_


def test_the_mass_as_a_feature(events):
    ideal = IdealisedAD(REGION, members=1, with_mass=True).fit(events[:6000], background=TOY.background(6000, 3))
    assert ideal.score_samples(events[:7]).shape == (7,)
    assert ideal.score_samples(events.values[:7], events.context[:7]).shape == (7,)


@pytest.mark.parametrize("detector", [CWoLa(REGION), Cathode(REGION), Anode(REGION), RAnode(REGION)])
def test_unusable_events_are_refused_before_any_training(detector):
    few = TOY.events(900, 0.1, seed=0)
    with pytest.raises(SampleSizeError, match="too few"):
        detector.fit(few)
    enough = TOY.events(3000, 0.1, seed=0)
    with pytest.raises(DataError, match="GeV for TeV"):
        detector.fit(enough.values, 1000 * enough.context)
    with pytest.raises(DataError, match="NaN"):
        detector.fit(torch.where(enough.values > 3, torch.nan, enough.values), enough.context)
    with pytest.raises(OptionError, match="has not been fitted"):
        detector.score_samples(few)


def test_unusable_settings(events):
    with pytest.raises(OptionError, match="folds"):
        RAnode(REGION, folds=1)
    with pytest.raises(OptionError, match="signal fraction"):
        RAnode(REGION, w=2.0)
    with pytest.raises(OptionError, match="oversampling"):
        Cathode(REGION, oversampling=0).fit(events)
    with pytest.raises(OptionError, match="background density is unusable"):
        RAnode(REGION, background=lambda x, m: torch.zeros(3)).fit(events)
    with pytest.raises(DataError, match="labels are unusable"):
        Supervised(REGION).fit(events.values, torch.zeros(len(events)))


@pytest.mark.parametrize("far", [20.0, 38.0, 200.0])
def test_ranode_is_not_led_away_by_one_event(far):
    """A known background, a signal of two per cent, and one event far outside both."""
    events = TOY.events(8000, 0.03, seed=0)
    settings = {"background": TOY.log_background, "components": (1,), "folds": 2, "scaling": "standard"}
    clean = RAnode(REGION, **settings).fit(events)
    values, mass = events.values.clone(), events.context.clone()
    values[0], mass[0] = far * values.std(0), 3.5
    found = RAnode(REGION, **settings).fit(Dataset.from_arrays(values, mass))
    assert found.evidence_ and found.signal_fraction_ == pytest.approx(clean.signal_fraction_, rel=0.1)


def test_ranode_refuses_whole_numbers():
    events = TOY.background(3000, seed=0)
    events.values[:, 1] = events.values[:, 1].round()
    with pytest.raises(DataError, match="column x1 holds whole numbers"):
        RAnode(REGION, folds=2).fit(events)


@pytest.mark.parametrize(("reach", "lo", "hi"), [(None, 3.1, 3.9), (0.1, 3.2, 3.8)])
def test_cwola_compares_with_what_lies_within_half_a_window(events, monkeypatch, reach, lo, hi):
    seen = []
    monkeypatch.setattr(cwola, "fit_ratio", lambda inside, beside, **_: seen.extend([inside, beside]))
    CWoLa(REGION, reach=reach).learn(events)
    m = events.context[:, 0]
    inside = (m > 3.3) & (m < 3.7)
    for found, right in zip(seen, (inside, ~inside & (m > lo) & (m < hi)), strict=True):
        assert torch.equal(found, events.values[right])
