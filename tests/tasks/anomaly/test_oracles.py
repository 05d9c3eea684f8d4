"""The fits of the bump hunt against libraries of high-energy physics, where these are installed."""

import numpy as np
import pytest

from sundog.tasks.anomaly.regions import SignalRegion
from sundog.tasks.anomaly.scan.bump import bins_inside, count_significance, fit_curves
from sundog.tasks.anomaly.scan.laws import laws

REGION = SignalRegion(3.3, 3.7)
EDGES = np.union1d(np.linspace(3.0, 7.0, 41), [3.3, 3.7])
INSIDE = bins_inside(EDGES, REGION)
MIDDLE, WIDTH = 0.5 * (EDGES[1:] + EDGES[:-1]), np.diff(EDGES)


@pytest.mark.parametrize("name", ["dijet 4", "power x exponential"])
def test_errors_of_a_law_are_those_of_hesse_and_minos(name):
    iminuit = pytest.importorskip("iminuit", reason="iminuit is not installed: pip install 'sundog[test]'")
    truth = (1 - MIDDLE / 13) ** 8 * (MIDDLE / 13) ** -5.0 * WIDTH
    counts = np.random.default_rng(4).poisson(50_000 * truth / truth.sum())
    ours = {law.name: law for law in fit_curves(counts[None], EDGES, INSIDE).laws}[name]
    basis = laws(EDGES)[name]

    def curve(parameters):
        """The first parameter is the number of events inside the window, in place of the normalisation."""
        shape = WIDTH * np.exp(basis[:, 1:] @ parameters[1:])
        return parameters[0] * shape / shape[INSIDE].sum()

    def fall(parameters):
        b = curve(parameters)[~INSIDE]
        return 2 * (b - counts[~INSIDE] * np.log(b)).sum()

    start = np.linalg.lstsq(basis, np.log((counts + 0.5) / WIDTH), rcond=None)[0][1:]
    minuit = iminuit.Minuit(fall, np.array([counts[INSIDE].sum(), *start]))
    minuit.errordef, minuit.strategy = minuit.LEAST_SQUARES, 2
    minuit.limits[0] = (1, None)
    minuit.migrad().hesse()
    assert minuit.valid and minuit.values[0] == pytest.approx(ours.expected, abs=0.02 * ours.error)
    assert minuit.errors[0] == pytest.approx(ours.error, rel=0.02)
    errors = minuit.minos(0).merrors[0]
    assert (errors.upper - errors.lower) / 2 == pytest.approx(ours.error, rel=0.02)


@pytest.mark.parametrize("n, b, sigma", [(130, 100.0, 5.0), (130, 100.0, 20.0), (12, 4.0, 1.0), (5, 0.8, 0.3),
                                         (10_500, 10_000.0, 80.0)])
def test_the_significance_of_a_count_is_that_of_a_discovery_test(n, b, sigma):
    pyhf = pytest.importorskip("pyhf", reason="pyhf is not installed: pip install 'sundog[test]'")
    model = pyhf.simplemodels.uncorrelated_background([b / 10], [b], [sigma])
    q0 = pyhf.infer.test_statistics.q0(0.0, [n, *model.config.auxdata], model, model.config.suggested_init(),
                                       [(0.0, 100.0) if i == model.config.poi_index else at for i, at in
                                        enumerate(model.config.suggested_bounds())], model.config.suggested_fixed())
    ours = count_significance(n, b, sigma)
    assert float(q0) ** 0.5 == pytest.approx(ours, abs=0.005)
    assert float(q0) ** 0.5 != pytest.approx((n - b) / np.hypot(b**0.5, sigma), abs=0.005), "not the naive ratio"
