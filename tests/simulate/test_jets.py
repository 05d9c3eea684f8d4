"""Jets: exact on events built by hand, in agreement with the real LHC Olympics features on its real particles."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp

from sundog.errors import DataError, ShapeError

pytest.importorskip("fastjet")
from sundog.simulate.jets import COLUMNS, clustered, four_vector, jet_table, n_subjettiness

LHCO = Path(os.environ.get("SUNDOG_DATA", "../shared/data")) / "lhco"


def back_to_back(prongs):
    """One event: a jet of the given (pT, d_eta, d_phi) prongs, and a single particle of 1500 GeV opposite."""
    rows = [(pt, 0.2 + a, b) for pt, a, b in prongs] + [(1500.0, -0.2, np.pi)]
    return np.array([rows])


def test_masses_and_angles_of_two_prongs():
    event = back_to_back([(800.0, 0.2, 0.0), (700.0, -0.2, 0.1)])
    row = dict(zip(COLUMNS, jet_table(event)[0]))
    p = four_vector(*event[0, :2].T).sum(0)
    every = four_vector(*event[0].T).sum(0)
    mass = np.sqrt(p[3] ** 2 - (p[:3] ** 2).sum()) / 1e3
    assert abs(row["m_j1"]) < 1e-4 and abs(row["delta_m"] - mass) < 1e-4
    assert abs(row["m_jj"] - np.sqrt(every[3] ** 2 - (every[:3] ** 2).sum()) / 1e3) < 1e-6
    assert row["tau21_j2"] < 1e-3 and row["tau21_j1"] == 0


def test_one_prong_and_two_prongs_are_told_apart():
    generator = np.random.default_rng(0)

    def spray(centres):
        return [(1500 / len(centres) / 40, *(np.array(c) + 0.03 * generator.normal(size=2))) for c in centres
                for _ in range(40)]

    one = jet_table(back_to_back(spray([(0, 0)])))[0, COLUMNS.index("tau21_j2")]
    two = jet_table(back_to_back(spray([(0.3, 0), (-0.3, 0)])))[0, COLUMNS.index("tau21_j2")]
    assert two < 0.2 < 0.5 < one


def test_axes_at_least_as_good_as_any_on_a_grid():
    """Negative control included: without steps the start is no minimum."""
    generator = np.random.default_rng(1)
    pt, eta, phi = generator.exponential(10, (5, 30)), *generator.normal(0, 0.3, (2, 5, 30))
    start = np.zeros((5, 1, 2)) + 0.2
    found = n_subjettiness(pt, eta, phi, start)
    grid = np.stack(np.meshgrid(*[np.linspace(-0.4, 0.4, 41)] * 2), -1).reshape(-1, 2)
    tau = np.array([(pt * np.hypot(eta - a, phi - b)).sum(1) / pt.sum(1) for a, b in grid])
    assert (found < tau.min(0) * 1.002).all()
    begun = (pt * np.hypot(eta - 0.2, phi - 0.2)).sum(1) / pt.sum(1)
    assert (begun > found * 1.01).all()


def test_angles_close_at_pi():
    """Turning an event about the beam changes nothing, also across phi = pi."""
    event = back_to_back([(800.0, 0.2, 0.0), (700.0, -0.2, 0.1)])
    turned = event + np.array([0, 0, np.pi - 0.03])
    assert np.allclose(jet_table(event), jet_table(turned), atol=1e-6)


def test_selection_and_unusable_particles():
    event = back_to_back([(800.0, 0.2, 0.0), (700.0, -0.2, 0.1)])
    soft, forward = event * np.array([0.5, 1, 1]), event + np.array([0, 4, 0])
    passed = np.isfinite(jet_table(np.concatenate([soft, event, forward]))).all(1)
    assert passed.tolist() == [False, True, False]
    assert clustered(np.concatenate([event, soft]), angle=True).names[-1] == "delta_r"
    with pytest.raises(DataError, match=r"no event passes.*GeV"):
        clustered(soft)
    with pytest.raises(ShapeError, match="unusable shape"):
        jet_table(np.ones((4, 3)))
    with pytest.raises(DataError, match="NaN"):
        jet_table(np.where(event > 1000, np.nan, event))
    assert np.isnan(jet_table(np.zeros((2, 5, 3)))).all()


@pytest.mark.slow
@pytest.mark.skipif(not LHCO.exists(), reason="needs the LHC Olympics data in SUNDOG_DATA")
def test_real_particles_give_the_real_features():
    with np.load(LHCO / "lhco_rd_particles_1000.npz") as file:
        particles, label = file["particles"], file["label"]
    with np.load(LHCO / "lhco_rd_sr_features.npz") as file:
        truth = {0: file["extra_qcd"], 1: file["signal"]}
    for kind in (0, 1):
        found = jet_table(particles[label == kind])
        inside = found[(found[:, 0] > 3.3) & (found[:, 0] < 3.7)]
        assert len(inside) > 60
        for j in range(1, 5):  # the two public files may not share their exact selection in m_jj
            assert ks_2samp(inside[:, j], truth[kind][:, j]).pvalue > 1e-3, (kind, COLUMNS[j])
        # Negative control: the features of the other process.
        assert ks_2samp(inside[:, 2], truth[1 - kind][:, 2]).pvalue < 1e-6
