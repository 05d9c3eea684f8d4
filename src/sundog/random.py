"""The one way to seed: a stream of random numbers for every purpose, so that no two purposes share numbers.

Every function that draws takes a whole number ``seed`` or a generator made here.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def stream(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Random generator of torch for one purpose of one seed; other purposes and seeds give independent numbers.

    Parameters
    ----------
    seed: any whole number.
    purpose: words and counters that name what is drawn: ``stream(seed, "noise", step)``.
    device: where the numbers are drawn; a generator of another device gives other numbers.

    Example
    -------
    >>> import torch
    >>> a, b = (float(torch.rand(1, generator=stream(5, name))) for name in ("field", "noise"))
    >>> a == b
    False
    >>> a == float(torch.rand(1, generator=stream(5, "field")))
    True
    """
    import torch  # a sky needs none of it: 190 MB

    # torch seeds its Mersenne twister with the low 32 bits of a seed.
    return torch.Generator(device).manual_seed(key(seed, *purpose) >> 224)


def numpy_stream(seed: int, *purpose: str | int) -> np.random.Generator:
    """Random generator of numpy for one purpose of one seed: `stream` for code that works on arrays."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(key(seed, *purpose))))


def key(seed: int, *purpose: str | int) -> int:
    """Number of 256 bits that belongs to this seed and purpose alone."""
    # Hashed whole: with sums and offsets of seeds, one purpose of one seed would meet another purpose of the next.
    text = "/".join(_spelled(part) for part in (int(seed), *(purpose or ("",))))
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")


def short(seed: int, bits: int, *purpose: str | int) -> int:
    """The seed for a library that takes so many bits: itself where it fits, else a hash of it.

    Example
    -------
    >>> short(7, 32, "trees"), short(2**70, 32, "trees") < 2**32
    (7, True)
    """
    return int(seed) if 0 <= seed < 2**bits else key(seed, *purpose) >> (256 - bits)


def _spelled(part: str | int) -> str:
    """A word as it is; in quotes, where it could be taken for several words or for a counter."""
    return repr(part) if isinstance(part, str) and re.search(r"[/'\"]|^-?\d+$", part) else str(part)
