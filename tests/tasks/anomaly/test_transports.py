"""Transports and the latent detector: carried background obeys the law at its new mass, and signals are found."""

import numpy as np
import pytest
import torch

from sundog import Dataset, Plan
from sundog.errors import OptionError, SampleSizeError, ShapeError
from sundog.models.transport.movers import FlowForFlow, Mover
from sundog.models.transport.pairs import optimal_pairs
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly import Curtains, LaCathode, RadOT, SignalRegion, Transit, sic_curve
from sundog.tasks.anomaly.detectors.transports import TrainedTransport

TOY, REGION = ResonantToy(), SignalRegion(3.3, 3.7)
TINY = {"layers": 1, "hidden": (8,)}
N = 20_000  # carried events in the tests of a law


class StandStill(Mover):
    """Negative control: sideband events as they are, under new masses."""

    family = "still"

    def __init__(self, shape, context_dim=1):
        super().__init__()

    def config(self):
        return {}

    def objectives(self):
        return []

    def move(self, x, start, end):
        return x

    def score(self, x, context):
        return x.new_zeros(())


class Still(TrainedTransport):
    """A search on events that do not move."""

    network, default_plan = StandStill, Plan(validation_fraction=0.0)


def residual(drawn):
    """x - a (m - 3.5), standard normal at every mass if the law is the toy's."""
    return (drawn.values - torch.tensor(TOY.slope) * (drawn.context - 3.5)).double()


def failures(drawn, allowance):
    """Names of the moments of the residual that miss the law by more than 4 sigma and the allowance.

    Sources, pairs and networks are shared by all events: the sideband sample (some 40,000 events) adds an error of
    the mean of its own, which the allowance holds beside the bias of the method.
    """
    r, m = residual(drawn), drawn.context[:, 0].double() - 3.5
    n = len(r)
    # Slope of the residual over the window, in standard deviations per half a window.
    slope = (r * m[:, None]).mean(0) / m.var() * 0.2
    lever = 0.2 / float(m.std())
    off = r.T.cov() - torch.eye(4, dtype=torch.float64)
    found = {"mean": (r.mean(0).abs().max(), 4 / n**0.5), "slope": (slope.abs().max(), 4 * lever / n**0.5),
             "covariance": (off.abs().max(), 4 * (2 / n) ** 0.5)}
    return [name for name, (value, noise) in found.items() if value > noise + allowance]


@pytest.fixture(scope="module")
def background():
    return TOY.background(60_000, seed=0)


@pytest.fixture(scope="module")
def radot():
    return RadOT(REGION, members=1, batch=500, oversampling=1.5).fit(TOY.events(16_000, 0.012, seed=0))


def test_radot_finds_the_signal_and_interpolates(radot):
    kept = [e[TOY.in_signal_region(e)] for e in (TOY.background(30_000, 1), TOY.signal(3000, 2))]
    data = Dataset.from_arrays(torch.cat([e.values for e in kept]), torch.cat([e.context for e in kept]))
    curve = sic_curve(np.repeat([0, 1], [len(e) for e in kept]), radot.score_samples(data))
    assert curve.at(1e-2) > 2
    drawn = radot.sample_background(5000, seed=1)
    assert REGION.contains(drawn).all() and drawn.names == ("x0", "x1", "x2", "x3")
    assert failures(drawn, 0.08) == []
    assert torch.equal(drawn.values, radot.sample_background(5000, seed=1).values)
    at = radot.sample_background(3, [3.4, 3.5, 3.6])
    assert torch.allclose(at.context[:, 0], torch.tensor([3.4, 3.5, 3.6]))
    report = radot.template_report_
    assert abs(report.auc - 0.5) < 0.05 and set(report.distances) == {"x0", "x1", "x2", "x3"}


def test_standing_still_fails(background):
    """Negative control: unmoved events miss the mean inside the window, and the report sees it."""
    template = Still(REGION).make_template(background)
    drawn = template.sample(N, seed=1)
    assert {"slope"} <= set(failures(drawn, 0.03)) and not template.report.passed


def test_optimal_pairs_against_another_solver():
    ot = pytest.importorskip("ot")
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 3, generator=g).double(), 1 + torch.randn(60, 3, generator=g).double()
    cost = torch.cdist(x, y).square()
    partner = optimal_pairs(x, y)
    mine = float(cost[torch.arange(60), partner].mean())
    assert mine == pytest.approx(float(ot.emd2([], [], cost.numpy())), rel=1e-9)
    assert sorted(partner.tolist()) == list(range(60)) and mine < float(cost.diagonal().mean())


def test_optimal_pairs_keep_order_on_a_line():
    x, y = torch.tensor([[3.0], [1.0], [2.0]]), torch.tensor([[10.0], [30.0], [20.0]])
    assert optimal_pairs(x, y).tolist() == [1, 0, 2]
    with pytest.raises(ShapeError, match="cannot be paired"):
        optimal_pairs(x, y[:2])


def test_the_map_is_invertible_and_its_likelihood_counts_the_stretch():
    """log p(T(x)) + log|det T'| against the numerical Jacobian, in float64."""
    torch.manual_seed(0)
    model = FlowForFlow((2,), 1, base=TINY, top=TINY).double()
    with torch.no_grad():
        for p in model.top.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1), dtype=p.dtype))
    x, start, end = torch.randn(1, 2).double(), torch.zeros(1, 1).double(), torch.ones(1, 1).double()
    jacobian = torch.autograd.functional.jacobian(lambda v: model.move(v[None], start, end)[0], x[0])
    expected = model.base.log_prob(model.move(x, start, end), end) + torch.linalg.slogdet(jacobian)[1]
    assert torch.allclose(model.log_likelihood(x, start, end), expected)
    assert float(torch.linalg.slogdet(jacobian)[1].abs()) > 1e-3  # the map is not the identity


@pytest.mark.slow
@pytest.mark.parametrize(("method", "options"), [
    (Curtains, {"base": TINY, "top": TINY}), (Transit, {"hidden": (8,)}),
])
def test_same_seed_same_template(method, options):
    events = TOY.background(5000, seed=3)
    settings = {"members": 1, "oversampling": 0.5, "check": False, "plan": Plan(steps=4, batch=128), "options": options}
    fitted, again, other = (method(REGION, seed=s, **settings).fit(events) for s in (0, 0, 1))
    one, two, three = (search.sample_background(50).values for search in (fitted, again, other))
    assert torch.equal(one, two) and not torch.equal(one, three)
    assert fitted.template_report_ is None and fitted.score_samples(events[:7]).shape == (7,)


def test_latent_of_a_flow_is_its_inverse():
    events = TOY.background(5000, seed=3)
    small = {"members": 1, "oversampling": 0.5, "check": False, "plan": Plan(steps=30, batch=256)}
    search = LaCathode(REGION, options=TINY, **small).fit(events)
    run = search.template_.run
    z = search.latent(events[:200])
    c = run.context_scaling.forward(events.context[:200])
    with torch.no_grad():
        back = run.scaling.inverse(run.model.flow(c).transform.inv(z))
    assert torch.allclose(back, events.values[:200], atol=1e-3)
    moved = search.latent(events.values[:200], events.context[:200] + 0.3)
    assert float((moved - z).abs().max()) > 1e-3  # the latent vector knows the mass
    precise = search.latent(events.values[:200].double(), events.context[:200].double())  # columns that need float64
    assert torch.allclose(precise, z, atol=1e-5)


@pytest.mark.parametrize("method", [RadOT, Curtains, Transit, LaCathode])
def test_unusable_settings(method):
    few = TOY.background(500, seed=0)
    with pytest.raises(SampleSizeError):
        method(REGION).fit(few)
    with pytest.raises(OptionError, match="oversampling"):
        method(REGION, oversampling=0).fit(TOY.background(5000, seed=0))
    with pytest.raises(OptionError, match="has not been fitted"):
        method(REGION).sample_background(10)


def test_unusable_options():
    with pytest.raises(OptionError, match="latent space"):
        LaCathode(REGION, template="gan")
    with pytest.raises(OptionError, match="cannot pair"):
        RadOT(REGION, slices=0)
    with pytest.raises(SampleSizeError, match="within reach"):
        RadOT(REGION, reach=0.001).fit(TOY.background(5000, seed=0))
    with pytest.raises(OptionError, match="settings of the transport"):
        Transit(REGION, options={"critic_steps": 0}, check=False).fit(TOY.background(5000, seed=0))


@pytest.mark.slow
@pytest.mark.parametrize("detector", [
    RadOT(REGION, members=1, oversampling=0.2),
    Curtains(REGION, members=1, oversampling=0.2, plan=Plan(steps=300, batch=1024)),
    Transit(REGION, members=1, oversampling=0.2, plan=Plan(steps=300, batch=512)),
], ids=lambda d: type(d).__name__)
def test_carried_events_obey_the_law(detector, background):
    """Mean, slope and covariance at masses inside the window; 60,000 events in all, 41,000 beside."""
    detector.fit(background)
    assert failures(detector.sample_background(N, seed=1), 0.03) == []
    assert detector.template_report_.passed


@pytest.mark.slow
def test_latent_background_is_normal_at_every_mass(background):
    search = LaCathode(REGION, members=1, oversampling=0.2, plan=Plan(steps=300, batch=512),
                       options={"layers": 2, "hidden": (32, 32)}).fit(background)
    fresh = TOY.background(60_000, seed=5)
    fresh = fresh[TOY.in_signal_region(fresh)]
    z = search.latent(fresh)
    # As residuals at slope 0: the same test of mean, slope and covariance.
    drawn = Dataset.from_arrays(z + torch.tensor(TOY.slope) * (fresh.context - 3.5), fresh.context)
    assert failures(drawn, 0.03) == []
    raw = Dataset.from_arrays(fresh.values + torch.tensor(TOY.slope) * (fresh.context - 3.5), fresh.context)
    assert "slope" in failures(raw, 0.03)  # negative control: the features themselves do shift
