"""The U-Net: any size, any width, edges as promised, and a use for everything it is told."""

import pytest
import torch

from sundog.errors import OptionError
from sundog.nets import unet
from sundog.nets.unet import UNet, levels_for


def awake(net, scale=0.1):
    """Every parameter moved: a network that starts at zero hides what it ignores."""
    g = torch.Generator().manual_seed(1)
    for p in net.parameters():
        p.data += scale * torch.randn(p.shape, generator=g)
    return net


def images(n=2, channels=1, ny=16, nx=16):
    g = torch.Generator().manual_seed(2)
    return torch.randn(n, channels, ny, nx, generator=g), torch.linspace(-1, 1, n)[:, None]


def small(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return awake(UNet(**{"channels": 1, "channels_out": 1, "parameters": 6e4, "levels": 3, **options}))


@pytest.mark.parametrize("size", [(16, 16), (13, 16), (9, 7), (5, 21)])
@pytest.mark.parametrize("periodic", [False, True])
def test_any_size(size, periodic):
    x, t = images(2, 2, *size)
    assert small(channels=2, channels_out=3, periodic=periodic)(x, t, None).shape == (2, 3, *size)


@pytest.mark.parametrize("size", [(16, 16), (13, 9)])
def test_squares_of_pixels_as_channels_hide_no_pixel(size):
    net = small(patch=2, periodic=True)
    assert abs(sum(p.numel() for p in net.parameters()) / 6e4 - 1) < 0.3
    x, t = images(1, 1, *size)
    x.requires_grad_()
    found = net(x, t, None)
    assert found.shape == x.shape
    assert torch.autograd.grad(found[0, 0, 5, 4], x)[0][0, 0].abs().min() > 0  # attention: every pixel counts for each


def test_untrained_it_returns_zeros():
    x, t = images()
    assert not UNet(1, 1, parameters=6e4, levels=2)(x, t, None).any()


@pytest.mark.parametrize("parameters", [4e5, 2e6, 3e7])
def test_one_number_decides_the_size(parameters):
    with torch.device("meta"):
        net = UNet(1, 1, parameters=parameters)
    assert abs(sum(p.numel() for p in net.parameters()) / parameters - 1) < 0.25


def test_building_draws_no_more_numbers_than_its_weights():
    """The search for a width runs without random numbers: same seed, same weights, whatever the search tried."""
    nets = []
    for _ in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            nets.append(UNet(1, 1, parameters=6e4, levels=2))
    assert all(torch.equal(a, b) for a, b in zip(*[net.parameters() for net in nets]))


def test_periodic_maps_have_no_edge():
    """A shift of a periodic map by the coarsest pixel shifts the output; zero padding breaks that."""
    x, t = images()
    for periodic in (True, False):
        net = small(periodic=periodic)
        with torch.no_grad():
            difference = (net(x.roll((4, 8), (-2, -1)), t, None) - net(x, t, None).roll((4, 8), (-2, -1))).abs().max()
        assert (difference < 1e-4) == periodic


def test_gradients_reach_every_parameter():
    x, t = images()
    net = small(context_dim=2)
    loss = net(x, t, torch.randn(2, 2)).square().mean()
    for gradient in torch.autograd.grad(loss, list(net.parameters())):
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 0


def test_noise_level_and_context_change_the_answer():
    x, t = images()
    net = small(context_dim=2)
    with torch.no_grad():
        here = net(x, t, torch.zeros(2, 2))
        assert (net(x, t + 0.1, torch.zeros(2, 2)) - here).abs().max() > 1e-3
        assert (net(x, t, torch.ones(2, 2)) - here).abs().max() > 1e-3


def test_rows_do_not_see_each_other():
    x, t = images(3)
    with torch.no_grad():
        assert torch.allclose(small()(x, t, None)[1:2], small()(x[1:2], t[1:2], None), atol=1e-5)


def test_channels_last_and_bf16_give_the_same_numbers():
    x, t = images(4)
    net = small()
    with torch.no_grad():
        plain = net(x, t, None)
        with torch.autocast("cpu", torch.bfloat16):
            low = net(x, t, None).float()
        net.to(memory_format=torch.channels_last)
        last = net(x.to(memory_format=torch.channels_last), t, None)
    assert torch.allclose(plain, last, atol=1e-4)
    assert (low - plain).square().mean().sqrt() < 0.05 * plain.std()


@pytest.mark.parametrize("options", [{}, {"line": True}, {"periodic": True}])
def test_the_order_in_memory_changes_nothing(options, monkeypatch):
    x, t = images(3, ny=1 if "line" in options else 16)
    net = small(attention=2, **options)

    def found():
        y = net(x, t, None)
        return [y, *torch.autograd.grad(y.square().mean(), list(net.parameters()))]

    ours = found()
    monkeypatch.setattr(unet, "_arranged", lambda x: x)
    for a, b in zip(ours, found(), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5 * float(b.detach().abs().max()))


def test_float64():
    x, t = images()
    assert small().double()(x.double(), t.double(), None).dtype == torch.float64


@pytest.mark.parametrize(("size", "levels"), [((4, 4), 1), ((8, 8), 2), ((16, 40), 3), ((80, 80), 4), ((512, 512), 4)])
def test_levels_suit_the_image(size, levels):
    assert levels_for(*size) == levels


@pytest.mark.parametrize("bad", [{"levels": 0}, {"parameters": 10}])
def test_impossible_networks_are_named(bad):
    with pytest.raises(OptionError, match="impossible U-Net"):
        UNet(1, 1, **bad)
