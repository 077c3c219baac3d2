"""What holds for every test."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Hear SIGINT and SIGQUIT, which a shell has its background jobs ignore.

    What tests start would inherit that, and is sent them.
    """
    if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
