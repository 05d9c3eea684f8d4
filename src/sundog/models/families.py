"""The table of families: word that a user types -> class. A new family is one file and one line here."""

from __future__ import annotations

from typing import Any

from sundog.errors import OptionError
from sundog.models.base import Model
from sundog.models.diffusion import Diffusion
from sundog.models.flow import NormalizingFlow
from sundog.models.gan import WassersteinGAN
from sundog.models.matching import FlowMatching
from sundog.models.microcanonical.family import MicrocanonicalModel
from sundog.models.mixture_vae import MixtureVAE
from sundog.models.translate import ImageTranslator, ResidualRefiner
from sundog.models.vae import VAE

FAMILIES: dict[str, type[Model]] = {
    "diffusion": Diffusion,
    "flow": NormalizingFlow,
    "flow-matching": FlowMatching,
    "gan": WassersteinGAN,
    "mixture-vae": MixtureVAE,
    "refine": ResidualRefiner,
    "scattering": MicrocanonicalModel,
    "translate": ImageTranslator,
    "vae": VAE,
}


def build(family: str, shape: tuple[int, ...], context_dim: int, options: dict[str, Any]) -> Model:
    """A new model of the family, networks drawn from the global generator (fork it first).

    Raises
    ------
    OptionError : unknown family, or an option that the family does not take.
    """
    if family not in FAMILIES:
        raise OptionError("unknown family", got=family, expected=" | ".join(FAMILIES), do="choose one of these")
    try:
        return FAMILIES[family](shape=shape, context_dim=context_dim, **options)  # type: ignore[call-arg]
    except TypeError as error:
        raise OptionError(f"family '{family}' does not take these options", got=str(error).split("()")[-1].strip(),
                          expected=f"options of {FAMILIES[family].__name__}", do="see its documentation") from error
