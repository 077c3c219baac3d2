"""Container logs in the CRI's format, and whether somebody still writes them."""

from __future__ import annotations

import fcntl
import signal
from dataclasses import dataclass
from pathlib import Path

from podyard.validate.expect import Unmet

__all__ = ["Line", "is_written", "joined", "read_log"]


@dataclass(frozen=True)
class Line:
    """One entry of a log. ``tag``: "F" for a whole line, "P" for a part of one."""

    time: str
    stream: str
    tag: str
    content: str


def read_log(path: Path) -> list[Line]:
    """The entries of a log file; lines end with "\\n" alone. Raises Unmet for what is no entry."""
    lines = []
    for raw in path.read_bytes().split(b"\n")[:-1]:
        fields = raw.decode(errors="replace").split(" ", 3)
        if len(fields) != 4:
            raise Unmet("a log line of time, stream, tag and content", repr(raw))
        lines.append(Line(*fields))
    return lines


def joined(lines: list[Line]) -> str:
    """What was written: the contents, with the ends of whole lines."""
    return "".join(line.content + ("\n" if line.tag == "F" else "") for line in lines)


def is_written(path: Path) -> bool:
    """Whether any process has a file open for writing: then it takes no read lease (fcntl(2), "Leases").

    False where that cannot be told: no such file, or a file system without leases.
    """
    try:
        with path.open("rb") as file:
            # Who opens it for writing meanwhile makes the kernel send a signal: one that is ignored by default.
            fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
