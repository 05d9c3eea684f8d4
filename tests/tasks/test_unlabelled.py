"""Unlabelled mixtures: clusters are the kinds, one kind gives no clusters, and a cluster feeds a separation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sundog import separate
from sundog.errors import OptionError, SampleSizeError, ShapeError
from sundog.models.mixture_vae import MixtureVAE, fit_mixture
from sundog.simulate.fields import filamentary_field, gaussian_field
from sundog.statistics.maps.spectra import power_spectrum
from sundog.tasks.separation import find_clusters
from sundog.tasks.separation.unlabelled import cut_windows, scattering_rows


def hydrogen(n: int, side: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """n maps of noise, n of warm gas + noise, n of cold and warm gas + noise; kinds; the cold part without the rest."""
    g = torch.Generator().manual_seed(seed)

    def scaled(fields: Tensor) -> Tensor:
        x = fields.reshape(n, 2 * side, 2 * side)[:, :side, :side]
        x = (x - x.mean((-2, -1), keepdim=True)) / x.std((-2, -1), keepdim=True)
        return 1.5 * (0.3 * torch.randn(n, 1, 1, generator=g)).exp() * x

    warm = [scaled(gaussian_field(n, size=2 * side, spectrum=-3.0, seed=seed + i).values) for i in (1, 3)]
    cold = scaled(filamentary_field(n, size=2 * side, seed=seed + 2).values)
    noise = torch.randn(3 * n, side, side, generator=g)
    amplitude = (0.3 * torch.randn(n, 1, 1, generator=g)).exp()
    maps = torch.cat([amplitude * noise[:n], noise[n : 2 * n] + warm[0], noise[2 * n :] + 2 / 3 * warm[1] + cold])
    return maps, torch.arange(3).repeat_interleave(n), 2 / 3 * warm[1] + cold


@pytest.mark.slow
def test_clusters_are_the_kinds_and_feed_a_separation() -> None:
    maps, kinds, gas = hydrogen(100, 64, 7)
    found = find_clusters(maps, 3)
    assert found.agreement(kinds) > 0.6  # sets of 180 and 300 maps gave 0.69 to 0.96; unrelated labels give 0 +- 0.02
    assert found.gain(find_clusters(maps, 1))[0] > 0
    pure = int(found.variances().argmin())
    noise = found.members(pure, at_least=0.9)
    assert (kinds[(found.labels == pure)] == 0).float().mean() > 0.9
    window = torch.hann_window(64)[:, None] * torch.hann_window(64)

    def share(noise: Tensor) -> float:
        """Power recovered over true power of three maps, where the truth is 1/8 to 1/2 of what is seen."""
        found, known = 0.0, 0.0
        for k in (210, 220, 240):
            signal = separate(maps[k], noise, boundary="edge-mask", eras=2, iterations=15, polish=0).signal
            true, power, mixed = (power_spectrum((x - x.mean()) * window, bins=8).power
                                  for x in (gas[k - 200], signal, maps[k]))
            noisy = (true < mixed / 2) & (true > mixed / 8)
            found, known = found + float(power[noisy].sum()), known + float(true[noisy].sum())
        return found / known

    # Three of 16 maps: 1.2 to 1.6; with noise of half its size 2.2 to 3.1, of 1.4 times its size 0.1 to 0.6.
    assert 0.8 < share(noise) < 1.9
    assert not share(noise / 2) < 1.9  # negative controls: the same bounds refuse another noise
    assert not share(1.4 * noise) > 0.8


@pytest.mark.slow
def test_one_kind_gives_no_clusters() -> None:
    """Negative control: partitions of one kind agree with nothing, and the third cluster gains no more than chance."""
    maps, _, _ = hydrogen(60, 64, 7)
    one = maps[120:]
    found = find_clusters(one, 3)
    labels = torch.randint(3, (60,), generator=torch.Generator().manual_seed(1))
    assert abs(found.agreement(labels)) < 0.1
    gain, error = found.gain(find_clusters(one, 1))
    assert gain < 4 * error


def test_mixture_finds_its_parts_and_agreement_is_what_it_says() -> None:
    g = torch.Generator().manual_seed(0)
    z = torch.randn(300, 2, generator=g) * 0.3 + torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]]).repeat(100, 1)
    weights, means, widths = fit_mixture(z, 3)
    assert torch.allclose(weights, torch.full((3,), 1 / 3), atol=0.02)
    assert torch.cdist(means, torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])).amin(1).max() < 4 * 0.3 / 10
    assert ((widths - 0.3).abs() < 4 * 0.3 / 200**0.5).all()
    model = MixtureVAE((2,), clusters=3, latent=2, hidden=(8,))
    model.prepare(z, None)
    labels = model.responsibilities(z).argmax(1)
    assert len({tuple(labels[i::3].unique().tolist()) for i in range(3)}) == 3
    drawn = model.sample(3000, None, g)
    assert torch.allclose(drawn.mean(0), z.mean(0), atol=4 * 1.5 / 3000**0.5 + 0.05)


def test_windows_and_rows() -> None:
    maps = torch.arange(2 * 20 * 33.0).reshape(2, 20, 33)
    windows, origin = cut_windows(maps, 10)
    assert torch.equal(windows[7], maps[1, 0:10, 10:20])
    assert origin[7].tolist() == [1, 0, 10]
    rows = scattering_rows(torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0)), 2, 4)
    assert rows.shape == (3, 2 + 2 + 2 * 3 + 2 * 4)


def test_bad_input_is_named() -> None:
    maps = torch.randn(70, 16, 16, generator=torch.Generator().manual_seed(0))
    with pytest.raises(SampleSizeError):
        find_clusters(maps[:30], 3, window=16)
    with pytest.raises(ShapeError):
        find_clusters(maps, 2, window=32)
    with pytest.raises(OptionError):
        find_clusters(maps, 2, window=16, J=3)
    with pytest.raises(OptionError):
        MixtureVAE((4, 4))
    with pytest.raises(SampleSizeError):
        MixtureVAE((4,), clusters=3).prepare(torch.zeros(4, 4), None)
