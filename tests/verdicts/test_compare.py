"""judge: honest fakes pass, every kind of wrong fake fails, every misuse is named."""

import json

import numpy as np
import pytest
import torch

from sundog import Dataset, judge
from sundog.errors import DataError, OptionError, SampleSizeError, ShapeError

QUICK = {"statistics": ("marginals", "correlations", "pair projections"), "splits": 12}


def events(n, seed, **options):
    z = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    z[:, 1] += 0.8 * z[:, 0]
    options = {"names": ("a", "b", "c", "m"), "units": ("GeV", "GeV", "", "TeV"), **options}
    return Dataset.from_arrays(z, **options)


def with_values(data, values):
    return Dataset.from_arrays(values, names=data.names, units=data.units)


def maps(n, seed, size=24):
    """Lognormal maps, the same total power in each."""
    k = torch.fft.fftfreq(size)[:, None] ** 2 + torch.fft.rfftfreq(size)[None, :] ** 2
    k[0, 0] = torch.inf
    white = torch.fft.rfft2(torch.randn(n, size, size, generator=torch.Generator().manual_seed(seed)))
    field = torch.fft.irfft2(white / k.sqrt(), s=(size, size))
    return torch.exp(0.6 * field / field.std())


def image_set(x):
    return Dataset.from_arrays(x, names="dust", units="uK", periodic=True)


def test_honest_events_pass_and_every_number_stands_beside_its_band():
    verdict = judge(events(1000, 0), events(700, 1), splits=8)
    assert verdict.passed, str(verdict)
    assert (verdict.n_real, verdict.n_fake) == (1000, 700)
    assert {"marginals", "correlations", "Fréchet distance", "recall", "coverage", "classifier AUC", "copies",
            "repeats", "MMD²", "tails", "support", "near copies", "cells"} <= {row.name for row in verdict.rows}
    for row in verdict.rows:
        assert row.n <= 700 and row.null_low <= row.null <= row.null_high
    assert [row.p_value for row in verdict.rows] == sorted(row.p_value for row in verdict.rows)


def test_a_fifth_of_a_sigma_in_one_of_four_features_fails_and_is_named():
    real, fake = events(10_000, 2), events(5000, 3)
    shift = torch.tensor([0, 0, 0.2, 0])
    assert judge(real, fake, **QUICK).passed
    verdict = judge(real, with_values(fake, fake.values + shift), **QUICK)
    assert not verdict.passed
    row = verdict["marginals"]
    assert row.worst == "c" and not row.passed
    assert row.worst_value == pytest.approx(0.2, abs=0.05)  # W1 of a shift is the shift
    assert row.fake_value - row.real_value == pytest.approx(0.2, abs=4 * np.hypot(row.real_error, row.fake_error))


@pytest.mark.parametrize("wrong", ["correlation", "width", "tail"])
def test_wrong_shapes_of_events_fail(wrong):
    real, fake = events(4000, 4), events(2000, 5).values.clone()
    if wrong == "correlation":
        fake[:, 0] = fake[:, 0].roll(1)
    if wrong == "width":
        fake[:, 2] *= 1.25
    if wrong == "tail":
        fake[:100, 3] += 5
    assert not judge(real, with_values(real, fake), **QUICK).passed


def test_a_dropped_mode_fails_although_every_fake_looks_real():
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(4000, 2, generator=generator)
    x[:2500, 0] += 4
    full, dropped = x[torch.randperm(4000, generator=generator)], torch.randn(1000, 2, generator=generator)
    dropped[:900, 0] += 4  # the smaller mode has 10 % in place of 37 %
    verdict = judge(Dataset.from_arrays(full), Dataset.from_arrays(dropped), statistics=("prdc", "marginals"),
                    splits=12)
    assert not verdict["coverage"].passed and not verdict["marginals"].passed
    assert verdict["precision"].passed


@pytest.mark.parametrize("source", ["truth", "training"])
def test_memorised_rows_six_times_each_fail(source):
    real, train = events(1200, 7), events(600, 8)
    copied = (real if source == "truth" else train).values[:100].repeat(6, 1)
    verdict = judge(real, with_values(real, copied), train=train, splits=8, statistics=("prdc", "near copies"))
    assert not verdict.passed and not verdict["repeats"].passed and not verdict["coverage"].passed
    assert verdict["copies"].value > 0 if source == "truth" else not verdict["memorisation"].passed


def test_memorised_rows_with_a_little_noise_are_caught_by_their_nearest_neighbours():
    real, train = events(2000, 9), events(1000, 10)
    noise = 0.01 * torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
    names = "deciding"
    verdict = judge(real, with_values(real, train.values + noise), train=train, statistics=names)
    assert not verdict.passed and verdict["copies"].passed and not verdict["memorisation"].passed
    assert judge(real, events(1000, 11), train=train, statistics=names).passed


def test_rows_shared_with_the_truth_are_flagged():
    real = events(1000, 12)
    verdict = judge(real, real[:400], splits=8, statistics=("near copies", "classifier"))
    assert not verdict.passed and not verdict["copies"].passed and not verdict["near copies"].passed
    assert verdict["copies"].value == 400


def test_training_rows_in_the_truth_are_noted():
    real = events(400, 13)
    verdict = judge(real, events(200, 14), train=real[:200], splits=4, statistics="deciding")
    assert any("training rows" in note for note in verdict.notes)


@pytest.mark.slow
def test_honest_images_pass_and_a_gaussian_surrogate_fails():
    real, fake = maps(240, 0), maps(120, 1)
    honest = judge(image_set(real), image_set(fake), splits=6)
    assert honest.passed, str(honest)
    phases = torch.fft.rfft2(torch.randn(120, 24, 24, generator=torch.Generator().manual_seed(2)))
    spectrum = torch.fft.rfft2(real - real.mean()).abs().square().mean(0).sqrt() / 24
    surrogate = torch.fft.irfft2(phases * spectrum, s=(24, 24)) + real.mean()
    verdict = judge(image_set(real), image_set(surrogate), splits=6)
    assert verdict["power spectrum"].passed
    for name in ("pixel histogram", "Minkowski functionals", "classifier AUC", "precision"):
        assert not verdict[name].passed, name


@pytest.mark.slow
def test_a_small_shift_is_seen_by_the_whole_bench():
    real, fake = events(10_000, 2), events(5000, 3)
    assert judge(real, fake).passed
    verdict = judge(real, with_values(fake, fake.values + torch.tensor([0, 0, 0.2, 0])))
    failed = {row.name for row in verdict.failures}
    assert {"marginals", "sliced Wasserstein", "classifier AUC", "energy distance"} <= failed


@pytest.mark.slow
def test_five_per_cent_of_flux_on_five_hundred_images_fails():
    real, fake = maps(1000, 3), maps(500, 4)
    assert judge(image_set(real), image_set(fake)).passed
    assert not judge(image_set(real), image_set(1.05 * fake)).passed


@pytest.mark.slow
def test_false_alarms_are_rare():
    failed = sum(not judge(events(600, 100 + i), events(300, 5000 + i), seed=i).passed for i in range(60))
    # 5 % of 60 toys is 3; four sigma above the nominal 1 % is 3.7
    assert failed <= 3


def test_context_is_judged_with_the_values_and_found_by_name():
    real = events(600, 15).with_context("m")
    flat = events(300, 16)
    verdict = judge(real, flat, splits=8, statistics=("marginals", "correlations"))
    assert verdict.passed and "m" in verdict.evidence.names
    assert any("context (m)" in note for note in verdict.notes)
    shuffled = flat.values.clone()
    shuffled[:, 3] = 0.9 * shuffled[:, 0] + 0.3 * shuffled[:, 3]  # right values, wrong dependence on the context
    verdict = judge(real, with_values(flat, shuffled), splits=8, statistics=("marginals", "correlations"))
    assert not verdict["correlations"].passed and "m" in verdict["correlations"].worst


def test_weights_are_honoured():
    real, wide = events(2000, 17), events(4000, 18)
    biased = wide.values * torch.tensor([1, 1, 1, 1.5])
    weights = 1.5 * torch.exp(-0.5 * biased[:, 3] ** 2 * (1 - 1 / 1.5**2))
    weighted = Dataset.from_arrays(biased, names=wide.names, units=wide.units, weights=weights)
    names = ("marginals", "moments", "joint")
    assert not judge(real, with_values(wide, biased), splits=12, statistics=names).passed
    verdict = judge(real, weighted, splits=12, statistics=names)
    assert verdict.passed and any("effective rows" in note for note in verdict.notes)


def test_columns_in_another_order_are_the_same_events():
    real, fake = events(400, 19), events(200, 20)
    order = [2, 0, 3, 1]
    turned = Dataset.from_arrays(fake.values[:, order], names=[fake.names[i] for i in order],
                                 units=[fake.units[i] for i in order])
    a, b = (judge(real, x, splits=4, statistics="marginals") for x in (fake, turned))
    assert a["marginals"].value == pytest.approx(b["marginals"].value, rel=1e-9)


def test_same_seed_same_verdict_another_seed_another():
    real, fake = events(300, 21), events(150, 22)
    names = ("marginals", "sliced", "classifier", "mmd", "prdc")
    a, b, c = (judge(real, fake, seed=s, splits=4, statistics=names) for s in (1, 1, 2))
    assert a.rows == b.rows and a.rows != c.rows


def test_units_kinds_columns_and_sizes_that_differ_are_named():
    real = events(200, 23)
    with pytest.raises(ShapeError, match=r"unit of m: got fake: GeV, expected TeV"):
        judge(real, events(200, 24, units=("GeV", "GeV", "", "GeV")))
    with pytest.raises(ShapeError, match="same columns"):
        judge(real, events(200, 24, names=("a", "b", "c", "d")))
    with pytest.raises(ShapeError, match="kind of data"):
        judge(real, image_set(maps(50, 0)))
    with pytest.raises(ShapeError, match="differ in size"):
        judge(image_set(maps(50, 0)), image_set(maps(50, 0, size=16)))
    pixel = [Dataset.from_arrays(maps(50, 0), pixel_arcmin=p) for p in (1.0, 2.0)]
    with pytest.raises(ShapeError, match="pixel size"):
        judge(*pixel)


def test_too_few_rows_and_unknown_names_are_named():
    with pytest.raises(SampleSizeError, match="40 real and 200 fake"):
        judge(events(40, 0), events(200, 1))
    with pytest.raises(SampleSizeError, match="at least 20"):
        judge(image_set(maps(30, 0)), image_set(maps(19, 1)))
    with pytest.raises(OptionError, match="marginals"):
        judge(events(200, 0), events(200, 1), statistics=("spectrum of smells",))
    with pytest.raises(OptionError, match="splits"):
        judge(events(200, 0), events(200, 1), splits=2)


def test_small_samples_are_said_in_a_note():
    verdict = judge(events(200, 0), events(100, 1), splits=4, statistics="marginals")
    assert any("small" in note for note in verdict.notes)
    assert json.loads(verdict.to_json())["n"] == 100


def test_one_feature_and_integer_counts_are_judged():
    counts = torch.poisson(torch.full((2400, 1), 3.0), generator=torch.Generator().manual_seed(0))
    real, fake = Dataset.from_arrays(counts[:1600]), Dataset.from_arrays(counts[1600:])
    names = ("marginals", "radius", "sliced", "prdc", "moments", "near copies")
    honest = judge(real, fake, splits=12, statistics=names)
    assert honest.passed, str(honest)
    assert any("repeated" in note for note in honest.notes)
    assert not judge(real, Dataset.from_arrays(counts[1600:] + 1), splits=6, statistics="marginals").passed


@pytest.mark.parametrize("n", [300, 1200])
def test_a_collapsed_generator_fails_instead_of_raising(n):
    real = Dataset.from_arrays(torch.randn(600, 2, generator=torch.Generator().manual_seed(0)))
    verdict = judge(real, Dataset.from_arrays(torch.ones(n, 2)), splits=8)
    assert not verdict.passed and verdict["classifier AUC"].value == 1.0


def test_wrong_arguments_are_named():
    real = Dataset.from_arrays(torch.randn(100, 2, generator=torch.Generator().manual_seed(0)))
    for arguments, message in (((real, 5), "fake is no sample"), ((None, real), "real is no sample")):
        with pytest.raises(ShapeError, match=message):
            judge(*arguments)
    with pytest.raises(DataError, match="nothing varies"):
        judge(torch.ones(100, 2), torch.ones(100, 2))
    with pytest.raises(OptionError, match="seed out of range"):
        judge(real, real, seed=2**40)
