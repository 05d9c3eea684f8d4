"""The range of a spectrum is found: what lies outside changes nothing, and what is a shape stays in."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sundog import Dataset
from sundog.errors import OptionError, SampleSizeError
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly import SignalRegion, scan, smooth_masses
from sundog.tasks.anomaly.background.extent import extent, searched
from sundog.tasks.anomaly.regions import gather
from sundog.tasks.anomaly.scan.bump import common_edges, fit_bump

TOY, REGION = ResonantToy(), SignalRegion(3.3, 3.7)
QUICK = {"efficiency": 0.05, "folds": 2, "members": 1, "control": False, "pseudo_experiments": 100}


def joined(*parts):
    return Dataset.from_arrays(torch.cat([p.values for p in parts]), torch.cat([p.context for p in parts]),
                               context_names=("m",))


def stray(n, low, high, seed=7):
    g = torch.Generator().manual_seed(seed)
    return Dataset.from_arrays(torch.randn(n, 4, generator=g), torch.linspace(low, high, n), context_names=("m",))


@pytest.mark.parametrize("seed", range(8))
def test_spectra_without_faults_keep_all_their_events(seed):
    """Falling, flat, power laws, with a resonance: no range but their own (false alarms would be seen in 1 of 56)."""
    g = np.random.default_rng(seed)
    for m in (TOY.background(12_000, seed).context, TOY.events(12_000, 0.05, seed).context, g.uniform(3, 5, 20_000),
              3 + g.exponential(0.5, 50_000), 3 * g.uniform(size=30_000) ** (-1 / 5), g.uniform(2, 4, 1200),
              2 * g.uniform(size=100_000) ** (-1 / 6)):
        found = extent(m)
        assert (found.below, found.above, found.reasons) == (0, 0, ())


@pytest.mark.parametrize("digits", [1, 2])
def test_masses_with_few_digits_keep_their_tail(digits):
    """Most of them have an equal neighbour: the distance to the next cell is no sign of loneliness."""
    m = (3 + np.random.default_rng(0).exponential(0.5, 20_000)).round(digits)
    assert extent(m).above == 0
    assert extent(np.concatenate([m, [97.0, 300.0]])).above == 2
    assert extent(m[:5]).above == 0


def test_strays_turn_on_and_lone_events_are_left_out():
    m = 3 + np.random.default_rng(0).exponential(0.5, 100_000)
    found = extent(np.concatenate([m, np.linspace(1.2, 2.95, 19)]))
    assert found.lo == m.min() and found.below == 19 and "threshold at 3: 19" in str(found)
    far = extent(np.concatenate([m, [97.0, 300.0]]))
    assert far.hi == m.max() and far.above == 2
    rising = extent(m[np.random.default_rng(1).uniform(size=len(m)) < 1 / (1 + np.exp(-(m - 3.3) / 0.06))])
    assert 3.3 < rising.lo < 3.55 and "turn-on" in str(rising)
    chosen = extent(m, 3.2, 5.0)
    assert (chosen.lo, chosen.hi) == (3.2, 5.0) and "chosen" in str(chosen)
    with pytest.raises(OptionError, match="from < to"):
        extent(m, 5.0, 3.2)
    with pytest.raises(SampleSizeError, match="no events in this range"):
        extent(m, 100.0, 200.0)


def test_nineteen_events_below_the_threshold_change_nothing():
    events = TOY.events(12_000, 0.03, seed=0)
    dirty = joined(events, stray(19, 1.2, 2.9))
    clean, found = (scan(e, [REGION], "cwola", **QUICK) for e in (events, dirty))
    assert found.best.p_local == clean.best.p_local and found.best.before.p_fit == clean.best.before.p_fit
    assert found.evidence and clean.evidence and clean.notes[0].endswith("all of the data")
    assert "19 scattered events below it" in found.notes[0] and found.notes[0] in str(found)
    # Negative control: with the range forced open, the same curve describes nothing.
    forced = scan(dirty, [REGION], "cwola", start=1.0, **QUICK)
    assert forced.best.before.p_fit < 1e-3 and not forced.best.trusted
    assert smooth_masses(dirty.context, REGION).expected == smooth_masses(events.context, REGION).expected


def test_copies_count_once():
    events = TOY.background(8000, seed=1)
    twice = joined(events, events[torch.arange(0, 8000, 3)])
    kept = searched(gather(twice))
    assert torch.equal(kept.values, events.values) and torch.equal(kept.context, events.context)
    assert kept.provenance["searched"] == ["2667 of 10667 events are copies of others and count once"]
    assert searched(gather(events)).provenance == gather(events).provenance
    both = [scan(e, [REGION], "cwola", **QUICK).best.p_local for e in (events, twice)]
    assert both[0] == both[1]


@pytest.mark.parametrize("step", [0.01, 0.005, 0.1])
def test_masses_in_steps_are_spread_over_them(step):
    events = TOY.background(50_000, seed=1)
    coarse = replace(events, context=(events.context / step).round() * step)
    kept = searched(gather(coarse))
    inner = coarse.context[(coarse.context > coarse.context.min()) & (coarse.context < coarse.context.max())]
    assert float((kept.context[:, 0] - inner).abs().max()) <= 0.501 * step
    assert f"steps of {step:g}" in kept.provenance["searched"][-1]
    edges = common_edges(kept.context, [REGION])
    assert fit_bump(kept.context, REGION, edges).p_fit > 1e-3 or step == 0.1
    if step < 0.1:  # Negative control: left as they are, no smooth curve describes them.
        assert fit_bump(coarse.context, REGION, common_edges(coarse.context, [REGION])).p_fit < 1e-3
    assert torch.equal(searched(gather(coarse)).context, kept.context)
