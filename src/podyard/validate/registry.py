"""A registry that the suite brings along: it serves the blobs of an OCI layout, read-only, over plain HTTP.

Source of the protocol: the OCI distribution specification, "Pull".
"""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from podyard.errors import FailedPrecondition, InvalidArgument

__all__ = ["PASSWORD", "TOKEN", "USER", "Registry"]

USER, PASSWORD = "reader", "secret"
"""Who may read repositories below "private/"."""

TOKEN = "t0ken"
"""The bearer token that opens repositories below "token/"."""

_PATH = re.compile(r"/v2/(?P<repository>[a-z0-9._/-]+)/(?P<kind>manifests|blobs)/(?P<reference>[A-Za-z0-9._:+-]+)")
_PATIENCE = 30.0
"""Seconds for a client that does not read on."""


@dataclass(frozen=True)
class _Stored:
    path: Path
    media_type: str
    digest: str


class Registry:
    """Serves from the moment it is made until ``close``. ``address`` ("host:port") is where."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Port 0: any free one. Raises FailedPrecondition when nothing can listen there."""
        self._manifests: dict[tuple[str, str], _Stored] = {}
        self._blobs: dict[str, _Stored] = {}
        self.requests: list[str] = []
        """What was asked for: "GET /v2/…", in order."""
        self._gates: dict[str, threading.Event] = {}
        registry = self

        class Handler(_Handler):
            owner = registry

        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        server_class = type("Server", (_Server,), {"address_family": family})
        try:
            self._server: ThreadingHTTPServer = server_class((host, port), Handler)
        except OSError as error:
            raise FailedPrecondition(f"the registry cannot listen on {host}:{port}: {error}") from error
        bound = self._server.server_address[1]
        self.address = f"[{host}]:{bound}" if ":" in host else f"{host}:{bound}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @staticmethod
    def parse(listen: str) -> tuple[str, int]:
        """Host and port of "HOST:PORT". Raises InvalidArgument."""
        host, _, port = listen.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise InvalidArgument(f"{listen!r} is not HOST:PORT, such as 127.0.0.1:5000")
        return host.strip("[]"), int(port)

    def add_blob(self, path: Path, digest: str) -> None:
        """Serve a layer or a configuration, in every repository."""
        self._blobs[digest] = _Stored(path, "application/octet-stream", digest)

    def add_manifest(self, repository: str, tag: str, path: Path, digest: str, media_type: str) -> None:
        """Serve a manifest by its tag and its digest. A tag that is there moves."""
        stored = _Stored(path, media_type, digest)
        self._manifests[repository, tag] = stored
        self._manifests[repository, digest] = stored

    def find(self, repository: str, kind: str, reference: str) -> _Stored | None:
        """What a request names."""
        return self._blobs.get(reference) if kind == "blobs" else self._manifests.get((repository, reference))

    @contextlib.contextmanager
    def holding(self, digest: str) -> Iterator[None]:
        """Whoever asks for some content waits for as long as the context is open."""
        gate = self._gates[digest] = threading.Event()
        try:
            yield
        finally:
            del self._gates[digest]
            gate.set()

    def wait(self, digest: str) -> None:
        """Until some content may be sent."""
        gate = self._gates.get(digest)
        if gate is not None:
            gate.wait(_PATIENCE)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up in the middle is no news: pulls are cut off on purpose."""


class _Handler(BaseHTTPRequestHandler):
    owner: Registry
    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE

    def do_GET(self) -> None:
        """Answer with the content."""
        self._answer(with_content=True)

    def do_HEAD(self) -> None:
        """Answer with the headers alone."""
        self._answer(with_content=False)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the report tells what failed."""

    def _answer(self, *, with_content: bool) -> None:
        self.owner.requests.append(f"{self.command} {self.path}")
        if self.path in {"/v2", "/v2/"}:
            self._say(200, b"{}")
            return
        match = _PATH.fullmatch(self.path.partition("?")[0])
        if match is None:
            self._say(404, b'{"errors":[{"code":"UNSUPPORTED","message":"no such path"}]}')
            return
        challenge = self._challenge(match["repository"])
        if challenge:
            self._say(401, b'{"errors":[{"code":"UNAUTHORIZED"}]}', ("WWW-Authenticate", challenge))
            return
        found = self.owner.find(match["repository"], match["kind"], match["reference"])
        if found is None:
            code = b"MANIFEST_UNKNOWN" if match["kind"] == "manifests" else b"BLOB_UNKNOWN"
            self._say(404, b'{"errors":[{"code":"' + code + b'","message":"not here"}]}')
            return
        self._send(found, with_content=with_content)

    def _challenge(self, repository: str) -> str:
        """What a repository demands that the request does not show."""
        shown = self.headers.get("Authorization", "")
        if repository.startswith("private/"):
            known = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            return "" if shown == f"Basic {known}" else 'Basic realm="validate"'
        if repository.startswith("token/"):
            return "" if shown == f"Bearer {TOKEN}" else f'Bearer realm="http://{self.owner.address}/no-tokens-here"'
        return ""

    def _send(self, found: _Stored, *, with_content: bool) -> None:
        self.owner.wait(found.digest)
        data = found.path.read_bytes()
        start, status = 0, 200
        ranged = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if ranged and int(ranged[1]) < len(data):
            start, status = int(ranged[1]), 206
        self.send_response(status)
        self.send_header("Content-Type", found.media_type)
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("Docker-Content-Digest", found.digest)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if with_content:
            self.wfile.write(data[start:])

    def _say(self, status: int, text: bytes, header: tuple[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if header:
            self.send_header(*header)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)


@contextlib.contextmanager
def serving(listen: str) -> Iterator[Registry]:
    """A registry on "HOST:PORT" for as long as the context is open."""
    registry = Registry(*Registry.parse(listen))
    try:
        yield registry
    finally:
        registry.close()
