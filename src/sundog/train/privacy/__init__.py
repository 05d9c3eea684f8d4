"""Private training: a run that tells almost nothing of any single row (docs/private.md)."""

from sundog.train.privacy.budget import Mechanism, Privacy, private_scaling
from sundog.train.privacy.gradient import PrivateGradient, clipped_sum
from sundog.train.privacy.spider import SpiderBoost

__all__ = ["Mechanism", "Privacy", "PrivateGradient", "SpiderBoost", "clipped_sum", "private_scaling"]
