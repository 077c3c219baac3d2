"""A container's last words (Kubernetes documentation, "Determine the Reason for Pod Failure")."""

from __future__ import annotations

import os
from pathlib import Path

from podyard.pods.logs import read_lines

MAX_MESSAGE = 4096
"""Bytes of the file that count."""
MAX_LOG_LINES = 80
MAX_LOG_BYTES = 2048


def termination_message(path: Path, log: Path | None) -> str:
    """What a container wrote to its termination message file; where that is nothing, the end of ``log`` if given."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        text = b""
    else:
        with open(descriptor, "rb") as file:
            text = file.read(MAX_MESSAGE)
    if not text and log is not None:
        lines = [line.content() for line in read_lines(log, tail=MAX_LOG_LINES)]
        text = b"".join(lines)[-MAX_LOG_BYTES:]
    return text.decode("utf-8", "replace").strip()
