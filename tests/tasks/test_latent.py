"""Looking into an autoencoder: a linear one has known codes, a known likelihood and known collapse."""

import math

import pytest
import torch

import sundog
from sundog.errors import OptionError, SampleSizeError
from sundog.tasks.latent import codes_of, decoded, latent_report, plane, traversal

W = torch.tensor([[1.5, 0.0], [0.0, 1.0], [0.0, 0.0]])  # x = W z + s e: the first two columns carry one code each
S2 = 0.25


def rows(n, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 2, generator=g) @ W.T + math.sqrt(S2) * torch.randn(n, 3, generator=g)


def linear(beta=1.0, latent=2, deaf=False):
    """A run that wears the exact linear decoder and posterior; ``deaf`` ones have encoder or decoder cut off."""
    data = sundog.Dataset.from_arrays(rows(500, 0))
    run = sundog.fit("vae", data, plan=sundog.Plan(steps=0), scaling="identity", latent=latent, hidden=(), beta=beta,
                     decoder_variance=S2)
    model = run.model
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.zero_()
        m = W.square().sum(0) + S2
        if deaf != "decoder":
            model.decoder[0].weight[:, :2] = W
        if deaf != "encoder":
            model.encoder[0].weight[:2] = W.T / m[:, None]
            model.encoder[0].bias[latent : latent + 2] = (S2 / m).log()
    return run


HELD_OUT = sundog.Dataset.from_arrays(rows(2000, 1))
LAW = torch.distributions.MultivariateNormal(torch.zeros(3), W @ W.T + S2 * torch.eye(3))


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_likelihood_of_the_exact_posterior(beta):
    """One draw is exact, the bound is tight on average, and both do not depend on beta of the training."""
    report = latent_report(linear(beta), HELD_OUT, draws=1)
    truth = LAW.log_prob(HELD_OUT.values)
    assert report.log_likelihood == pytest.approx(float(truth.mean()), abs=1e-4)
    assert report.log_likelihood_error == pytest.approx(float(truth.std()) / 2000**0.5, rel=1e-3)
    assert abs(report.gap) < 4 * math.hypot(report.elbo_error, report.log_likelihood_error)
    assert report.active == 2 and not report.posterior_collapsed and not report.model_collapsed
    kl = 0.5 * math.log((W.square().sum(0)[0] + S2) / S2)  # information of the first code: 1/2 ln(lambda / s^2)
    assert report.codes[0] == 0 and report.divergences[0] == pytest.approx(kl, rel=0.1)


def test_collapse_is_named():
    silent = latent_report(linear(deaf="encoder"), HELD_OUT, draws=2)
    assert silent.posterior_collapsed and not silent.model_collapsed and "POSTERIOR COLLAPSED" in str(silent)
    assert max(silent.divergences) < 1e-6 and silent.gap > 0.5  # the prior is a poor posterior
    flat = latent_report(linear(deaf="decoder"), HELD_OUT, draws=2)
    assert flat.model_collapsed and not flat.posterior_collapsed and "DECODER COLLAPSED" in str(flat)
    assert "no collapse" in str(latent_report(linear(), HELD_OUT, draws=2))


def test_codes_and_traversal_of_the_linear_map():
    run = linear()
    expected = HELD_OUT.values @ W / (W.square().sum(0) + S2)
    assert torch.allclose(codes_of(run, HELD_OUT), expected, atol=1e-5)
    walk = traversal(run, [1, 0], [-1.0, 2.0])
    assert torch.allclose(walk.values, torch.tensor([[0, -1.0, 0], [0, 2.0, 0], [-1.5, 0, 0], [3.0, 0, 0]]), atol=1e-6)
    shifted = traversal(run, [0], [1.0], centre=torch.tensor([0.0, 3.0]))
    assert torch.allclose(shifted.values, torch.tensor([[1.5, 3.0, 0.0]]), atol=1e-6)
    corners = plane(run, 0, 1, [-1.0, 1.0]).values
    assert torch.allclose(corners[0], torch.tensor([-1.5, 1.0, 0.0]), atol=1e-6)  # top left: the second code is high
    assert torch.allclose(corners[3], torch.tensor([1.5, -1.0, 0.0]), atol=1e-6)


def test_physical_units():
    """Decoded rows come back through the scaling of the run."""
    data = sundog.Dataset.from_arrays(100 + 20 * rows(400, 2), units=("uK", "uK", "uK"))
    run = sundog.fit("vae", data, plan=sundog.Plan(steps=3), latent=2, hidden=(8,))
    out = decoded(run, torch.zeros(1, 2))
    assert out.units == ("uK", "uK", "uK") and ((out.values - 100).abs() < 100).all()


def test_bad_input():
    run = linear()
    with pytest.raises(OptionError, match="no such code"):
        traversal(run, [2])
    with pytest.raises(OptionError, match="no plane"):
        plane(run, 1, 1)
    with pytest.raises(OptionError, match="codes do not fit"):
        decoded(run, torch.zeros(2, 5))
    with pytest.raises(SampleSizeError):
        latent_report(run, HELD_OUT[:1])
    other = sundog.fit("flow", HELD_OUT[:50], plan=sundog.Plan(steps=1), layers=1, hidden=(4,))
    with pytest.raises(OptionError, match="no codes"):
        codes_of(other, HELD_OUT)
