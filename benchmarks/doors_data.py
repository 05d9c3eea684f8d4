"""What the inputs of doors.py are made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

RNG = np.random.default_rng(0)
NAMES = ("m_jj", "tau21", "pt")
X = np.round(np.c_[RNG.uniform(3, 5, 40), RNG.uniform(0, 1, 40), RNG.exponential(800, 40)], 4)
FRAME = pd.DataFrame(X, columns=list(NAMES))
MAP = RNG.normal(size=(24, 30)).astype("f4")
SKY = RNG.normal(size=(3, 768)).astype("f4")

# Group, label, what makes the file and reads it, and the check of the answer, the words of the error, or either.
Check = Callable[[Any], bool]
Case = tuple[str, str, Callable[[Path], Any], Check | str | tuple[Check, str]]


def half(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content[: len(content) // 2])
    return folder
