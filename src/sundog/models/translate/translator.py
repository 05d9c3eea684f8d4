"""Image translation: some channels of a map are known, the others are drawn given them.

The law of the wanted maps y given the known maps k starts from the Gaussian with the same auto- and cross-spectra,

    x_0 = T k + e,    T = P_yk P_kk^-1,    e ~ N(0, P_yy - P_yk P_kk^-1 P_ky)        per Fourier mode,

which is exact for stationary Gaussian maps; a U-Net learns the rest, in one of two ways:

* ``flow-matching``: x_t = (1 - t) x_0 + t y,  dx/dt = v_0(x, t) + F(x, k, t),  loss |v_0 + F - (y - x_0)|^2, with
  v_0 = (2 t - 1) / ((1 - t)^2 + t^2) (x - T k), the velocity that leaves a Gaussian as it is;
* ``gan``: y = x_0 + F(x_0, k), a critic of [k, y] with gradient penalty, and 100 times the Wasserstein distance between
  the variances of images, fake and real. With ``noise="none"``, y = F(k): the published PIXGAN, one answer for every k,
  and the variances of each image and its fake compared.

Source: Isola et al. 2017, section 3.1 (conditional critic); Han et al. 2021, section 3 (kappa to foregrounds);
Lipman et al. 2023, eq. 20-23, with the Gaussian of the data in the place of white noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from sundog.errors import OptionError, ShapeError
from sundog.models.base import Batch, Noise, Objective, RowNoise, Translator
from sundog.models.options import Options, option
from sundog.models.symmetry import all_turned, placed
from sundog.models.translate.adversarial import KEPT, SCORED_ROWS, AdversarialOptions, adversarial, kept, variances
from sundog.models.translate.gaussian import ConditionalGaussian
from sundog.nets.convnets import DCCritic
from sundog.nets.unet import UNet, levels_for
from sundog.solve.ode import integrate

ROWS = 8192  # maps that the spectra are measured on, positions included, before each has to do with one position


@dataclass(frozen=True)
class TranslatorOptions(AdversarialOptions):
    """Options of `ImageTranslator`."""

    known: int = option(1, "how many channels, from the first, are known", least=1)
    method: str = option("flow-matching", "how the U-Net learns", words=("flow-matching", "gan"))
    noise: str = option("gaussian", "start: the Gaussian with the spectra of the data, a law with their skewness "
                        "and kurtosis too, white noise, or none (GAN alone: deterministic)",
                        words=("gaussian", "heavy-tailed", "white", "none"))
    symmetry: str = option("none", "dihedral: the law does not change under flips (and quarter turns of square maps), "
                           "and every batch is shown in random positions", words=("none", "dihedral"))
    sampling_steps: int = option(12, "of the midpoint rule", least=1, only=("method", "flow-matching"))
    learning_rate: float = option(None, "of Adam; 1e-3, or 2e-4 for the GAN, when None", above=0)

    def for_data(self, shape: tuple[int, ...], context_dim: int) -> TranslatorOptions:
        if self.noise == "none" and self.method != "gan":
            raise OptionError("flow matching without noise", got="noise=none",
                              expected="gaussian | heavy-tailed | white", do="leave noise out, or take method='gan'")
        if not self.known < shape[0]:
            raise OptionError("known channels", got=f"{self.known} of {shape[0]}", expected=f"1 to {shape[0] - 1}",
                              do="pass known=1 and maps of two channels or more")
        return replace(self, learning_rate=self.learning_rate or (2e-4 if self.method == "gan" else 1e-3))


class ImageTranslator(Translator):
    """Draws the last channels of maps given the first ones. One training row holds both: (channels, ny, nx).

    ``sundog.fit("translate", maps, known=1)`` learns the channels 1, 2, ... given channel 0;
    ``run.translate(kappa, seed=0)`` draws them for new maps; ``run.sample(n)`` for known maps of the training data.
    Maps are squares of 2^k pixels for ``method="gan"``; conditions are channels, not context columns.

    Example
    -------
    >>> model = ImageTranslator((2, 8, 8), parameters=5e4)
    >>> model.prepare(torch.randn(40, 2, 8, 8, generator=torch.Generator().manual_seed(0)), None)
    >>> model.translate(torch.zeros(3, 1, 8, 8), torch.Generator().manual_seed(0)).shape
    torch.Size([3, 1, 8, 8])
    """

    family: ClassVar[str] = "translate"
    takes: ClassVar[type[Options]] = TranslatorOptions
    draws: ClassVar[tuple[str, ...]] = ("stacked maps",)
    takes_context: ClassVar[bool] = False
    options: TranslatorOptions

    def __init__(self, shape: Sequence[int], context_dim: int = 0, **options: Any) -> None:
        super().__init__(shape, context_dim, **options)
        o, (ny, nx) = self.options, self.shape[1:]
        self.known, self.wanted, self.steps, self.default_batch = o.known, self.shape[0] - o.known, o.sampling_steps, 32
        self.gaussian = ConditionalGaussian(self.known, self.wanted, ny, nx, periodic=o.periodic,
                                            tails=o.noise == "heavy-tailed")
        self.register_buffer("seen", torch.zeros(KEPT, self.known, ny, nx))
        inputs = self.known + (0 if o.noise == "none" else self.wanted)
        self.network = UNet(inputs, self.wanted, parameters=o.parameters, levels=levels_for(ny, nx), line=ny == 1,
                            periodic=o.periodic)
        self.critic = DCCritic(nx, channels=self.shape[0], width=o.width, bias=False) if o.method == "gan" else None

    def prepare(self, x: Tensor, context: Tensor | None) -> None:
        """Measure the spectra, keep a few known maps."""
        self.seen.copy_(kept(x[:, : self.known]))
        if self.options.noise in ("gaussian", "heavy-tailed"):
            every = all_turned(x, ROWS) if self.options.symmetry == "dihedral" else x
            self.gaussian.fit(every[:, : self.known], every[:, self.known :])

    def objectives(self) -> list[Objective]:
        rate = self.options.learning_rate
        if self.critic is not None:
            return adversarial(self.options, rate, (self.critic, self.critic_loss),
                               (self.network, self.translator_loss), "translator")
        return [Objective("flow matching", list(self.network.parameters()), self.matching_loss, rate, (0.9, 0.99),
                          clip_norm=1.0)]

    # -- from noise to maps --------------------------------------------------------------------------------------

    def start(self, k: Tensor, white: Tensor) -> Tensor:
        """x_0 (n, wanted, ny, nx) from the known maps and standard normal numbers of that shape."""
        return self.gaussian.sample(k, white)

    def velocity(self, x: Tensor, k: Tensor, t: Tensor, mean: Tensor) -> Tensor:
        """v_0 + F at time t (n, 1): (n, wanted, ny, nx); mean is T k."""
        t4 = t[:, :, None, None]
        still = (2 * t4 - 1) / ((1 - t4).square() + t4.square())
        return torch.addcmul(self.network(torch.cat([k, x], 1), t, None), still, x - mean)

    def generate(self, k: Tensor, white: Tensor) -> Tensor:
        """Maps of the GAN: x_0 + F(k, x_0), or F(k) without noise."""
        t = k.new_zeros(len(k), 1)
        if self.options.noise == "none":
            return self.network(k, t, None)
        x_0 = self.start(k, white)
        return x_0 + self.network(torch.cat([k, x_0], 1), t, None)

    def complete(self, k: Tensor, noise: RowNoise) -> Tensor:
        """One draw of the wanted maps for each of the known ones k (n, known, ny, nx): (n, wanted, ny, nx)."""
        if tuple(k.shape[1:]) != (self.known, *self.shape[1:]):
            raise ShapeError("known maps do not fit the translator", got=f"{tuple(k.shape)}",
                             expected=f"(n, {self.known}, {self.shape[1]}, {self.shape[2]})",
                             do="cut the maps to the size of training")
        white = noise.normal(self.wanted, *self.shape[1:])
        return self.generate(k, white) if self.critic is not None else self._flowed(k, white)

    def _flowed(self, k: Tensor, white: Tensor) -> Tensor:
        mean = self.gaussian.mean(k)

        def field(t: float, x: Tensor) -> Tensor:
            return self.velocity(x, k, x.new_full((len(x), 1), t), mean)

        return integrate(field, self.start(k, white), 0.0, 1.0, method="midpoint", steps=self.steps)

    # -- training ------------------------------------------------------------------------------------------------

    def matching_loss(self, batch: Batch, noise: Noise) -> Tensor:
        """Mean of |v - (y - x_0)|^2 ((1 - t)^2 + t^2): the same size of target at every time."""
        x = placed(batch.x, self.options.symmetry, noise)
        return batch.mean(self._mismatch(x, noise.normal(self.wanted, *self.shape[1:]), noise.uniform(1)))

    def _mismatch(self, x: Tensor, white: Tensor, t: Tensor) -> Tensor:
        k, y = x[:, : self.known], x[:, self.known :]
        mean = self.gaussian.mean(k)
        x_0 = self.gaussian.sample(k, white)
        x_t = torch.lerp(x_0, y, t[:, :, None, None])
        wrong = (self.velocity(x_t, k, t, mean) - (y - x_0)).square().flatten(1).mean(1)
        return wrong * ((1 - t).square() + t.square())[:, 0]

    def critic_loss(self, batch: Batch, noise: Noise) -> Tensor:
        """E D([k, fake]) - E D([k, y]) + lambda E P(|grad_y D|); the known maps are the same on both sides."""
        x = placed(batch.x, self.options.symmetry, noise)
        k, y = x[:, : self.known], x[:, self.known :]
        with torch.no_grad():
            fake = self.generate(k, noise.normal(self.wanted, *self.shape[1:]))
        return self.options.critic_loss(lambda z: self._criticised(k, z), y, fake, batch, noise)

    def translator_loss(self, batch: Batch, noise: Noise) -> Tensor:
        """-E D([k, fake]) + weight x distance of variances of images; without noise image by image, as published."""
        x = placed(batch.x, self.options.symmetry, noise)
        k, y = x[:, : self.known], x[:, self.known :]
        fake = self.generate(k, noise.normal(self.wanted, *self.shape[1:]))
        if self.options.noise == "none":
            wrong = self.options.variance_weight * batch.mean((variances(fake) - variances(y)).abs().mean(1))
        else:
            wrong = self.options.variance_loss(fake, y, batch)
        return wrong - batch.mean(self._criticised(k, fake))

    def _criticised(self, k: Tensor, y: Tensor) -> Tensor:
        assert self.critic is not None
        return self.critic(torch.cat([k, y], 1))[:, 0]

    def score(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Held-out matching loss at noise that never changes; for a GAN the energy score of two draws per map.

        energy score = mean of |y_1 - y| - |y_1 - y_2| / 2, lowest in the mean for the true law given k (Gneiting &
        Raftery 2007, eq. 22); the critic's loss is relative to a critic that moves.
        """
        g = torch.Generator(x.device).manual_seed(0)
        if self.critic is None:
            white = torch.randn(len(x), self.wanted, *self.shape[1:], generator=g, device=x.device, dtype=x.dtype)
            t = ((torch.arange(len(x), device=x.device, dtype=x.dtype) + 0.5) / len(x))[:, None]
            parts = [self._mismatch(x[rows], white[rows], t[rows]) for rows in torch.arange(len(x)).split(64)]
            return torch.cat(parts).mean()
        x = x[:SCORED_ROWS]
        k, y = x[:, : self.known], x[:, self.known :]
        one, two = self.translate(k, g), self.translate(k, g)

        def far(a: Tensor, b: Tensor) -> Tensor:
            return torch.linalg.vector_norm((a - b).flatten(1), dim=1)

        return (far(one, y) - far(one, two) / 2).mean()
