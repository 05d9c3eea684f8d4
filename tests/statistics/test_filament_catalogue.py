"""Filament graphs of maps and sets of points as a statistic of the judge."""

import numpy as np
import pytest
import torch

import sundog
from sundog.random import numpy_stream
from sundog.simulate.fields import filamentary_field, phase_randomised
from sundog.statistics.catalogue.filaments import NAMES
from sundog.statistics.catalogue.table import Frame, catalogue, choose

pytest.importorskip("ripser")
GRAPH = choose("images", "filament graph")[0]


def rings(n, seed, closed=True):
    """Sets of 24 points on a circle, or on an arc of three quarters of it, with scatter."""
    rng = numpy_stream(seed, "rings", closed)
    t = np.linspace(0, 2 * np.pi if closed else 1.5 * np.pi, 24, endpoint=False) + rng.uniform(0, 6, (n, 1))
    return torch.from_numpy(np.stack([np.cos(t), np.sin(t)], 2) + 0.03 * rng.normal(size=(n, 24, 2)))


def test_rings_have_a_loop_and_arcs_none():
    frame = Frame.of(rings(40, 0))
    for closed, loops in ((True, 1), (False, 0)):
        found = GRAPH.measure(rings(20, 1, closed), frame)
        assert float((found[:, NAMES.index("loops")] == loops).double().mean()) > 0.9
    padded = torch.cat([rings(20, 2), torch.zeros(20, 9, 2).double()], 1)  # rows of zeros are no points
    assert torch.equal(GRAPH.measure(padded, frame), GRAPH.measure(rings(20, 2), frame))
    assert GRAPH.measure(torch.zeros(2, 5, 2), frame)[0].tolist() == [0.0] * 6


def test_it_is_measured_only_when_named():
    assert "filament graph" not in [s.name for s in catalogue("images")]
    assert "filament graph" in [s.name for s in catalogue("images", on_request=True)]


def row_of(real, fake, seed=0):
    verdict = sundog.judge(real, fake, statistics="filament graph", splits=20, seed=seed)
    return next(row for row in verdict.rows if row.name == "filament graph")


def test_judge_sees_open_rings():
    assert row_of(rings(30, 0), rings(30, 1, closed=False)).p_value < 0.01


@pytest.mark.slow
def test_judge_sees_filaments_torn_into_noise_of_equal_power_and_passes_others():
    real = filamentary_field(60, 48, seed=0)
    fakes = filamentary_field(60, 48, seed=1)
    assert row_of(real, phase_randomised(fakes, seed=2)).p_value < 0.01
    p = [row_of(rings(30, 10 + s), rings(30, 40 + s), s).p_value for s in range(12)]
    assert sum(value < 0.05 for value in p) <= 3  # 12 at 5 %: more than 3 in 0.2 % of tries; of 188 others, 11
    assert row_of(real, fakes).p_value > 0.001
