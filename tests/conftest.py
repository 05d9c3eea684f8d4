"""What all tests stand on."""

import signal
from collections.abc import Callable
from typing import Any

import pytest

from sundog.errors import SundogError


def pytest_configure() -> None:
    """Ctrl-C works in the tests' own processes, even where a shell started them in the background without it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def refused() -> Callable[..., None]:
    """Check that a call is refused with this kind of error, in these words, and with all four parts."""

    def check(call: Callable[[], Any], kind: type[SundogError], words: str) -> None:
        with pytest.raises(kind, match=words) as found:
            call()
        assert found.value.got is not None and found.value.expected is not None and found.value.do

    return check
