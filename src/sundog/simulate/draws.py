"""Draws: the seeded generator of every simulator, and the check of how much was asked of it."""

from __future__ import annotations

import hashlib

import torch

from sundog.errors import OptionError


def generator(seed: int, stream: str = "") -> torch.Generator:
    """CPU random generator started from ``seed``: same seed and stream, same numbers; other streams independent."""
    # Hashed, because torch seeds its Mersenne twister with the low 32 bits only: offsets of 2**32 would collide.
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))


def at_least(value: int, least: int, what: str) -> int:
    """``value`` unchanged, if it is a whole number of at least ``least``.

    Raises
    ------
    OptionError : smaller, or not a whole number.
    """
    if value != int(value) or value < least:
        raise OptionError(f"cannot simulate with this {what}", got=value, expected=f"a whole number >= {least}",
                          do=f"ask for {what} = {max(least, 1)} or more")
    return int(value)


def positive(value: float, what: str) -> float:
    """``value`` as a float, if it is finite and above 0.

    Raises
    ------
    OptionError : zero, negative or not finite.
    """
    if not 0 < value < float("inf"):
        raise OptionError(f"{what} out of range", got=value, expected="a finite number > 0",
                          do=f"pass a positive {what}")
    return float(value)


def image_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """(ny, nx) in pixels from one number (square) or a pair; each side at least 2."""
    ny, nx = (size, size) if isinstance(size, int) else size
    return at_least(ny, 2, "size"), at_least(nx, 2, "size")
