"""What every result can do: become a page. Results know no report; the front door of the package puts the writer in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


class Result:
    """Base of what the judge and the tasks return."""

    _write: Callable[..., Path]  # set by ``sundog/__init__.py``, which stands above results and reports

    def report(self, path: str | Path, **options: Any) -> Path:
        """Write one self-contained HTML page that opens without network; returns the path. See `sundog.report`."""
        return type(self)._write(self, path, **options)
