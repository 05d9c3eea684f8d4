"""Search with mismatches: equal to the naive count everywhere, and the laws of the Hamming distance."""

import itertools

import numpy as np
import pytest
import torch

from sundog.errors import DataError, OptionError, ShapeError
from sundog.statistics import search
from sundog.statistics.search import find_motif, hamming_distances


def naive(text: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(text, pattern.shape)
    return (windows != pattern).sum(tuple(range(text.ndim, 2 * text.ndim)))


def draw(shape, symbols, seed):
    return np.random.default_rng(seed).integers(0, symbols, shape)


WAYS = {"as chosen": search._TRANSFORM, "all heavy": -1.0, "all light": np.inf}
SIZES = [((1,), (1,)), ((7,), (7,)), ((1000,), (1,)), ((1000,), (37,)), ((997,), (996,)),
         ((5, 6), (1, 1)), ((20, 31), (4, 5)), ((20, 31), (20, 3)), ((20, 31), (3, 31)), ((9, 8), (9, 8))]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("symbols", [1, 2, 5, 100, 10**12])
@pytest.mark.parametrize(("text", "pattern"), SIZES, ids=str)
def test_equal_to_naive_everywhere(text, pattern, symbols, way, monkeypatch):
    monkeypatch.setattr(search, "_TRANSFORM", WAYS[way])
    monkeypatch.setattr(search, "_PAIRS", 64)  # many blocks
    t, p = draw(text, symbols, 0), draw(pattern, symbols, 1)
    found = hamming_distances(t, p)
    assert found.dtype == torch.int64
    assert np.array_equal(found.numpy(), naive(t, p))


def test_skewed_alphabets_use_both_ways_at_once():
    g = np.random.default_rng(2)
    t, p = (np.minimum(g.geometric(0.3, n), 40) - 20 for n in (30_000, 3000))
    assert np.array_equal(hamming_distances(t, p).numpy(), naive(t, p))


def test_a_stranger_in_either_never_matches():
    t = np.array([5, -3, 200, 5, 7])
    assert hamming_distances(t, [5, 6]).tolist() == naive(t, np.array([5, 6])).tolist() == [1, 2, 2, 1]
    assert (hamming_distances(draw(50, 4, 0), draw(9, 4, 1) + 10) == 9).all()
    assert (hamming_distances(np.zeros(50, int), np.zeros(9, int)) == 0).all()
    assert hamming_distances(np.array([2**62, -(2**62)]), np.array([2**62])).tolist() == [0, 1]


@pytest.mark.parametrize("way", WAYS)
def test_hashes_of_64_bits_are_told_apart(way, monkeypatch):
    monkeypatch.setattr(search, "_TRANSFORM", WAYS[way])
    for low in (2**63 - 2, 2**64 - 4, 0):
        symbols = np.array([low, low + 1, low + 2, low + 3], np.uint64)
        t, p = symbols[draw(200, 4, 0)], symbols[draw(5, 4, 1)]
        assert np.array_equal(hamming_distances(t, p).numpy(), naive(t, p))
    small = np.array([3, 1, 3])
    assert hamming_distances(np.array([3, 1, 3, 2**63 + 3], np.uint64), small).tolist() == [0, 3]
    with pytest.raises(DataError, match="symbols below 0"):
        hamming_distances(np.array([2**63], np.uint64), [-1])


def test_relabelling_changes_nothing():
    t, p = draw(500, 6, 3), draw(20, 6, 4)
    names = np.array([17, -4, 0, 900, 3, 2])
    assert torch.equal(hamming_distances(t, p), hamming_distances(names[t], names[p]))


def test_the_sum_over_shifts_counts_pairs():
    """On a circle every pair of text and pattern positions meets once; here the text is laid out twice."""
    t, p = draw(300, 4, 5), draw(25, 4, 6)
    circle = hamming_distances(np.r_[t, t[:24]], p)
    same = sum(int((t == c).sum() * (p == c).sum()) for c in range(4))
    assert int(circle.sum()) == 300 * 25 - same


@pytest.mark.slow
def test_whole_numbers_stay_exact_at_a_million():
    t, p = draw(1_000_000, 2, 7), draw(100_000, 2, 8)
    found = hamming_distances(t, p)
    for i in (0, 123_456, 900_000):
        assert int(found[i]) == int((t[i : i + 100_000] != p).sum())


@pytest.mark.parametrize("shape", [(5000,), (60, 70)])
def test_a_planted_motif_with_mismatches_is_found_and_nothing_else(shape):
    t, p = draw(shape, 4, 9), draw(tuple(min(12, n) * 2 for n in shape), 4, 10)
    corner = tuple(n // 3 for n in shape)
    wrong = p.copy().ravel()
    wrong[:3] = (wrong[:3] + 1) % 4
    t[tuple(slice(c, c + m) for c, m in zip(corner, p.shape))] = wrong.reshape(p.shape)
    found = find_motif(t, p, mismatches=3)
    assert found.positions.tolist() == [list(corner)]
    assert found.mismatches.tolist() == [3]
    assert len(find_motif(t, p, mismatches=2).positions) == 0  # negative control


def test_tensors_arrays_and_lists_are_the_same():
    t, p = draw(40, 3, 0), draw(5, 3, 1)
    kinds = [torch.from_numpy(t), t, t.tolist()], [torch.from_numpy(p), p.astype(np.uint8), p.tolist()]
    found = [hamming_distances(a, b).tolist() for a, b in itertools.product(*kinds)]
    assert all(row == found[0] for row in found)


def test_letters_are_symbols():
    found = find_motif("the cat sat on the mät", "mat", mismatches=1)
    assert found.positions.flatten().tolist() == [4, 8, 19]
    assert found.mismatches.tolist() == [1, 1, 1]


def test_bad_input_is_refused_by_name():
    with pytest.raises(DataError, match="quantise"):
        hamming_distances(torch.rand(10), torch.ones(2, dtype=torch.long))
    with pytest.raises(DataError, match="pattern"):
        hamming_distances([1, 2], [])
    with pytest.raises(DataError, match="pattern"):
        hamming_distances("ab", "")
    with pytest.raises(ShapeError, match="does not fit"):
        hamming_distances([1, 2], [1, 2, 3])
    with pytest.raises(ShapeError, match="does not fit"):
        hamming_distances(np.zeros((5, 5), int), [1, 2, 3])
    with pytest.raises(ShapeError, match="axes"):
        hamming_distances(np.zeros((5, 5, 5), int), np.zeros((2, 2, 2), int))
    with pytest.raises(OptionError, match="mismatches"):
        find_motif([1, 2], [1], mismatches=-1)
