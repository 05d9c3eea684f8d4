"""PRDC on laws that agree, lose a mode or blow up; copies of the training data are caught."""

from __future__ import annotations

import pytest
import torch

from sundog.errors import OptionError, SampleSizeError
from sundog.statistics import nearest_neighbour_memorisation, precision_recall_density_coverage
from sundog.statistics.samples.neighbours import nearest_distance


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_prdc_against_a_plain_loop() -> None:
    real, fake, k = noise(40, 2), 0.8 + noise(30, 2, seed=1), 3
    rr, ff, rf = torch.cdist(real, real), torch.cdist(fake, fake), torch.cdist(real, fake)
    reach_r, reach_f = rr.sort(1).values[:, k], ff.sort(1).values[:, k]
    in_r, in_f = rf <= reach_r[:, None], rf <= reach_f
    m = precision_recall_density_coverage(real, fake, k=k)
    assert m.precision == pytest.approx(float(in_r.any(0).double().mean()))
    assert m.recall == pytest.approx(float(in_f.any(1).double().mean()))
    assert m.density == pytest.approx(float(in_r.sum() / (k * 30)))
    assert m.coverage == pytest.approx(float(in_r.any(1).double().mean()))


def test_prdc_tells_lost_variety_from_lost_fidelity() -> None:
    real = noise(600, 2)
    same = precision_recall_density_coverage(real, noise(600, 2, seed=1))
    # coverage of equal laws at equal n: 1 - 2^-k (Naeem et al. 2020); scatter sqrt(p q / n)
    assert same.coverage == pytest.approx(1 - 2**-5, abs=4 * (0.03 / 600) ** 0.5)
    assert same.precision > 0.9 and same.recall > 0.9 and same.density == pytest.approx(1.0, abs=0.15)
    narrow = precision_recall_density_coverage(real, 0.2 * noise(600, 2, seed=1))
    assert narrow.precision > 0.99 and narrow.recall < 0.4 and narrow.coverage < 0.4
    wide = precision_recall_density_coverage(real, 5 * noise(600, 2, seed=1))
    assert wide.precision < 0.3 and wide.recall > 0.9


def test_memorised_samples_are_caught() -> None:
    train, held_out, fresh = noise(500, 4), noise(250, 4, seed=1), noise(250, 4, seed=2)
    honest = nearest_neighbour_memorisation(train, held_out, fresh)
    assert honest.ratio == pytest.approx(1.0, abs=0.12) and honest.duplicates == 0 and honest.share_closer < 0.03
    near = nearest_neighbour_memorisation(train, held_out, train[:250] + 1e-4 * fresh)
    assert near.ratio < 0.01 and near.share_closer > 0.99 and near.duplicates == 0
    copied = nearest_neighbour_memorisation(train, held_out, torch.cat([fresh, train[:9]]))
    assert copied.duplicates == 9


def test_copies_of_images_are_found_bit_for_bit_far_from_zero() -> None:
    images = (1e4 + noise(30, 20, 20)).float()
    fake = torch.cat([images[3:7], 1e4 + noise(5, 20, 20, seed=1).float()])
    assert nearest_neighbour_memorisation(images[:20], images[20:], fake).duplicates == 4
    assert (nearest_distance(fake.flatten(1).double(), images.flatten(1).double())[:4] == 0).all()


def test_constant_data_and_bad_options() -> None:
    ones = torch.ones(8, 2)
    assert nearest_neighbour_memorisation(ones, ones, ones).ratio == 1.0
    same = precision_recall_density_coverage(ones, ones)
    assert (same.precision, same.coverage) == (1.0, 1.0)
    with pytest.raises(OptionError):
        precision_recall_density_coverage(ones, ones, k=0)
    with pytest.raises(SampleSizeError, match="neighbour"):
        precision_recall_density_coverage(ones[:5], ones, k=5)
