"""Features with edges and tails: the default background of a search is right there, on the plain scale it is not."""

import math

import pytest
import torch

from sundog import Dataset, Plan
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly import RAnode, SignalRegion
from sundog.tasks.anomaly.background.template import SCALINGS, fit_template

REGION = SignalRegion(3.3, 3.7)
SMALL = {"family": "flow", "plan": Plan(steps=250, batch=512), "layers": 2, "hidden": (24, 24)}


def jets(n, seed, n_signal=0):
    """A falling spectrum; one feature like a jet mass (log-normal), one like a difference of masses (from 0 on)."""
    g = torch.Generator().manual_seed(seed)
    m = 3 - torch.log1p(-torch.rand(n, generator=g) * (1 - math.exp(-2.56))) / 1.6  # 3 to 4.6
    x = torch.stack([(0.8 * torch.randn(n, generator=g)).exp(), -torch.rand(n, generator=g).log()], 1)
    signal = torch.tensor([4.0, 3.0]) + 0.2 * torch.randn(n_signal, 2, generator=g)
    at = (3.5 + 0.06 * torch.randn(n_signal, generator=g)).clamp(3.31, 3.69)
    return Dataset.from_arrays(torch.cat([x, signal]), torch.cat([m, at]), context_names=("m",), held_out_fraction=0.0)


def claimed(scaling, seed=0):
    """What R-ANODE claims among pure background, bare and with its control."""
    events = jets(16_000, seed)
    background = fit_template(events, REGION, scaling=scaling, **SMALL)
    return RAnode(REGION, background=_Given(background), components=(1,),
                  folds=3).fit(events)


class _Given:
    """A template as RAnode takes it: an estimator that holds one."""

    def __init__(self, template):
        self.template_ = template


@pytest.mark.slow
def test_no_false_signal_at_an_edge_or_in_a_tail():
    default, plain = claimed(SCALINGS["flow"]), claimed("standard")
    assert not default.evidence_ and default.core_fraction_.gain < 8
    # Negative control: on the plain scale the same search claims a place where the flow is wrong.
    assert plain.core_fraction_.gain > 3 * default.core_fraction_.gain + 20


@pytest.mark.slow
def test_a_signal_is_found_with_the_default_background():
    events = jets(16_000, 1, n_signal=120)
    search = RAnode(REGION, background=_Given(fit_template(events, REGION, **SMALL)), components=(1,), folds=3)
    search.fit(events)
    assert search.evidence_
    drawn = search.sample_signal(2000, seed=0).values
    assert ((drawn.mean(0) - torch.tensor([4.0, 3.0])).abs() < 0.4).all()


@pytest.mark.slow
def test_events_beyond_the_sidebands_keep_a_density():
    """Of 4700 events in the window some lie beyond all 10,300 beside it: between edges they have none to speak of."""
    toy = ResonantToy()
    events = toy.background(15_000, seed=0)
    inside = events[REGION.contains(events)]
    truth = toy.log_background(inside.values, inside.context)
    off = {scaling: float((fit_template(events, REGION, scaling=scaling, check=False, **SMALL).log_prob(inside)
                           - truth).std()) for scaling in (SCALINGS["flow"], "logit")}
    assert off[SCALINGS["flow"]] < 0.5 < 1 < off["logit"]


@pytest.mark.parametrize("scaling", ["logit", "normal-scores"])
def test_a_density_is_that_of_the_event_alone(scaling):
    """An outlier among outliers has the density that it has among none."""
    fitted = fit_template(jets(4000, 0), REGION, scaling=scaling, check=False,
                          **{**SMALL, "plan": Plan(steps=5), "layers": 1, "hidden": (8,)})
    far = torch.tensor([[90.0, 40.0]])
    others = torch.cat([far, far + torch.arange(20.0).reshape(10, 2), torch.ones(5, 2)])
    one, many = (Dataset.from_arrays(x, torch.full((len(x), 1), 3.5), context_names=("m",), held_out_fraction=0.0)
                 for x in (far, others))
    found = fitted.log_prob(many)
    assert torch.equal(fitted.log_prob(one), found[:1]) and torch.isfinite(found).all() and found[0] < found[-1]
