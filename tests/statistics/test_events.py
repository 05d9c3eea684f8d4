"""Marginals and correlations of events against numpy and planted correlations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sundog.errors import DataError, ShapeError
from sundog.statistics import correlation_matrix, marginals


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_a_planted_correlation_comes_back() -> None:
    n, rho = 20_000, 0.6
    x = noise(n, 2)
    x[:, 1] = rho * x[:, 0] + math.sqrt(1 - rho**2) * x[:, 1]
    r = correlation_matrix(x)
    assert abs(r[0, 1] - rho) < 4 * (1 - rho**2) / math.sqrt(n) < abs(r[0, 1] - 0.5)
    assert np.allclose(correlation_matrix(x + 1e3).numpy(), np.corrcoef(x.numpy().T))


def test_weights_act_like_copies() -> None:
    x, copies = noise(40, 3), torch.arange(40) % 3
    assert torch.allclose(correlation_matrix(x.repeat_interleave(copies, 0)), correlation_matrix(x, weights=copies))
    m, repeated = marginals(x, bins=5, weights=copies), x.repeat_interleave(copies, 0)
    assert torch.allclose(m.share, marginals(repeated, edges=m.edges).share)


def test_marginals_count_every_event_and_share_edges() -> None:
    x = noise(301, 2).float()
    m = marginals(x, bins=7)
    assert torch.allclose(m.share.sum(1), torch.ones(2))
    assert marginals(x + 100, edges=m.edges).share.sum() == 0


def test_constants_single_events_and_bad_input() -> None:
    x = torch.cat([torch.full((10, 1), 5.0), torch.arange(10.0)[:, None]], 1)
    assert torch.equal(correlation_matrix(x), torch.eye(2))
    assert torch.equal(correlation_matrix(torch.ones(1, 3)), torch.eye(3))
    assert marginals(torch.ones(4), bins=3).share.sum() == 1
    with pytest.raises(ShapeError):
        correlation_matrix(x, weights=torch.ones(3))
    with pytest.raises(ShapeError):
        marginals(x, edges=torch.linspace(0, 1, 3))
    with pytest.raises(DataError):
        marginals(x * math.inf)
