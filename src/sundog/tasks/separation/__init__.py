"""Statistical component separation: a map s from d = s + c, knowing only how the contamination c behaves.

No model of s is needed. With Phi the scattering covariances and band powers, c_i draws of the contamination and u the
running map, find u such that <Phi(u + c_i)> = Phi(d) within the scatter over the draws; see `losses` for what else may
be asked of u.

>>> from sundog.tasks.separation import Match, Residual, separate
"""

from sundog.tasks.separation.descent import Schedule
from sundog.tasks.separation.losses import Cross, HalfMissions, Independence, Loss, Match, Residual
from sundog.tasks.separation.mixture import separate
from sundog.tasks.separation.observed import Observed
from sundog.tasks.separation.phi import Domain, Statistics
from sundog.tasks.separation.posterior import Posterior, posterior
from sundog.tasks.separation.result import Report, Separation
from sundog.tasks.separation.unlabelled import Clusters, find_clusters

__all__ = [
    "Clusters",
    "Cross",
    "Domain",
    "HalfMissions",
    "Independence",
    "Loss",
    "Match",
    "Observed",
    "Posterior",
    "Report",
    "Residual",
    "Schedule",
    "Separation",
    "Statistics",
    "find_clusters",
    "posterior",
    "separate",
]
