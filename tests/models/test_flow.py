"""The flow's layers: what each transform is made of, and that all invert."""

from __future__ import annotations

import pytest
import torch

from sundog.models.flow import NormalizingFlow


def flow(**options: object) -> NormalizingFlow:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return NormalizingFlow((3,), 1, hidden=(16,), **options).double()


@pytest.mark.parametrize(("options", "numbers"), [
    ({"transform": "affine", "layers": 3}, [2, 2, 2]),
    ({"transform": "spline", "layers": 2, "bins": 5}, [14, 14]),
    ({"transform": "mixed", "layers": 3, "bins": 5}, [2, 2, 14]),
    ({"transform": "mixed", "layers": 1}, [23]),
    ({}, [2, 2, 23]),
])
def test_a_layer_has_two_numbers_per_feature_or_those_of_a_spline(options: dict, numbers: list[int]) -> None:
    assert [layer.total for layer in flow(**options).flow.transform.transforms] == numbers


@pytest.mark.parametrize("transform", ["affine", "mixed", "spline"])
def test_density_is_that_of_the_latent_normal_times_the_jacobian(transform: str) -> None:
    model = flow(transform=transform, layers=3)
    generator = torch.Generator().manual_seed(1)
    x, c = (torch.randn(4, k, generator=generator, dtype=torch.float64) for k in (3, 1))
    z = model.latent(x, c)
    torch.testing.assert_close(model.flow(c).transform.inv(z), x)
    normal = torch.distributions.Normal(torch.zeros(3).double(), 1.0)
    for i in range(4):
        jacobian = torch.autograd.functional.jacobian(lambda row, i=i: model.latent(row[None], c[i : i + 1])[0], x[i])
        expected = normal.log_prob(z[i]).sum() + torch.linalg.slogdet(jacobian)[1]
        torch.testing.assert_close(model.log_prob(x, c)[i], expected)
    assert (model.log_prob(x, c.flip(0)) - model.log_prob(x, c)).abs().min() > 1e-6
