"""Measure one sample: pure functions of tensors, differentiable where that makes sense; no data set, model or plot.

>>> from sundog.statistics import power_spectrum, frechet_distance, shape_metrics
"""

from sundog.statistics.catalogue.table import Frame, Statistic, catalogue, choose, features
from sundog.statistics.events.marginals import Marginals, correlation_matrix, marginals
from sundog.statistics.harmonics.transform import PhaseHarmonics
from sundog.statistics.maps.bispectrum import Bispectrum, bispectrum
from sundog.statistics.maps.morphology import (
    Minkowski,
    StructureFunctions,
    gaussian_smooth,
    minkowski_functionals,
    structure_functions,
)
from sundog.statistics.maps.peaks import (
    Peaks,
    Profile,
    find_peaks,
    matched_filter_peaks,
    peak_mask,
    radial_profile,
    stack_peaks,
)
from sundog.statistics.maps.spectra import (
    Spectrum,
    correlation_coefficient,
    cross_spectrum,
    in_ell,
    in_per_arcmin,
    power_spectrum,
)
from sundog.statistics.objects.radiomics import RadiomicDistance, frechet_radiomic_distance, radiomic_features
from sundog.statistics.objects.shapes import (
    asymmetry,
    concentration,
    gini,
    m20,
    pixel_metrics,
    shape_features,
    shape_metrics,
)
from sundog.statistics.samples.distance import (
    energy_distance,
    frechet_distance,
    mmd,
    mmd_permutation,
    sliced_wasserstein,
    wasserstein_1,
)
from sundog.statistics.samples.neighbours import (
    PRDC,
    Memorisation,
    nearest_neighbour_memorisation,
    precision_recall_density_coverage,
)
from sundog.statistics.samples.onepoint import Moments, histogram, moments, quantiles
from sundog.statistics.samples.uncertainty import Estimate, bootstrap, jackknife
from sundog.statistics.scattering.covariance import ScatteringCovariance
from sundog.statistics.scattering.line import LineScatteringCovariance
from sundog.statistics.scattering.transform import WaveletScattering
from sundog.statistics.scattering.volume import VolumeScatteringCovariance
from sundog.statistics.sphere.scattering import SphereScatteringCovariance

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
