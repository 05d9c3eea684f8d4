"""Measure series: regular samples in time as tensors (..., t).

>>> from sundog.statistics.series import hurst_exponent, structure_functions, autocorrelation
"""

from sundog.statistics.series.hurst import HurstExponent, hurst_exponent
from sundog.statistics.series.increments import flatness, structure_functions
from sundog.statistics.series.memory import autocorrelation, power_spectrum

__all__ = ["HurstExponent", "autocorrelation", "flatness", "hurst_exponent", "power_spectrum", "structure_functions"]
