"""Patches of one kind of sky, separated at once: chance falls with their number, one patch is one map, order stays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sundog.errors import DataError, ShapeError
from sundog.statistics.maps.spectra import correlation_coefficient
from sundog.tasks.separation import Cross, Domain, Match, Residual, Statistics, separate
from sundog.tasks.separation.result import trust
from sundog.tasks.separation.sources import Patches, Source

QUICK = {"eras": 1, "iterations": 5, "polish": 2, "draws": 20, "J": 3}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def red(n: int, side: int = 32) -> Tensor:
    k = (torch.fft.fftfreq(side)[:, None] ** 2 + torch.fft.rfftfreq(side)[None] ** 2).sqrt().clamp_min(1 / side)
    x = torch.fft.irfft2(torch.fft.rfft2(torch.randn(n, side, side, generator=generator(n))) * k**-1.5, s=(side, side))
    x = (0.8 * x / x.std()).exp()
    return (x - x.mean((-2, -1), keepdim=True)) / x.std()


def test_the_chance_bound_of_the_mean_falls_with_the_root_of_their_number() -> None:
    """2 / sqrt(S/N modes of all patches); the scatter of 400 draws is known to 4 %."""
    phi = Statistics(Domain((32, 32)), J=2, bins=8, patches=9)
    facts = trust(phi, [red(9)], 0.7 * torch.randn(400, 9, 32, 32, generator=generator(1)))
    one = 2 / (facts["signal_to_noise"] * phi.bands.modes).sqrt()
    for expected, right in ((one / 3, True), (one, False)):
        assert bool(((facts["chance"] / expected - 1).abs() < 4 / (2 * 399) ** 0.5).all()) == right


@pytest.mark.slow
def test_losses_of_the_mean_are_one_at_the_truth_and_tell_less_than_one_map_can() -> None:
    """Mean over 12 mixtures within 4 standard errors; noise 5 % too strong is told by nine patches, not by one."""
    truth, g = red(9), generator(2)
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(12):
        noise = torch.randn(41, 9, 32, 32, generator=g)
        for P in (1, 9):
            phi = Statistics(Domain((32, 32)), 2, 4, 6, patches=P)
            for name, d in (("right", truth + noise[0]), ("wrong", truth + 1.05 * noise[0])):
                for kind in (Match, Residual):
                    loss = kind().in_era(phi, d[:P], truth[:P], noise[1:, :P])
                    found.setdefault((name, P), []).append(float(loss(truth[:P])))
    means = {key: torch.tensor(values) for key, values in found.items()}
    for P in (1, 9):
        right = means["right", P]
        assert abs(right.mean() - 1) < 4 * right.std() / 24**0.5 + 0.15  # 40 draws, as in test_separation
    assert means["wrong", 9].mean() > means["right", 9].mean() + 1
    assert means["wrong", 1].mean() < means["right", 1].mean() + 1


def test_few_maps_dealt_out_to_patches_vary_as_their_mean_should() -> None:
    """The mean over 4 patches of 20 maps has 1/4 of their variance: 200 x 20 draws, known to 4 %."""
    maps = torch.randn(20, 4, 4, generator=generator(0), dtype=torch.float64)
    deal = Patches(Source(maps, (1, 4, 4), torch.ones(1, 1, 1).double()), 4)
    g = generator(1)
    variance = torch.stack([deal(20, g).mean(1).var(0) for _ in range(200)]).mean(0)
    ratio = variance / (maps.var(0) / 4)
    assert abs(ratio.mean() - 1) < 0.05


def test_one_patch_is_one_map_and_many_keep_their_order() -> None:
    truth, noise = red(4), 0.5 * torch.randn(34, 32, 32, generator=generator(3))
    d = truth + noise[:4]
    one, same = separate(d[0], noise[4:], **QUICK), separate(d[:1], noise[4:], patches=True, **QUICK)
    assert torch.equal(one.signal, same.signal[0])
    found = separate(d, noise[4:], patches=True, repeats=1, **QUICK)
    assert found.signal.shape == d.shape and found.repeats.shape == (1, *d.shape)
    assert torch.allclose(found.signal + found.residual, d, atol=1e-5)
    for i in range(4):
        r = [float(correlation_coefficient(found.signal[i], x, bins=4).power[0]) for x in truth]
        assert max(range(4), key=r.__getitem__) == i and r[i] > 0.9
    assert torch.allclose(found.spectrum(d), torch.stack([one.spectrum(x) for x in d]).mean(0), rtol=1e-5)


def test_channels_losses_and_parts_go_with_patches() -> None:
    truth = torch.stack([red(3), red(3).flip(-1)], 1)
    noise = 0.5 * torch.randn(23, 2, 32, 32, generator=generator(4))
    d = truth + noise[:3]
    found = separate(d, {"a": noise[3:], "b": noise[3:]}, [Match(), Cross(truth[:, 0])], patches=True, **QUICK)
    assert found.signal.shape == found.components["a"].shape == d.shape
    for bad, losses, told in ((d, [Cross(truth[:2, 0])], "one map for each patch"), (d[0, 0], [Match()], "every patch"),
                              (torch.zeros_like(d), [Match()], "constant")):
        with pytest.raises((ShapeError, DataError), match=told):
            separate(bad, noise[3:], losses, patches=True, **QUICK)
