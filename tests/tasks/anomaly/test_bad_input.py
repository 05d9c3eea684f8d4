"""Every detector refuses what it cannot use, with the same words, before it trains anything."""

import numpy as np
import pytest
import torch

from sundog import Dataset, Plan
from sundog.errors import DataError, OptionError, SampleSizeError, ShapeError
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly import Cathode, IdealisedAD, RAnode, SignalRegion
from sundog.tasks.anomaly.scan.search import METHODS

REGION, TOY = SignalRegion(3.3, 3.7), ResonantToy()
SEARCHES = {name: made for name, made in METHODS.items() if name != "prior"}  # which asks for its prior first
DETECTORS = {**SEARCHES, "idealised": IdealisedAD}


def noise(n=3000, low=3.0, high=4.6, **columns):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(n, 3))
    for column, value in columns.items():
        x[:, int(column[1:])] = value
    return x, generator.uniform(low, high, n)


BAD = {
    "few events": (noise(900), SampleSizeError, "too few events"),
    "few inside": (noise(low=3.69), SampleSizeError, "too few events in the signal region"),
    "window outside": (noise(low=5.0, high=6.0), DataError, "outside the spectrum"),
    "GeV for TeV": ((noise()[0], 1000 * noise()[1]), DataError, "1000 times larger.*GeV for TeV"),
    "MeV for GeV": ((noise()[0], noise()[1] / 1000), DataError, "1000 times smaller"),
    "declared unit": (Dataset.from_arrays(*noise(), context_units="GeV"), ShapeError, "another unit"),
    "constant": (noise(x1=2.5), DataError, "x1 is constant"),
    "copies": (noise(x2=noise()[0][:, 0]), DataError, "x0 and x2 are copies"),
    "the mass as a feature": (noise(x0=noise()[1]), DataError, "x0 and m are copies"),
    "NaN": (noise(x0=np.nan), DataError, "NaN or Inf"),
    "NaN mass": ((noise()[0], np.where(np.arange(3000) == 7, np.nan, noise()[1])), DataError, "NaN"),
    "weights": (Dataset.from_arrays(*noise(), weights=np.linspace(0, 2, 3000)), DataError, "carry weights"),
    "no mass": (noise()[0], ShapeError, "without a mass"),
}


@pytest.mark.parametrize("name", DETECTORS)
def test_refused_before_any_training(name):
    good = noise()
    for what, (events, error, match) in BAD.items():
        parts = events if isinstance(events, tuple) else (events,)
        extra = {"background": good} if name == "idealised" else {}
        with pytest.raises(error, match=match):
            DETECTORS[name](REGION).fit(*parts, **extra)
            pytest.fail(f"{name} took {what}")


@pytest.mark.parametrize("name", SEARCHES)
def test_thin_sidebands(name):
    with pytest.raises(SampleSizeError, match="sidebands are too thin"):
        SEARCHES[name](REGION).fit(*noise(low=3.25))


@pytest.mark.parametrize("name", DETECTORS)
def test_a_score_before_a_fit_is_an_error(name):
    with pytest.raises(OptionError, match="not been fitted"):
        DETECTORS[name](REGION).score_samples(*noise(10))


def test_negative_weights_never_become_events():
    with pytest.raises(DataError, match=r"weights are negative.*resample"):
        Dataset.from_arrays(*noise(), weights=np.full(3000, -1.0))


@pytest.mark.slow
def test_events_outside_the_range_of_the_sidebands_get_a_finite_score():
    """A bounded scaling knows no density there: the lowest found stands in, and one stray event is no signal."""
    plain, events = (TOY.events(6000, 0.02, seed=0) for _ in range(2))
    inside = REGION.contains(events)
    row = int(inside.nonzero()[0])
    events.values[row] = 25.0
    small = {"plan": Plan(steps=20, batch=256), "options": {"layers": 1, "hidden": (16,)}}
    template = Cathode(REGION, template="flow", scaling="logit", members=1, check=False, **small).fit(events)
    search, without = (RAnode(REGION, background=template, components=(1,), folds=2).fit(x) for x in (events, plain))
    for found in (template, search):
        assert torch.isfinite(found.score_samples(events[inside])).all()
    # A template of 20 steps is wrong everywhere, and the fraction with it; the stray event must not be what moves it.
    assert search.signal_fraction_ == pytest.approx(without.signal_fraction_, abs=0.04)


@pytest.mark.slow
def test_same_seed_same_w():
    events = TOY.events(8000, 0.03, seed=0)
    once, again = (RAnode(REGION, seed=1, background=TOY.log_background, components=(1,), folds=2).fit(events)
                   for _ in range(2))
    assert once.signal_fraction_ == again.signal_fraction_ > 0
    assert torch.equal(once.sample_signal(5, seed=2).values, again.sample_signal(5, seed=2).values)
