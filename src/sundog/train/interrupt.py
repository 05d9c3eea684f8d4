"""Ctrl-C and the batch system's warning wait for the end of a step, so that a whole state can be written first."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Interrupt:
    """Inside this context SIGINT and SIGTERM are noted instead of acting; a second one acts at once.

    ``asked`` is the signal noted, or 0. ``obey`` does what the signal would have done: KeyboardInterrupt for
    SIGINT, SystemExit(143) for SIGTERM. Outside the main thread nothing is changed: signals cannot be handled there.
    """

    def __init__(self, on: bool) -> None:
        self.on = on and threading.current_thread() is threading.main_thread()
        self.asked = 0
        self.before: dict[int, object] = {}

    def __enter__(self) -> Interrupt:
        if self.on:
            self.before = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            self.asked = number
            self.obey()
        self.asked = number

    def obey(self) -> None:
        """Do what the noted signal asked for; nothing when there was none."""
        if self.asked == signal.SIGTERM:
            raise SystemExit(143)
        if self.asked:
            raise KeyboardInterrupt
