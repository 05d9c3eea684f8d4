"""What all tests stand on."""

import signal


def pytest_configure() -> None:
    """Ctrl-C works in the tests' own processes, even where a shell started them in the background without it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
