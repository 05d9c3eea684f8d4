"""Scalings: exact inverses within the stated bound, log-determinants equal to the Jacobian, clear errors."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sundog.data.scaling import (
    Asinh,
    Chain,
    ClippedLogit,
    Identity,
    LogModulus,
    MinMaxPerImage,
    MinMaxPerSet,
    ScaledTanh,
    Scaling,
    Standard,
    default_scaling,
    named_scaling,
    scaling_from_json,
)
from sundog.data.scaling.edges import _roundest
from sundog.errors import DataError, OptionError, ShapeError

ONE_BY_ONE = [Identity(), Standard(), ClippedLogit(), ClippedLogit(edges="auto"), LogModulus(), Asinh(),
              ScaledTanh(), MinMaxPerSet(),
              MinMaxPerSet(bottom=0.0), LogModulus(sigma=0.3), Asinh(softening=2.0), ScaledTanh(scale=4.0),
              Chain([ClippedLogit(), Standard()]), Chain([LogModulus(), Standard()]),
              Chain([Asinh(), Standard(), MinMaxPerSet()])]
NAMES = [json.dumps(s.to_json())[:60] for s in ONE_BY_ONE]
SHAPES = [(7, 3), (5, 4, 6), (4, 2, 3, 5)]


def _bound(scaling: Scaling, x: Tensor) -> Tensor:
    """eps (|x| + |z| |dx/dz|) + 3e-14 max|x|, the promise of the module; subnormals have a coarser grid."""
    wide = x.double()
    z, info = scaling.forward(wide), torch.finfo(x.dtype)
    spread = (z.abs() * torch.exp(-scaling._log_slope(wide))).nan_to_num(nan=math.inf)
    return info.eps * (wide.abs() + spread) + 3e-14 * wide.abs().max() + 2 * info.tiny * info.eps


@st.composite
def _heavy(draw: st.DrawFn) -> Tensor:
    """float32 with magnitudes from 1e-30 to 1e30, both signs, exact zeros, repeated values."""
    seed, shape = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from(SHAPES))
    rng = np.random.default_rng(seed)
    centre, decades = draw(st.floats(-25, 25)), draw(st.floats(0, 5))
    x = rng.choice([-1, 0, 1], shape, p=[0.4, 0.1, 0.5]) * 10 ** (centre + decades * rng.standard_normal(shape))
    offset = draw(st.sampled_from([0.0, 1.0, 1e4])) * 10**centre
    x = torch.tensor(x + offset, dtype=torch.float32).clamp(-1e30, 1e30)
    x[0], x[1] = 10**centre, -(10**centre)  # never constant
    return x


@pytest.mark.parametrize("unfitted", ONE_BY_ONE, ids=NAMES)
@settings(max_examples=60, deadline=None)
@given(x=_heavy())
def test_inverse_undoes_forward_within_the_stated_bound(unfitted: Scaling, x: Tensor) -> None:
    scaling = unfitted.fit(x)
    z = scaling.forward(x)
    back = scaling.inverse(z)
    inside = torch.isfinite(scaling._log_slope(x.double()))
    assert z.dtype == back.dtype == torch.float32
    assert torch.isfinite(z).all()
    error = (back.double() - x.double()).abs()
    assert (error <= _bound(scaling, x))[inside].all()


@pytest.mark.parametrize("unfitted", ONE_BY_ONE, ids=NAMES)
def test_the_bound_would_catch_lost_digits(unfitted: Scaling) -> None:
    """Negative control: z with 8 digits of 24 dropped breaks the promise that z itself keeps."""
    x = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))
    scaling = unfitted.fit(x)
    z = scaling.forward(x)
    rough = (z.view(torch.int32) & ~0xFF).view(torch.float32)
    assert ((scaling.inverse(z) - x).abs() <= _bound(scaling, x)).all()
    assert not ((scaling.inverse(rough) - x).abs() <= _bound(scaling, x)).all()


@pytest.mark.parametrize("unfitted", ONE_BY_ONE, ids=NAMES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_log_abs_det_is_the_autograd_jacobian(unfitted: Scaling, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 3 + 0.5
    scaling = unfitted.fit(x)
    inner = x[1:3] * 0.9 + 0.1 * x.mean(0)  # inside the extremes
    for row, claimed in zip(inner, scaling.log_abs_det(inner)):
        jacobian = torch.autograd.functional.jacobian(lambda v: scaling.forward(v[None])[0], row)
        sign, true = torch.linalg.slogdet(jacobian.reshape(row.numel(), row.numel()))
        assert sign > 0
        assert torch.isclose(claimed, true, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("unfitted", ONE_BY_ONE, ids=NAMES)
def test_json_rebuilds_the_scaling_bit_by_bit(unfitted: Scaling) -> None:
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(2))
    scaling = unfitted.fit(x)
    again = scaling_from_json(json.loads(json.dumps(scaling.to_json())))
    assert again == scaling
    assert torch.equal(again.forward(x), scaling.forward(x))
    assert len(json.dumps(scaling.to_json())) < 2000


@pytest.mark.parametrize("unfitted", ONE_BY_ONE, ids=NAMES)
def test_fit_changes_nothing_and_keeps_order_of_numbers(unfitted: Scaling) -> None:
    before = unfitted.to_json()
    x = torch.linspace(-2, 3, 40)[:, None]
    scaling = unfitted.fit(x)
    assert unfitted.to_json() == before
    assert (scaling.forward(x).diff(dim=0) > 0).all()
    with pytest.raises((AttributeError, TypeError)):
        scaling.mean = ()  # type: ignore[attr-defined, misc]


def test_standard_gives_mean_zero_and_variance_one_also_with_weights() -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(500, 2, generator=generator) * torch.tensor([1e-6, 1e6]) + 5.0
    w = torch.rand(500, generator=generator)
    w[:100] = 0
    z = Standard().fit(x).forward(x.double())
    assert torch.allclose(z.mean(0), torch.zeros(2).double(), atol=1e-9)
    assert torch.allclose(z.var(0, correction=0), torch.ones(2).double())
    z, w = Standard().fit(x, w).forward(x.double()), w.double() / w.double().sum()
    assert torch.allclose(w @ z, torch.zeros(2).double(), atol=1e-9)
    assert torch.allclose(w @ z**2, torch.ones(2).double())


def test_whole_number_weights_equal_repeated_rows() -> None:
    x = torch.randn(30, 2, generator=torch.Generator().manual_seed(4))
    w = torch.arange(30) % 3
    repeated = x.repeat_interleave(w, 0)
    for unfitted in (Standard(), LogModulus(), ScaledTanh(), MinMaxPerSet(), ClippedLogit()):
        a, b = unfitted.fit(x, w.float()), unfitted.fit(repeated)
        assert torch.allclose(a.forward(x), b.forward(x), rtol=1e-6, atol=1e-7)


def test_weights_of_images_count_every_pixel() -> None:
    x = torch.randn(6, 2, 3, 4, generator=torch.Generator().manual_seed(5))
    w = torch.tensor([1.0, 2, 0, 1, 3, 1])
    a, b = Standard().fit(x, w), Standard().fit(x.repeat_interleave(w.long(), 0))
    assert np.allclose(a.mean, b.mean)
    assert np.allclose(a.std, b.std)


def test_one_parameter_per_feature_channel_or_set() -> None:
    generator = torch.Generator().manual_seed(6)
    widths = [len(Standard().fit(torch.randn(shape, generator=generator)).mean) for shape in SHAPES]
    assert widths == [3, 1, 2]


def test_logit_clips_counts_and_lands_in_the_training_range() -> None:
    x = torch.tensor([[0.0, -3e-8], [0.5, 0.2], [1.0, 0.7]])
    scaling = ClippedLogit().fit(x)
    assert torch.equal(scaling.inverse(scaling.forward(x)), x)  # the ends exactly, to the last bit
    beyond = torch.tensor([[-0.1, 0.2], [0.3, 0.9], [0.5, 0.5]])
    assert scaling.outside(beyond) == 2
    assert scaling.outside(x) == 0
    assert torch.isinf(scaling.log_abs_det(beyond)).tolist() == [True, True, False]
    assert torch.isfinite(scaling.forward(beyond)).all()
    far = scaling.inverse(torch.tensor([[-1e30, 1e30], [50.0, -50.0]]))
    assert torch.equal(far, torch.tensor([[0.0, 0.7], [1.0, -3e-8]]))


def test_logit_density_integrates_to_one() -> None:
    """A uniform x has p_z = p_x |dx/dz|; pulling a standard logistic back must integrate to 1 on the range."""
    scaling = ClippedLogit().fit(torch.tensor([[2.0], [5.0]]))
    x = torch.linspace(2, 5, 200_001, dtype=torch.float64)[:, None]
    z = scaling.forward(x)[:, 0]
    density = torch.exp(-z.abs() - 2 * torch.log1p(torch.exp(-z.abs())) + scaling.log_abs_det(x))
    assert math.isclose(float(torch.trapezoid(density, x[:, 0])), 1 - 2e-6, rel_tol=1e-7)


def test_tanh_saturates_openly() -> None:
    scaling = ScaledTanh(scale=1.0).fit(torch.tensor([[-1.0], [1.0]]))
    x = torch.tensor([[0.0], [4.0], [8.0], [9.0], [-1e30]])
    assert scaling.outside(x) == 2
    back = scaling.inverse(scaling.forward(x))
    assert torch.isfinite(back).all()
    assert back.abs().max() <= 8
    assert abs(float(back[1]) - 4) < 4e-4


def test_asinh_softening_is_three_robust_rms() -> None:
    """Gaussian noise of rms 2 under 1 % of bright pixels: the softening is 6 within 4 sigma, not 1000s."""
    n = 40_000
    x = 2 * torch.randn(n, 1, generator=torch.Generator().manual_seed(7))
    x[: n // 100] += 1e5
    softening = Asinh().fit(x).softening
    assert isinstance(softening, tuple)
    assert abs(softening[0] / 6 - 1) < 4 * 1.17 / math.sqrt(n) + 0.015  # MAD error; contamination bias ~1.3 %
    assert Standard().fit(x).std[0] > 1000  # negative control: the plain rms is ruined


def test_asinh_falls_back_to_std_when_most_pixels_are_equal() -> None:
    x = torch.zeros(100, 1)
    x[:10] = torch.arange(1.0, 11.0)[:, None]
    softening = Asinh().fit(x).softening
    assert isinstance(softening, tuple)
    assert math.isclose(softening[0], 3 * float(x.double().std(correction=0)), rel_tol=1e-9)


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
@pytest.mark.parametrize("chained", [False, True])
def test_per_image_needs_its_flux_memory(shape: tuple[int, ...], chained: bool) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(8)) * 40
    scaling: Scaling = (Chain([Asinh(softening=1.0), MinMaxPerImage()]) if chained else MinMaxPerImage()).fit(x)
    z, memory = scaling.forward(x), scaling.memory(x)
    assert memory is not None
    assert memory.shape == (shape[0], 2 * (shape[1] if len(shape) == 4 else 1))
    assert z.flatten(-2).amin(-1).eq(-1).all()
    assert z.flatten(-2).amax(-1).eq(1).all()
    assert torch.allclose(scaling.inverse(z, memory), x, rtol=1e-5, atol=1e-4)
    with pytest.raises(OptionError, match="lost the flux"):
        scaling.inverse(z)
    with pytest.raises(ShapeError, match="extremes"):
        scaling.inverse(z, memory[:1])


def test_per_image_log_det_is_the_jacobian_given_the_extremes() -> None:
    x = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    scaling = MinMaxPerImage().fit(x)
    z, memory = scaling.forward(x), scaling.memory(x)
    for k in range(2):
        jacobian = torch.autograd.functional.jacobian(
            lambda v, m: scaling.inverse(v[None], m)[0], (z[k], memory[k : k + 1]))[0]
        _, inverse = torch.linalg.slogdet(jacobian.reshape(12, 12))
        assert torch.isclose(scaling.log_abs_det(x)[k], -inverse, atol=1e-10)


def test_scalings_without_memory_say_none() -> None:
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(10))
    assert all(scaling.fit(x).memory(x) is None for scaling in ONE_BY_ONE)


@pytest.mark.parametrize("unfitted", [s for s in ONE_BY_ONE if s != Identity()], ids=str)
def test_constant_columns_are_named(unfitted: Scaling) -> None:
    x = torch.tensor([[1.0, 0.1], [2.0, 0.1], [4.0, 0.1]])  # 0.1: its mean is not exactly itself
    with pytest.raises(DataError, match="tau21 is constant"):
        unfitted.fit(x, names=("m", "tau21"))
    with pytest.raises(DataError, match="column 1 is constant"):
        unfitted.fit(x)


def test_a_column_that_varies_only_at_zero_weight_is_constant() -> None:
    with pytest.raises(DataError, match="constant"):
        Standard().fit(torch.tensor([[1.0], [1.0], [2.0]]), torch.tensor([1.0, 1.0, 0.0]))


def test_constant_images_are_found() -> None:
    x = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(11))
    x[1] = 0.5
    with pytest.raises(DataError, match="image 1"):
        MinMaxPerImage().fit(x)


@pytest.mark.parametrize(("call", "error"), [
    (lambda: Standard().forward(torch.rand(3, 2)), OptionError),
    (lambda: Standard().fit(torch.rand(3, 2)).forward(torch.rand(3, 3)), ShapeError),
    (lambda: Standard().fit(torch.rand(3)), ShapeError),
    (lambda: Standard().fit(torch.empty(0, 2)), ShapeError),
    (lambda: MinMaxPerImage().fit(torch.rand(3, 2)), ShapeError),
    (lambda: LogModulus(sigma=-1.0), OptionError),
    (lambda: LogModulus(sigma=(1.0, 2.0)).fit(torch.rand(5, 3)), ShapeError),
    (lambda: ClippedLogit(epsilon=0.6), OptionError),
    (lambda: MinMaxPerSet(bottom=1.0, top=0.0), OptionError),
    (lambda: Chain([MinMaxPerImage(), MinMaxPerImage()]), OptionError),
    (lambda: scaling_from_json({"kind": "Standard", "wisdom": 1}), OptionError),
    (lambda: scaling_from_json({"kind": "os.system"}), OptionError),
])
def test_misuse_is_named(call, error) -> None:
    with pytest.raises(error, match="expected"):
        call()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int32])
def test_type_of_the_input_comes_back(dtype: torch.dtype) -> None:
    x = torch.tensor([[1, 2], [3, 5], [9, 4]]).to(dtype)
    scaling = Standard().fit(x)
    z = scaling.forward(x)
    assert z.dtype == (dtype if dtype.is_floating_point else torch.float32)
    assert torch.allclose(scaling.inverse(z).double(), x.double(), rtol=4 * torch.finfo(z.dtype).eps)


def test_float64_keeps_its_digits() -> None:
    x = torch.randn(100, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(12)) * 1e3
    for unfitted in ONE_BY_ONE:
        scaling = unfitted.fit(x)
        assert ((scaling.inverse(scaling.forward(x)) - x).abs() <= _bound(scaling, x)).all()


def test_edges_are_found_where_data_pile_up():
    """Exponential: hard at zero, soft above. Uniform: hard at both ends. Gaussian: soft at both."""
    generator = torch.Generator().manual_seed(0)
    n = 50_000
    x = torch.stack([-torch.rand(n, generator=generator).clamp(min=1e-7).log(), torch.rand(n, generator=generator),
                     torch.randn(n, generator=generator)], 1)
    fitted = ClippedLogit(edges="auto").fit(x)
    least, most = x.min(0).values.double(), x.max(0).values.double()
    low, high = torch.tensor(fitted.low, dtype=torch.float64), torch.tensor(fitted.high, dtype=torch.float64)
    hair = torch.tensor([1e-3, 1e-3, 0.0], dtype=torch.float64)  # ten mean distances of 50,000 numbers are 2e-4
    assert ((least - low) < hair).tolist() == [True, True, False]
    assert ((high - most) < hair).tolist() == [False, True, False]
    assert low[2] == least[2] - (most[2] - least[2])
    # a Gaussian stays nearly one: its standardised fourth moment moves by less than 0.1 from 3
    z = Chain([ClippedLogit(edges="auto"), Standard()]).fit(x).forward(x)[:, 2]
    assert abs(float((z**4).mean()) - 3) < 0.1
    fresh = torch.stack([-torch.rand(n, generator=generator).clamp(min=1e-7).log(), torch.rand(n, generator=generator),
                         torch.randn(n, generator=generator)], 1)
    assert torch.isfinite(fitted.log_abs_det(fresh)).all()
    hard = ClippedLogit().fit(x)
    assert not torch.isfinite(hard.log_abs_det(fresh)).all()  # between the extremes alone, fresh data fall outside


def test_no_edge_is_found_in_a_gaussian_of_any_size():
    for seed, n in enumerate((400, 1000, 3200, 20_000) * 5):
        x = torch.randn(n, 1, generator=torch.Generator().manual_seed(seed))
        fitted = ClippedLogit(edges="auto").fit(x)
        assert fitted.low[0] < 2 * float(x.min()) < 2 * float(x.max()) < fitted.high[0]


def test_few_numbers_have_soft_edges():
    fitted = ClippedLogit(edges="auto").fit(torch.rand(50, 1, generator=torch.Generator().manual_seed(0)))
    assert fitted.low[0] < 0 < 1 < fitted.high[0]


def test_words_name_scalings():
    assert named_scaling("logit") == Chain([ClippedLogit(), Standard()])
    assert default_scaling("events") == named_scaling("auto")
    assert default_scaling("images") == named_scaling("standard")
    with pytest.raises(OptionError, match="unknown scaling: got loggit"):
        named_scaling("loggit")


def test_log_determinants_keep_float64_digits():
    """Of float32 rows too: summed and returned in float64, or the score of a million rows loses its digits."""
    x = torch.randn(50, 40, generator=torch.Generator().manual_seed(0)) * 1e-3
    scaling = Standard().fit(x)
    found = scaling.log_abs_det(x)
    assert found.dtype == torch.float64
    assert torch.allclose(found, -torch.tensor(scaling.std, dtype=torch.float64).log().sum().expand(50), rtol=1e-14)


@pytest.mark.parametrize(("low", "high", "sign"), [(0.0, 1.0, 1), (-1.0, 0.0, -1)])
def test_logit_keeps_the_digits_beside_an_edge_at_zero(low: float, high: float, sign: int) -> None:
    """1e-9 from an edge at 0: counted from the other edge, seven digits would be left."""
    near = sign * torch.tensor([1e-9, 3e-8, 1e-6], dtype=torch.float64)
    x = torch.cat([near, torch.tensor([low, 0.5 * (low + high), high], dtype=torch.float64)])[:, None]
    scaling = ClippedLogit(epsilon=1e-6).fit(x)
    assert (scaling.low, scaling.high) == ((low,), (high,))
    again = scaling.inverse(scaling.forward(x))[:, 0]
    assert ((again[:3] - near).abs() / near.abs()).max() < 1e-10


@pytest.mark.parametrize(("low", "hair", "edge"), [
    (0.3001, 0.0005, 0.3), (0.3401, 0.0015, 0.34), (0.3501, 0.0015, 0.35), (500.2, 1.0, 500.0), (-0.1999, 0.001, -0.2),
    (0.0003, 0.001, 0.0), (math.pi + 1e-4, 1e-3, float(torch.tensor(math.pi))),  # pi as float32 has it
    (0.3301, 0.0015, 0.3286),  # a third digit would be found in every hair
])
def test_an_edge_is_the_roundest_number_within_a_hair(low: float, hair: float, edge: float) -> None:
    assert _roundest(low, hair) == pytest.approx(edge, abs=1e-12)
