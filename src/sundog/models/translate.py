"""Image translation: some channels of a map are known, the others are drawn given them.

The law of the wanted maps y given the known maps k starts from the Gaussian with the same auto- and cross-spectra,

    x_0 = T k + e,    T = P_yk P_kk^-1,    e ~ N(0, P_yy - P_yk P_kk^-1 P_ky)        per Fourier mode,

which is exact for stationary Gaussian maps; a U-Net learns the rest, in one of two ways:

* ``flow-matching``: x_t = (1 - t) x_0 + t y,  dx/dt = v_0(x, t) + F(x, k, t),  loss |v_0 + F - (y - x_0)|^2, with
  v_0 = (2 t - 1) / ((1 - t)^2 + t^2) (x - T k), the velocity that leaves a Gaussian as it is;
* ``gan``: y = x_0 + F(x_0, k), a critic of [k, y] with gradient penalty, and 100 |var y_fake - var y_real| per image
  and channel. With ``noise="none"``, y = F(k): the published PIXGAN, one answer for every k.

Source: Isola et al. 2017, section 3.1 (conditional critic); Han et al. 2021, section 3 (kappa to foregrounds);
Lipman et al. 2023, eq. 20-23, with the Gaussian of the data in the place of white noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sundog.errors import OptionError, ShapeError
from sundog.models.base import Batch, Noise, Objective, Translator
from sundog.models.gan import PENALTIES, slopes
from sundog.models.symmetry import all_turned, positions, turned
from sundog.nets.convnets import DCCritic
from sundog.nets.unet import UNet, levels_for
from sundog.solve.ode import integrate

KEPT = 64  # known maps of the training data kept with the model, so that it can draw whole samples on its own
AT_ONCE = 2**19  # numbers translated at once: what fits a processor's caches draws fastest
SCORED_ROWS = 512  # of the held-out maps, for the energy score of a GAN
ROWS = 8192  # maps that the spectra are measured on, positions included, before each has to do with one position
RIDGE = 1e-6  # of the largest power: a mode in which the known maps hold nothing predicts nothing


class ConditionalGaussian(nn.Module):
    """Law of stationary maps y (channels) given maps k (known): Gaussian, one complex matrix per Fourier mode.

    With P the matrix of spectra of the stacked maps [k, y],  P_ab = < FFT a conj(FFT b) > / (ny nx):
    mean T k with T = P_yk P_kk^-1, covariance R = P_yy - T P_ky.  ``noise="white"`` has T = 0 and R = 1 instead.

    Parameters
    ----------
    known, wanted : numbers of channels
    ny, nx : of the maps; the law holds for this size alone
    periodic : maps that wrap around. Others are measured under a Hann window, for the jump from one edge to the other
        puts a power of its own, falling as k^-2, on every smaller scale

    Example
    -------
    >>> law = ConditionalGaussian(1, 1, 8, 8)
    >>> law.sample(torch.zeros(3, 1, 8, 8), torch.randn(3, 1, 8, 8)).shape
    torch.Size([3, 1, 8, 8])
    """

    transfer: Tensor
    root: Tensor

    def __init__(self, known: int, wanted: int, ny: int, nx: int, *, periodic: bool = True) -> None:
        super().__init__()
        self.periodic = periodic
        modes = (ny, nx // 2 + 1)
        # Complex matrices as real and imaginary part, the last axis: safetensors and every device know them.
        self.register_buffer("transfer", torch.zeros(*modes, wanted, known, 2))
        self.register_buffer("root", torch.zeros(*modes, wanted, wanted, 2))
        self.root[..., range(wanted), range(wanted), 0] = 1.0

    def fit(self, k: Tensor, y: Tensor) -> None:
        """Take T and the root of R from maps k (n, known, ny, nx) and y (n, wanted, ny, nx) of mean zero."""
        g, (ny, nx) = k.shape[1], k.shape[-2:]
        window = torch.ones(ny, nx, dtype=torch.float64, device=k.device)
        if not self.periodic:
            window = torch.outer(*(torch.hann_window(m + 1, device=k.device).double()[1:] for m in (ny, nx)))
        power: Tensor | float = 0.0
        for rows in torch.arange(len(k)).split(256):
            f = torch.fft.rfft2(torch.cat([k[rows], y[rows]], 1).double() * window).permute(2, 3, 1, 0)
            power = power + f @ f.mH
        power = torch.as_tensor(power) / (len(k) * window.square().sum())
        p_kk, p_yk, p_yy = power[..., :g, :g], power[..., g:, :g], power[..., g:, g:]
        size = p_kk.diagonal(dim1=-2, dim2=-1).real.amax(-1)
        floor = RIDGE * size.amax() * torch.eye(g, dtype=p_kk.dtype, device=k.device)
        transfer = torch.linalg.solve(p_kk + floor, p_yk.mH).mH
        values, vectors = torch.linalg.eigh(p_yy - transfer @ p_yk.mH)
        root = vectors * values.clamp_min(0).sqrt()[..., None, :] @ vectors.mH
        self.transfer.copy_(torch.view_as_real(transfer.resolve_conj()))
        self.root.copy_(torch.view_as_real(root.resolve_conj()))

    def mean(self, k: Tensor) -> Tensor:
        """T k: (n, wanted, ny, nx)."""
        return self._applied(self.transfer, k)

    def sample(self, k: Tensor, white: Tensor) -> Tensor:
        """T k + R^(1/2) white: (n, wanted, ny, nx) from standard normal ``white`` of that shape."""
        return self.mean(k) + self._applied(self.root, white)

    def _applied(self, matrix: Tensor, x: Tensor) -> Tensor:
        f = torch.fft.rfft2(x)
        out = torch.einsum("yxab,nbyx->nayx", torch.view_as_complex(matrix).to(f.dtype), f)
        return torch.fft.irfft2(out, s=x.shape[-2:])


class ImageTranslator(Translator):
    """Draws the last channels of maps given the first ones. One training row holds both: (channels, ny, nx).

    ``sundog.fit("translate", maps, known=1)`` learns the channels 1, 2, ... given channel 0;
    ``run.translate(kappa, seed=0)`` draws them for new maps; ``run.sample(n)`` for known maps of the training data.

    Parameters
    ----------
    shape : (channels, ny, nx), known and wanted ones; for ``method="gan"`` squares of 2^k pixels
    context_dim : 0: conditions are maps here
    known : how many channels, from the first, are known
    method : ``flow-matching`` or ``gan``
    noise : ``gaussian`` starts from the Gaussian with the spectra of the data, ``white`` from white noise, ``none``
        (GAN alone) is deterministic
    parameters : of the U-Net, 0.4e6 to 30e6
    periodic : maps that wrap around at their edges
    symmetry : ``none``, or ``dihedral``: the law does not change under flips (and quarter turns of square maps), and
        every batch is shown in random positions
    steps : of the midpoint rule, flow matching
    width, critic_steps, penalty, penalty_weight, variance_weight : of the GAN: width and steps of the critic, kind and
        factor of the gradient penalty, factor of the difference of variances per image and channel
    learning_rate : of Adam; 1e-3, or 2e-4 for the GAN, when None

    Raises
    ------
    OptionError : sizes or words that make no translator.

    Example
    -------
    >>> model = ImageTranslator((2, 8, 8), parameters=5e4)
    >>> model.prepare(torch.randn(40, 2, 8, 8, generator=torch.Generator().manual_seed(0)), None)
    >>> model.translate(torch.zeros(3, 1, 8, 8), torch.Generator().manual_seed(0)).shape
    torch.Size([3, 1, 8, 8])
    """

    family: ClassVar[str] = "translate"
    default_batch: ClassVar[int] = 32
    seen: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        context_dim: int = 0,
        *,
        known: int = 1,
        method: str = "flow-matching",
        noise: str = "gaussian",
        parameters: float = 600_000,
        periodic: bool = False,
        symmetry: str = "none",
        steps: int = 12,
        width: int = 16,
        critic_steps: int = 3,
        penalty: str = "two-sided",
        penalty_weight: float = 10.0,
        variance_weight: float = 100.0,
        learning_rate: float | None = None,
    ) -> None:
        super().__init__()
        learning_rate = learning_rate or (2e-4 if method == "gan" else 1e-3)
        self._config = {
            "shape": list(shape), "context_dim": context_dim, "known": known, "method": method, "noise": noise,
            "parameters": parameters, "periodic": periodic, "symmetry": symmetry, "steps": steps, "width": width,
            "critic_steps": critic_steps, "penalty": penalty, "penalty_weight": penalty_weight,
            "variance_weight": variance_weight, "learning_rate": learning_rate,
        }
        _check(self._config)
        self.shape, self.known, self.wanted = tuple(shape), known, shape[0] - known
        self.method, self.noise, self.steps, self.learning_rate = method, noise, steps, learning_rate
        self.symmetry = symmetry
        self.critic_steps, self.penalty, self.penalty_weight = critic_steps, penalty, penalty_weight
        self.variance_weight = variance_weight
        ny, nx = shape[1:]
        self.gaussian = ConditionalGaussian(known, self.wanted, ny, nx, periodic=periodic)
        self.register_buffer("seen", torch.zeros(KEPT, known, ny, nx))
        inputs = known + (0 if noise == "none" else self.wanted)
        self.network = UNet(inputs, self.wanted, parameters=parameters, levels=levels_for(ny, nx), circular=periodic)
        self.critic = DCCritic(nx, channels=shape[0], width=width, bias=False) if method == "gan" else None

    def config(self) -> dict[str, Any]:
        return dict(self._config)

    def prepare(self, x: Tensor, context: Tensor | None) -> None:
        """Measure the spectra, keep a few known maps."""
        k = x[:, : self.known]
        self.seen.copy_(k[torch.arange(KEPT, device=x.device) % len(k)])
        if self.noise == "gaussian":
            every = all_turned(x, ROWS) if self.symmetry == "dihedral" else x
            self.gaussian.fit(every[:, : self.known], every[:, self.known :])

    def objectives(self) -> list[Objective]:
        drawn = list(self.network.parameters())
        if self.critic is None:
            return [Objective("flow matching", drawn, self.matching_loss, self.learning_rate, (0.9, 0.99),
                              clip_norm=1.0)]
        return [
            Objective("critic", list(self.critic.parameters()), self.critic_loss, self.learning_rate, (0.5, 0.9),
                      repeats=self.critic_steps),
            Objective("translator", drawn, self.translator_loss, self.learning_rate, (0.5, 0.9)),
        ]

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
        if self.noise == "none":
            return self.network(k, t, None)
        x_0 = self.start(k, white)
        return x_0 + self.network(torch.cat([k, x_0], 1), t, None)

    def translate(self, k: Tensor, generator: torch.Generator) -> Tensor:
        """One draw of the wanted maps for each of the known ones k (n, known, ny, nx): (n, wanted, ny, nx)."""
        if tuple(k.shape[1:]) != (self.known, *self.shape[1:]):
            raise ShapeError("known maps do not fit the translator", got=f"{tuple(k.shape)}",
                             expected=f"(n, {self.known}, {self.shape[1]}, {self.shape[2]})",
                             do="cut the maps to the size of training")
        drawn = []
        for rows in torch.arange(len(k)).split(max(1, AT_ONCE // k[0].numel())):
            part = k[rows]
            white = torch.randn(len(part), self.wanted, *self.shape[1:], generator=generator,
                                device=generator.device, dtype=k.dtype)
            drawn.append(self.generate(part, white) if self.critic is not None else self._flowed(part, white))
        return torch.cat(drawn)

    def _flowed(self, k: Tensor, white: Tensor) -> Tensor:
        mean = self.gaussian.mean(k)

        def field(t: float, x: Tensor) -> Tensor:
            return self.velocity(x, k, x.new_full((len(x), 1), t), mean)

        return integrate(field, self.start(k, white), 0.0, 1.0, method="midpoint", steps=self.steps)

    def sample(self, n: int, context: Tensor | None, generator: torch.Generator) -> Tensor:
        """n rows of known maps of the training data and a draw of the wanted ones beside them: (n, *shape)."""
        which = torch.randint(KEPT, (n,), generator=generator, device=generator.device)
        k = self.seen[which]
        return torch.cat([k, self.translate(k, generator)], 1)

    # -- training ------------------------------------------------------------------------------------------------

    def matching_loss(self, batch: Batch, noise: Noise) -> Tensor:
        """Mean of |v - (y - x_0)|^2 ((1 - t)^2 + t^2): the same size of target at every time."""
        x = self._placed(batch, noise)
        return batch.mean(self._mismatch(x, noise.normal(self.wanted, *self.shape[1:]), noise.uniform(1)))

    def _mismatch(self, x: Tensor, white: Tensor, t: Tensor) -> Tensor:
        k, y = x[:, : self.known], x[:, self.known :]
        mean = self.gaussian.mean(k)
        x_0 = self.gaussian.sample(k, white)
        x_t = torch.lerp(x_0, y, t[:, :, None, None])
        wrong = (self.velocity(x_t, k, t, mean) - (y - x_0)).square().flatten(1).mean(1)
        return wrong * ((1 - t).square() + t.square())[:, 0]

    def _placed(self, batch: Batch, noise: Noise) -> Tensor:
        """The maps of a batch, in random positions where the law allows it."""
        if self.symmetry == "none":
            return batch.x
        return turned(batch.x, (noise.uniform(1)[:, 0] * positions(self.shape)).long())

    def critic_loss(self, batch: Batch, noise: Noise) -> Tensor:
        """E D([k, fake]) - E D([k, y]) + lambda E P(|grad_y D|); the known maps are the same on both sides."""
        x = self._placed(batch, noise)
        k, y = x[:, : self.known], x[:, self.known :]
        with torch.no_grad():
            fake = self.generate(k, noise.normal(self.wanted, *self.shape[1:]))
        return _critic_loss(lambda z: self._criticised(k, z), y, fake, batch, noise, self.penalty, self.penalty_weight)

    def translator_loss(self, batch: Batch, noise: Noise) -> Tensor:
        """-E D([k, fake]) + weight x mean of |var fake - var real| over images and channels."""
        x = self._placed(batch, noise)
        k, y = x[:, : self.known], x[:, self.known :]
        fake = self.generate(k, noise.normal(self.wanted, *self.shape[1:]))
        wrong = (_variances(fake) - _variances(y)).abs().mean(1)
        return batch.mean(self.variance_weight * wrong - self._criticised(k, fake))

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


class ResidualRefiner(Translator):
    """Corrects maps of a generator: y = x + F(x), trained on fakes and real maps that are not paired.

    One training row holds a fake and any real map behind it: (2 channels, ny, nx). The critic sees the refined and
    the real maps alone. ``run.translate(fakes)`` refines.

        y = a tanh(2 / a ((a / 2) atanh(x / a) + F(x)))        within a bound a, or x + F(x) without one

    Parameters
    ----------
    shape : (2 channels, size, size), size a power of two: fakes first, real maps behind them
    context_dim : 0
    bound : a; fakes are cut to 0.999 a, where the inverse of the tanh is finite. None for no bound
    parameters, width, critic_steps, penalty, penalty_weight, learning_rate : as for `ImageTranslator`
    variance_weight : factor of the difference between the sorted variances per image of a batch, refined and real

    Source: Han et al. 2021, section 3.3 (there called VAEGAN; nothing in it is variational).

    Example
    -------
    >>> model = ResidualRefiner((2, 8, 8), parameters=5e4, width=2)
    >>> x = torch.randn(3, 1, 8, 8)
    >>> torch.equal(model.refine(x), x)     # untrained, it changes nothing
    True
    """

    family: ClassVar[str] = "refine"
    default_batch: ClassVar[int] = 32
    seen: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        context_dim: int = 0,
        *,
        bound: float | None = None,
        parameters: float = 600_000,
        periodic: bool = False,
        width: int = 16,
        critic_steps: int = 3,
        penalty: str = "two-sided",
        penalty_weight: float = 10.0,
        variance_weight: float = 100.0,
        learning_rate: float = 2e-4,
    ) -> None:
        super().__init__()
        self._config = {
            "shape": list(shape), "context_dim": context_dim, "bound": bound, "parameters": parameters,
            "periodic": periodic, "width": width, "critic_steps": critic_steps, "penalty": penalty,
            "penalty_weight": penalty_weight, "variance_weight": variance_weight, "learning_rate": learning_rate,
        }
        _check_images(shape, context_dim, square=True)
        if shape[0] % 2 or (bound is not None and not bound > 0):
            raise OptionError("a refiner needs pairs of maps", got=f"{shape[0]} channels, bound {bound}",
                              expected="as many real channels as fake ones; a positive bound or None",
                              do="stack the fakes and the real maps along the channels")
        self.shape, self.known, self.wanted, self.bound = tuple(shape), shape[0] // 2, shape[0] // 2, bound
        self.critic_steps, self.penalty, self.penalty_weight = critic_steps, _known(penalty), penalty_weight
        self.variance_weight, self.learning_rate = variance_weight, learning_rate
        ny, nx = shape[1:]
        self.register_buffer("seen", torch.zeros(KEPT, self.known, ny, nx))
        self.network = UNet(self.known, self.wanted, parameters=parameters, levels=levels_for(ny, nx),
                            circular=periodic)
        self.critic = DCCritic(nx, channels=self.wanted, width=width, bias=False)

    def config(self) -> dict[str, Any]:
        return dict(self._config)

    def prepare(self, x: Tensor, context: Tensor | None) -> None:
        """Keep a few fakes."""
        self.seen.copy_(x[torch.arange(KEPT, device=x.device) % len(x), : self.known])

    def objectives(self) -> list[Objective]:
        return [
            Objective("critic", list(self.critic.parameters()), self.critic_loss, self.learning_rate, (0.5, 0.9),
                      repeats=self.critic_steps),
            Objective("refiner", list(self.network.parameters()), self.refiner_loss, self.learning_rate, (0.5, 0.9)),
        ]

    def refine(self, x: Tensor) -> Tensor:
        """y (n, channels, ny, nx) of fakes x of that shape."""
        change = self.network(x, x.new_zeros(len(x), 1), None)
        if self.bound is None:
            return x + change
        a = self.bound
        return a * torch.tanh(torch.atanh((x / a).clamp(-0.999, 0.999)) + 2 * change / a)

    def translate(self, k: Tensor, generator: torch.Generator) -> Tensor:
        """The refined maps; nothing is drawn."""
        return torch.cat([self.refine(part) for part in k.split(max(1, AT_ONCE // k[0].numel()))])

    def sample(self, n: int, context: Tensor | None, generator: torch.Generator) -> Tensor:
        """n fakes of the training data and what becomes of them: (n, *shape)."""
        k = self.seen[torch.randint(KEPT, (n,), generator=generator, device=generator.device)]
        return torch.cat([k, self.refine(k)], 1)

    def critic_loss(self, batch: Batch, noise: Noise) -> Tensor:
        """E D(refined) - E D(real) + lambda E P(|grad D|)."""
        fake, real = batch.x.chunk(2, 1)
        with torch.no_grad():
            fake = self.refine(fake)
        return _critic_loss(lambda z: self.critic(z)[:, 0], real, fake, batch, noise, self.penalty,
                            self.penalty_weight)

    def refiner_loss(self, batch: Batch, noise: Noise) -> Tensor:
        """-E D(refined) + weight x mean of |sorted var refined - sorted var real|."""
        raw, real = batch.x.chunk(2, 1)
        fake = self.refine(raw)
        wrong = (_variances(fake).sort(0).values - _variances(real).sort(0).values).abs().mean()
        return self.variance_weight * wrong - batch.mean(self.critic(fake)[:, 0])

    def score(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Energy distance of refined and real held-out maps."""
        fake, real = x[:SCORED_ROWS].chunk(2, 1)
        a, b = (part.flatten(1).double().cpu() for part in (self.refine(fake), real))
        n = len(a)
        within = (torch.cdist(a, a).sum() + torch.cdist(b, b).sum()) / max(1, n * (n - 1))
        return 2 * torch.cdist(a, b).mean() - within


def _critic_loss(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, batch: Batch, noise: Noise,
                 penalty: str, weight: float) -> Tensor:
    steepness = PENALTIES[penalty](slopes(critic, real, fake, noise.uniform(1)))
    return batch.mean(critic(fake) - critic(real)) + weight * steepness.mean()


def _variances(x: Tensor) -> Tensor:
    """Variance of each channel of each image, (n, channels)."""
    return x.flatten(2).var(2)


def _known(penalty: str) -> str:
    if penalty not in PENALTIES:
        raise OptionError("unknown gradient penalty", got=penalty, expected=" | ".join(PENALTIES), do="choose one")
    return penalty


def _check_images(shape: Sequence[int], context_dim: int, *, square: bool) -> None:
    size = shape[-1]
    if len(shape) != 3 or (square and (shape[1] != size or size < 8 or size & (size - 1))):
        expected = "(channels, size, size), size 8, 16, 32, ..." if square else "(channels, ny, nx)"
        raise OptionError("translation works on images of several channels", got=f"samples of shape {tuple(shape)}",
                          expected=expected, do="stack known and wanted maps along the channels")
    if context_dim:
        raise OptionError("a translator takes no context columns", got=f"{context_dim} columns",
                          expected="conditions as channels of the maps", do="drop the context")


def _check(options: dict[str, Any]) -> None:
    shape, known = options["shape"], options["known"]
    words = {"method": ("flow-matching", "gan"),
             "noise": ("gaussian", "white", "none") if options["method"] == "gan" else ("gaussian", "white"),
             "symmetry": ("none", "dihedral")}
    for name, allowed in words.items():
        if options[name] not in allowed:
            raise OptionError(f"unknown {name}", got=options[name], expected=" | ".join(allowed), do="choose one")
    _check_images(shape, options["context_dim"], square=options["method"] == "gan")
    _known(options["penalty"])
    if not 1 <= known < shape[0]:
        raise OptionError("known channels", got=f"{known} of {shape[0]}", expected=f"1 to {shape[0] - 1}",
                          do="pass known=1 and maps of two channels or more")
    if options["steps"] < 1 or options["critic_steps"] < 1 or not options["penalty_weight"] > 0:
        raise OptionError("settings of a translator", expected="all positive", do="leave them at their defaults",
                          got=", ".join(f"{key}={options[key]}" for key in ("steps", "critic_steps", "penalty_weight")))
