"""The scaffold that all detectors share: settings as scikit-learn reads them, and columns found by name."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sundog import Dataset, Plan
from sundog.errors import OptionError, ShapeError
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly import (
    Anode,
    Cathode,
    Curtains,
    CWoLa,
    IdealisedAD,
    LaCathode,
    RadOT,
    RAnode,
    Sigma,
    SignalRegion,
    Supervised,
    Transit,
)
from sundog.tasks.anomaly.background.template import compared

TOY, REGION = ResonantToy(), SignalRegion(3.3, 3.7)
SMALL = {"plan": Plan(steps=5, batch=128), "check": False}
TINY = {"layers": 1, "hidden": (8,)}
EVERY = [
    Anode(REGION, options=TINY, **SMALL), CWoLa(REGION, 3, members=1, reach=0.2),
    Cathode(REGION, template="flow", members=1, options=TINY, **SMALL), IdealisedAD(REGION, members=2),
    Curtains(REGION, members=1, options={"base": TINY, "top": TINY}, **SMALL),
    LaCathode(REGION, members=1, options=TINY, **SMALL), RadOT(REGION, members=1, batch=200, check=False),
    RAnode(REGION, background=TOY.log_background, components=(1,), folds=2),
    Sigma(REGION, members=1, options={"hidden": (8,)}, **SMALL), Supervised(REGION, members=2),
    Transit(REGION, members=1, options={"hidden": (8,)}, **SMALL),
]
SEARCHES = [d for d in EVERY if not isinstance(d, IdealisedAD | Supervised)]


@pytest.fixture(scope="module")
def frame():
    events = TOY.events(6000, 0.05, seed=0)
    return pd.DataFrame(events.values.numpy(), columns=["pt", "tau21", "mass_j", "delta"]), events.context[:, 0].numpy()


def name(detector):
    return type(detector).__name__


@pytest.mark.parametrize("detector", EVERY, ids=name)
def test_clone_keeps_settings_and_forgets_what_was_learned(detector):
    detector.columns_ = ("a",)
    again = clone(detector)
    detector.columns_ = None
    assert type(again) is type(detector) and again is not detector and again.columns_ is None
    mine, its = detector.get_params(deep=False), again.get_params(deep=False)
    assert mine.keys() == its.keys() and not any(key.endswith("_") for key in mine)
    assert {k for k in mine if repr(mine[k]) != repr(its[k])} <= {"background"}  # a function: copied, printed by place
    assert again.set_params(seed=9).seed == 9 and detector.seed != 9


def test_settings_are_checked_again():
    with pytest.raises(OptionError, match="oversampling"):
        Cathode(REGION).set_params(oversampling=-1)
    with pytest.raises(OptionError, match=r"unknown setting of CWoLa: got 'membres'.*did you mean members"):
        CWoLa(REGION).set_params(membres=3)
    search = RAnode(REGION, background=Cathode(REGION, template="flow"))
    assert search.get_params()["background__template"] == "flow"
    assert search.set_params(background__seed=4).background.seed == 4


@pytest.mark.parametrize("detector", SEARCHES, ids=name)
def test_columns_are_found_by_name(detector, frame):
    x, m = frame
    search = clone(detector).fit(x, m)
    part, masses = x[:50], m[:50]
    expected = search.score_samples(part, masses)
    mixed = part.assign(weight=1.0)[["delta", "weight", "mass_j", "pt", "tau21"]]
    assert torch.equal(search.score_samples(mixed, masses), expected)
    assert torch.equal(search.score_samples(part.to_numpy(), masses), expected)  # an array has no names: by position
    with pytest.raises(ShapeError, match=r"column tau21 is missing.*did you mean tau2"):
        search.score_samples(part.rename(columns={"tau21": "tau2"}), masses)
    with pytest.raises(ShapeError, match="missing"):
        search.score_samples(part.to_numpy()[:, :3], masses)


@pytest.mark.parametrize("detector", SEARCHES, ids=name)
def test_any_whole_number_is_a_seed(detector, frame):
    first, again, other = (clone(detector).set_params(seed=2**64 + seed).fit(*frame).score_samples(*frame)
                           for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other) or isinstance(detector, RAnode)  # which climbs to one Gaussian from anywhere


def test_references_find_columns_by_name(frame):
    x, m = frame
    background = Dataset.from_arrays(x[["delta", "pt", "mass_j", "tau21"]], m, context_names=("m",))
    ideal = IdealisedAD(REGION, members=1).fit(x, m, background=background)
    known = Supervised(REGION, members=1).fit(x, np.arange(6000) % 2)
    for search in (ideal, known):
        assert torch.equal(search.score_samples(x[x.columns[::-1]]), search.score_samples(x))


@pytest.mark.parametrize("detector", [CWoLa(REGION, members=1), EVERY[2]], ids=name)
def test_in_a_pipeline_and_in_cross_validation(detector, frame):
    """Scored without masses; every event by what was learned from the others."""
    x, m = frame
    pipe = make_pipeline(StandardScaler(), detector)
    assert pipe.fit(x, m).score_samples(x[:9]).shape == (9,)
    score = cross_val_predict(pipe, x, m, cv=2)
    assert score.shape == (6000,) and np.isfinite(score).all()


def test_the_density_of_an_event_does_not_depend_on_its_company():
    events = TOY.background(4000, seed=0)
    search = Cathode(REGION, template="flow", scaling="logit", members=1, options=TINY, **SMALL).fit(events)
    far = events[:1]
    far.values[0] = 50.0
    together = Dataset.from_arrays(torch.cat([far.values, events.values[:10]]), torch.cat([far.context,
                                                                                           events.context[:10]]))
    alone, among = search.log_background(far), search.log_background(together)
    assert torch.isfinite(alone).all() and alone[0] == among[0]
    assert torch.allclose(among[1:], search.log_background(events[:10]))


def test_a_template_that_copies_events_is_not_called_good():
    """Memorised: the same events with a little noise. An honest draw passes, a wrong one fails."""
    g = torch.Generator().manual_seed(0)
    events = TOY.background(6000, seed=0)
    noise = torch.randn(events.values.shape, generator=g)
    copies, fresh = replace(events, values=events.values + 1e-4 * noise), TOY.background(6000, seed=1)
    found = compared(events, copies, 0)
    assert found.copied and not found.passed and found.auc < 0.5 and "COPIES OF THE EVENTS" in str(found)
    honest = compared(events, replace(events, values=fresh.values + torch.tensor(TOY.slope) * (
        events.context - fresh.context)), 0)
    assert honest.passed and not honest.copied and "good" in str(honest)
    wrong = compared(events, replace(events, values=events.values + 0.5), 0)
    assert not wrong.passed and not wrong.copied and "POOR" in str(wrong)
