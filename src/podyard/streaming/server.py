"""The streaming server's port. A connection is one request, its upgrade, and the session that follows."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
from http import HTTPStatus
from pathlib import Path
from typing import ClassVar, Protocol
from urllib.parse import quote

import h11

from podyard.errors import Cancelled, FailedPrecondition
from podyard.streaming.config import StreamingConfig
from podyard.streaming.link import Link
from podyard.streaming.request import REQUEST_LIMIT, Refused, Request, Upgrade
from podyard.streaming.session import Session
from podyard.streaming.spdy import SpdySession
from podyard.streaming.tls import server_context
from podyard.streaming.tokens import Tokens
from podyard.streaming.websocket import Tunnel, Tunnelled, WebSocketSession
from podyard.wire import channels
from podyard.wire.remotecommand import PORT_FORWARD

logger = logging.getLogger(__name__)

HEARTBEAT = 5.0
"""Seconds between two looks at a connection: is it idle, has a client gone whom nobody reads from."""
LINGER = 10.0
"""Seconds that a client gets to close when all is said. Closing under what it still sends could cost it the end."""
REFUSAL_LINGER = 5.0
"""Seconds that a refused client gets to read why, and to send the rest of its request."""
STOP_PATIENCE = 10.0
"""Seconds for all sessions to end when the server stops."""


class Endpoint(Protocol):
    """What a URL leads to: a RemoteCommand or a Forward."""

    client_ends: ClassVar[bool]
    """Whether a client knows by itself that all is said, and closes."""

    @property
    def what(self) -> str:
        """For the log."""

    async def serve(self, session: Session, open_timeout: float) -> None:
        """Serve a session to its end."""


class StreamingServer:
    """Gives out URLs and serves what they lead to."""

    def __init__(self, config: StreamingConfig, certificate: Path) -> None:
        """``certificate``: where podyard keeps one that it makes itself."""
        self._config = config
        self._certificate = certificate
        self._tokens: Tokens[Endpoint] = Tokens(config.token_lifetime, config.tokens)
        self._server: asyncio.Server | None = None
        self._base = ""
        self._connections: set[_Connection] = set()

    async def start(self) -> None:
        """Listen. Raises FailedPrecondition when the address cannot be had, ConfigError for a bad certificate."""
        config = self._config
        addresses = _reachable(config.address)
        context = await asyncio.to_thread(server_context, config, self._certificate, addresses)
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: _Connection(self, config),
                config.address,
                config.port,
                ssl=context,
                ssl_handshake_timeout=config.open_timeout if context else None,
                backlog=512,
            )
        except OSError as error:
            raise FailedPrecondition(
                f"cannot listen on {config.address} port {config.port} for exec, attach and port-forward: "
                f"{error.strerror}; set streaming.address and streaming.port to what is free"
            ) from error
        port = self._server.sockets[0].getsockname()[1]
        host = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
        self._base = f"{'https' if context else 'http'}://{host}:{port}"
        logger.info("streaming on %s", self._base)

    def url(self, kind: str, endpoint: Endpoint) -> str:
        """A URL that serves once, within ``token_lifetime``. ``kind``: "exec", "attach" or "portforward".

        Raises ResourceExhausted when too many wait.
        """
        return f"{self._base}/{kind}/{quote(self._tokens.issue(kind, endpoint))}"

    async def close(self) -> None:
        """Listen no more and end all sessions: commands that exec has started are killed."""
        if self._server is not None:
            self._server.close()
        tasks = [connection.cut() for connection in self._connections]
        pending = {task for task in tasks if task is not None}
        if pending:
            _, late = await asyncio.wait(pending, timeout=STOP_PATIENCE)
            if late:
                logger.warning("%d streaming sessions did not end within %g s", len(late), STOP_PATIENCE)

    def find(self, kind: str, token: str) -> Endpoint:
        """What a token leads to. Raises Refused for one that is unknown, used or too old."""
        endpoint = self._tokens.peek(kind, token)
        if endpoint is None:
            raise Refused(HTTPStatus.NOT_FOUND, "this URL is unknown, used or too old: ask the runtime for a new one")
        return endpoint

    def use(self, token: str) -> None:
        """A token has led to a session."""
        self._tokens.take(token)

    def opened(self, connection: _Connection) -> bool:
        """Remember a connection; False when there are too many."""
        self._connections.add(connection)
        return len(self._connections) <= self._config.sessions

    def lost(self, connection: _Connection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)


class _Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: StreamingServer, config: StreamingConfig) -> None:
        self._server = server
        self._config = config
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=REQUEST_LIMIT)
        self._receiver: Session | Tunnelled | None = None
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None
        self._admitted = True
        self._refused = False
        self._interval = min(HEARTBEAT, config.idle_timeout)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._link = Link(transport)
        self._admitted = self._server.opened(self)
        loop = asyncio.get_running_loop()
        # For the request; then it looks after the session.
        self._timer = loop.call_later(self._config.open_timeout, self._request_is_late)

    def data_received(self, data: bytes) -> None:
        self._link.touch()
        if self._receiver is not None:
            self._receiver.receive(data)
        elif not self._refused:
            self._read_request(data)

    def pause_writing(self) -> None:
        self._link.pause_writing()

    def resume_writing(self) -> None:
        self._link.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._link.lost()
        if self._session is not None:
            self._session.lost()
        if self._task is not None:
            self._task.cancel()
        self._server.lost(self)
        # No cycle remains: a session's memory is free with its end, not with a garbage collection some time later.
        self._session = self._receiver = self._task = None

    def cut(self) -> asyncio.Task[None] | None:
        """End at once; the session's task, which still cleans up."""
        self._link.abort()
        return self._task

    def _read_request(self, data: bytes) -> None:
        try:
            self._http.receive_data(data)
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                return
            if not isinstance(event, h11.Request):
                raise Refused(HTTPStatus.BAD_REQUEST, "this is no request")  # noqa: TRY301
            self._answer(Request(event))
        except h11.RemoteProtocolError as error:
            self._refuse(Refused(HTTPStatus(error.error_status_hint), str(error)))
        except Refused as refusal:
            self._refuse(refusal)

    def _answer(self, request: Request) -> None:
        """Begin the session, or raise Refused. The token is used up only by what becomes a session."""
        if not self._admitted:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "too many sessions are open: try again later")
        kind, token = request.split()
        endpoint = self._server.find(kind, token)
        upgrade = request.upgrade(kind)
        if self._http.next_event().__class__ is not h11.EndOfMessage or self._http.next_event() is not h11.PAUSED:
            raise Refused(HTTPStatus.BAD_REQUEST, "the request has a body")
        self._server.use(token)
        answer = h11.InformationalResponse(status_code=101, headers=list(upgrade.headers.items()))
        self._link.write(self._http.send(answer) or b"")
        self._begin(endpoint, upgrade)

    def _begin(self, endpoint: Endpoint, upgrade: Upgrade) -> None:
        session, receiver = _session(upgrade, self._link)
        self._session, self._receiver = session, receiver
        self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._look_after)
        self._task = asyncio.create_task(self._serve(endpoint, session), name=endpoint.what)
        rest, _ = self._http.trailing_data
        if rest:
            receiver.receive(rest)

    async def _serve(self, endpoint: Endpoint, session: Session) -> None:
        try:
            await endpoint.serve(session, self._config.open_timeout)
        except TimeoutError:
            logger.info("%s: the client opened no streams within %g s", endpoint.what, self._config.open_timeout)
            self._link.close()
            return
        except Cancelled as error:
            logger.info("%s: %s", endpoint.what, error)
        except Exception:
            logger.exception("%s failed unexpectedly", endpoint.what)
        session.finish()
        self._link.release_all()
        await self._link.emptied()
        if endpoint.client_ends:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINGER):
                    await self._link.gone.wait()
        self._link.close()

    def _refuse(self, refusal: Refused) -> None:
        body = f"{refusal}\n".encode(errors="replace")
        headers = {
            **refusal.headers,
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        logger.info("a streaming request is refused: %d, %s", refusal.status, refusal)
        self._refused = True
        try:
            head = self._http.send(h11.Response(status_code=refusal.status, headers=list(headers.items())))
        except h11.LocalProtocolError:
            # The request is so broken that there is no way to answer it.
            self._link.abort()
            return
        self._link.write((head or b"") + body)
        self._link.end()
        self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(REFUSAL_LINGER, self._link.abort)

    def _request_is_late(self) -> None:
        self._link.abort()

    def _look_after(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() - self._link.last_activity >= self._config.idle_timeout:
            logger.info("a session is ended: no byte came or went for %g s", self._config.idle_timeout)
            self._link.abort()
        elif self._link.peer_has_gone():
            logger.info("a session is ended: its client has gone without a word")
            self._link.abort()
        elif self._link.held and self._session is not None:
            # A client whose process has gone cannot read what it has sent, and so does not close: but whatever is sent
            # to it makes the kernel say so.
            self._session.ping()
        if not self._link.gone.is_set():
            self._timer = loop.call_later(self._interval, self._look_after)


def _session(upgrade: Upgrade, link: Link) -> tuple[Session, Session | Tunnelled]:
    """The session, and who takes the connection's bytes: the same, unless there is a tunnel."""
    if upgrade.transport == "spdy":
        session: Session = SpdySession(link, upgrade.subprotocol)
        return session, session
    if upgrade.transport == "tunnel":
        tunnel = Tunnel(link)
        session = SpdySession(tunnel, PORT_FORWARD)
        return session, Tunnelled(tunnel, session)
    known = {**channels.FORWARD, **channels.REMOTE_COMMAND}
    session = WebSocketSession(link, known[upgrade.subprotocol])
    return session, session


def _reachable(address: str) -> list[str]:
    """The addresses of this host that a listener is reached by; the first one is for URLs.

    The clients of URLs are on this host, as those of the CRI are.
    """
    parsed = ipaddress.ip_address(address)
    if not parsed.is_unspecified:
        return [address]
    return ["::1", "127.0.0.1"] if parsed.version == 6 else ["127.0.0.1"]
