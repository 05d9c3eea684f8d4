"""Normal scores: standard normal columns whatever came in, exact inverses, log-determinants equal to the Jacobian."""

from __future__ import annotations

import json
import math

import pytest
import torch

from sundog.data.scaling import NormalScores, Standard, named_scaling, scaling_from_json
from sundog.errors import DataError, OptionError, ShapeError


def columns(n=20_000, seed=0):
    """A hard edge, a long tail, a peak away from the edges, and a Gaussian."""
    g = torch.Generator().manual_seed(seed)
    u = torch.rand(n, 3, generator=g, dtype=torch.float64)
    return torch.stack([u[:, 0], -u[:, 1].log(), u[:, 2] ** 0.2, torch.randn(n, generator=g, dtype=torch.float64)], 1)


@pytest.fixture(scope="module")
def scaling():
    return NormalScores().fit(columns())


def distance_to_normal(z):
    """Kolmogorov-Smirnov distance of each column to N(0, 1)."""
    n = len(z)
    uniform = torch.special.ndtr(z.sort(0).values)
    return (uniform - (torch.arange(n)[:, None] + 0.5) / n).abs().amax(0)


def test_unseen_columns_are_standard_normal(scaling):
    fresh = columns(seed=1)
    # Two samples of n = 20,000 differ by 1.36 sqrt(2 / n) in 5 % of the cases, by 1.95 sqrt(2 / n) in 0.1 %.
    assert (distance_to_normal(scaling.forward(fresh)) < 1.95 * (2 / 20_000) ** 0.5).all()
    assert (distance_to_normal(Standard().fit(fresh).forward(fresh))[:3] > 1.95 * (2 / 20_000) ** 0.5).all()


def test_inverse_undoes_forward(scaling):
    x = torch.cat([columns(seed=2), columns(100, seed=3) * 5 - 2])  # the latter far beyond the training data
    assert torch.allclose(scaling.inverse(scaling.forward(x)), x, rtol=1e-12, atol=1e-12)
    z = torch.linspace(-8, 8, 400, dtype=torch.float64)[:, None].expand(400, 4)
    assert torch.allclose(scaling.forward(scaling.inverse(z)), z, rtol=1e-9, atol=1e-9)
    assert (scaling.inverse(z).diff(dim=0) > 0).all()


def test_log_abs_det_is_the_autograd_jacobian(scaling):
    for row in columns(20, seed=4) * 1.3 - 0.1:
        jacobian = torch.autograd.functional.jacobian(lambda v: scaling.forward(v[None])[0], row)
        assert torch.isclose(scaling.log_abs_det(row[None])[0], torch.linalg.slogdet(jacobian)[1], atol=1e-10)


def test_density_is_normalised_and_right():
    """N(f(x)) f'(x) is the density of the column: 1 on the unit interval."""
    x = torch.linspace(0.02, 0.98, 2001, dtype=torch.float64)
    one = NormalScores().fit(columns()[:, :1])
    log_p = -0.5 * math.log(2 * math.pi) - 0.5 * one.forward(x[:, None])[:, 0] ** 2 + one.log_abs_det(x[:, None])
    assert abs(float(torch.trapezoid(log_p.exp(), x)) - 0.96) < 4 * (0.96 * 0.04 / 20_000) ** 0.5
    assert float(log_p.abs().max()) < 0.2  # a thirtieth of the events in each piece: 4 % errors, and edges of pieces


def test_edge_is_passed_by_little_and_seldom(scaling):
    x = scaling.inverse(torch.randn(100_000, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64))
    assert x[:, 0].min() > -0.01 and x[:, 0].max() < 1.01
    assert int((x[:, 0] < 0).sum()) <= 5 + 4 * 5**0.5  # once in 20,000 is expected


def test_the_next_extreme_is_not_thrown_out():
    """The largest of 5000 fresh Gaussians lies at z of about 4 on training sets of 10,000, close neighbours or not."""
    g = torch.Generator().manual_seed(8)
    for _ in range(30):
        x = torch.randn(15_000, 4, generator=g, dtype=torch.float64)
        x[0] = x[:10_000].amax(0) + 1e-4  # the two largest happen to lie close together
        assert NormalScores().fit(x[:10_000]).forward(x).abs().max() < 6.5


def test_repeated_numbers_weights_and_images():
    g = torch.Generator().manual_seed(6)
    few = torch.randint(0, 3, (1000, 1), generator=g).double()  # three different numbers
    fitted = NormalScores().fit(few)
    assert (fitted.forward(torch.tensor([[0.0], [1.0], [2.0]])).diff(dim=0) > 0).all()
    x = torch.randn(300, 2, generator=g, dtype=torch.float64)
    w = torch.arange(300) % 3
    twice, weighted = NormalScores().fit(x.repeat_interleave(w, 0)), NormalScores().fit(x, w.double())
    assert torch.allclose(twice.forward(x), weighted.forward(x))
    for shape in ((6, 5, 5), (6, 2, 5, 5)):
        image = torch.rand(shape, generator=g)
        fitted = NormalScores().fit(image)
        assert len(fitted.x) == (1 if len(shape) == 3 else 2)
        assert torch.allclose(fitted.inverse(fitted.forward(image)), image, atol=1e-6)


def test_json_words_and_types(scaling):
    again = scaling_from_json(json.loads(json.dumps(scaling.to_json())))
    assert again == scaling and torch.equal(again.forward(columns()), scaling.forward(columns()))
    assert named_scaling("normal-scores") == NormalScores()
    assert scaling.forward(columns().float()).dtype == torch.float32
    assert scaling.outside(columns(seed=7) * 100) == 0


def test_misuse_is_named(scaling):
    with pytest.raises(DataError, match="flat is constant"):
        NormalScores().fit(torch.ones(10, 1), names=("flat",))
    with pytest.raises(OptionError, match="not fitted"):
        NormalScores().forward(columns(5))
    with pytest.raises(ShapeError, match="another number of columns"):
        scaling.forward(columns(5)[:, :2])
    with pytest.raises(OptionError, match="too few knots"):
        NormalScores(count=2)
