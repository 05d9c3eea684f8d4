"""HEALPix maps at the door; lives in ``sundog.data.sky.healpix``."""

from sundog.data.sky.healpix import *  # noqa: F403
