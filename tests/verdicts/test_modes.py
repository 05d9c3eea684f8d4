"""Collapse and dropping on samples whose truth is known: a ring of eight, whole, thinned, or repeated."""

import pytest
import torch

from sundog.errors import SampleSizeError
from sundog.simulate.densities import GaussianMixture
from sundog.verdicts.modes import adversarial_report, mode_report

RING = GaussianMixture.ring()
REAL, SAME = (RING.sample(4000, seed=s).values for s in (0, 1))


def without(k):
    """Fakes that leave k of the eight modes out."""
    weights = torch.ones(8)
    weights[:k] = 0
    return GaussianMixture(RING.means, RING.covariances, weights).sample(4000, seed=2).values


def test_equal_laws():
    for seed in range(2):
        found = mode_report(REAL, SAME, seed=seed, modes=8)
        assert abs(found.diversity - 1) < 4 * found.diversity_error and not found.collapsed
        assert found.dropped == () and found.missing == 0
        # Coverage of 2000 by 2000 equal rows is 1 - 2^-5 up to 4 binomial errors.
        assert abs(found.coverage - found.coverage_null) < 4 * (2 * 0.03 / 2000) ** 0.5


@pytest.mark.parametrize("k", [1, 3])
def test_dropped_modes_are_counted(k):
    found = mode_report(REAL, without(k), modes=8)
    assert len(found.dropped) == k and not found.collapsed
    assert found.missing == pytest.approx(k / 8, abs=4 * (k / 8 / 2000) ** 0.5)
    assert found.coverage < found.coverage_null - 0.7 * k / 8
    assert "DROPPED" in str(found)


def test_collapse_to_one_mode():
    centre = torch.tensor([[2.0, 0.0]]) + 0.1 * torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    found = mode_report(REAL, centre, modes=8)
    # Two points of one mode are 0.1 sqrt(pi) apart; of the ring, about 4 / pi * 2.
    assert found.diversity == pytest.approx(0.1 * 3.14159**0.5 / (8 / 3.14159), rel=0.05)
    assert found.collapsed and len(found.dropped) == 7 and "COLLAPSED" in str(found)


def test_a_rare_mode_is_not_called_dropped_by_chance():
    weights = torch.ones(8)
    weights[0] = 0.01
    rare = GaussianMixture(RING.means, RING.covariances, weights)
    few = rare.sample(300, seed=3).values
    assert mode_report(rare.sample(4000, seed=4).values, few, modes=8).dropped == ()


def test_report_reads_losses_and_samples():
    t = torch.arange(200)
    cycle = torch.sin(2 * torch.pi * t / 10) + 0.3 * torch.randn(200, generator=torch.Generator().manual_seed(0))
    found = adversarial_report({"critic": cycle.tolist(), "generator": [1.0] * 120}, REAL, SAME)
    assert found.oscillations["critic"] and not found.oscillations["generator"]
    assert found.settled["generator"] == 100
    assert "OSCILLATES with period 9.9" in str(found) and "critic" in str(found)


def test_constant_fakes_and_few_rows():
    found = mode_report(REAL, torch.zeros(300, 2), modes=8)
    assert found.diversity == 0 and found.collapsed
    with pytest.raises(SampleSizeError, match="draw more"):
        mode_report(REAL, SAME[:100])


def test_the_error_of_the_diversity_is_its_scatter():
    found = [mode_report(RING.sample(300, seed=10 + 2 * s).values, RING.sample(300, seed=11 + 2 * s).values, modes=8)
             for s in range(60)]
    ratio, error = (torch.tensor([getattr(f, name) for f in found]) for name in ("diversity", "diversity_error"))
    assert float(ratio.std() / error.mean()) == pytest.approx(1, abs=4 / 120**0.5)
