"""Which runs of a dear simulator to buy: features of the candidates, designs, weighted least squares, probing order.

>>> from sundog.design import polynomial_features, sample_projection_dpp, WeightedLeastSquares
"""

from sundog.design.features import christoffel_density, orthonormal_features, polynomial_features
from sundog.design.least_squares import WeightedLeastSquares
from sundog.design.probing import expected_probes, graph_scenarios, next_probe, probing_order
from sundog.design.sampling import (
    d_optimal,
    nearest_candidates,
    sample_christoffel,
    sample_conditioned,
    sample_projection_dpp,
    sample_volume_rescaled,
    space_filling,
)

__all__ = [
    "WeightedLeastSquares",
    "christoffel_density",
    "d_optimal",
    "expected_probes",
    "graph_scenarios",
    "nearest_candidates",
    "next_probe",
    "orthonormal_features",
    "polynomial_features",
    "probing_order",
    "sample_christoffel",
    "sample_conditioned",
    "sample_projection_dpp",
    "sample_volume_rescaled",
    "space_filling",
]  # fmt: skip
