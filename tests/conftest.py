"""What holds for every test."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Hear SIGINT, which a shell has its background jobs ignore: what tests start would inherit that and is sent it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
