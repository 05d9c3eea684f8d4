"""Published data, published questions: can a classifier tell the generated background from the true one?"""

import os
from pathlib import Path

import pytest
import torch

import sundog
from sundog.models.classifier import TreeEnsemble
from sundog.verdicts.twosample import classifier_two_sample

DATA = Path(os.environ.get("SUNDOG_DATA", "../shared/data")) / "lhco" / "lhco_rd_sr_features.npz"
FEATURES = {"names": ["m_jj", "m_j1", "delta_m", "tau21_j1", "tau21_j2"], "units": ["TeV", "TeV", "TeV", "", ""]}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.papers,
    pytest.mark.skipif(not DATA.exists(), reason=f"{DATA} is absent"),
]


def events(key):
    return sundog.load(DATA, key=key, context=["m_jj"], held_out_fraction=0.0, **FEATURES)


def auc(one, two):
    both = [torch.cat([d.values, d.context], 1) for d in (one, two)]
    return classifier_two_sample(both[0], both[1], classifier=lambda seed: TreeEnsemble(5, seed))


def test_a_flow_of_the_lhc_olympics_background_cannot_be_told_from_it():
    """The template quality that the anomaly search needs: AUC at most 0.52 within two standard errors."""
    truth = events("extra_qcd")
    run = sundog.fit("flow", events("data"), plan=sundog.Plan(steps=800), seed=0)
    result = auc(truth, run.sample(len(truth), context=truth.context, seed=1))
    assert result.auc < 0.52 + 2 * result.error


def test_negative_control_a_gaussian_is_told_from_it():
    truth = events("extra_qcd")
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(truth.values.shape, generator=generator) @ torch.linalg.cholesky(truth.values.T.cov()).T
    fakes = sundog.Dataset.from_arrays(draws + truth.values.mean(0), truth.context)
    assert auc(truth, fakes).auc > 0.75
