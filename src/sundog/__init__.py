"""sundog: learn a distribution from limited scientific data, generate fakes, judge them with error bars.

>>> import sundog
>>> sundog.__version__.count(".")
2
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public name -> module that defines it. Loaded at first use, so `import sundog` stays light.
_PUBLIC = {
    "Dataset": "sundog.data.dataset",
    "load": "sundog.data.files",
    "fit": "sundog.train.fit",
    "load_run": "sundog.train.run",
    "Plan": "sundog.train.plan",
    "Run": "sundog.train.run",
    "DensityRun": "sundog.train.run",
    "judge": "sundog.verdicts.compare",
    "Verdict": "sundog.verdicts.verdict",
    "separate": "sundog.tasks.separation",
    "SundogError": "sundog.errors",
}
_ROOMS = ("data", "simulate", "nets", "solve", "models", "train", "statistics", "verdicts", "tasks", "report", "errors")

__all__ = [*_PUBLIC, "__version__", "simulate"]

if TYPE_CHECKING:
    from sundog.data.dataset import Dataset as Dataset
    from sundog.data.files import load as load
    from sundog.errors import SundogError as SundogError
    from sundog.tasks.separation import separate as separate
    from sundog.train.fit import fit as fit
    from sundog.train.plan import Plan as Plan
    from sundog.train.run import DensityRun as DensityRun
    from sundog.train.run import Run as Run
    from sundog.train.run import load_run as load_run
    from sundog.verdicts.compare import judge as judge
    from sundog.verdicts.verdict import Verdict as Verdict


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    if name in _ROOMS:
        return importlib.import_module(f"sundog.{name}")
    raise AttributeError(f"module 'sundog' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])
