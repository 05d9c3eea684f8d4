"""Shape of point sets: pieces, loops, shadows and graphs of filaments; needs the extra ``topology``.

>>> from sundog.statistics.topology import epsilon_path_metric, rips_betti, rips_shadow, reconstruct_graph
"""

from sundog.statistics.topology.filaments import FilamentGraph, reconstruct_graph
from sundog.statistics.topology.metric import epsilon_from_tree, epsilon_path_metric
from sundog.statistics.topology.rips import Shadow, rips_betti, rips_shadow

__all__ = [
    "FilamentGraph",
    "Shadow",
    "epsilon_from_tree",
    "epsilon_path_metric",
    "reconstruct_graph",
    "rips_betti",
    "rips_shadow",
]  # fmt: skip
