"""The angular model of the wavelet scattering transform: exact where the model holds, honest where it does not."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sundog.errors import FileError, OptionError
from sundog.statistics.scattering.rwst import fit_angles
from sundog.statistics.scattering.transform import ScatteringMeans, WaveletScattering
from sundog.statistics.wavelets.filters import angles


def field(seed: int = 0, n: int = 64) -> Tensor:
    x = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (x + 2 * x.roll(1, 0) + x.roll(2, 0)).exp()


@pytest.mark.parametrize("L", [3, 4, 8])
def test_the_model_is_recovered(L: int) -> None:
    t = torch.tensor(angles(L), dtype=torch.float64)
    s1 = -3 + 0.4 * torch.cos(2 * (t - 0.7))
    both = -2 + 0.3 * torch.cos(2 * (t[:, None] - t)) + 0.2 * torch.cos(2 * (t - 1.1))[:, None]
    both = both - 0.1 * torch.cos(2 * (t - 1.1))
    fit = fit_angles(s1.expand(2, L), both.expand(2, 2, L, L), angles(L))
    for found, truth in [
        (fit.s1_iso, -3), (fit.s1_aniso, 0.4), (fit.s1_reference, 0.7), (fit.s2_iso1, -2), (fit.s2_iso2, 0.3),
        (fit.s2_aniso1, 0.2), (fit.s2_aniso2, -0.1), (fit.s2_reference, 1.1), (fit.s1_residual, 0),
        (fit.s2_residual, 0),
    ]:  # fmt: skip
        assert (found - truth).abs().max() < 1e-12


def test_it_is_the_least_squares_solution() -> None:
    """No other amplitude, and no other of 500 reference angles, leaves less."""
    noise = torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.tensor(angles(8), dtype=torch.float64)
    fit = fit_angles(torch.zeros(1, 8), noise.expand(1, 1, 8, 8), angles(8))
    best = float(fit.s2_residual)
    for reference in torch.linspace(0, math.pi, 500, dtype=torch.float64):
        wave = torch.cos(2 * (t - reference))
        both = [wave[:, None].expand(8, 8), wave.expand(8, 8)]
        terms = [torch.ones(8, 8).double(), torch.cos(2 * (t[:, None] - t)), *both]
        design = torch.stack([term.flatten() for term in terms], 1)
        left = noise.flatten() - design @ torch.linalg.lstsq(design, noise.flatten()).solution
        assert float(left.square().mean().sqrt()) > best - 1e-9


def test_a_turned_map_turns_the_reference() -> None:
    phi = WaveletScattering((64, 64), 4, 8, accuracy="accurate")
    one, two = phi(field()).rwst(), phi(field().rot90(1, (0, 1))).rwst()
    assert torch.allclose(one.s1_aniso, two.s1_aniso, rtol=1e-4)
    turn = (two.s1_reference - one.s1_reference + math.pi / 2) % math.pi
    assert (torch.minimum(turn, math.pi - turn) < 1e-3).all()
    assert torch.allclose(one.s2_iso2.triu(1), two.s2_iso2.triu(1), atol=1e-3, equal_nan=True)
    assert one.s1_aniso[0] > 0.2
    bump = WaveletScattering((64, 64), 4, 8, "bump", accuracy="accurate")(field()).rwst()
    away = (bump.s1_reference - one.s1_reference + math.pi / 2) % math.pi - math.pi / 2
    assert away[:2].abs().max() < 0.1  # other wavelets see the same direction
    table = one.table()
    assert len(table["value"]) == 4 * 4 + 6 * 6
    assert not torch.isnan(torch.from_numpy(table["value"])).any()


def test_average_over_rotations_does_not_turn() -> None:
    phi = WaveletScattering((64, 64), 3, 4, accuracy="accurate")
    one, two = phi(field()), phi(field().rot90(1, (0, 1)))
    measured = one.measured
    assert torch.allclose(one.iso()["S1"], two.iso()["S1"], rtol=1e-6)
    assert torch.allclose(one.iso()["S2"][measured], two.iso()["S2"][measured], rtol=1e-6)
    assert not torch.allclose(one.s1, two.s1, rtol=1e-2)


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_saved_means_come_back(tmp_path: Path, suffix: str) -> None:
    c = WaveletScattering((16, 16), 3, 4)(torch.stack([field(s, 16) for s in range(3)]))
    back = ScatteringMeans.load(c.save(tmp_path / f"phi{suffix}"))
    assert torch.equal(back.s1, c.s1)
    assert torch.equal(back.s2, c.s2)
    assert torch.equal(back.vector, c.vector)
    (tmp_path / f"bad{suffix}").write_text("{}")
    with pytest.raises(FileError):
        ScatteringMeans.load(tmp_path / f"bad{suffix}")


def test_gradient_and_too_few_angles() -> None:
    phi = WaveletScattering((8, 8), 2, 3)
    x = field(n=8).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: phi(x).rwst().s2_aniso1[0, 1], x, atol=1e-5)
    with pytest.raises(OptionError):
        WaveletScattering((12, 12), 2, 2)(field(n=12)).rwst()
