"""The table of families: word that a user types -> class. A new family is one file and one line here."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sundog.checks import one_of
from sundog.models.base import Model
from sundog.models.diffusion import Diffusion
from sundog.models.emulators.deeponet import DeepONet
from sundog.models.emulators.ntk import NTKEmulator
from sundog.models.emulators.pod import PODEmulator
from sundog.models.emulators.random_features import RandomFeatureEmulator
from sundog.models.flow import NormalizingFlow
from sundog.models.gan import WassersteinGAN
from sundog.models.matching import FlowMatching
from sundog.models.microcanonical.family import MicrocanonicalModel
from sundog.models.mixture_vae import MixtureVAE
from sundog.models.options import described
from sundog.models.sde import FractionalSDE
from sundog.models.sets.family import SetMatching
from sundog.models.translate import ImageTranslator, ResidualRefiner
from sundog.models.vae import VAE

FAMILIES: dict[str, type[Model]] = {
    "deeponet": DeepONet,
    "diffusion": Diffusion,
    "flow": NormalizingFlow,
    "flow-matching": FlowMatching,
    "gan": WassersteinGAN,
    "mixture-vae": MixtureVAE,
    "ntk": NTKEmulator,
    "pod": PODEmulator,
    "random-features": RandomFeatureEmulator,
    "refine": ResidualRefiner,
    "scattering": MicrocanonicalModel,
    "sde": FractionalSDE,
    "sets": SetMatching,
    "translate": ImageTranslator,
    "vae": VAE,
}


def families() -> tuple[str, ...]:
    """The words that `fit` takes.

    Example
    -------
    >>> "flow" in families()
    True
    """
    return tuple(FAMILIES)


def build(family: str, shape: tuple[int, ...], context_dim: int, options: dict[str, Any], *, periodic: bool = False
          ) -> Model:
    """A new model of the family, networks drawn from the global generator (fork it first).

    Parameters
    ----------
    family, shape, context_dim, options : of the constructor
    periodic : the data say that they wrap around; a family with an option of this name is told, unless it is given

    Raises
    ------
    OptionError : unknown family, or options that it does not take.
    """
    cls = FAMILIES[one_of(family, FAMILIES, "family")]
    if periodic and len(shape) > 1 and "periodic" in {f.name for f in fields(cls.takes)}:
        options = {"periodic": True, **options}
    return cls(shape, context_dim, **options)


def options(family: str) -> list[str]:
    """What a family takes, one line per option: name, meaning, type, default and range.

    Raises
    ------
    OptionError : unknown family.

    Example
    -------
    >>> options("vae")[0]
    'latent : numbers in z; 8 for vectors, 32 for images when None; int, default None; >= 1'
    """
    return described(FAMILIES[one_of(family, FAMILIES, "family")].takes)
