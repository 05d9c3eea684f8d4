"""A template polished beside the window is nearer the truth inside it; where nothing is wrong nothing is changed."""

import numpy as np
import pytest
import torch

from sundog import Dataset, Plan
from sundog.errors import SampleSizeError
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly import SignalRegion
from sundog.tasks.anomaly.background.polish import CAP, fit_polish
from sundog.tasks.anomaly.background.template import fit_template
from sundog.verdicts.twosample import classifier_two_sample

TOY, REGION = ResonantToy(), SignalRegion(3.3, 3.7)


class Exact:
    """Stands for a run that knows the truth, or is off by a stretch of the first feature."""

    def __init__(self, stretch=1.0):
        self.stretch = stretch

    def sample(self, n, context, seed):
        mass = torch.as_tensor(context).reshape(-1)
        noise = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
        values = torch.tensor(TOY.slope) * (mass - TOY.peak)[:, None] + noise
        values[:, 0] *= self.stretch
        return Dataset.from_arrays(values, context, context_names=("m",))


@pytest.fixture(scope="module")
def beside():
    background = TOY.background(12_000, 0)
    return background[REGION.sidebands(background)]


def test_what_is_right_stays(beside):
    polish = fit_polish(Exact(), beside, members=2)
    ratio = polish.log_ratio(beside.values)
    assert float(ratio.std()) < 0.09  # 0.062 +- 0.007 over eight samples
    assert float(fit_polish(Exact(1.4), beside, members=2).log_ratio(beside.values).std()) > 0.15  # it does see errors


def test_the_polished_density_is_normalised(beside):
    generator = Exact(1.4)
    polish = fit_polish(generator, beside, members=2)
    weights = polish.log_ratio(generator.sample(4000, beside.context[:4000], 99).values).exp()
    assert abs(float(weights.mean()) - 1) < 4 * float(weights.std()) / 4000**0.5 + 0.02
    assert float(weights.max()) <= CAP * np.exp(-polish.level) + 1e-9
    with pytest.raises(SampleSizeError):
        fit_polish(generator, beside[:100])


@pytest.mark.slow
def test_a_crude_template_improves_inside_the_window():
    events = TOY.background(40_000, 1)
    plan = {"plan": Plan(steps=40, batch=512), "layers": 1, "hidden": (16,), "check": False}
    truth = TOY.background(60_000, 2)
    truth = truth[REGION.contains(truth)]
    areas, gains = [], []
    for polish in (False, True):
        template = fit_template(events, REGION, family="flow", polish=polish, **plan)
        drawn = template.sample(len(truth), 3, truth.context[:, 0])
        assert torch.equal(drawn.context, truth.context.float())
        found = classifier_two_sample(truth.values, drawn.values, 0, folds=2)
        areas.append(found.auc)
        gains.append(float(template.log_prob(truth).mean()))
    assert areas[0] > 0.5 + 5 * found.null_error  # crude
    assert areas[1] - 0.5 < 0.6 * (areas[0] - 0.5)
    assert gains[1] > gains[0]
