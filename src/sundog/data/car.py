"""CAR maps; they live in ``sundog.data.sky.car``."""

from sundog.data.sky.car import *  # noqa: F403
