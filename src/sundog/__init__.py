"""sundog: learn a distribution from limited scientific data, generate fakes, judge them with error bars.

>>> import sundog
>>> sundog.__version__.count(".")
2
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sundog.results import Result
from sundog.version import __version__ as __version__

# Public name -> module that defines it. Loaded at first use, so `import sundog` stays light.
_PUBLIC = {
    "Dataset": "sundog.data.dataset",
    "load": "sundog.data.files",
    "fit": "sundog.train.fit",
    "load_run": "sundog.train.run",
    "as_generator": "sundog.tasks.generator",
    "families": "sundog.models.families",
    "Plan": "sundog.train.plan",
    "Run": "sundog.train.run",
    "DensityRun": "sundog.train.run",
    "EmulatorRun": "sundog.train.run",
    "judge": "sundog.verdicts.compare",
    "bias_report": "sundog.verdicts.bias",
    "Verdict": "sundog.verdicts.verdict",
    "amplification": "sundog.tasks.worth",
    "separate": "sundog.tasks.separation",
    "SundogError": "sundog.errors",
}
_ROOMS = ("data", "design", "simulate", "nets", "solve", "models", "train", "statistics", "verdicts", "tasks",
          "reports", "errors")

__all__ = [*_PUBLIC, "__version__", "report", "simulate"]

if TYPE_CHECKING:
    from sundog.data.dataset import Dataset as Dataset
    from sundog.data.files import load as load
    from sundog.errors import SundogError as SundogError
    from sundog.models.families import families as families
    from sundog.tasks.generator import as_generator as as_generator
    from sundog.tasks.separation import separate as separate
    from sundog.tasks.worth import amplification as amplification
    from sundog.train.fit import fit as fit
    from sundog.train.plan import Plan as Plan
    from sundog.train.run import DensityRun as DensityRun
    from sundog.train.run import EmulatorRun as EmulatorRun
    from sundog.train.run import Run as Run
    from sundog.train.run import load_run as load_run
    from sundog.verdicts.bias import bias_report as bias_report
    from sundog.verdicts.compare import judge as judge
    from sundog.verdicts.verdict import Verdict as Verdict


def report(result: Any, path: str | Path, **options: Any) -> Path:
    """Write the page of a verdict, a scan, a separation or a comparison of textures; returns the path.

    One HTML file with style, pictures and numbers inside, written whole or not at all; it opens without network.

    Parameters
    ----------
    result : what `judge`, `scan`, `separate` or `compare_textures` returned
    options : of that page: ``truth``, ``unit``, ``pixel_arcmin`` of a separation, ``title``, ``lead`` of textures

    Raises
    ------
    OptionError : no page for such an object. FileError : the folder is missing or not writable.
    """
    from sundog.reports import page

    return page(result, path, **options)


Result._write = staticmethod(report)


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
