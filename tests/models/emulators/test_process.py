"""Gaussian processes on amplitudes against draws of a process of known law; designs whose weights count."""

import numpy as np
import pytest
import torch

import sundog
from sundog.data.dataset import Dataset
from sundog.demos import run_demo
from sundog.errors import OptionError
from sundog.models.emulators.process import LENGTHS, LEVELS, _covariance, _most_likely, fitted_processes
from sundog.random import stream

F64 = torch.float64


def uniform(n, c, *purpose):
    return 2 * torch.rand(n, c, generator=stream(0, *purpose), dtype=F64) - 1


def runs(y, c, **options):
    return Dataset.from_arrays(y, c, held_out_fraction=0.0, exact=True, **options)


def drawn(x, lengths, seed):
    """One path of a process with these lengths and unit variance at x (n, c)."""
    k = torch.exp(-0.5 * torch.cdist(x / lengths, x / lengths).square()) + 1e-8 * torch.eye(len(x), dtype=F64)
    return torch.linalg.cholesky(k) @ torch.randn(len(x), 1, generator=stream(seed, "path"), dtype=F64)


def test_lengths_come_back():
    x = uniform(80, 2, "lengths")
    found = []
    for seed in range(4):
        process, _ = fitted_processes(x, drawn(x, torch.tensor([0.6, 1.8], dtype=F64), seed), x.new_ones(80))
        found.append(process.lengths[0].log())
    mean = torch.stack(found).mean(0).exp()
    assert mean[0] == pytest.approx(0.6, rel=0.4)
    assert mean[1] == pytest.approx(1.8, rel=0.6)


def test_posterior_is_that_of_the_textbook():
    """Equations 2.25 and 2.26 with the kernel written out, for runs of unequal weight."""
    x, new = uniform(25, 2, "book"), uniform(6, 2, "new")
    a, w = torch.sin(2 * x[:, :1]) + x[:, 1:] ** 2, 0.5 + torch.rand(25, generator=stream(0, "w"), dtype=F64)
    process, _ = fitted_processes(x, a, w)
    t, q, s, v = process.levels[0]

    def kernel(a, b):
        far = ((a[:, None] - b) / process.lengths[0]).square().sum(2)
        return t * (1 + a @ b.T) + q * (a @ b.T) ** 2 + s * torch.exp(-0.5 * far)

    k, cross = kernel(x, x) + torch.diag(v / w + 1e-10 * (t + s)), kernel(new, x)
    assert torch.allclose(process.mean(new)[:, 0], (cross @ torch.linalg.solve(k, a))[:, 0], atol=1e-5)
    variance = kernel(new, new).diagonal() - (cross * torch.linalg.solve(k, cross.T).T).sum(1) + v
    assert torch.allclose(process.std(new)[:, 0], process.calibration * variance.clamp(min=0).sqrt(), rtol=1e-3)


def test_pod_takes_processes_where_they_are_better_and_polynomials_where_those_are():
    c = uniform(60, 3, "choice")
    wavy = torch.stack([torch.sin(4 * c[:, 0]) / (1.2 + c[:, 1]), torch.exp(c[:, 2]) * c[:, 0]], 1)
    assert len(sundog.fit("pod", runs(wavy, c)).model.lengths) > 0
    assert len(sundog.fit("pod", runs(torch.stack([c[:, 0] * c[:, 1], c[:, 2]], 1), c)).model.lengths) == 0


@pytest.mark.parametrize("n", [15, 40])
def test_standard_deviations_know_that_lengths_are_guessed(n):
    """Lengths found from 15 runs fit them too well: without calibration 26 % lie within one standard deviation."""
    def simulator(c):
        t = torch.linspace(0, 1, 50, dtype=F64)
        return torch.exp(-c[:, :1] * t) * torch.sin((8 + c[:, 1:2]) * t) + c[:, 2:3] * c[:, 3:4] * t

    inside = []
    for seed in range(40 // n):
        c, new = uniform(n, 4, "cover", seed), uniform(200, 4, "many")
        mean, std = sundog.fit("pod", runs(simulator(c), c), branch="gp").predict(new)
        pull = ((mean - simulator(new)) / std).abs()
        inside.append([float((pull < times).double().mean()) for times in (1.0, 2.0)])
    one, two = np.mean(inside, axis=0)
    assert 0.55 < one < 0.95
    assert two > 0.8


def test_cubes_reach_what_squares_do_not():
    c = uniform(40, 3, "cubes")
    y = torch.stack([c[:, 0] * c[:, 1] + c[:, 2] ** 3, c[:, 0] ** 3], 1)
    new = uniform(50, 3, "new")
    truth = torch.stack([new[:, 0] * new[:, 1] + new[:, 2] ** 3, new[:, 0] ** 3], 1)

    def error(**options):
        return float((sundog.fit("pod", runs(y, c), **options).predict(new).mean - truth).abs().max())

    assert error(degree=2, power=3) < 1e-9
    assert error(branch="polynomial") < 1e-9  # found by itself: 23 coefficients, a full cubic has 20
    assert error(degree=2) > 0.05
    with pytest.raises(OptionError, match="no degree"):
        sundog.fit("pod", runs(y, c), branch="gp", degree=2)


@pytest.mark.parametrize("family", ["pod", "ntk", "random-features"])
def test_weights_of_a_design_reach_the_emulator(family):
    """Runs of weight 1e-6 that are plain wrong leave no trace; at weight 1 they spoil the answer."""
    c = uniform(60, 2, "weighted")
    y = c.sum(1, keepdim=True) + 0.1 * c.prod(1, keepdim=True)
    y[:20] += 3
    w = torch.ones(60, dtype=F64)
    w[:20] = 1e-6
    new = uniform(50, 2, "new")
    truth = new.sum(1, keepdim=True) + 0.1 * new.prod(1, keepdim=True)
    options = {"degree": 2} if family == "pod" else {"noise": 0.1} if family == "ntk" else {"penalty": 1e-2}
    weighed, plain = (float((sundog.fit(family, data, **options).predict(new).mean - truth).abs().mean())
                      for data in (runs(y, c, weights=w), runs(y, c)))
    assert weighed < 0.1
    assert plain > 0.4


def test_a_gram_of_weights_is_that_of_repeated_rows():
    """Weight 2 says what two runs say: for least squares exactly."""
    c = uniform(12, 2, "twice")
    y = torch.sin(3 * c)
    w = torch.ones(12, dtype=F64)
    w[:4] = 2
    run = sundog.fit("pod", runs(y, c, weights=w), degree=1)
    rows = torch.cat([torch.arange(12), torch.arange(4)])
    phi = torch.cat([c.new_ones(16, 1), c[rows]], 1)
    expected = torch.cat([c.new_ones(1, 1), c.new_tensor([[0.2, -0.4]])], 1) @ torch.linalg.lstsq(phi, y[rows]).solution
    assert torch.allclose(run.predict([[0.2, -0.4]]).mean, expected, atol=1e-9)


def test_the_likelihood_found_is_the_largest_nearby():
    x = uniform(20, 2, "gradient").numpy()
    squares, trends = np.moveaxis((x[:, None] - x) ** 2, 2, 0), np.stack([1 + x @ x.T, (x @ x.T) ** 2])
    y, w = np.sin(2 * x[:, 0]) + 0.1 * np.cos(9 * x[:, 1]), np.ones(20)
    value, theta = _most_likely(y, squares, trends, w, 1.0)
    ends = np.log([*LEVELS.values(), LENGTHS, LENGTHS]).T
    for step in np.eye(len(theta)) * 1e-2:  # no direction is better: a wrong gradient stops elsewhere
        for moved in (np.clip(theta + step, *ends), np.clip(theta - step, *ends)):
            k, far = _covariance(moved, squares, trends, w)[0], (moved[4:] - np.log(3.0)) / 1.5
            nearby = 0.5 * (y @ np.linalg.solve(k, y) + np.linalg.slogdet(k)[1] + far @ far)
            assert nearby > value - 1e-3


@pytest.mark.slow
def test_the_demo_sees_what_it_should(tmp_path):
    lines = list(run_demo("emulate", tmp_path))
    assert any("pod is best on 30 runs" in line for line in lines)
    assert not any("<- outside" in line for line in lines)
    assert (tmp_path / "report.html").exists()
