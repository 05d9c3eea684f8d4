"""Tangent kernels against their limits: linear, diagonal, wide networks, permutations."""

import itertools
import math

import pytest
import torch
from torch import nn

from sundog.errors import OptionError, ShapeError
from sundog.models.kernel import empirical_ntk, ntk, numerical_span_dimension
from sundog.random import stream

F64 = torch.float64


class Wide(nn.Module):
    """Two layers, f = sum_j a_j relu(w_j x) / sqrt(W), in the parametrisation of the paper: N(0, 1) weights."""

    def __init__(self, width, d, seed):
        super().__init__()
        self.w = nn.Parameter(torch.randn(width, d, generator=stream(seed, "w"), dtype=F64))
        self.a = nn.Parameter(torch.randn(width, generator=stream(seed, "a"), dtype=F64))

    def forward(self, x):
        return ((x @ self.w.T).relu() @ self.a / len(self.a) ** 0.5)[:, None]


def points(n=6, d=3):
    return torch.randn(n, d, generator=stream(0, "points"), dtype=F64)


def test_depth_one_is_the_linear_kernel():
    x = points()
    assert torch.allclose(ntk(x, x, 1), x @ x.T)


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_the_diagonal(depth):
    x = points()
    assert torch.allclose(ntk(x, x, depth).diagonal(), depth / 2 ** (depth - 1) * x.square().sum(1), rtol=1e-6)


@pytest.mark.parametrize("depth", [2, 3])
def test_it_is_positive_definite(depth):
    x = points(40)
    assert float(torch.linalg.eigvalsh(ntk(x, x, depth))[0]) > 0


def test_wide_networks_have_it():
    """Each entry is a mean over the units: its error falls as 1 / sqrt(width), and is within 4 standard errors."""
    x = points()
    exact = ntk(x, x, 2)
    widths, errors = (400, 6400), []
    for width in widths:
        found = torch.stack([empirical_ntk(Wide(width, 3, seed), x, x) for seed in range(8)])
        errors.append(float((found - exact).square().mean().sqrt()))
        standard = found.std(0) / 8**0.5
        assert float(((found.mean(0) - exact).abs() / standard).max()) < 6.5  # Student's t of 7, 36 numbers
        assert float(((found.mean(0) - 1.5 * exact).abs() / standard).max()) > 6.5
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.35)


def test_several_outputs_are_averaged():
    net = nn.Linear(3, 4).double()
    x = points()
    assert torch.allclose(empirical_ntk(net, x, x[:2]), x @ x[:2].T + 1)


@pytest.mark.parametrize("k", [4, 8, 12])
def test_permutations_are_exact_on_all_inputs(k):
    """Learned from the k basis vectors alone, right on all 2^k - 1 sums of them (arXiv 2502.16763)."""
    e = torch.eye(k, dtype=F64)
    order = torch.randperm(k, generator=stream(k, "permutation"))
    x = torch.tensor(list(itertools.product((0.0, 1.0), repeat=k))[1:], dtype=F64)
    x = x / x.norm(dim=1, keepdim=True)
    answer = ntk(x, e) @ torch.linalg.solve(ntk(e, e), e[order])
    wanted = (x @ e[order]) > 0
    on, off = answer[wanted], answer[~wanted]
    assert float(on.min()) == pytest.approx({4: 0.319, 8: 0.173, 12: 0.118}[k], abs=1e-3)
    assert float(off.max()) < 1e-12


def test_span_of_polynomials():
    """Units (w x + b)^d of one input span d + 1 functions, whatever their number; copies add none."""
    x = torch.linspace(-1, 1, 200, dtype=F64)[:, None]
    w, b = torch.randn(2, 60, generator=stream(0, "units"), dtype=F64)
    for degree in (1, 2, 3, 4):
        units = (x * w + b) ** degree
        assert numerical_span_dimension(units) == degree + 1
        assert numerical_span_dimension(torch.cat([units, units], 1)) == degree + 1
    relu = (x * w + b).relu()
    assert numerical_span_dimension(relu) > 20


def test_bad_input():
    x = points()
    with pytest.raises(ShapeError, match="inputs of a kernel"):
        ntk(x, x[:, :2], 2)
    with pytest.raises(OptionError, match="depth"):
        ntk(x, x, 0)
    with pytest.raises(ShapeError, match="matrix"):
        numerical_span_dimension(x[0])
    with pytest.raises(OptionError, match="eps"):
        numerical_span_dimension(x, -math.inf)
