"""The options of diffusion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from sundog.errors import OptionError
from sundog.models.options import Options, option
from sundog.solve.samplers import dpm_solver_2m, euler, heun

SAMPLERS: dict[str, Callable[..., Tensor]] = {"dpm_solver_2m": dpm_solver_2m, "heun": heun, "euler": euler}


@dataclass(frozen=True)
class DiffusionOptions(Options):
    """Options of `Diffusion`."""

    skip: str = option("edm", "what the skip connection knows: one variance (edm), the covariance (linear-optimal), or "
                       "mean and variances that follow the context, in the basis of all data (conditional)",
                       words=("edm", "covariance", "conditional"))
    periodic: bool = option(False, "fields that wrap around and have no centre: the covariance is a power spectrum, "
                            "the U-Net wraps around", only=("data", "images"))
    symmetry: str = option("none", "dihedral: the law does not change under flips (and quarter turns of square images)",
                           words=("none", "dihedral"), only=("data", "images"))
    network: str = option("unet", "of images and series; ``transformer`` for series alone",
                          words=("unet", "transformer"), only=("data", "images"))
    parameters: float = option(600_000, "of the U-Net, 0.4e6 to 30e6, or transformer", above=0, only=("data", "images"))
    patch: int = option(1, "side of the squares of pixels that are channels inside the U-Net: with 2 a step on large "
                        "images costs two fifths", least=1, only=("data", "images"))
    hidden: tuple[int, ...] = option((128, 128, 128), "widths of the MLP", least=1, only=("data", "vectors"))
    components: int = option(300, "how many of the loudest modes are turned to their principal axes", least=1,
                             only=("skip", "covariance", "conditional"))
    noise: tuple[float, float] | None = option(None, "(mean, std) of ln(sigma / sigma_data) in training; by the rule "
                                               "of `NoiseRange` when None")
    weight: str = option("residual", "of the loss of each noise level: 1 / r^2, or (sigma^2 + sigma_data^2) / (sigma "
                         "sigma_data)^2 (edm); the same with skip edm", words=("residual", "edm"))
    uncertainty: bool = option(False, "learn u(sigma) beside the network and minimise loss / e^u + u, so that no noise "
                               "level outweighs the others")
    context_dropout: float = option(0.1, "share of training rows whose context is hidden, so that the network knows "
                                    "both laws", least=0, below=1)
    guidance: float = option(1.0, "w in D = D_none + w (D_context - D_none): 0 is unconditional, 1 conditional, above "
                             "exaggerates")
    sampler: str = option("dpm_solver_2m", "dpm_solver_2m goes around the exact flow of the Gaussian, but with skip "
                          "edm", words=SAMPLERS)
    sampling_steps: int = option(35, "noise levels of the sampler", least=2)
    rho: float = option(7.0, "their spacing", above=0)
    learning_rate: float = option(None, "0.001 for images and 0.003 for vectors when None", above=0)

    def for_data(self, shape: tuple[int, ...], context_dim: int) -> DiffusionOptions:
        if self.skip == "conditional" and not context_dim:
            raise OptionError("skip='conditional' needs a context", got="samples without context",
                              expected="data with context columns that the covariance depends on, such as sizes",
                              do="pass context, or take skip='covariance'")
        if self.noise is not None and not self.noise[1] > 0:
            raise OptionError("noise levels of training", got=self.noise,
                              expected="(mean, std) of ln(sigma / sigma_data)",
                              do="pass e.g. noise=(-0.5, 1.2), or None for the rule")
        if self.network == "transformer" and (len(shape) < 2 or shape[-2] != 1):
            raise OptionError("the network does not fit the data", got=f"transformer for samples of shape {shape}",
                              expected="series", do="leave network out")
        return replace(self, learning_rate=self.learning_rate or (3e-3 if len(shape) == 1 else 1e-3))
