"""Image translation and refinement; the page of formulas is ``translator``."""

from sundog.models.translate.gaussian import ConditionalGaussian
from sundog.models.translate.refiner import ResidualRefiner
from sundog.models.translate.translator import ImageTranslator

__all__ = ["ConditionalGaussian", "ImageTranslator", "ResidualRefiner"]
