"""Signal names as images, requests and the CRI write them, and their numbers (signal(7))."""

from __future__ import annotations

import re
import signal

from podyard.errors import InvalidArgument

DEFAULT = "SIGTERM"

_REALTIME = re.compile(r"SIGRT(MIN|MAX)(?:(PLUS|MINUS|\+|-)(\d{1,2}))?")


def canonical(text: str) -> str:
    """The CRI's name of a signal without its prefix ("SIGTERM", "SIGRTMINPLUS3") for "TERM", "sigterm", "15".

    Raises InvalidArgument for what is no signal.
    """
    name = text.strip().upper()
    if name.isdigit():
        return _named(int(name), text)
    if not name.startswith("SIG"):
        name = f"SIG{name}"
    name = name.replace("+", "PLUS").replace("-", "MINUS")
    value = number(name)
    # SIGRTMIN+20 has another name in the protocol.
    return _named(value, text) if _REALTIME.fullmatch(name) else name


def number(name: str) -> int:
    """The number of a signal by its canonical name. Raises InvalidArgument for what is no signal."""
    realtime = _REALTIME.fullmatch(name)
    if realtime:
        end, sign, offset = realtime.groups()
        base = signal.SIGRTMIN if end == "MIN" else signal.SIGRTMAX
        value = base + (int(offset or 0) if sign == "PLUS" else -int(offset or 0))
        if signal.SIGRTMIN <= value <= signal.SIGRTMAX:
            return int(value)
    # glibc's aliases that Python's enumeration leaves out or folds.
    name = {"SIGIOT": "SIGABRT", "SIGPOLL": "SIGIO", "SIGCLD": "SIGCHLD"}.get(name, name)
    found = getattr(signal, name, None)
    if not isinstance(found, signal.Signals):
        raise InvalidArgument(f"{name} is no signal; use a name such as SIGTERM or SIGRTMIN+3, or a number")
    return int(found)


def _named(value: int, text: str) -> str:
    if signal.SIGRTMIN < value < signal.SIGRTMAX:
        # The protocol counts up from SIGRTMIN to the middle and down from SIGRTMAX beyond it.
        offset = value - signal.SIGRTMIN
        return f"SIGRTMINPLUS{offset}" if offset <= 15 else f"SIGRTMAXMINUS{signal.SIGRTMAX - value}"
    try:
        return signal.Signals(value).name
    except ValueError:
        raise InvalidArgument(f"{text} is no signal number") from None
