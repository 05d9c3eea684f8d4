"""Neural stochastic differential equations driven by fractional noise.

>>> from sundog.models.sde import FractionalSDE
"""

from sundog.models.sde.family import FractionalSDE

__all__ = ["FractionalSDE"]
