"""Skies: correlated maps of the lensing convergence, the SZ effects, the infrared background and radio sources."""

from sundog.simulate.sky.components import COMPONENTS, NAMES, POINT_LIKE, Component
from sundog.simulate.sky.cosmology import Cosmology, cosmology
from sundog.simulate.sky.maps import SkyMaps
from sundog.simulate.sky.simulator import simulate_sky
from sundog.simulate.sky.sources import RadioCounts

__all__ = ["COMPONENTS", "NAMES", "POINT_LIKE", "Component", "Cosmology", "RadioCounts", "SkyMaps", "cosmology",
           "simulate_sky"]
