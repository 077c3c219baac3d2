"""A real registry (the distribution project's) for tests, and images put into it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.patience import PATIENCE

from podyard.images.layout import LayoutWriter, WrittenManifest

START_LIMIT = 20.0 * PATIENCE


@contextlib.contextmanager
def serve(
    folder: Path, certificate: tuple[Path, Path] | None = None, *, address: str = "", clients: Path | None = None
) -> Iterator[str]:
    """Run ``docker-registry`` with its data in ``folder``; gives "127.0.0.1:port".

    ``certificate``: the files of a certificate and its key, to serve HTTPS. ``address``: where, instead of a free port.
    ``clients``: the authority of the certificates that clients must show.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yml"
    address = address or f"127.0.0.1:{free_port()}"
    tls = f"\n  tls:\n    certificate: {certificate[0]}\n    key: {certificate[1]}" if certificate else ""
    tls += f"\n    clientcas: [{clients}]" if clients else ""
    config.write_text(
        f"version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {folder}/data\n"
        f"  delete:\n    enabled: true\nhttp:\n  addr: {address}{tls}\n"
    )
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
        try:
            _wait(address, process)
            yield address
        finally:
            process.kill()
            process.wait()


def push(address: str, layout: LayoutWriter, manifest: WrittenManifest, repository: str, tag: str) -> None:
    """Put an image of a layout into a registry that speaks plain HTTP, with the media types that it has."""
    with contextlib.closing(http.client.HTTPConnection(address, timeout=30)) as connection:
        _push(connection, layout, manifest.digest, manifest.media_type, repository, tag)


def free_port() -> int:
    """A port that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _push(
    connection: http.client.HTTPConnection,
    layout: LayoutWriter,
    digest: str,
    media_type: str,
    repository: str,
    tag: str,
) -> None:
    data = layout.path(digest).read_bytes()
    document = json.loads(data)
    for child in document.get("manifests", []):
        _push(connection, layout, child["digest"], child["mediaType"], repository, child["digest"])
    for blob in [document["config"], *document["layers"]] if "config" in document else []:
        _push_blob(connection, layout, blob["digest"], repository)
    _ask(connection, "PUT", f"/v2/{repository}/manifests/{tag}", data, {"Content-Type": media_type})


def _push_blob(connection: http.client.HTTPConnection, layout: LayoutWriter, digest: str, repository: str) -> None:
    location = _ask(connection, "POST", f"/v2/{repository}/blobs/uploads/", b"", {})
    path = location.partition("://")[2].partition("/")[2] if "://" in location else location.lstrip("/")
    separator = "&" if "?" in path else "?"
    data = layout.path(digest).read_bytes()
    _ask(connection, "PUT", f"/{path}{separator}digest={digest}", data, {"Content-Type": "application/octet-stream"})


def _ask(connection: http.client.HTTPConnection, method: str, path: str, data: bytes, headers: dict[str, str]) -> str:
    connection.request(method, path, body=data, headers=headers)
    response = connection.getresponse()
    text = response.read()
    assert 200 <= response.status < 300, f"{method} {path}: {response.status} {text[:500]!r}"
    return response.headers.get("Location", "")


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    host, _, port = address.partition(":")
    deadline = time.monotonic() + START_LIMIT
    while True:
        assert process.poll() is None, "the registry has ended"
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, f"the registry does not listen on {address}"
            time.sleep(0.02)
        else:
            return
