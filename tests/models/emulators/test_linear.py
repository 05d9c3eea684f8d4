"""Emulators in closed form against operators and processes known in closed form."""

import math

import numpy as np
import pytest
import torch

import sundog
from sundog.data.dataset import Dataset
from sundog.errors import DataError, OptionError, SampleSizeError, ShapeError
from sundog.models.emulators.pod import _monomials, _polynomials, _powers
from sundog.models.emulators.random_features import random_units
from sundog.models.families import build
from sundog.models.kernel import ntk, numerical_span_dimension
from sundog.random import stream

F64 = torch.float64


def uniform(n, c, *purpose):
    return 2 * torch.rand(n, c, generator=stream(0, *purpose), dtype=F64) - 1


def runs(y, c, **options):
    return Dataset.from_arrays(y, c, held_out_fraction=0.0, exact=True, **options)


def smooth_inputs(n, seed, sensors=100, length=0.2):
    """Draws of a Gaussian process with a Gaussian kernel at points of [0, 1]."""
    x = torch.linspace(0, 1, sensors, dtype=F64)
    kernel = torch.exp(-((x[:, None] - x) ** 2) / (2 * length**2))
    e, v = torch.linalg.eigh(kernel)
    z = torch.randn(n, sensors, generator=stream(seed, "inputs"), dtype=F64)
    return z * e.clamp(min=0).sqrt() @ v.T


def antiderivative(u):
    """Cumulative integral by the trapezoidal rule: zero at the first point, where the output is constant."""
    return torch.cat([u.new_zeros(len(u), 1), torch.cumulative_trapezoid(u, dx=1 / (u.shape[1] - 1))], 1)


class TestPOD:
    def test_a_linear_operator_is_exact(self):
        u = smooth_inputs(300, 0)
        run = sundog.fit("pod", runs(antiderivative(u[:200]), u[:200]), degree=1)
        mean, std = run.predict(u[200:])
        truth = antiderivative(u[200:])
        assert mean.dtype == F64
        assert float((mean - truth).norm() / truth.norm()) < 1e-10  # inputs in float32 would leave 5e-9
        assert float(std.max()) < 1e-6
        square = sundog.fit("pod", runs(u[:200] ** 2, u[:200]), degree=1).predict(u[200:]).mean
        assert float((square - u[200:] ** 2).norm() / (u[200:] ** 2).norm()) > 0.1  # no such luck with another one

    def test_the_degree_is_found(self):
        c = uniform(60, 3, "degree")
        y = torch.stack([c[:, 0] * c[:, 1], c[:, 2] + c[:, 0] ** 2], 1)
        noisy = y + 0.05 * torch.randn(60, 2, generator=stream(0, "noise"), dtype=F64)
        model = sundog.fit("pod", runs(noisy, c), branch="polynomial").model
        assert int(model.powers.sum(1).max()) == 2

    def test_left_out_runs_are_predicted_as_by_a_fit_without_them(self):
        c = uniform(20, 2, "pod loo")
        y = torch.sin(2 * c)
        powers = _powers(2, 2, 2)
        phi, errors = _monomials(c, powers), []
        for i in range(20):
            rest = [j for j in range(20) if j != i]
            errors.append(y[i] - phi[i] @ torch.linalg.lstsq(phi[rest], y[rest]).solution)
        found = float(_polynomials(powers, c, y, y, c.new_ones(20, 1))["error"].sum())
        assert found == pytest.approx(float(torch.stack(errors).square().sum()), rel=1e-9)

    def test_noise_on_a_line_is_no_reason_for_a_cubic(self):
        """18 of 20 draws end with the line; where only the residuals of the fit count, 11 do."""
        degrees = []
        for seed in range(20):
            c = uniform(25, 2, "line", seed)
            noise = torch.randn(25, 1, generator=stream(seed, "on the line"), dtype=F64)
            model = sundog.fit("pod", runs(c.sum(1, True) + 0.1 * noise, c), branch="polynomial").model
            degrees.append(int(model.powers.sum(1).max()))
        assert degrees.count(1) >= 14

    def test_standard_deviation_is_that_of_regression(self):
        """s^2 (1 + leverage) with s^2 unbiased: for 4,000 runs 1 / sqrt(8000) is its relative error."""
        c = uniform(4000, 2, "noise")
        y = c + 0.3 * torch.randn(4000, 2, generator=stream(1, "noise"), dtype=F64)
        _, std = sundog.fit("pod", runs(y, c), degree=1).predict(uniform(50, 2, "new"))
        assert float((std / 0.3 - 1).abs().max()) < 4 / math.sqrt(8000) + 2e-3

    def test_few_modes_leave_what_they_leave_in_the_standard_deviation(self):
        c = uniform(50, 2, "modes")
        y = torch.cat([10 * c[:, :1], c[:, 1:]], 1)
        model = sundog.fit("pod", runs(y, c), degree=1, modes=1).model
        _, std = model.predict(model.low[None] * 0)
        assert float(std.max()) > 0.3

    @pytest.mark.parametrize("family", ["pod", "ntk", "random-features"])
    def test_coverage_of_68_and_95_percent(self, family):
        """500 new inputs, 40 runs: per run number, so the spread is that of a variance from 40 residuals (22 %)."""
        c, new = uniform(40, 2, "few"), uniform(500, 2, "many")

        def simulator(c):
            return torch.stack([torch.sin(2 * c[:, 0] + k) * torch.exp(0.5 * c[:, 1]) for k in range(5)], 1)

        mean, std = sundog.fit(family, runs(simulator(c), c)).predict(new)
        error = ((mean - simulator(new)) / std).abs()
        for times, share in ((1.0, 0.68), (2.0, 0.95)):
            assert abs(float((error < times).double().mean()) - share) < 0.16


class TestNTK:
    def test_it_is_the_posterior_of_a_gaussian_process(self):
        c, new = uniform(30, 2, "gp"), uniform(7, 2, "gp new")
        y = torch.stack([c[:, 0] ** 2, c[:, 1]], 1)
        model = build("ntk", (2,), 2, {"noise": 1e-3, "depth": 3})
        model.prepare(y, c)
        one = torch.ones(1, 1, dtype=F64)
        x, z = (torch.cat([part, one.expand(len(part), 1)], 1) for part in (c, new))
        k = ntk(x, x, 3)
        k = k + 1e-3 * k.diagonal().mean() * torch.eye(30, dtype=F64)
        centred = (y - y.mean(0)) / y.std(0, unbiased=False)
        mean, std = model.predict(new)
        expected = y.mean(0) + y.std(0, unbiased=False) * (ntk(z, x, 3) @ torch.linalg.solve(k, centred))
        assert torch.allclose(mean, expected, rtol=0, atol=1e-9)
        variance = (ntk(z, z, 3) - ntk(z, x, 3) @ torch.linalg.solve(k, ntk(x, z, 3))).diagonal() + k[0, 0] * 0
        variance = variance + 1e-3 * ntk(x, x, 3).diagonal().mean()
        ratio = std.square() / variance[:, None]
        assert torch.allclose(ratio, ratio[:1].expand_as(ratio), rtol=1e-7)

    def test_left_out_runs_are_predicted_as_by_a_fit_without_them(self):
        c = uniform(12, 1, "loo")
        y = torch.sin(3 * c)
        whole = build("ntk", (1,), 1, {"noise": 1e-2})
        kernel = whole
        kernel.inputs = c
        k = kernel.features(c)
        e, v = torch.linalg.eigh(k)
        fit = whole._fitted(e, v, y, float(k.diagonal().mean()), 1e-2)
        a = k + 1e-2 * k.diagonal().mean() * torch.eye(12, dtype=F64)
        errors = []
        for i in range(12):
            rest = [j for j in range(12) if j != i]
            weights = torch.linalg.solve(a[rest][:, rest], k[rest, i])
            errors.append(float(y[i, 0] - weights @ y[rest, 0]))
        assert float(fit["error"]) == pytest.approx(float(np.square(errors).sum()), rel=1e-6)

    def test_training_time_is_gradient_flow(self):
        """df/dt = K (y - f) from f = 0, by small Euler steps."""
        c = uniform(10, 1, "time")
        y = torch.cos(2 * c)
        model = build("ntk", (1,), 1, {"time": 3.0})
        model.prepare(y, c)
        k = model.features(c)
        k = k / k.diagonal().mean()
        centred, f = (y - y.mean()) / y.std(unbiased=False), torch.zeros_like(y)
        for _ in range(3000):
            f = f + 1e-3 * k @ (centred - f)
        mean = (model.predict(c)[0] - y.mean()) / y.std(unbiased=False)
        assert torch.allclose(mean, f, atol=2e-3)
        assert float((mean - centred).abs().max()) > 0.05  # it has not come to its end


@pytest.mark.parametrize("family", ["pod", "ntk", "random-features"])
class TestContract:
    def toy(self, n=60):
        c = uniform(n, 2, "toy")
        return runs(torch.stack([c[:, 0] + c[:, 1], torch.exp(c[:, 0]), 0 * c[:, 0] + 5], 1), c,
                    context_names=["a", "b"], names=["sum", "exp", "five"], units="K")

    def test_draws_have_the_law_that_is_predicted(self, family):
        run = sundog.fit(family, self.toy())
        drawn = run.sample(4000, context=[0.25, -0.5]).values.double()
        mean, std = run.predict([0.25, -0.5])
        assert mean.shape == std.shape == (1, 3)
        far = (drawn.mean(0) - mean).abs()[:, :2] / (std[:, :2] / math.sqrt(4000))
        assert float(far.max()) < 4
        assert torch.allclose(drawn.std(0)[:2], std[0, :2], rtol=4 / math.sqrt(8000))
        assert float((drawn[:, 2] - 5).abs().max()) < 1e-6  # a constant stays one

    def test_extrapolation_is_marked(self, family):
        run = sundog.fit(family, self.toy())
        found = run.predict([[0.0, 0.0], [0.0, 3.0]])
        assert found.outside.tolist() == [False, True]
        assert "1 of them extrapolated" in repr(found)
        assert run.sample(2, context=[[0.0, 0.0], [0.0, 3.0]]).provenance["outside_the_box"] == [1]
        assert "outside_the_box" not in run.sample(2, context=[0.0, 0.0]).provenance
        assert not bool(run.predict(self.toy()).outside.any())

    def test_saved_runs_predict_the_same(self, family, tmp_path):
        run = sundog.fit(family, self.toy(), out=tmp_path / "run")
        twin = sundog.load_run(tmp_path / "run")
        for a, b in zip(run.predict([0.1, 0.1]), twin.predict([0.1, 0.1])):
            assert torch.equal(a, b)

    def test_images_come_as_images(self, family):
        c = uniform(30, 2, "images")
        maps = c[:, :1, None] * torch.ones(30, 6, 8, dtype=F64) + c[:, 1:, None] ** 2
        run = sundog.fit(family, runs(maps, c))
        mean, _ = run.predict(uniform(4, 2, "image"))
        assert mean.shape == (4, 6, 8)
        assert run.sample(4).values.shape == (4, 6, 8)

    def test_a_scaling_is_undone(self, family):
        """The mean of a skewed law lies above its median, by as much as that of its draws."""
        c = uniform(300, 1, "scaled")
        y = torch.exp(c + 0.5 * torch.randn(300, 1, generator=stream(3, "scaled"), dtype=F64))
        run = sundog.fit(family, runs(y, c), scaling="log-modulus")
        mean, std = run.predict([[0.0]])
        drawn = run.sample(20_000, context=[[0.0]]).values
        margin = 4 * float(std) / math.sqrt(20_000)
        assert abs(float(drawn.mean() - mean)) < margin
        assert float(drawn.std()) == pytest.approx(float(std), rel=0.05)
        assert float(mean - drawn.median()) > 2 * margin

    def test_bad_input_is_named(self, family):
        data = self.toy()
        with pytest.raises(OptionError, match="needs its input"):
            sundog.fit(family, Dataset.from_arrays(data.values))
        with pytest.raises(SampleSizeError, match=r"runs"):
            sundog.fit(family, self.toy(2))
        with pytest.raises(DataError, match="constant"):
            sundog.fit(family, runs(data.values, torch.cat([data.context, torch.ones(60, 1)], 1)))
        with pytest.raises(DataError, match="more than once"):
            sundog.fit(family, runs(data.values[[0, *range(60)]], data.context[[0, *range(60)]]))
        broken = data.values.clone()
        broken[[3, 17]] = math.nan
        with pytest.raises(DataError, match="rows 3, 17"):
            runs(broken, data.context)
        with pytest.raises(ShapeError, match="does not fit"):
            sundog.fit(family, data).predict([[1.0, 2.0, 3.0]])


def test_fewer_runs_than_coefficients():
    c = uniform(10, 25, "wide")
    with pytest.raises(SampleSizeError, match="at least 27"):
        sundog.fit("pod", runs(c, c))
    with pytest.raises(SampleSizeError, match="lower the degree"):
        sundog.fit("pod", runs(c[:, :2], c[:, :3]), degree=2)


class TestRandomFeatures:
    """One input on [0, 1], three bumps of very different width."""

    def floor(self, units, bandwidth):
        x = torch.linspace(0, 1, 1000, dtype=F64)[:, None]
        y = sum(torch.exp(-((x - at) ** 2) / (2 * width**2)) for at, width in ((0.2, 0.1), (0.5, 0.05), (0.8, 0.02)))
        weights = 2 * torch.rand(2, units, generator=stream(0, "units"), dtype=F64) - 1
        phi = random_units(x, weights, bandwidth)
        u, s, _ = torch.linalg.svd(phi, full_matrices=False)
        u = u[:, s > 1e-14 * s[0]]
        return float((y - u @ (u.T @ y)).square().mean().sqrt()), numerical_span_dimension(phi)

    def test_a_small_bandwidth_has_a_floor_that_no_width_lowers(self):
        errors, spans = zip(*(self.floor(units, 1.0) for units in (50, 200, 800)))
        assert errors[2] > 0.05
        assert errors[2] / errors[1] > 0.95
        assert max(abs(span - 8) for span in spans) <= 1

    def test_a_larger_one_has_none(self):
        error, span = self.floor(800, 100.0)
        assert error < 1e-5
        assert span > 100

    def test_left_out_runs_are_predicted_as_by_a_fit_without_them(self):
        c = uniform(15, 1, "rf")
        y = torch.sin(3 * c)
        model = build("random-features", (1,), 1, {"units": 20, "bandwidth": 3.0, "penalty": 1e-3})
        model.weights = model.weights.double()
        (fit,) = model._fits(c, y, 3.0, c.new_ones(15, 1))
        phi, errors = random_units(c, model.weights, 3.0), []
        for i in range(15):
            rest = [j for j in range(15) if j != i]
            a = phi[rest].T @ phi[rest] + fit["level"] * torch.eye(20, dtype=F64)
            errors.append(float(y[i, 0] - phi[i] @ torch.linalg.solve(a, phi[rest].T @ y[rest])))
        assert float(fit["error"]) == pytest.approx(float(np.square(errors).sum()), rel=1e-6)

    def test_the_bandwidth_is_found(self):
        c = uniform(200, 1, "band")
        slow = sundog.fit("random-features", runs(torch.sin(c), c)).model
        fast = sundog.fit("random-features", runs(torch.sin(25 * c), c)).model
        assert float(slow.band) < float(fast.band)


@pytest.mark.parametrize("family", ["pod", "ntk", "random-features", "deeponet"])
def test_equal_weights_change_nothing(family):
    g = torch.Generator().manual_seed(0)
    c, y = torch.rand(40, 2, generator=g), torch.rand(40, 3, generator=g)
    plain, equal = (sundog.fit(family, sundog.Dataset.from_arrays(y, c, weights=w), plan=sundog.Plan(steps=2))
                    for w in (None, torch.full((40,), 2.0)))
    assert torch.equal(plain.sample(3, seed=0).values, equal.sample(3, seed=0).values)


def test_a_query_that_is_no_number_is_refused():
    c = uniform(20, 2, "query")
    run = sundog.fit("pod", runs(c, c), degree=1)
    with pytest.raises(ShapeError, match=r"got shape \(2, 2\), 1 not finite"):
        run.predict([[0.1, float("nan")], [0.0, 0.0]])
