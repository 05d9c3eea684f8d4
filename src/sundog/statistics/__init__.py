"""Measure one sample: pure functions of tensors, differentiable where that makes sense; no data set, model or plot.

>>> from sundog.statistics import power_spectrum, frechet_distance, shape_metrics
"""

from sundog.statistics.bispectrum import Bispectrum, bispectrum
from sundog.statistics.catalogue import Frame, Statistic, catalogue, choose, features
from sundog.statistics.distance import (
    energy_distance,
    frechet_distance,
    mmd,
    mmd_permutation,
    sliced_wasserstein,
    wasserstein_1,
)
from sundog.statistics.events import Marginals, correlation_matrix, marginals
from sundog.statistics.morphology import (
    Minkowski,
    StructureFunctions,
    gaussian_smooth,
    minkowski_functionals,
    structure_functions,
)
from sundog.statistics.neighbours import (
    PRDC,
    Memorisation,
    nearest_neighbour_memorisation,
    precision_recall_density_coverage,
)
from sundog.statistics.onepoint import Moments, histogram, moments, quantiles
from sundog.statistics.peaks import (
    Peaks,
    Profile,
    find_peaks,
    matched_filter_peaks,
    peak_mask,
    radial_profile,
    stack_peaks,
)
from sundog.statistics.phase_harmonics import PhaseHarmonics
from sundog.statistics.radiomics import RadiomicDistance, frechet_radiomic_distance, radiomic_features
from sundog.statistics.scattering import WaveletScattering
from sundog.statistics.scattering_covariance import ScatteringCovariance
from sundog.statistics.scattering_line import LineScatteringCovariance
from sundog.statistics.scattering_sphere import SphereScatteringCovariance
from sundog.statistics.scattering_volume import VolumeScatteringCovariance
from sundog.statistics.shapes import (
    asymmetry,
    concentration,
    gini,
    m20,
    pixel_metrics,
    shape_features,
    shape_metrics,
)
from sundog.statistics.spectra import (
    Spectrum,
    correlation_coefficient,
    cross_spectrum,
    in_ell,
    in_per_arcmin,
    power_spectrum,
)
from sundog.statistics.uncertainty import Estimate, bootstrap, jackknife

__all__ = [
    "PRDC",
    "Bispectrum",
    "Estimate",
    "Frame",
    "LineScatteringCovariance",
    "Marginals",
    "Memorisation",
    "Minkowski",
    "Moments",
    "Peaks",
    "PhaseHarmonics",
    "Profile",
    "RadiomicDistance",
    "ScatteringCovariance",
    "Spectrum",
    "SphereScatteringCovariance",
    "Statistic",
    "StructureFunctions",
    "VolumeScatteringCovariance",
    "WaveletScattering",
    "asymmetry",
    "bispectrum",
    "bootstrap",
    "catalogue",
    "choose",
    "concentration",
    "correlation_coefficient",
    "correlation_matrix",
    "cross_spectrum",
    "energy_distance",
    "features",
    "find_peaks",
    "frechet_distance",
    "frechet_radiomic_distance",
    "gaussian_smooth",
    "gini",
    "histogram",
    "in_ell",
    "in_per_arcmin",
    "jackknife",
    "m20",
    "marginals",
    "matched_filter_peaks",
    "minkowski_functionals",
    "mmd",
    "mmd_permutation",
    "moments",
    "nearest_neighbour_memorisation",
    "peak_mask",
    "pixel_metrics",
    "power_spectrum",
    "precision_recall_density_coverage",
    "quantiles",
    "radial_profile",
    "radiomic_features",
    "shape_features",
    "shape_metrics",
    "sliced_wasserstein",
    "stack_peaks",
    "structure_functions",
    "wasserstein_1",
]  # fmt: skip
