"""Where a CRI runtime listens: a unix socket."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from podyard.errors import InvalidArgument, Unimplemented

__all__ = ["Endpoint"]

_LONGEST = 107
"""Bytes of a socket's path (unix(7), sun_path without its final NUL)."""

_REFUSALS = {
    errno.ENOENT: "there is no such socket: start the runtime, or name its socket",
    errno.ECONNREFUSED: "nobody listens on the socket, a runtime that has ended left it: start the runtime",
    errno.EACCES: "permission denied: run as the user who owns the socket (root, as a rule)",
    errno.EAGAIN: "the runtime does not accept connections, too many wait already: look at its log",
}


@dataclass(frozen=True)
class Endpoint:
    """A unix socket, by its absolute path."""

    path: Path

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """An endpoint from ``unix:///path`` or ``/path``.

        Raises InvalidArgument for anything else, Unimplemented on a platform without unix sockets.
        """
        if not hasattr(socket, "AF_UNIX"):
            raise Unimplemented(f"endpoint {text!r}: this platform has no unix sockets, and podyard knows no other way")
        path = text.removeprefix("unix://")
        if not path.startswith("/"):
            raise InvalidArgument(
                f"endpoint {text!r} is not a unix socket: write an absolute path, as unix:///run/podyard/podyard.sock"
                " or /run/podyard/podyard.sock"
            )
        if "\0" in path or len(os.fsencode(path)) > _LONGEST:
            raise InvalidArgument(f"endpoint {text!r}: a socket's path has at most {_LONGEST} bytes and no NUL")
        return cls(Path(path))

    @property
    def target(self) -> str:
        """The endpoint as gRPC wants it: a URI, in which some characters of a path must be escaped."""
        return f"unix:{quote(str(self.path))}"

    def refusal(self) -> str:
        """Why nobody can be reached there now, with what to do; "" when a connection is accepted.

        It connects and hangs up, without waiting.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(str(self.path))
            except OSError as error:
                if error.errno == errno.ECONNREFUSED and not self.path.is_socket():
                    return "that is no socket: name the runtime's"
                return _REFUSALS.get(error.errno or 0, f"{error.strerror or error}: name the runtime's socket")
        return ""

    def __str__(self) -> str:
        return f"unix://{self.path}"
