"""Convolutional generator and critic: the published sizes, and signals that survive the depth."""

import pytest
import torch

from sundog.errors import OptionError
from sundog.nets.convnets import ChannelScale, DCCritic, DCGenerator, ScaledTanh, layer_widths


def parameters(net):
    return sum(p.numel() for p in net.parameters())


def seeded(build, *args, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(*args, **options)


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_published_table_of_the_microwave_sky():
    """Five channels of 128 pixels: 15,361,871 and 11,164,609 parameters, with one norm per hidden layer."""
    generator = DCGenerator(128, channels=5, latent=256, width=64, normalisation="group", bound=15.0)
    assert parameters(generator) == 15_361_871
    assert parameters(DCCritic(128, channels=5, width=64)) == 11_164_609
    assert parameters(DCCritic(128, channels=5, width=64, bias=False)) == 11_164_608


@pytest.mark.parametrize("size", [8, 16, 64])
@pytest.mark.parametrize("options", [{}, {"normalisation": "group"}, {"upsampling": "nearest"}, {"bound": 15.0}])
def test_signal_keeps_its_size_at_any_depth(size, options):
    net = seeded(DCGenerator, size, channels=2, latent=32, width=8, **options)
    image = net(normal(16, 32)).detach()
    assert image.shape == (16, 2, size, size)
    slope = 2 if "bound" in options else 1  # the scaled tanh doubles small values
    assert 0.4 * slope < float(image.std()) < 2.5 * slope
    value = seeded(DCCritic, size, channels=2, width=8)(normal(256, 2, size, size)).detach()
    assert value.shape == (256, 1)
    assert 0.2 < float(value.square().mean().sqrt()) < 5


@pytest.mark.parametrize("width", [1, 3, 4])
def test_no_layer_remembers_other_rows(width):
    """A row depends on itself alone, and there are no running statistics that a mean of weights would miss."""
    net = seeded(DCGenerator, 16, latent=8, width=width, normalisation="group")
    z = normal(6, 8)
    torch.testing.assert_close(net(z)[:2], net(z[:2]))
    assert not list(net.buffers())


def test_scaled_tanh_is_bounded_with_slope_two():
    x = torch.tensor([-1e3, 0.0, 1e-3, 1e3])
    assert ScaledTanh(15.0)(x).tolist() == pytest.approx([-15, 0, 2e-3, 15], rel=1e-5)
    assert torch.equal(ChannelScale(2)(torch.ones(1, 2, 3, 3)), torch.ones(1, 2, 3, 3))


@pytest.mark.parametrize("call", [
    lambda: layer_widths(48, 16),
    lambda: layer_widths(4, 16),
    lambda: layer_widths(8, 0),
    lambda: ScaledTanh(0.0),
    lambda: DCGenerator(8, normalisation="layer"),
    lambda: DCGenerator(8, upsampling="bicubic"),
])
def test_impossible_settings_are_named(call):
    with pytest.raises(OptionError, match="expected"):
        call()
