"""A prior on the signal: parameters and weak signals are found, what is no member is left to the blind search."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sundog import Dataset
from sundog.errors import OptionError, RunError, SampleSizeError, ShapeError
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly import CWoLa, SignalRegion
from sundog.tasks.anomaly.detectors import prior as module
from sundog.tasks.anomaly.detectors.prior import FamilySearch, SignalPrior, learn_prior
from sundog.tasks.anomaly.regions import gather

TOY, REGION = ResonantToy(), SignalRegion(3.3, 3.7)
CENTRE = torch.tensor([1.5, -1.5, 1.0, 1.0])  # of the toy's signal, a member of the family at (1.5, 1)


def family(n, seed, low=-2.0, high=2.0):
    """Signals like the toy's at (a, -a, b, b)."""
    g = torch.Generator().manual_seed(seed)
    theta = low + (high - low) * torch.rand(n // 20, 2, generator=g).repeat_interleave(20, 0)
    x = theta[:, [0, 0, 1, 1]] * torch.tensor([1.0, -1.0, 1.0, 1.0]) + 0.4 * torch.randn(n, 4, generator=g)
    return Dataset.from_arrays(x, torch.cat([torch.full((n, 1), 3.5), theta], 1), context_names=("m", "a", "b"))


@pytest.fixture(scope="module")
def prior():  # five CPU seconds: for slow tests
    return learn_prior(family(8000, 0), TOY.background(20_000, 7), seed=1)


def truth(x, a=1.5, b=1.0):
    """ln p_S / p_B of the toy at m = 3.5, where the background is a unit normal."""
    at = torch.tensor([a, -a, b, b])
    return 0.5 * (x**2).sum(1) - 0.5 * (((x - at) / 0.4) ** 2).sum(1) - 4 * np.log(0.4)


@pytest.mark.slow
def test_the_network_knows_the_ratio(prior):
    """Against the law in closed form, at events of the background and of the signal."""
    member = int((prior.grid - torch.tensor([1.5, 1.0])).norm(dim=1).argmin())
    signal = torch.randn(2000, 4, generator=torch.Generator().manual_seed(2)) * 0.4 + CENTRE
    found = prior.log_ratios(Dataset.from_arrays(signal))[:, member]
    expected = truth(signal, *prior.grid[member].tolist())
    other = truth(signal, *prior.grid[(member + 1) % len(prior.grid)].tolist())
    assert float((found - expected).abs().median()) < 0.6
    assert float((found - other).abs().median()) > 2, "another member must not fit"


@pytest.mark.slow
def test_parameters_and_signal_are_found_where_a_blind_search_finds_nothing(prior):
    events = TOY.events(20_000, 0.003, seed=5)
    found = FamilySearch(REGION, prior=prior, members=1).fit(events)
    a, b = found.parameters_["a"], found.parameters_["b"]
    assert abs(a[0] - 1.5) < 3 * a[1] and abs(b[0] - 1.0) < 3 * b[1] and max(a[1], b[1]) < 0.5
    assert found.by_family_ and found.found_[0] > 4 > found.found_[1] + 1 and "family of signals" in found.told_
    fresh = torch.cat([found.score_samples(part) for part in (TOY.background(4000, 8), TOY.signal(500, 9))])
    cut = torch.quantile(fresh[:4000], 0.99)
    kept = (fresh[4000:] > cut).double().mean()
    blind = CWoLa(REGION, members=1).fit(events)
    blind_scores = torch.cat([blind.score_samples(part) for part in (TOY.background(4000, 8), TOY.signal(500, 9))])
    seen_blind = (blind_scores[4000:] > torch.quantile(blind_scores[:4000], 0.99)).double().mean()
    assert kept > 0.7 and kept > seen_blind + 0.15


@pytest.mark.slow
def test_a_signal_outside_the_family_is_left_to_the_blind_search_and_said():
    far = learn_prior(family(4000, 3, -2.0, -1.0), TOY.background(8000, 7), seed=1)
    found = FamilySearch(REGION, prior=far, members=1).fit(TOY.events(20_000, 0.03, seed=6))
    assert not found.by_family_ and "outside the family" in found.told_
    assert torch.equal(found.score_samples(TOY.signal(9, 1)), found.blind_.score_samples(TOY.signal(9, 1)))


@pytest.mark.slow
def test_the_fraction_is_zero_without_signal_and_true_with(prior):
    """Features follow the mass: the mean ratio of all sidebands is another than that inside."""
    share = []
    for w, seed in ((0.0, 3), (0.01, 3), (0.01, 4)):
        events = gather(TOY.events(60_000, w, seed))
        true = int((TOY.truth(60_000, w, seed) & REGION.contains(events)).sum()) / int(REGION.contains(events).sum())
        found = FamilySearch(REGION, prior=prior, blind=False).fit(events).family_
        best = int(found.gain.argmax())
        if w == 0:
            assert float(found.gain.max()) < 12, "no member stands out among 400"
        else:
            assert float(found.gain.max()) > 20
            share.append(float(found.fraction[best]) / true)
    # What is carried into the window scatters by a seventh of this signal, and the tails of the resonance lie beside.
    assert abs(np.mean(share) - 1) < 0.3, share


@pytest.fixture
def crude(monkeypatch):
    monkeypatch.setattr(module, "EPOCHS", 1), monkeypatch.setattr(module, "LEAST", 5)
    return learn_prior(family(1000, 0), TOY.background(1000, 7))


def test_a_file_gives_the_same_prior(crude, tmp_path):
    prior = crude
    again = SignalPrior.load(prior.save(tmp_path / "p.safetensors"))
    x = TOY.background(50, 0)
    assert torch.equal(prior.log_ratios(x), again.log_ratios(x)) and again.parameters == ("a", "b")
    turned = Dataset.from_arrays(x.values[:, [1, 0, 2, 3]], names=("x1", "x0", "x2", "x3"))
    assert torch.equal(prior.log_ratios(x), again.log_ratios(turned)), "columns are found by name"


def test_what_cannot_be_is_refused(crude, tmp_path):
    with pytest.raises(OptionError, match="no prior on the signal"):
        FamilySearch(REGION)
    with pytest.raises(RunError, match="cannot read"):
        FamilySearch(REGION, prior=tmp_path / "none").fit(TOY.events(3000, 0.0, 0))
    with pytest.raises(ShapeError, match="no parameters"):
        learn_prior(TOY.signal(2000, 0), TOY.background(2000, 0))
    with pytest.raises(SampleSizeError, match="too few simulated"):
        learn_prior(family(100, 0), TOY.background(2000, 0))
    gev = replace(crude, units=("GeV", "", "", "", "", ""))
    with pytest.raises(ShapeError, match="other units than the prior: got x0 in TeV, expected GeV"):
        gev.log_ratios(Dataset.from_arrays(torch.zeros(3, 4), units=("TeV", "", "", "")))
    with pytest.raises(ShapeError, match="x3 is missing"):
        crude.log_ratios(Dataset.from_arrays(torch.zeros(3, 3), names=("x0", "x1", "x2")))
