"""Training grounds: physics in, Dataset out, seed explicit. Every one knows its truth.

* ``densities``: Gaussian mixtures, a correlated Gaussian, two moons (truth: ``log_prob``); ``ResonantToy``, a
  resonance on a falling mass spectrum (truth: the likelihood ratio and the labels);
* ``fields``: ``gaussian_field`` and ``lognormal_field`` (truth: spectrum and one-point law), the dust-like
  ``filamentary_field``, and ``phase_randomised`` surrogates of any maps (truth: the same amplitudes);
* ``blobs``: images of 1, 10, 50, 1000 Gaussian spots (truth: ``blob_catalogue``);
* ``dijets``: LHC-Olympics-like events with a hidden resonance (truth: ``dijet_truth``);
* ``radio``: radio galaxies with cores, jets, lobes, beam and noise (truth: ``radio_catalogue``);
* ``processes``: fractional Brownian motion and noise, Ornstein-Uhlenbeck and its fractional kin, Markov sums of them
  (paths in time as tensors, not a Dataset; truth: the covariance);
* ``sky``: whole skies of lensing, SZ effects, infrared background and radio sources (HEALPix maps, not a Dataset);
  ``frequency`` takes them to other bands.

Truth never travels inside a Dataset: it comes from a second function called with the same arguments.
"""

from __future__ import annotations

import importlib
from types import ModuleType

_GROUNDS = ("blobs", "densities", "dijets", "fields", "frequency", "processes", "radio", "sky")


def __getattr__(name: str) -> ModuleType:
    """The module of a training ground, loaded at first use: ``import sundog`` is enough to reach it."""
    if name in _GROUNDS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_GROUNDS)
