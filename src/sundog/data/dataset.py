"""Dataset with everything it can do: ``describe``, ``save`` and ``load`` come from the modules that know how."""

from __future__ import annotations

from sundog.data.files import load, save
from sundog.data.sample import Dataset

__all__ = ["Dataset", "load", "save"]
