"""fit tells a family that maps wrap around, where the data say so."""

import pytest
import torch

import sundog
from sundog import Dataset, Plan

MAPS = torch.randn(40, 2, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", ["diffusion", "flow-matching", "translate", "refine"])
def test_maps_that_wrap_around_are_learned_as_such(family):
    def fitted(wraps, **options):
        data = Dataset.from_arrays(MAPS, periodic=wraps)
        return sundog.fit(family, data, plan=Plan(steps=1, batch=8), parameters=3e4, **options).model

    assert fitted(True).options.periodic
    assert not fitted(False).options.periodic
    assert not fitted(True, periodic=False).options.periodic  # what the user says counts more


def test_families_that_know_no_edges_are_not_asked():
    data = Dataset.from_arrays(MAPS, periodic=True)
    assert sundog.fit("vae", data, plan=Plan(steps=1, batch=8), width=2).labels["periodic"]
    events = Dataset.from_arrays(MAPS[:, 0, 0], periodic=True)
    sundog.fit("flow-matching", events, plan=Plan(steps=1), hidden=(8,))
