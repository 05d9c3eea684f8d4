"""Warp: outputs whose features move, against a simulator whose stretch is known."""

import pytest
import torch

import sundog
from sundog.data.dataset import Dataset
from sundog.errors import OptionError
from sundog.models.emulators.warp import fitted_warp, products, stretched
from sundog.random import stream

F64 = torch.float64


def uniform(n, c, *purpose):
    return 2 * torch.rand(n, c, generator=stream(0, *purpose), dtype=F64) - 1


def peaks(c, length=300):
    """Damped peaks whose spacing moves by +-8 % with the first input, heights with the second."""
    x = torch.arange(length, dtype=F64) * torch.exp(0.08 * c[:, :1])
    return (2 + 0.5 * c[:, 1:2] + torch.cos(0.2 * x)) * torch.exp(-x / 250)


def test_reading_is_exact_for_cubics_and_undone():
    x = torch.arange(40, dtype=F64)
    y = (1 + 0.1 * x - 0.002 * x**2 + 3e-5 * x**3)[None]
    s = 0.9
    assert torch.allclose(stretched(y, torch.tensor([s], dtype=F64).log())[0],
                          1 + 0.1 * s * x - 0.002 * (s * x) ** 2 + 3e-5 * (s * x) ** 3)
    smooth = peaks(uniform(3, 2, "peaks"))
    log_s = torch.tensor([-0.05, 0.0, -0.02], dtype=F64)
    assert torch.allclose(stretched(stretched(smooth, log_s), -log_s)[:, :280], smooth[:, :280], atol=1e-4)


def test_the_stretch_is_found():
    c = uniform(30, 2, "found")
    y = peaks(c)
    b = fitted_warp(c, y, torch.ones(len(c), dtype=F64))
    assert float(b[0]) == pytest.approx(0.08, abs=0.008)
    assert float(b[1:].abs().max()) < 0.01
    still = torch.cos(torch.arange(300, dtype=F64) * 0.2) * (1 + 0.3 * c[:, 1:])  # nothing moves: nothing is stretched
    assert float((products(c) @ fitted_warp(c, still, torch.ones(30, dtype=F64))).abs().max()) < 1e-3


@pytest.mark.parametrize("family", ["pod", "ntk", "random-features"])
def test_moving_peaks_are_learned_better(family):
    c, new = uniform(30, 2, "runs"), uniform(100, 2, "new")
    runs = Dataset.from_arrays(peaks(c), c, held_out_fraction=0, exact=True)
    options = {"degree": 2} if family == "pod" else {}
    errors = []
    for warp in (True, False):
        run = sundog.fit(family, runs, warp=warp, **options)
        mean, std = run.predict(new)
        error = (mean - peaks(new))[:, :250]
        errors.append(float(error.square().mean().sqrt()))
        drawn = run.sample(300, context=new[0]).values
        assert float(((drawn.std(0) + 1e-9) / (std[0] + 1e-9)).log().abs().median()) < 0.2
    assert errors[0] < 0.5 * errors[1]


def test_a_table_of_few_numbers_has_no_axis():
    c = uniform(20, 2, "few")
    with pytest.raises(OptionError, match="along an axis"):
        sundog.fit("pod", Dataset.from_arrays(c, c, held_out_fraction=0), warp=True)


def test_it_is_kept_in_the_run(tmp_path):
    c = uniform(30, 2, "kept")
    run = sundog.fit("pod", Dataset.from_arrays(peaks(c), c, held_out_fraction=0, exact=True), warp=True, degree=2,
                     out=tmp_path / "run")
    for a, b in zip(run.predict([[0.1, 0.2]]), sundog.load_run(tmp_path / "run").predict([[0.1, 0.2]])):
        assert torch.equal(a, b)


def test_numbers_that_are_all_but_zero_everywhere_have_no_say():
    """A step that moves: below it numbers down to 1e-145, each over its own spread, overflowed the search."""
    c = uniform(40, 2, "step")
    x = torch.arange(300, dtype=F64) * torch.exp(0.08 * c[:, :1])
    y = (2 + 0.5 * c[:, 1:] + torch.cos(0.2 * x)) * torch.sigmoid((x - 100) / 0.3)
    assert float(fitted_warp(c, y, torch.ones(len(c), dtype=F64))[0]) == pytest.approx(0.08, abs=0.004)


def test_far_beyond_the_box_the_first_number_stays():
    assert stretched(torch.arange(9.0)[None], torch.tensor([800.0])).tolist() == [[0.0, *[8.0] * 8]]


def test_a_run_of_almost_no_weight_has_no_say():
    c, new = uniform(30, 2, "weights"), uniform(50, 2, "new")
    y, w, rest = peaks(c), torch.ones(30, dtype=F64), torch.arange(30) != 5
    y[5], w[5] = 40 * torch.randn(300, generator=stream(0, "wild"), dtype=F64), 1e-12
    found, wanted = (sundog.fit("pod", runs, warp=True, degree=2).predict(new).mean for runs in (
        Dataset.from_arrays(y, c, weights=w, held_out_fraction=0, exact=True),
        Dataset.from_arrays(y[rest], c[rest], held_out_fraction=0, exact=True)))
    assert float((found - wanted)[:, :250].abs().max()) < 1e-3 * float(wanted.std())
