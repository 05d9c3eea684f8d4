"""Score-based diffusion; the page of formulas is ``family``."""

from sundog.models.diffusion.family import Diffusion
from sundog.models.diffusion.levels import NoiseRange
from sundog.models.gaussian.law import GaussianDenoiser

__all__ = ["Diffusion", "GaussianDenoiser", "NoiseRange"]
