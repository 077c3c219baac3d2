"""The HTTP request that asks for a session, and the answer: an upgrade or a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal
from urllib.parse import urlsplit

import h11

from podyard.wire import channels, remotecommand

REQUEST_LIMIT = 32768
"""Bytes of a request's head."""

KINDS = ("exec", "attach", "portforward")


class Refused(Exception):
    """A request that gets no session. ``headers``: what its answer says besides."""

    def __init__(self, status: HTTPStatus, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = dict(headers or {})


@dataclass(frozen=True)
class Upgrade:
    """How a session is spoken. ``subprotocol``: the name that was agreed on, "" for none.

    "tunnel" is SPDY in WebSocket messages. ``headers``: those of the answer.
    """

    transport: Literal["spdy", "websocket", "tunnel"]
    subprotocol: str
    headers: Mapping[str, str]


class Request:
    """A request's target and headers (names in lower case)."""

    def __init__(self, event: h11.Request) -> None:
        self.method = event.method.decode("ascii", "replace")
        self.target = event.target.decode("ascii", "replace")
        self._headers: dict[str, list[str]] = {}
        for name, value in event.headers:
            self._headers.setdefault(name.decode("ascii", "replace"), []).append(value.decode("latin-1"))

    def words(self, name: str) -> list[str]:
        """A header's comma-separated values, over all its lines."""
        lines = self._headers.get(name.lower(), [])
        return [word for line in lines for word in (part.strip() for part in line.split(",")) if word]

    def first(self, name: str) -> str:
        """A header's first value, "" without one."""
        return self._headers.get(name.lower(), [""])[0]

    def split(self) -> tuple[str, str]:
        """The kind of session and the token. Raises Refused for another method, path or origin."""
        if self.method not in {"GET", "POST"}:
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{self.method} is not GET or POST", {"Allow": "GET, POST"})
        _, _, path = self.target.partition("/")
        kind, _, token = path.partition("?")[0].partition("/")
        if kind not in KINDS or not token:
            raise Refused(HTTPStatus.NOT_FOUND, "there is nothing at this path")
        self._check_origin()
        return kind, token

    def upgrade(self, kind: str) -> Upgrade:
        """How the session is to be spoken. Raises Refused when no upgrade is asked for, or none that is known."""
        asked = {word.lower() for word in self.words("upgrade")}
        if "upgrade" not in {word.lower() for word in self.words("connection")}:
            asked.clear()
        if "websocket" in asked:
            return self._websocket(kind)
        if remotecommand.SPDY_UPGRADE.lower() in asked:
            return self._spdy(kind)
        raise Refused(
            HTTPStatus.BAD_REQUEST,
            f"ask for an upgrade to {remotecommand.SPDY_UPGRADE} or websocket",
            {"Upgrade": f"{remotecommand.SPDY_UPGRADE}, websocket"},
        )

    def _check_origin(self) -> None:
        """A browser says which page asks: only one of this very server may (RFC 6455, 10.2)."""
        origin = self.first("origin")
        if not origin:
            return
        asking = _authority(origin)
        if asking is None or asking != _authority(f"{urlsplit(origin).scheme}://{self.first('host')}"):
            raise Refused(HTTPStatus.FORBIDDEN, f"a page of {origin[:200]} may not do this")

    def _spdy(self, kind: str) -> Upgrade:
        known = [remotecommand.PORT_FORWARD] if kind == "portforward" else list(remotecommand.REMOTE_COMMAND)
        offered = self.words(remotecommand.PROTOCOL_HEADER)
        chosen = remotecommand.choose(offered, known)
        if offered and chosen is None:
            raise Refused(
                HTTPStatus.FORBIDDEN,
                f"none of the subprotocols {', '.join(offered)[:200]} is known",
                {remotecommand.ACCEPTED_HEADER: ", ".join(known)},
            )
        headers = {"Connection": "Upgrade", "Upgrade": remotecommand.SPDY_UPGRADE}
        if chosen is not None:
            headers[remotecommand.PROTOCOL_HEADER] = chosen
        # The first clients named none.
        return Upgrade("spdy", chosen or remotecommand.V1, headers)

    def _websocket(self, kind: str) -> Upgrade:
        key = self.first("sec-websocket-key")
        if self.method != "GET" or not key:
            raise Refused(HTTPStatus.BAD_REQUEST, "a WebSocket begins with GET and Sec-WebSocket-Key")
        if self.first("sec-websocket-version") != "13":
            headers = {"Sec-WebSocket-Version": "13"}
            raise Refused(HTTPStatus.UPGRADE_REQUIRED, "only version 13 of WebSocket is spoken", headers)
        known = channels.FORWARD if kind == "portforward" else channels.REMOTE_COMMAND
        tunnel = [channels.TUNNEL] if kind == "portforward" else []
        offered = self.words("sec-websocket-protocol")
        chosen = remotecommand.choose(offered or [""], [*tunnel, *known])
        if chosen is None:
            raise Refused(HTTPStatus.FORBIDDEN, f"none of the subprotocols {', '.join(offered)[:200]} is known")
        headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Accept": channels.accept_key(key)}
        if chosen:
            headers["Sec-WebSocket-Protocol"] = chosen
        return Upgrade("tunnel" if chosen in tunnel else "websocket", chosen, headers)


def _authority(origin: str) -> tuple[str | None, int | None] | None:
    """Host and port; None for what has none, such as "null"."""
    try:
        parts = urlsplit(origin)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname else None
