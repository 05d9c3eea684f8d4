"""Convolutional generator and critic of the DCGAN kind: square images of 2^k pixels, 4x4 kernels of stride 2.

Widths of the layers follow the published table of the microwave-sky GAN: with size 128, width 64 and five channels
the critic has 64, 128, 256, 512, 1024 channels down to 4x4 pixels, the generator the same ones upwards.

Source: Radford et al. 2016 (DCGAN), section 3; Gulrajani et al. 2017, section 4 (no batch normalisation in a critic).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sundog.errors import OptionError

SLOPE = 0.2  # of the leaky rectifiers
GAIN = math.sqrt(2 / (1 + SLOPE**2))  # keeps the variance of what passes a leaky rectifier (He et al. 2015, eq. 15)


class DCGenerator(nn.Module):
    """Images (n, channels, size, size) from vectors (n, latent).

    Parameters
    ----------
    size : pixels per side, a power of two from 8
    channels, latent : of the image, of the vector
    width : channels of the last hidden layer; they double with every halving of the resolution
    normalisation : ``none`` (starts faster), ``group``, or ``batch``. Batch normalisation keeps the statistics of the
        last batch that it saw in training mode, none averaged over steps: these would not fit the running mean of
        the weights. Whoever samples shows it a reference batch first (``WassersteinGAN.sample`` does).
    upsampling : ``transposed`` (4x4 kernels, stride 2) or ``nearest`` (doubling, then 3x3 kernels; no checkerboard)
    bound : a of the scaled tanh ``a tanh(2 x / a)`` behind one scale and shift per channel; None leaves both out
    initial : ``he`` (variance kept from layer to layer) or ``dcgan`` (every weight N(0, 0.02), scales N(1, 0.02))

    Example
    -------
    >>> DCGenerator(32, latent=16, width=4)(torch.zeros(2, 16)).shape
    torch.Size([2, 1, 32, 32])
    """

    def __init__(
        self,
        size: int,
        *,
        channels: int = 1,
        latent: int = 64,
        width: int = 16,
        normalisation: str = "none",
        upsampling: str = "transposed",
        bound: float | None = None,
        initial: str = "he",
    ) -> None:
        super().__init__()
        _check(normalisation, ("none", "group", "batch"), "normalisation")
        _check(upsampling, ("transposed", "nearest"), "upsampling")
        _check(initial, ("he", "dcgan"), "initial weights")
        widths = layer_widths(size, width)[::-1]
        self.start = nn.Linear(latent, widths[0] * 16)
        _scaled(self.start, latent, GAIN)
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(zip(widths, [*widths[1:], channels])):
            layers += [*_normalised(a, normalisation), nn.LeakyReLU(SLOPE)]
            layers += _doubling(a, b, upsampling, 1.0 if i == len(widths) - 1 else GAIN)
        if bound is not None:
            layers += [ChannelScale(channels), ScaledTanh(bound)]
        self.layers = nn.Sequential(*layers)
        self.first = widths[0]
        if initial == "dcgan":
            _small(self)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(self.start(z).reshape(-1, self.first, 4, 4))


class DCCritic(nn.Module):
    """Numbers (n, outputs) from images (n, channels, size, size): halving convolutions without normalisation.

    Parameters
    ----------
    size, channels, width : as for the generator
    outputs : numbers per image, 1 for a critic
    bias : of the last layer. A Wasserstein critic needs none: its loss is a difference, in which it cancels.
    initial : as for the generator

    Example
    -------
    >>> DCCritic(32, width=4)(torch.zeros(2, 1, 32, 32)).shape
    torch.Size([2, 1])
    """

    def __init__(self, size: int, *, channels: int = 1, outputs: int = 1, width: int = 16, bias: bool = True,
                 initial: str = "he") -> None:
        super().__init__()
        _check(initial, ("he", "dcgan"), "initial weights")
        widths = layer_widths(size, width)
        layers: list[nn.Module] = []
        for a, b in zip([channels, *widths[:-1]], widths):
            layers += [_scaled(nn.Conv2d(a, b, 4, stride=2, padding=1), 16 * a, GAIN), nn.LeakyReLU(SLOPE)]
        last = _scaled(nn.Linear(16 * widths[-1], outputs, bias=bias), 16 * widths[-1], 1.0)
        self.layers = nn.Sequential(*layers, nn.Flatten(), last)
        if initial == "dcgan":
            _small(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class ChannelScale(nn.Module):
    """w_c x + b_c: one scale and one shift per channel, starting at 1 and 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x + self.bias


class ScaledTanh(nn.Module):
    """a tanh(2 x / a): bounded by a, slope 2 at zero."""

    def __init__(self, bound: float) -> None:
        super().__init__()
        if not bound > 0:
            raise OptionError("bound of the output", got=bound, expected="a positive number", do="pass e.g. 15")
        self.bound = bound

    def forward(self, x: Tensor) -> Tensor:
        return self.bound * torch.tanh(2 * x / self.bound)


def layer_widths(size: int, width: int) -> list[int]:
    """Channels of the layers from size/2 pixels down to 4: width, 2 width, 4 width, ...

    Raises
    ------
    OptionError : the size is no power of two from 8, or the width is below 1.

    Example
    -------
    >>> layer_widths(128, 64)
    [64, 128, 256, 512, 1024]
    """
    if size < 8 or size & (size - 1):
        raise OptionError("size of the images", got=f"{size} pixels", expected="8, 16, 32, 64, 128, ...",
                          do="cut or pad the images to a power of two")
    if width < 1:
        raise OptionError("width of the network", got=width, expected="at least 1", do="pass e.g. 16")
    return [width * 2**i for i in range(int(math.log2(size)) - 2)]


def _doubling(a: int, b: int, upsampling: str, gain: float) -> list[nn.Module]:
    """Layers from a to b channels at twice the resolution."""
    if upsampling == "nearest":
        return [nn.Upsample(scale_factor=2), _scaled(nn.Conv2d(a, b, 3, padding=1), 9 * a, gain)]
    # With stride 2, four of the sixteen weights of a kernel reach each pixel.
    return [_scaled(nn.ConvTranspose2d(a, b, 4, stride=2, padding=1), 4 * a, gain)]


def _normalised(channels: int, normalisation: str) -> list[nn.Module]:
    if normalisation == "none":
        return []
    if normalisation == "batch":
        return [nn.BatchNorm2d(channels, momentum=1.0)]
    # Two channels or more per group: alone, a channel would lose its mean and so its bias.
    return [nn.GroupNorm(max(g for g in (1, 2, 4, 8) if g == 1 or channels % (2 * g) == 0), channels)]


def _scaled(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, terms: int, gain: float) -> nn.Module:
    """The layer with weights N(0, gain^2 / terms) and no bias at the start; ``terms`` are summed per output."""
    nn.init.normal_(layer.weight, std=gain / math.sqrt(terms))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _small(net: nn.Module) -> None:
    """Weights N(0, 0.02), scales N(1, 0.02), shifts of channels N(0, 0.02), biases 0: the start of a DCGAN."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=0.02)
        elif isinstance(layer, ChannelScale | nn.BatchNorm2d | nn.GroupNorm):
            nn.init.normal_(layer.weight, mean=1.0, std=0.02)
        if isinstance(layer, ChannelScale):
            nn.init.normal_(layer.bias, std=0.02)


def _check(word: str, known: tuple[str, ...], what: str) -> None:
    if word not in known:
        raise OptionError(f"unknown {what}", got=word, expected=" | ".join(known), do="choose one of these")
