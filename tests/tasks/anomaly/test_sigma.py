"""SIGMA on the resonant toy, whose interpolation is known in closed form: templates right, signal left out."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from sundog import Dataset, Plan
from sundog.errors import OptionError, SampleSizeError
from sundog.models.matching import FlowMatching
from sundog.nets.residual import GatedResidualMLP, InterpolatedField
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly import RAnode, Sigma, SignalRegion, choose_interpolation, sic_curve
from sundog.tasks.anomaly.background.sigma_field import ends, fit_everything, neighbours, window_template
from sundog.tasks.anomaly.checks.choice import GaussianSignal, InterpolationChoice, _groups

TOY, REGION = ResonantToy(), SignalRegion(3.3, 3.7)


class Shift(nn.Module):
    """The exact field of x | c ~ N(slope c, 1): v = slope c + (2 t - 1) / (t^2 + (1 - t)^2) (x - t slope c)."""

    slope = 0.8

    def forward(self, x, t, context):
        mean = self.slope * context
        return mean + (2 * t - 1) / (t.square() + (1 - t).square()) * (x - t * mean)


def test_linear_interpolation_is_exact_for_a_shifting_gaussian():
    field = Shift()
    between = InterpolatedField(field, -1.0, 1.5, how="linear")
    g = torch.Generator().manual_seed(0)
    x, c, t = torch.randn(50, 1, generator=g), torch.rand(50, 1, generator=g), torch.full((50, 1), 0.3)
    assert torch.allclose(between(x, t, c), field(x, t, c), atol=1e-5)
    assert not torch.allclose(between(x, t, c), field(x, t, c + 0.2), atol=1e-2)  # it could have failed


@pytest.fixture
def network():
    torch.manual_seed(0)
    return GatedResidualMLP(3, 1, width=16, blocks=2, context_frequencies=3)


@pytest.mark.parametrize("how", ["linear", "context"])
def test_interpolation_meets_the_network_at_both_ends(network, how):
    between = InterpolatedField(network, -0.4, 0.7, how=how)
    x, t = torch.randn(20, 3, generator=torch.Generator().manual_seed(1)), torch.full((20, 1), 0.6)
    for end in (-0.4, 0.7):
        c = torch.full((20, 1), end)
        assert torch.allclose(between(x, t, c), network(x, t, c), atol=1e-5)
    middle = torch.full((20, 1), 0.1)
    assert not torch.allclose(between(x, t, middle), network(x, t, middle), atol=1e-3)


def test_context_interpolation_follows_its_formula(network):
    """Written out naively: full embeddings of n rows at both ends, activations mixed row by row."""
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(2))
    t, c = torch.full((7, 1), 0.25), torch.linspace(-0.3, 0.6, 7)[:, None]
    xi = (c - 0.7) / (-0.4 - 0.7)
    e1, e2 = (network.given(t, torch.full((7, 1), end)) for end in (-0.4, 0.7))
    h_1, h_2 = (torch.relu(network.enter(torch.cat([x, e], 1))) for e in (e1, e2))
    h = xi * h_1 + (1 - xi) * h_2
    for block in network.blocks:
        gate = xi * torch.relu(block.gate(e1)) + (1 - xi) * torch.relu(block.gate(e2))
        h = h + block.second(torch.relu(block.first(torch.relu(h)))) * torch.sigmoid(gate)
    expected = network.leave(torch.relu(h))
    assert torch.allclose(InterpolatedField(network, -0.4, 0.7)(x, t, c), expected, atol=1e-5)


def test_what_interpolation_refuses(network):
    with pytest.raises(OptionError):
        InterpolatedField(network, 0.5, 0.5)
    with pytest.raises(OptionError):
        InterpolatedField(nn.Linear(2, 2), 0.0, 1.0, how="context")
    with pytest.raises(OptionError):
        Sigma(REGION, interpolation="cubic")
    with pytest.raises(OptionError):
        Sigma(REGION).score_samples(torch.zeros(2, 4))
    with pytest.raises(OptionError):
        Sigma(REGION).for_window(REGION)
    with pytest.raises(OptionError):
        choose_interpolation(TOY.background(2000, 0), windows=[])
    with pytest.raises(SampleSizeError):
        Sigma(REGION).fit(TOY.background(500, 0))
    with pytest.raises(OptionError):
        ends(REGION, torch.tensor([3.0, 4.0]), gap=-0.1)


def test_where_templates_interpolate_from():
    mass = torch.tensor([3.0, 4.6])
    assert ends(REGION, mass) == (3.2, 3.8)
    assert ends(SignalRegion(3.1, 3.5), mass) == (3.05, 3.6)  # a thin sideband: half of it
    beside = neighbours(SignalRegion(3.6, 4.0), torch.linspace(3, 5, 101))
    assert [(w.lo, w.hi) for w in beside] == [(3.1, 3.5), (4.1, 4.5)]


@pytest.fixture(scope="module")
def mixture():
    """A signal of 27 % in the window: far too large to hide, so what leaves it out is seen at once."""
    background, signal = TOY.background(9000, 0), TOY.signal(1100, 1)
    return Dataset.from_arrays(torch.cat([background.values, signal.values]),
                               torch.cat([background.context, signal.context]), context_names=("m",))


@pytest.fixture(scope="module")
def run(mixture):
    return fit_everything(mixture, plan=Plan(steps=400, batch=512), scaling="standard", hidden=(32, 32),
                          context_frequencies=3)


def near_signal(events):
    """Share of the events within 0.8 of the centre of the signal, and its error."""
    close = ((events.values - torch.tensor(TOY.centre)).square().sum(1) < 0.8**2).double()
    return float(close.mean()), float((close.mean() / len(close)) ** 0.5)


def test_interpolation_leaves_the_signal_out(run, mixture):
    truth = TOY.background(60_000, 5)
    expected, _ = near_signal(truth[REGION.contains(truth)])
    shares = {}
    for how in ("none", "linear", "context"):
        drawn = window_template(run, mixture, REGION, how=how).sample(4000, 0)
        assert REGION.contains(drawn).all()
        shares[how] = near_signal(drawn)[0]
    n = 4000
    # The mixture holds 14 % close to the centre. The model as it is has learned part of it; the others have not.
    assert shares["none"] > expected + 0.015
    for how in ("linear", "context"):
        assert shares[how] < expected + 4 * math.sqrt(expected / n) + 0.006
        assert shares[how] < shares["none"] - 0.01


def test_low_precision_draws_nearly_the_same_events(run):
    draw = {}
    for sampling in ("bf16", "float32"):
        model = FlowMatching(**{**run.model.config(), "sampling": sampling}).eval()
        model.load_state_dict(run.model.state_dict())
        with torch.no_grad():
            draw[sampling] = model.sample(500, torch.zeros(500, 1), torch.Generator().manual_seed(0))
    assert draw["bf16"].dtype == torch.float32 and torch.isfinite(draw["bf16"]).all()
    apart = (draw["bf16"] - draw["float32"]).abs()
    assert 0 < float(apart.mean()) < 0.02  # eight bits of a velocity of order one


def test_template_density_is_normalised_and_near_the_truth(run, mixture):
    """The interpolated field is a density: importance weights against the truth average to one."""
    template = window_template(run, mixture, REGION)
    truth = TOY.background(1200, 7)
    truth = truth[REGION.contains(truth)]
    log_p, log_b = template.log_prob(truth), TOY.log_background(truth.values, truth.context)
    weight = (log_p - log_b).exp()
    assert abs(float(weight.mean()) - 1) < 4 * float(weight.std()) / len(weight) ** 0.5
    assert float((log_b - log_p).mean()) < 0.15  # Kullback-Leibler divergence of the template, in nats
    shifted = Dataset.from_arrays(truth.values + 0.5, truth.context, context_names=("m",))
    assert float((TOY.log_background(shifted.values, shifted.context) - template.log_prob(shifted)).mean()) < 0.3
    assert float((log_b - template.log_prob(shifted)).mean()) > 0.3  # negative control


def test_other_windows_need_no_training(run, mixture, monkeypatch):
    search = Sigma(REGION, members=1, oversampling=0.5, check=False)
    search.run_, search.events_, search.columns_ = run, mixture, mixture.names
    monkeypatch.setattr("sundog.tasks.anomaly.detectors.sigma.fit_everything", None)
    monkeypatch.setattr("sundog.tasks.anomaly.detectors.sigma.control_template", None)
    first, second = search.for_window(REGION), search.for_window(SignalRegion(3.5, 3.9), "linear")
    assert first.run_ is run and second.run_ is run and second.interpolation == "linear"
    drawn = second.sample_background(200, seed=1)
    assert SignalRegion(3.5, 3.9).contains(drawn).all()
    assert torch.equal(drawn.values, second.sample_background(200, seed=1).values)
    elsewhere = first.template_for(SignalRegion(3.4, 3.6)).sample(200, 0)
    assert SignalRegion(3.4, 3.6).contains(elsewhere).all()
    test = TOY.background(20_000, 3), TOY.signal(2000, 4)
    curve = sic_curve(np.repeat([0, 1], [20_000, 2000]), torch.cat([first.score_samples(e) for e in test]))
    assert curve.at(1e-2) > 3 + curve.error(1e-2)  # the optimum is 9.6


def test_artificial_signals_stay_in_the_data(mixture):
    inside = mixture[REGION.contains(mixture)]
    signal = GaussianSignal.somewhere(inside, REGION, 0)
    x, m = signal.draw(2000, 1)
    assert (x >= inside.values.min(0).values).all() and (x <= inside.values.max(0).values).all()
    assert abs(float(m.mean()) - 3.5) < 4 * 0.05 / 2000**0.5 and abs(float(m.std()) - 0.05) < 4 * 0.05 / 4000**0.5
    assert torch.equal(x, signal.draw(2000, 1)[0])


def test_windows_that_overlap_share_no_injection():
    windows = [SignalRegion(a, a + 0.4) for a in (3.2, 3.4, 3.6, 4.0, 4.2)]
    groups = _groups(windows)
    assert sorted(w.lo for g in groups for w in g) == [3.2, 3.4, 3.6, 4.0, 4.2]
    assert all(abs(a.centre - b.centre) >= 0.8 - 1e-9 for g in groups for a in g for b in g if a is not b)


def test_the_choice_is_the_best_that_tests_can_tell():
    tied = InterpolationChoice(REGION, {"context": (5.0, 7.0, 6.0), "linear": (5.2, 6.7, 6.2)}, 1e-2)
    clear = InterpolationChoice(REGION, {"context": (3.0, 4.0, 3.5), "linear": (5.2, 6.4, 5.6)}, 1e-2)
    assert tied.best == "context" and clear.best == "linear"
    assert "use linear" in str(clear)


@pytest.mark.slow
def test_sigma_finds_the_signal_and_no_interpolation_does_worse():
    events = TOY.events(120_000, 0.006, seed=0)
    search = Sigma(REGION, members=3, plan=Plan(steps=900, batch=2048, precision="bf16"), scaling="standard",
                   options={"hidden": (64, 64)}).fit(events)
    report = search.template_report_
    assert report is not None and 0.47 < report.auc < 0.53
    test = [e[REGION.contains(e)] for e in (TOY.background(200_000, 1), TOY.signal(10_000, 2))]
    labels = np.repeat([0, 1], [len(e) for e in test])

    def sic(detector):
        return sic_curve(labels, torch.cat([detector.score_samples(e) for e in test])).at(1e-2)

    found, none = sic(search), sic(search.for_window(REGION, "none"))
    assert found > 5 and found > none
    part = events[:30_000]  # the density of every event, beside the window too, is a path of the flow
    fraction = RAnode(REGION, background=search, components=(1,), folds=3).fit(part).fraction_
    true = float(TOY.truth(120_000, 0.006, seed=0)[:30_000][REGION.contains(part)].double().mean())
    assert fraction.low_95 < true < fraction.high_95 < 4 * true


@pytest.mark.slow
def test_injection_tests_prefer_an_interpolation():
    choice, = choose_interpolation(TOY.background(60_000, 0), windows=[REGION], tests=2, share=0.02, members=2,
                                   plan=Plan(steps=800, batch=2048, precision="bf16"), scaling="standard",
                                   hidden=(64, 64))
    assert choice.best in ("context", "linear")
    assert choice.mean(choice.best)[0] > 2 and choice.mean(choice.best)[0] > choice.mean("none")[0]
