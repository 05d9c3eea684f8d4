"""The mass-dependent flattening: marginals standard normal at every mass, exact inverse, resonances not followed."""

import math
from dataclasses import replace

import torch
from scipy.stats import kstest

from sundog import Plan
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly import SignalRegion
from sundog.tasks.anomaly.background.flatten import Flattening, _powers, _smooth
from sundog.tasks.anomaly.background.sigma_field import control_template, fit_everything

TOY, REGION = ResonantToy(), SignalRegion(3.3, 3.7)


def edged(n: int, seed: int):
    """Two features with an edge at 0, a cusp, and an upper end that moves with the mass; and the mass."""
    g = torch.Generator().manual_seed(seed)
    m = 3 - torch.rand(n, generator=g, dtype=torch.float64).clamp(1e-3).log() / 1.6
    u, v = torch.rand(2, n, generator=g, dtype=torch.float64)
    return torch.stack([u**2 * (m - 2), torch.where(v < 0.5, v, (2 * v - 1) ** 3 + 0.5)], 1), m


def worst(flat: Flattening, x, m):
    """Largest Kolmogorov-Smirnov distance of a flattened feature to the normal law in a slice of mass, times sqrt n."""
    found = []
    for lo, hi in ((3.0, 3.1), (3.3, 3.7), (3.9, 4.3)):
        y = flat.forward(x, m)[(m > lo) & (m < hi)]
        found += [kstest(y[:, j].numpy(), "norm").statistic * len(y) ** 0.5 for j in range(2)]
    return max(found)


def test_unseen_features_are_normal_at_every_mass():
    x, m = edged(30_000, 0)
    fresh = edged(8000, 1)
    assert worst(Flattening.fit(x, m), *fresh) < 2.0  # 1.95 is exceeded once in a thousand
    assert worst(Flattening.fit(x, m, highest=0), *fresh) > 4  # negative control: without the mass


def test_inverse_and_slope_are_those_of_the_map():
    x, m = edged(20_000, 2)
    flat = Flattening.fit(x, m)
    y = flat.forward(x, m)
    assert torch.allclose(flat.inverse(y, m), x, atol=1e-9)
    step, columns = 1e-7, []
    for j in range(2):
        up, down = x.clone(), x.clone()
        up[:, j] += step
        down[:, j] -= step
        columns.append((flat.forward(up, m) - flat.forward(down, m)) / (2 * step))
    numerical = torch.linalg.det(torch.stack(columns, 2)).log()
    difference = (numerical - flat.log_slope(x, m)).abs()
    assert float(difference.median()) < 1e-6  # a few rows lie on a kink
    outside = torch.tensor([[-0.1, 0.5], [0.5, 2.0]], dtype=torch.float64)
    assert (flat.log_slope(outside, m[:2]) == -torch.inf).all()
    far = flat.inverse(torch.full((2, 2), 30.0, dtype=torch.float64), m[:2])
    assert (far <= x.max(0).values + 1e-5).all()


def test_equal_numbers_and_few_events_do_not_break_it():
    x, m = edged(1000, 3)
    x[:300, 0] = 0.0
    flat = Flattening.fit(x, m)
    y = flat.forward(x, m)
    assert torch.isfinite(y).all() and torch.allclose(flat.inverse(y, m), x, atol=1e-6)


def test_a_resonance_is_followed_by_half_at_most():
    """A signal that holds a tenth of the events at its peak: how far it moves the background's marginals there."""
    background, signal = TOY.background(30_000, 0), TOY.signal(400, 1)
    x, m = background.values, background.context[:, 0]
    window = (m > 3.45) & (m < 3.55)
    share = float(((signal.context > 3.45) & (signal.context < 3.55)).sum() / window.sum())
    broad, everywhere = TOY.signal(round(share * len(m)), 2).values, m[: round(share * len(m))]
    moved = {}
    for what, values, mass in (("resonance", signal.values, signal.context[:, 0]), ("broad", broad, everywhere)):
        dirty = Flattening.fit(torch.cat([x, values]), torch.cat([m, mass]))
        moved[what] = marginal(Flattening.fit(x, m), x[window], m[window]) - marginal(dirty, x[window], m[window])
    followed = share * float(signal.values[:, 0].mean())  # 0.14, by quantiles that know all of it
    assert 0 < moved["resonance"] < 0.65 * followed
    assert moved["broad"] > 0.75 * followed  # negative control: the same events at all masses


def marginal(flat: Flattening, x, m) -> float:
    """Mean of the first feature at its marginal stage, before correlations are taken out."""
    y, _ = flat.pooled.forward(flat.scaling.forward(x.double()), m)
    return float(flat.local.forward(y, m)[0][:, 0].mean())


def test_runs_on_flattened_features_speak_in_units_of_the_data():
    events, truth = narrowed(TOY.events(5000, 0.0, seed=0)), narrowed(TOY.background(2000, 5))
    run = fit_everything(events, plan=Plan(steps=60, batch=512), hidden=(16, 16), context_frequencies=2,
                         sampling="float32")
    drawn = run.sample(2000, context=truth.context, seed=1)
    assert (drawn.values.mean(0) - truth.values.mean(0)).abs().max() < 0.03
    few = truth[:400]
    log_p = run.log_prob(few)
    log_b = TOY.log_background(few.values / NARROW, few.context) - 4 * math.log(NARROW)
    weight = (log_p - log_b).exp()  # averages to one over the truth where both are densities
    assert abs(float(weight.mean()) - 1) < 4 * float(weight.std()) / len(few) ** 0.5 + 0.02
    assert float((log_p - TOY.log_background(few.values / NARROW, few.context)).median()) > 3  # 4 ln 5: not in y
    control = control_template(events, REGION, plan=Plan(steps=10, batch=256), hidden=(16,), check=False)
    drawn = control.sample(200, 0)
    assert REGION.contains(drawn).all() and float(drawn.values.std(0).max()) < 2 * NARROW


NARROW = 0.2


def narrowed(events):
    return replace(events, values=NARROW * events.values)


def test_quantiles_on_a_line_get_a_line():
    """Mallows' C_p takes the degree of the truth, be the noise large or small; one degree less or more would show."""
    known, levels = _powers(torch.linspace(-1, 1, 6, dtype=torch.float64), 4), torch.ones(300, dtype=torch.bool)
    for degree, noise in ((1, 0.01), (1, 1.0), (2, 0.01)):
        g = torch.Generator().manual_seed(degree)
        measured = 30 * known[:, degree, None] + noise * torch.randn(6, 300, generator=g, dtype=torch.float64)
        truth = torch.linalg.lstsq(known[:, : degree + 1], measured).solution
        assert torch.allclose(_smooth(known, measured, known, levels), known[:, : degree + 1] @ truth)


def test_polynomials_are_those_of_chebyshev_and_stay_beyond_the_ends():
    found = _powers(torch.tensor([-1.5, -1.0, 0.0, 0.5, 1.0, 1.5], dtype=torch.float64), 3)
    ends = [[1, -1, 1, -1], [1, 1, 1, 1]]
    right = torch.tensor([ends[0], ends[0], [1, 0, -1, 0], [1, 0.5, -0.5, -1], ends[1], ends[1]], dtype=torch.float64)
    assert torch.allclose(found, right, atol=1e-12)
