"""Column kinds: recognised, spread over cells and gathered again exactly; edges, outliers and light rows."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from sundog.data.scaling import (
    ByKind,
    Chain,
    ClippedLogit,
    LogModulus,
    MinMaxPerSet,
    NormalScores,
    Standard,
    named_scaling,
)
from sundog.data.scaling.chain import scaling_from_json
from sundog.errors import DataError, OptionError, ShapeError

N = 3000
RNG = np.random.default_rng(0)
GAUSS, WAIT, UNIT = RNG.normal(size=N), RNG.exponential(size=N), RNG.random(N)
SOME = RNG.random(N) < 0.1
COLUMNS = {  # kind, numbers, and the ends that no fake may pass
    "gauss": ("continuous", GAUSS, -math.inf, math.inf),
    "cauchy": ("continuous", RNG.standard_cauchy(N), -math.inf, math.inf),
    "beta": ("bounded", RNG.beta(0.5, 0.5, N), 0, 1),
    "phi": ("bounded", RNG.uniform(-np.pi, np.pi, N), -np.float32(np.pi), np.float32(np.pi)),
    "counts": ("integer", RNG.poisson(3, N), 0, math.inf),
    "many counts": ("integer", RNG.poisson(5000, N), 0, math.inf),
    "flag": ("integer", SOME, 0, 1),
    "powers": ("integer", 2.0 ** RNG.integers(0, 6, N), 1, 32),
    "two digits": ("rounded", GAUSS.round(2), -math.inf, math.inf),
    "thirds": ("rounded", RNG.poisson(300, N) / 3, -math.inf, math.inf),
    "charges": ("discrete", RNG.choice([-1 / 3, 0.11, 2 / 3, 7.3], N), -1 / 3, 7.3),
    "rain": ("zero-inflated", np.where(SOME, 0, WAIT), 0, math.inf),
    "spike": ("zero-inflated", np.where(SOME, 0, GAUSS), -math.inf, math.inf),
    "full well": ("saturated", WAIT.clip(max=2), 0, 2),
    "filled": ("saturated", np.where(SOME, -999, GAUSS), -999, math.inf),
    "adc": ("saturated", np.where(SOME, 4095, (2000 + 300 * GAUSS).round()), 0, 4095),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", COLUMNS)
def test_recognised_and_gathered_exactly(name: str, dtype: type) -> None:
    kind, numbers, low, high = COLUMNS[name]
    x = torch.tensor(numbers.astype(dtype))[:, None]
    scaling = ByKind().fit(x)
    assert scaling.kinds == (kind,)
    at = torch.rand(N, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for place in (None, at, 0.001 * at, 1 - 0.001 * at):
        assert torch.allclose(scaling.inverse(scaling.forward(x.double(), place)).to(x), x, rtol=2e-7, atol=1e-12)
    assert torch.isfinite(scaling.log_abs_det(x)).all()
    assert scaling_from_json(json.loads(json.dumps(scaling.to_json()))) == scaling
    y = scaling.forward(x.double(), at)
    wild = y.mean() + 50 * y.std() * torch.randn(N, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    fakes = scaling.inverse(wild)
    assert fakes.min() >= low - 1e-6 and fakes.max() <= high + 1e-6
    if kind in ("integer", "rounded", "discrete") and len(np.unique(numbers)) < 20:
        assert set(fakes.flatten().tolist()) <= {*map(float, range(40)), *x.double().flatten().tolist()}


def test_cells_of_levels_are_as_wide_as_their_shares():
    """So that a uniform law over [0, 1] draws the values as often as the data hold them."""
    x = torch.tensor(COLUMNS["counts"][1]).double()[:, None]
    scaling = ByKind().fit(x)
    value, count = x.unique(return_counts=True)
    width = scaling.log_abs_det(value[:, None]).exp()
    assert torch.allclose(width, count.double() / N, atol=1.0 / N)
    assert scaling.log_abs_det(torch.tensor([[2.5], [-1.0]])).tolist() == [-math.inf, -math.inf]


def test_an_atom_among_smooth_numbers_gets_the_density_of_its_neighbours():
    """Exp with 7 % zeros: density 0.93 beside them, so the cell is 0.07 / 0.93 wide, within 4 sigma of the counts."""
    g = np.random.default_rng(3)
    x = torch.tensor(np.where(g.random(20_000) < 0.07, 0.0, g.exponential(size=20_000)))[:, None]
    column = ByKind().fit(x).columns[0]
    (start, stop), = column.cells
    relative = 4 * (1 / 1400 + 1 / 930) ** 0.5 + 0.03  # counts of zeros and neighbours; the density falls by 5 % there
    assert start == 0 and abs(stop / (0.07 / 0.93) - 1) < relative


def test_kinds_can_be_told():
    x = torch.tensor(np.stack([COLUMNS["counts"][1], COLUMNS["rain"][1]], 1))
    assert ByKind(("continuous", "")).fit(x).kinds == ("continuous", "zero-inflated")
    assert ByKind(("", "bounded")).fit(x).columns[1].low == 0
    assert ByKind(("discrete", "")).fit(x).columns[0].levels
    with pytest.raises(DataError, match="rain is not of kind integer"):
        ByKind(("", "integer")).fit(x, names=("n", "rain"))
    with pytest.raises(DataError, match="no zero"):
        ByKind(("", "zero-inflated")).fit(x + 1)
    with pytest.raises(OptionError, match="unknown kind of column: got wavy"):
        ByKind(("wavy",))
    with pytest.raises(ShapeError, match="kinds do not fit"):
        ByKind(("integer",)).fit(x)
    with pytest.raises(ShapeError, match="only columns"):
        ByKind().fit(torch.rand(3, 4, 4))


def test_smooth_columns_and_few_rows_are_left_alone():
    g = torch.Generator().manual_seed(4)
    x = torch.randn(500, 3, generator=g)
    scaling = ByKind().fit(x)
    assert scaling.kinds == ("continuous",) * 3
    assert torch.equal(scaling.forward(x), x) and torch.equal(scaling.inverse(x), x)
    assert not scaling.celled(x).any()
    assert ByKind().fit(torch.arange(20.0)[:, None]).kinds == ("continuous",)


@pytest.mark.parametrize("word", ["auto", "standard", "logit", "asinh", "log-modulus", "normal-scores"])
def test_one_absurd_number_sets_no_scale(word: str) -> None:
    """With 1e9 among 2,000 normal numbers the rest still spans a range of order one, not 1e-9."""
    x = torch.randn(2000, 1, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    x[7] = 1e9
    z = named_scaling(word).fit(x).forward(x)
    spread = float(z.quantile(0.75) - z.quantile(0.25))
    assert torch.isfinite(z).all()
    assert spread > 0.3
    assert MinMaxPerSet().fit(x).forward(x).quantile(0.75) < -1 + 1e-6  # the control
    if word in ("auto", "normal-scores"):
        assert z.abs().max() < 40


def test_an_atom_at_the_edge_opens_no_margin():
    """7 % zeros, rest exponential: neither the logit's edge nor normal scores reach below zero."""
    g = np.random.default_rng(6)
    for n in (2000, 50_000):
        x = torch.tensor(np.where(g.random(n) < 0.07, 0.0, g.exponential(size=n)))[:, None]
        assert ClippedLogit(edges="auto").fit(x).low == (0.0,)
        z = torch.linspace(-8, 8, 200, dtype=torch.float64)[:, None]
        assert NormalScores().fit(x).inverse(z).min() == 0


@pytest.mark.parametrize("unfitted", [named_scaling("auto"), NormalScores(), Standard(), LogModulus(), ByKind(),
                                      Chain([ByKind(), *named_scaling("auto").parts])], ids=str)
def test_rows_of_no_weight_set_no_scale(unfitted) -> None:
    """4,000 rows of weight 1e-6 far outside change the map of the 2,000 that count by less than rounding."""
    g = torch.Generator().manual_seed(7)
    x, far = torch.rand(2000, 1, generator=g, dtype=torch.float64), torch.rand(4000, 1, generator=g).double() * 100 - 50
    weights = torch.cat([torch.ones(2000), torch.full((4000,), 1e-6)])
    probe = x[:100]
    alone, with_far = unfitted.fit(x, torch.ones(2000)), unfitted.fit(torch.cat([x, far]), weights)
    assert torch.allclose(with_far.forward(probe), alone.forward(probe), atol=1e-6)
    if unfitted != ByKind():
        unweighted = unfitted.fit(torch.cat([x, far]))
        assert not torch.allclose(unweighted.forward(probe), alone.forward(probe), atol=1e-2)  # the control


def test_a_hard_edge_lies_at_a_round_number_near_it():
    g = np.random.default_rng(8)
    for low, high in ((0.0, 1.0), (-np.pi, np.pi), (2.5, 7.0), (1000.0, 4000.0)):
        x = torch.tensor(g.uniform(low, high, 3000))[:, None]
        column = ByKind().fit(x).columns[0]
        assert column.low == pytest.approx(low, abs=1e-6) and column.high == pytest.approx(high, abs=1e-6)
        assert column.low < float(x.min())
    x = torch.tensor(g.uniform(2.3456, 7.6543, 3000))[:, None]
    column = ByKind().fit(x).columns[0]
    assert (column.low, column.high) == (float(x.min()), float(x.max()))  # none near: what was seen


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.3456, 7.6543)])
def test_fresh_numbers_have_a_density_and_those_beyond_the_edge_none(low: float, high: float) -> None:
    """Of the rows that no training saw, one in n lies beyond the extreme: by a hair, where the density is not zero."""
    g = np.random.default_rng(9)
    scaling = Chain([ByKind(), *named_scaling("auto").parts]).fit(torch.tensor(g.uniform(low, high, (3000, 1))))
    fresh = torch.tensor(g.uniform(low, high, (50_000, 1)))
    column = scaling.parts[0].columns[0]
    assert torch.isfinite(scaling.log_abs_det(fresh)).all()
    beyond = torch.tensor([[low - 0.2], [high + 0.2]])
    assert scaling.log_abs_det(beyond).isinf().all()
    fakes = scaling.inverse(20 * torch.randn(1000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    assert fakes.min() >= column.low and fakes.max() <= column.high
    assert len(fakes.unique()) > 2  # reflected, not heaped upon the ends


def test_few_rows_of_many_whole_numbers_are_a_grid_not_a_list():
    """Else fakes could only repeat the numbers that were seen."""
    x = torch.tensor(np.random.default_rng(11).integers(0, 1000, 60)).double()[:, None]
    scaling = ByKind().fit(x)
    fakes = scaling.inverse(torch.linspace(0, 999, 997, dtype=torch.float64)[:, None])
    assert scaling.kinds == ("integer",) and len(fakes.unique()) > 900 and (fakes == fakes.round()).all()


def test_whole_numbers_end_at_a_round_one():
    x = torch.tensor(np.random.default_rng(10).integers(0, 10_001, 3000)).double()[:, None]
    column = ByKind().fit(x).columns[0]
    assert (column.kind, column.low, column.high) == ("integer", 0.0, 10_000.0)
