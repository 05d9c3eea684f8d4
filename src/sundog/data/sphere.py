"""The public door of harmonics on the sphere: what `sundog.data.sky.sphere` defines."""

from sundog.data.sky.sphere import *  # noqa: F403
