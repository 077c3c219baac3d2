"""Names and messages of exec, attach and port-forward, as kubelets and API servers know them.

Over SPDY each stream says what it is by headers. Over WebSocket there are numbered channels (``channels.py``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

PROTOCOL_HEADER = "X-Stream-Protocol-Version"
"""The request offers subprotocols by it over SPDY, the answer names the one that was taken."""
ACCEPTED_HEADER = "X-Accepted-Stream-Protocol-Versions"
"""In a refusal: what would have been taken."""
SPDY_UPGRADE = "SPDY/3.1"

V1, V2, V3, V4, V5 = (
    "channel.k8s.io",
    "v2.channel.k8s.io",
    "v3.channel.k8s.io",
    "v4.channel.k8s.io",
    "v5.channel.k8s.io",
)
REMOTE_COMMAND = (V5, V4, V3, V2, V1)
"""v1 is the first; v2 lets stdin end; v3 adds resizing; v4 has Status objects on the error stream; v5 adds the close
signal, which WebSocket needs."""
PORT_FORWARD = "portforward.k8s.io"

STREAM_TYPE = "streamtype"
PORT = "port"
REQUEST_ID = "requestid"
"""Headers of SPDY streams, in lower case. PORT and REQUEST_ID belong to port-forward: the error and the data stream of
one connection have the same request id."""
STDIN, STDOUT, STDERR, ERROR, RESIZE, DATA = "stdin", "stdout", "stderr", "error", "resize", "data"
"""Values of STREAM_TYPE."""

EXIT_CODE_REASON = "NonZeroExitCode"
EXIT_CODE_CAUSE = "ExitCode"

LARGEST_MESSAGE = 65536
"""Bytes of a status or of an unfinished resize message that are read."""


class Channel(IntEnum):
    """WebSocket channels of exec and attach."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    ERROR = 3
    RESIZE = 4
    CLOSE = 255
    """v5: followed by the number of the channel that the sender has ended."""


CHANNELS = {
    STDIN: Channel.STDIN,
    STDOUT: Channel.STDOUT,
    STDERR: Channel.STDERR,
    ERROR: Channel.ERROR,
    RESIZE: Channel.RESIZE,
}


def has_status(protocol: str) -> bool:
    """Whether the error stream carries a Status object; before v4 it carries a text, and nothing means success."""
    return protocol in {V4, V5}


def has_resize(protocol: str) -> bool:
    """Whether there is a resize stream for a terminal."""
    return protocol in {V3, V4, V5}


def choose(offered: Iterable[str], known: Iterable[str]) -> str | None:
    """The first subprotocol of the client's that the server knows."""
    accepted = set(known)
    return next((protocol for protocol in offered if protocol in accepted), None)


@dataclass(frozen=True)
class Status:
    """How a session ended. ``exit_code``: the command's; None where it never ran to its end, and then ``message`` says
    why. 0 stands for success, also for a session that has no command (attach)."""

    exit_code: int | None = 0
    message: str = ""

    @property
    def success(self) -> bool:
        """Whether all went well."""
        return self.exit_code == 0

    def encode(self, protocol: str) -> bytes:
        """What stands on the error stream; empty for success before v4."""
        default = f"command terminated with exit code {self.exit_code}" if self.exit_code else ""
        text = self.message or default
        if not has_status(protocol):
            return b"" if self.success else text.encode()
        document: dict[str, Any] = {"metadata": {}, "status": "Success" if self.success else "Failure"}
        if self.exit_code:
            causes = [{"reason": EXIT_CODE_CAUSE, "message": str(self.exit_code)}]
            document |= {"message": text, "reason": EXIT_CODE_REASON, "details": {"causes": causes}}
        elif not self.success:
            document |= {"message": text, "reason": "InternalError", "code": 500}
        return json.dumps(document).encode()

    @classmethod
    def decode(cls, content: bytes, protocol: str) -> Status:
        """The status from all that came on the error stream. Raises ValueError for what is no Status object."""
        if not has_status(protocol):
            return cls(None, content.decode(errors="replace")) if content else cls()
        try:
            document = json.loads(content)
            if document["status"] == "Success":
                return cls()
            message = str(document.get("message") or document.get("reason") or "the runtime gave no reason")
            if document.get("reason") == EXIT_CODE_REASON:
                for cause in document["details"]["causes"]:
                    if cause.get("reason") == EXIT_CODE_CAUSE:
                        return cls(int(cause["message"]), message)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"the error stream carries no Status: {content[:200]!r}") from error
        return cls(None, message)


@dataclass(frozen=True)
class WindowSize:
    """A terminal's size in characters."""

    width: int
    height: int

    def encode(self) -> bytes:
        """A message of the resize stream."""
        return json.dumps({"Width": self.width, "Height": self.height}).encode() + b"\n"


class ResizeReader:
    """Takes resize messages from a stream: JSON objects one behind the other, cut anywhere."""

    def __init__(self) -> None:
        self._text = ""
        self._decoder = json.JSONDecoder()

    def feed(self, data: bytes) -> list[WindowSize]:
        """The sizes that are complete now. One that is 0 or beyond 16 bits is left out: it means nothing.

        Raises ValueError for what is no size.
        """
        self._text = (self._text + data.decode()).lstrip()
        found = []
        while self._text:
            try:
                value, end = self._decoder.raw_decode(self._text)
            except RecursionError:
                raise ValueError("no window size: nested too deeply") from None
            except json.JSONDecodeError:
                # Cut off, as far as one can tell: no size takes as much text as this.
                if len(self._text) > 1024:
                    raise ValueError(f"no window size: {self._text[:100]!r}") from None
                break
            self._text = self._text[end:].lstrip()
            if not isinstance(value, dict):
                raise ValueError(f"no window size: {value!r}")  # noqa: TRY004
            width, height = value.get("Width"), value.get("Height")
            if isinstance(width, int) and isinstance(height, int) and 0 < width < 65536 and 0 < height < 65536:
                found.append(WindowSize(width, height))
        return found
