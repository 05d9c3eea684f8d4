"""The rows that decide: exact under the null on any law, sharp on small errors, one product for all labellings."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, kstest

from sundog.verdicts.deciding.labels import Labels, Table, fill, hotelling, pulls
from sundog.verdicts.deciding.maximum import combined
from sundog.verdicts.deciding.rows import deciding_rows, standardised, whitened


def gaussian(n, rng):
    return rng.normal(size=(n, 5))


def mixed(n, rng):
    """A Student t, a lognormal, counts with many ties, an arcsine law and a constant."""
    return np.stack([rng.standard_t(3, n), rng.lognormal(size=n), rng.poisson(1.0, n), np.sin(rng.uniform(0, 6.28, n)),
                     np.full(n, 3.0)], 1)


def statistics(x, y, seed=0, weights=None, relabellings=999):
    """Deciding statistics (rows, 1 + relabellings), the observed labelling first."""
    labels = Labels(len(x), len(y), seed, weights, relabellings, splits=4)
    rows = deciding_rows(standardised(np.concatenate([x, y])), labels)
    fill(labels, list({id(row.table): row.table for row in rows}.values()))
    t = np.array([row.statistic(row.table).numpy() for row in rows])
    return t[:, np.r_[0, 5 : t.shape[1]]]


def decided(*sample, **options):
    return combined(statistics(*sample, **options))


def test_the_observed_column_is_the_difference_of_the_means_and_its_covariance_is_known():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(700, 3)).astype(np.float32))
    labels = Labels(300, 400, 0)
    full, diagonal = Table(lambda rows: x[rows], full=True), Table(lambda rows: x[rows])
    fill(labels, [full, diagonal])
    assert torch.allclose(full.difference[:, 0], (x[300:].mean(0) - x[:300].mean(0)).double(), atol=1e-6)
    expected = torch.cov(x.double().T) * (1 / 300 + 1 / 400)
    assert torch.allclose(full.covariance, expected, rtol=1e-4, atol=1e-9)
    assert torch.allclose(diagonal.covariance, expected.diagonal(), rtol=1e-4)
    relabelled = full.difference[:, labels.null]
    assert torch.allclose(torch.cov(relabelled).diagonal(), expected.diagonal(), rtol=4 * (2 / 999) ** 0.5)
    assert pulls(diagonal)[:, labels.null].std() == pytest.approx(1, abs=0.1)
    # the mean of T^2 over relabellings is its number of columns
    assert float(hotelling(full)[labels.null].mean()) == pytest.approx(3, abs=4 * (6 / 999) ** 0.5)


def test_blocks_exchange_labels_as_exactly_as_one_block(monkeypatch):
    monkeypatch.setattr("sundog.verdicts.deciding.labels.BLOCK", 128)
    x = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    labels = Labels(300, 700, 0)
    table = Table(lambda rows: x[rows])
    fill(labels, [table])
    assert torch.allclose(table.difference[:, 0], (x[300:].mean(0) - x[:300].mean(0)).double(), atol=4e-3)
    assert pulls(table)[:, labels.null].std() == pytest.approx(1, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("law", "sizes"), [(gaussian, (60, 60)), (mixed, (50, 400))])
def test_false_alarms_are_one_in_a_hundred_on_any_law(law, sizes):
    p = []
    for seed in range(250):
        rng = np.random.default_rng([seed, 1])
        p.append(decided(law(sizes[0], rng), law(sizes[1], rng), seed=seed).p)
    assert binomtest(int((np.array(p) <= 0.01).sum()), 250, 0.01, "greater").pvalue > 1e-3
    assert binomtest(int((np.array(p) <= 0.1).sum()), 250, 0.1).pvalue > 1e-3
    assert kstest(p, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("error", ["mean", "width", "correlation", "tail", "bump"])
def test_small_errors_of_two_thousand_events_are_seen(error):
    """Each at a size where a test that knew what to look for has 6 to 9 sigma; the honest sample passes."""
    rng = np.random.default_rng(3)
    x, y = gaussian(2000, rng), gaussian(2000, rng)
    assert decided(x, y).p > 0.01
    if error == "mean":
        y[:, 1] += 0.2
    if error == "width":
        y[:, 1] *= 1.15
    if error == "correlation":
        y[:, 1] += 0.3 * y[:, 0]
    if error == "tail":
        y[:40, 2] += 5
    if error == "bump":
        y[:160] = rng.normal(size=(160, 5)) * 0.1 + 1
    assert decided(x, y).p < 1e-3


def test_clusters_a_seventh_too_wide_are_seen_by_where_the_rows_lie():
    """Six tight clusters, whose widths are 1 % of each column's variance."""
    rng = np.random.default_rng(2)
    centre = rng.normal(size=(6, 5))
    x, y = (centre[rng.integers(0, 6, 1500)] + width * rng.normal(size=(1500, 5)) for width in (0.2, 0.23))
    found = combined(statistics(x, y, seed=2))
    assert found.p < 1e-6 and found.pull[5] > 1.5 + found.pull[[0, 1, 2, 3, 7, 8]].max()


def test_a_tight_bump_of_one_in_a_hundred_is_seen_by_the_narrow_kernel():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(1500, 5)), rng.normal(size=(1500, 5))
    assert combined(statistics(x, y)).p > 0.01
    y[:20] = 0.8 + 0.1 * rng.normal(size=(20, 5))
    found = combined(statistics(x, y))
    assert found.p < 1e-4 and found.pull[9] > 2 + found.pull[:9].max()


@pytest.mark.slow
@pytest.mark.parametrize("law", [gaussian, mixed])
def test_the_law_beyond_the_relabellings_agrees_with_twenty_times_as_many(law):
    """The labelling that one in a thousand exceeds has p = 0.001 within a factor of two, from 999 others."""
    rng = np.random.default_rng(5)
    t = statistics(law(300, rng), law(300, rng), relabellings=20_000)[:, 1:]
    z = (t - t.mean(1, keepdims=True)) / t.std(1, keepdims=True)
    at = int(np.argsort(-z.max(0))[20])
    found = [combined(np.concatenate([t[:, at : at + 1], t[:, k : k + 999]], 1)).p for k in range(0, 19_000, 999)]
    assert 5e-4 < np.median(found) < 2e-3


def test_the_largest_of_equals_is_counted_and_an_outstanding_row_keeps_its_p_value():
    t = np.random.default_rng(0).normal(size=(3, 1000))
    z = (t - t.mean(1, keepdims=True)) / t.std(1, keepdims=True)
    assert combined(t).p == np.mean(z.max(0) >= z[:, 0].max())
    t[1, 0] = 40.0
    found = combined(t)
    assert found.p < 1e-100 and found.pull[1] == pytest.approx(40, rel=0.1) and (found.each[[0, 2]] > 0.01).all()
    assert combined(np.ones((2, 100))).p == 1


@pytest.mark.slow
def test_a_hundred_columns_of_few_rows_keep_their_rate():
    p = []
    for seed in range(60):
        rng = np.random.default_rng([seed, 2])
        p.append(decided(rng.normal(size=(60, 100)), rng.normal(size=(60, 100)), seed=seed).p)
    assert binomtest(int((np.array(p) <= 0.05).sum()), 60, 0.05, "greater").pvalue > 1e-3


def test_a_statistic_that_no_labelling_changes_says_nothing_whatever_its_rounding():
    t = np.random.default_rng(0).normal(size=(2, 1000))
    t[1] = 1 + 1e-7 * t[1]
    t[1, 0] = 1 + 1e-6  # ten standard deviations of the rounding
    alone, both = combined(t[:1]), combined(t)
    assert both.p == pytest.approx(alone.p, rel=0.05) and both.each[1] > 0.1


def test_real_against_real_is_one_random_half_against_the_other():
    """Every split has as many rows on either side, at the size that its difference has among real and fake."""
    labels = Labels(301, 700, 0)
    x = torch.randn(1001, 1, generator=torch.Generator().manual_seed(0))
    table = Table(lambda rows: torch.cat([x[rows], torch.ones(len(rows), 1)], 1))
    fill(labels, [table])
    splits = table.difference[:, 1 : 1 + labels.splits]
    assert splits[1].abs().max() < 1e-6  # of a constant
    expected = float(x[:301].var()) * (1 / 301 + 1 / 700)
    assert float(splits[0].square().mean()) == pytest.approx(expected, rel=4 * (2 / labels.splits) ** 0.5)


def test_directions_without_a_spread_are_no_components():
    """Forty columns of two numbers and a noise of one in a hundred: two components."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2000, 2)) @ rng.uniform(1, 2, (2, 40)) + 0.01 * rng.normal(size=(2000, 40))
    assert whitened(standardised(z)).shape == (2000, 2)
