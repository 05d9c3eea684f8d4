"""Pictures and pages of results; the only room that imports a plotting library. `sundog.report` is `page`."""

from __future__ import annotations

from functools import singledispatch
from pathlib import Path
from typing import Any

from sundog.errors import OptionError
from sundog.reports.pages.emulation import write_emulation_page
from sundog.reports.pages.scan import write_scan_report
from sundog.reports.pages.separation import write_page
from sundog.reports.pages.texture import write_texture_page
from sundog.reports.pages.verdict import write_report
from sundog.tasks.anomaly.scan.found import ScanResult
from sundog.tasks.emulate import EmulationResult
from sundog.tasks.separation.result import Separation
from sundog.verdicts.textures import Textures
from sundog.verdicts.verdict import Verdict


@singledispatch
def page(result: Any, path: str | Path, **options: Any) -> Path:
    """The path, after the page of a result was written there; a new kind of result is one ``page.register`` more."""
    raise OptionError("no page for this object", got=type(result).__name__,
                      expected=" | ".join(kind.__name__ for kind in page.registry if kind is not object),
                      do="pass what sundog.judge, scan, separate or emulate returned")


page.register(Verdict, write_report)
page.register(EmulationResult, write_emulation_page)
page.register(ScanResult, write_scan_report)
page.register(Separation, write_page)
page.register(Textures, write_texture_page)
