"""judge: honest fakes pass, every kind of wrong fake fails, every misuse is named."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binomtest

from sundog import Dataset, judge
from sundog.errors import DataError, OptionError, SampleSizeError, ShapeError
from sundog.statistics.samples.distance import energy_distance, frechet_distance

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
    centre = fake.mean((1, 2), keepdim=True)
    spectra = torch.fft.rfft2(fake - centre).abs()  # each map keeps its own
    surrogate = torch.fft.irfft2(phases / phases.abs() * spectra, s=(24, 24)) + centre
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
        judge(real, real, seed=-1)
    for statistics in (None, 5, ()):
        with pytest.raises(OptionError, match="pass 'all'"):
            judge(real, real, statistics=statistics)


@pytest.mark.parametrize("seed", [2**40, np.int64(3)])
def test_any_whole_number_is_a_seed(seed):
    x = torch.randn(120, 2, generator=torch.Generator().manual_seed(0))
    assert judge(x[:60], x[60:], seed=seed, splits=4).passed


def test_a_row_is_found_by_name_and_near_misses_are_told():
    verdict = judge(events(100, 0), events(100, 1), splits=4, statistics="classifier")
    assert verdict["classifier AUC"].name == "classifier AUC"
    for name, meant in (("AUC", "classifier AUC"), ("copy", "copies")):
        with pytest.raises(OptionError, match=f"did you mean {meant}"):
            verdict[name]


def test_arrays_tensors_frames_files_and_generators_are_judged_as_they_are(tmp_path):
    real, fake = events(300, 30), events(200, 31)
    p = judge(real, fake, statistics="deciding").p_value
    path = fake.save(tmp_path / "fakes.npz")
    frame = pd.DataFrame(fake.values.numpy()[:, [2, 0, 3, 1]], columns=["c", "a", "m", "b"])
    for given in (fake.values, fake.values.numpy(), frame, str(path), path):
        assert judge(real, given, statistics="deciding").p_value == p
    assert judge(pd.DataFrame(real.values.numpy(), columns=real.names), frame, statistics="deciding").p_value == p
    with pytest.raises(ShapeError, match="same columns"):
        judge(real, frame.rename(columns={"a": "z"}))


def test_a_generator_draws_ten_times_the_truth_at_its_contexts():
    real = events(200, 32).with_context("m")

    class Generator:
        def sample(self, n, context, seed):
            noise = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
            noise[:, 1] += 0.8 * noise[:, 0]
            assert sorted(context.values[:200, 0]) == sorted(real.context[:, 0])
            return Dataset.from_arrays(noise, context.values, names=real.names, context_names=("m",))

    verdict = judge(real, Generator(), statistics="deciding")
    assert verdict.n_fake == 2000 and verdict.passed
    assert judge(real, Generator(), statistics="deciding", draws=2).n_fake == 400


def test_wrong_weights_are_named():
    real, fake = events(200, 33), events(200, 34)
    with pytest.raises(DataError, match="fake weights are unusable"):
        judge(real, fake, fake_weights=-torch.ones(200))
    with pytest.raises(DataError, match="real weights are unusable"):
        judge(real, fake, real_weights=torch.ones(3))


def negative(n, seed):
    """A third too many events of one kind, undone by weights of minus one: 20 % negative weights."""
    g = torch.Generator().manual_seed(seed)
    x, extra = torch.randn(n, 3, generator=g), 1 + 0.5 * torch.randn(n // 3, 3, generator=g)
    undo = 1 + 0.5 * torch.randn(n // 3, 3, generator=g)
    return torch.cat([x, extra, undo]), torch.cat([torch.ones(n + n // 3), -torch.ones(n // 3)])


def test_negative_weights_count_as_what_they_are():
    real = torch.randn(1500, 3, generator=torch.Generator().manual_seed(35))
    fake, weights = negative(1500, 36)
    assert judge(real, fake, fake_weights=weights, splits=8).passed
    assert not judge(real, fake, splits=8, statistics="deciding").passed
    assert not judge(real, fake + torch.tensor([0.25, 0, 0]), fake_weights=weights, splits=8).passed


@pytest.mark.slow
@pytest.mark.parametrize("sign", ["importance", "negative"])
def test_weighted_samples_keep_their_rate(sign):
    p = []
    for seed in range(200):
        g = torch.Generator().manual_seed(seed)
        real = torch.randn(400, 3, generator=g)
        if sign == "negative":
            fake, weights = negative(300, 1000 + seed)
        else:
            fake = torch.randn(500, 3, generator=g) * torch.tensor([1.4, 1, 1])
            weights = torch.exp(-0.5 * fake[:, 0] ** 2 * (1 - 1 / 1.4**2))
        p.append(judge(real, fake, fake_weights=weights, statistics="deciding", seed=seed).p_value)
    for level in (0.01, 0.1):
        assert binomtest(int((np.array(p) <= level).sum()), 200, level, "greater").pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("share", "noise"), [(0.05, 0.0), (0.1, 0.02)])
def test_copies_of_the_training_rows_are_caught_twenty_times_of_twenty(share, noise):
    caught, alarms = 0, 0
    for seed in range(20):
        train, real, fake = (events(1000, 3 * seed + i).values for i in range(3))
        alarms += not judge(real, fake, train=train, statistics="deciding", seed=seed).passed
        k = int(1000 * share)
        fake[:k] = train[:k] + noise * torch.randn(k, 4, generator=torch.Generator().manual_seed(seed))
        caught += not judge(real, fake, train=train, statistics="deciding", seed=seed).passed
    assert caught == 20 and alarms <= 2


@pytest.mark.parametrize("wrong", ["atoms", "rounding", "support", "near copies", "tails", "covariance eigenvalue"])
def test_each_explaining_row_sees_the_fault_it_is_for(wrong):
    real, fake = events(2000, 40).values, events(2000, 41).values
    words = ("moments", "joint", "support", "near copies")
    assert judge(real, fake, statistics=words)[wrong if wrong not in ("atoms", "rounding") else "tails"].passed
    if wrong == "atoms":
        real[:400, 2], fake[:250, 2] = 0, 0
    if wrong == "rounding":
        fake[:, 2] = (10 * fake[:, 2]).round() / 10
    if wrong == "support":
        real, fake = real.clamp(-2, 2), fake.clamp(-2.2, 2.2)
    if wrong == "near copies":
        fake[:100] = real[:100] + 1e-3
    if wrong == "tails":
        fake[:, 3] = torch.where(fake[:, 3] > 1.9, 1.9 - 0.01 * fake[:, 3], fake[:, 3])
    if wrong == "covariance eigenvalue":
        fake[:, 3] = 0.3 * fake[:, 2] + fake[:, 3]
    row = judge(real, fake, statistics=words)[wrong]
    assert not row.passed, row


@pytest.mark.slow
def test_explaining_rows_rarely_fail_on_honest_fakes():
    """Thirty-odd rows share 1 %: of 200 verdicts, about two have a row that fails."""
    words = ("marginals", "correlations", "radius", "moments", "joint", "support", "near copies", "classifier", "prdc")
    failed = 0
    for seed in range(200):
        verdict = judge(events(150, 2 * seed), events(150, 2 * seed + 1), statistics=words, seed=seed)
        failed += any(not row.passed and not row.decides for row in verdict.rows)
    assert failed <= 9  # 1 % of 200, more with a probability of 1e-4


def test_a_tail_of_one_row_says_nothing():
    """Beyond the 99.9 % point of 600 rows lies one: as much real as fake, whatever the labels."""
    p = []
    for seed in range(6):
        x = torch.randn(600, 2, generator=torch.Generator().manual_seed(seed))
        p.append(judge(x[:300], x[300:], seed=3, splits=4, statistics="tails")["tails"].p_value)
    assert min(p) > 0.002  # below 0.001 in four of six, with the rounding taken for a spread


def test_many_columns_and_unequal_sizes_are_judged():
    g = torch.Generator().manual_seed(0)
    wide = judge(torch.randn(60, 120, generator=g), torch.randn(60, 120, generator=g), statistics=("marginals", "prdc"))
    assert wide.passed
    x, y = torch.randn(60, 2, generator=g), torch.randn(1800, 2, generator=g)
    assert judge(x, y).passed and judge(y, x).passed and not judge(x, y + 0.6).passed


@pytest.mark.parametrize("kind", ["events", "images"])
def test_every_row_has_a_name_of_its_own(kind):
    real, fake = (events(200, 50), events(200, 51)) if kind == "events" else (maps(30, 0, 16), maps(30, 1, 16))
    names = [row.name for row in judge(real, fake, splits=4).rows]
    assert len(names) == len(set(names)), sorted(names)


def test_images_of_three_channels_are_judged_and_the_odd_ones_shown():
    x = torch.rand(80, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    honest = judge(x[:40], x[40:], statistics=("power spectrum", "moments"))
    assert honest.passed and honest.evidence.telling.shape == (3, 3, 12, 12)
    single = judge(x[:40, 0], x[40:, :1], statistics="deciding")
    assert single.passed


def _spectra_with(fault: str, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth maps with a tail of a factor 1000 in power at fine scales, and others of the same law or with a fault."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(2 * n, 16, 16, generator=g)
    square = torch.fft.fftfreq(16)[:, None] ** 2 + torch.fft.rfftfreq(16) ** 2
    smooth = torch.fft.irfft2(torch.fft.rfft2(x) * torch.exp(-200 * square), s=(16, 16))
    loud = torch.rand(2 * n, 1, 1, generator=g) < 0.03
    x = 10 * smooth + torch.where(loud, 3.0, 0.1) * torch.randn(2 * n, 16, 16, generator=g)
    if fault == "many a little":
        x[n:] += 0.04 * torch.randn(n, 16, 16, generator=g)
    if fault == "some a lot":
        x[n : n + n // 5] += 3 * torch.randn(n // 5, 16, 16, generator=g)
    return image_set(x[:n]), image_set(x[n:])


def test_spectra_with_a_long_tail_cannot_hide_a_fault():
    """The mean of P(k) is that of the few loudest maps; its error with it."""
    for fault in ("many a little", "some a lot"):
        verdict = judge(*_spectra_with(fault, 100, 1), splits=4, statistics=("power spectrum",))
        assert not verdict["power spectrum"].passed
    row = judge(*_spectra_with("", 100, 1), splits=4, statistics=("power spectrum",))["power spectrum"]
    assert row.passed
    assert row.real_value < 10  # geometric: the loud three of a hundred do not decide it


@pytest.mark.slow
def test_spectra_with_a_long_tail_raise_no_false_alarm():
    """Of 200 honest pairs 1 % fail by chance: more than 7 would be a fault (probability 1e-3)."""
    rows = [judge(*_spectra_with("", 60, seed), splits=4, statistics=("power spectrum",))["power spectrum"]
            for seed in range(200)]
    assert sum(not row.passed for row in rows) <= 7
    assert 2 <= sum(row.p_value <= 0.05 for row in rows) <= 20


def test_the_frechet_row_is_the_distance_of_the_two_gaussians():
    real, fake = events(3000, 0), events(3000, 1)
    fake = with_values(fake, 1.3 * fake.values + torch.tensor([0.5, -1.0, 0.0, 2.0]))
    row = judge(real, fake, statistics="Fréchet distance", splits=4)["Fréchet distance"]
    scale = torch.cat([real.values, fake.values]).std(0)
    assert row.value == pytest.approx(float(frechet_distance(real.values / scale, fake.values / scale)), rel=0.01)


@pytest.mark.parametrize("weighted", [False, True])
def test_errors_of_curves_and_means_are_those_of_repeated_samples(weighted):
    """z of true maps against true maps is a unit normal, also with weights, of which a third count thirty times."""
    z = []
    for seed in range(12):
        a, b = image_set(maps(60, 2 * seed)), image_set(maps(60, 2 * seed + 1))
        weights = 1.0 + 29 * (torch.arange(60) % 3 == 0) if weighted else None
        for curve in judge(a, b, statistics=("Minkowski functionals", "power spectrum"), splits=4,
                           fake_weights=weights).evidence.curves:
            z.append((curve.fake - curve.real) / torch.hypot(curve.real_error, curve.fake_error))
    assert float(torch.cat(z).square().nanmean()) == pytest.approx(1, abs=0.35)


def test_blank_maps_have_one_power_in_both_samples():
    """A tenth blank in each, and a very faint map among the real ones: the floor of the zeros is common."""
    a, b = maps(40, 0), maps(40, 1)
    a[:4] = b[:4] = 0
    a[4] *= 1e-6
    for real, fake in ((a, b), (b, a)):
        curve, = judge(image_set(real), image_set(fake), statistics="power spectrum", splits=4).evidence.curves
        assert float((curve.fake / curve.real).log().abs().max()) < 1.5


def test_only_several_channels_are_told_apart_by_name():
    one = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 16, 16)))
    assert "(dust)" not in judge(image_set(one), image_set(one.flip(0) + 0.1), statistics="mean")["mean"].worst
    both, moved = (Dataset.from_arrays(torch.stack([one, x], 1), names=("dust", "gas")) for x in (one, one.flip(0) + 1))
    assert judge(both, moved, statistics="mean")["mean"].worst.endswith("(gas)")


def test_the_energy_row_is_the_energy_distance():
    """Of one column, where all directions are the same; by rank sums without equal pairs."""
    x, y = events(2000, 0).values[:, :1], events(1500, 1).values[:, :1] + 1
    scale = torch.cat([x, y]).std(0)
    row = judge(x, y, statistics="energy distance", splits=4)["energy distance"]
    assert row.value == pytest.approx(float(energy_distance(x / scale, y / scale)), rel=0.02)


def test_digits_of_rounding_are_no_difference():
    """Maps without a mean, of one law, scaled in two ways: their means are rounding, of two sizes."""
    real, fake = (x - x.mean((1, 2), keepdim=True) for x in (maps(300, 5), maps(300, 6)))
    fake = 1e3 * fake / 1e3 + 0.0
    fake = fake - fake.mean((1, 2), keepdim=True)  # once more: smaller digits than those of the real maps
    assert float(real.mean((1, 2)).std()) > 2 * float(fake.mean((1, 2)).std()) > 0
    assert judge(image_set(real), image_set(fake), statistics="deciding").p_value > 0.01
