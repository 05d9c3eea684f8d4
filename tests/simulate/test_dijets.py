"""The di-jet stand-in: labels, kinematic bounds, known fractions; its marginals stay near those of real samples."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp, spearmanr

from sundog.errors import OptionError
from sundog.simulate.dijets import SIGNAL_REGION, dijet_truth, dijets

LHCO = Path(os.environ.get("SUNDOG_DATA", "../shared/data")) / "lhco" / "lhco_rd_sr_features.npz"


def columns(events) -> np.ndarray:
    return torch.cat([events.context, events.values], 1).double().numpy()


def in_signal_region(rows: np.ndarray) -> np.ndarray:
    return rows[(rows[:, 0] > SIGNAL_REGION[0]) & (rows[:, 0] < SIGNAL_REGION[1])]


def test_labels_belong_to_the_events_and_are_shuffled():
    events, truth = dijets(20_000, 2000, seed=3), dijet_truth(20_000, 2000, seed=3)
    assert int(truth.sum()) == 2000
    assert abs(float(truth[:1000].double().mean()) - 1 / 11) < 4 * math.sqrt(0.083 / 1000)
    assert float(events.values[truth, 3].median()) < 0.25 < 0.4 < float(events.values[~truth, 3].median())
    wrong = dijet_truth(20_000, 2000, seed=4)
    assert float(events.values[wrong, 3].median()) > 0.4


def test_mass_spectrum_follows_the_dijet_function():
    mass = dijets(50_000, 0, seed=0, m_jj_min=2.5).context[:, 0].double().numpy()
    m = np.linspace(2.5, 10, 75_001)
    density = (1 - m / 13) ** 10.5 * m**-1.2
    share = density[(m > 3.3) & (m < 3.7)].sum() / density.sum()
    found = ((mass > 3.3) & (mass < 3.7)).mean()
    assert abs(found - share) < 4 * math.sqrt(share * (1 - share) / len(mass))
    assert abs((mass > 3.3).mean() - share) > 0.05  # negative control
    assert mass.min() >= 2.5


def test_features_stay_inside_their_physical_range():
    rows = columns(dijets(20_000, 20_000, seed=1, angle=True))
    assert (rows[:, 1] > 0).all() and (rows[:, 2] >= 0).all()
    assert ((rows[:, 3:5] > 0) & (rows[:, 3:5] < 1)).all()
    assert (2 * rows[:, 1] + rows[:, 2] < rows[:, 0]).all()  # jets lighter than the pair
    assert (rows[:, 5] < np.hypot(np.pi, np.arccosh(rows[:, 0] ** 2 / 2.88 - 1)) + 1e-4).all()


def test_background_features_move_with_the_mass():
    rows = columns(dijets(50_000, 0, seed=2, angle=True))
    rho = spearmanr(rows)[0]
    assert 0.02 < rho[0, 1] < 0.15 and 0.03 < rho[0, 2] < 0.2 and rho[0, 5] > 0.4
    assert rho[1, 3] < -0.1 and rho[2, 4] < -0.3


def test_threshold_holds_for_the_signal_too_and_bad_requests_are_named():
    assert float(dijets(1, 3000, seed=0, m_jj_min=3.3).context.min()) >= 3.3
    with pytest.raises(OptionError, match="m_jj_min"):
        dijets(10, 0, seed=0, m_jj_min=5.0)
    with pytest.raises(OptionError, match="number of events"):
        dijets(0, 0, seed=0)
    assert len(dijets(0, 5, seed=0)) == 5


@pytest.mark.skipif(not LHCO.exists(), reason="real LHC Olympics features not in SUNDOG_DATA")
@pytest.mark.parametrize(("truth", "bound"), [("extra_qcd", 0.04), ("signal", 0.06)])
def test_marginals_are_near_the_real_ones_in_the_signal_region(truth, bound):
    with np.load(LHCO) as file:
        real = file[truth][:20_000]
    number = (70_000, 0) if truth == "extra_qcd" else (0, 26_000)
    fake = in_signal_region(columns(dijets(*number, seed=5)))
    assert max(ks_2samp(fake[:, i], real[:, i]).statistic for i in range(5)) < bound
    assert ks_2samp(fake[:, 1] * 1.15, real[:, 1]).statistic > bound  # negative control: masses 15 % off
