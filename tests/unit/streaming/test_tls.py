"""TLS: certificates that are given, and those that podyard makes itself."""

from __future__ import annotations

import asyncio
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.streaming import LIMIT, SPDY, request, status
from tests.unit.streaming.serving import command, serving

from podyard.client.streams import Transport, Wanted, open_session
from podyard.errors import ConfigError, PodyardError
from podyard.streaming import StreamingServer
from podyard.tls import selfsigned


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    cert, key = folder / "cert.pem", folder / "key.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(argv, check=True, capture_output=True)
    return cert, key


async def peer_name(url: str, context: ssl.SSLContext) -> str:
    async with request(url, SPDY, ssl=context) as answer:
        certificate = answer.writer.get_extra_info("ssl_object").getpeercert()
        assert answer.status in {101, 404}
    return str(dict(entry[0] for entry in certificate["subject"])["commonName"])


async def test_tls_with_a_certificate_that_is_renewed(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path, "first")
    async with serving(tls_cert=cert, tls_key=key, tls_minimum="1.3") as server:
        url = server.url("exec", command())
        assert url.startswith("https://127.0.0.1:")
        assert await peer_name(url, ssl.create_default_context(cafile=str(cert))) == "first"
        make_certificate(tmp_path, "second")
        assert await peer_name(url, ssl.create_default_context(cafile=str(cert))) == "second"
        cert.write_text("half of a certif")
        trusted = ssl.create_default_context()
        trusted.check_hostname, trusted.verify_mode = False, ssl.CERT_NONE
        async with request(url, SPDY, ssl=trusted) as answer:
            assert answer.status == 404
        old = ssl.create_default_context()
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await status(url, SPDY, ssl=old)


async def test_a_certificate_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path, "name")
    cert.write_text("nothing")
    with pytest.raises(ConfigError, match=r"streaming\.tls_cert"):
        async with serving(tls_cert=cert, tls_key=key):
            raise AssertionError("it serves")


async def own_serial(server: StreamingServer, certificate: Path, name: str = "127.0.0.1") -> str:
    """The serial number of the certificate, which a client that trusts the file accepts for ``name``."""
    context = ssl.create_default_context(cafile=str(certificate))
    async with request(server.url("exec", command()), SPDY, ssl=context, server_hostname=name) as answer:
        assert answer.status == 101
        return str(answer.writer.get_extra_info("ssl_object").getpeercert()["serialNumber"])


async def test_a_certificate_of_its_own_is_made_once_and_kept(tmp_path: Path) -> None:
    certificate = tmp_path / "state" / "own.pem"
    async with serving(certificate, tls=True) as server:
        assert server.url("exec", command()).startswith("https://127.0.0.1:")
        serial = await own_serial(server, certificate)
        assert await own_serial(server, certificate, "localhost") == serial
        with pytest.raises(ssl.SSLCertVerificationError, match="not valid for 'example'"):
            await own_serial(server, certificate, "example")
    assert stat.S_IMODE(certificate.stat().st_mode) == 0o600
    assert [path.name for path in certificate.parent.iterdir()] == ["own.pem"]
    async with serving(certificate, tls=True) as server:
        assert await own_serial(server, certificate) == serial
    async with serving(certificate, tls=True, address="::") as server:
        others = {await own_serial(server, certificate, address) for address in ("::1", "127.0.0.1")}
        assert len(others) == 1
        assert serial not in others


async def test_an_own_certificate_is_renewed_before_it_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = tmp_path / "own.pem"
    async with serving(certificate, tls=True) as server:
        first = await own_serial(server, certificate)
    content = certificate.read_bytes()
    monkeypatch.setattr(selfsigned, "RENEWAL", selfsigned.LIFETIME)
    async with serving(certificate, tls=True) as server:
        assert certificate.read_bytes() != content
        # The client trusts what it finds in the file, and the handshake renews that.
        with pytest.raises(ssl.SSLCertVerificationError):
            await own_serial(server, certificate)
        monkeypatch.undo()
        renewed = await own_serial(server, certificate)
        assert await own_serial(server, certificate) == renewed != first


async def test_part_of_an_own_certificate_is_made_again(tmp_path: Path) -> None:
    certificate = tmp_path / "own.pem"
    async with serving(certificate, tls=True) as server:
        first = await own_serial(server, certificate)
    content = certificate.read_bytes()
    for size in (0, 10, len(content) - 10):
        certificate.write_bytes(content[:size])
        async with serving(certificate, tls=True) as server:
            assert await own_serial(server, certificate) != first


async def test_an_own_certificate_that_cannot_be_made_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PodyardError, match=r"certificate to .*own\.pem"):
        async with serving(tmp_path / "file" / "own.pem", tls=True):
            raise AssertionError("it serves")
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigError, match="cryptography"):
        async with serving(tmp_path / "own.pem", tls=True):
            raise AssertionError("it serves")


@pytest.mark.parametrize("transport", ["spdy", "websocket"])
async def test_podyards_client_over_tls(tmp_path: Path, transport: Transport) -> None:
    content, found = bytes(range(256)) * 8192, bytearray()
    async with serving(tmp_path / "own.pem", tls=True) as server:

        async def ask() -> str:
            return server.url("exec", command())

        wanted = Wanted(stdin=True, stdout=True, stderr=False, tty=False)
        async with asyncio.timeout(LIMIT), open_session(ask, wanted, transport) as session:

            async def feed() -> None:
                await session.stdin.write(content)
                await session.stdin.close()

            feeding = asyncio.create_task(feed())
            async for piece in session.stdout:
                found += piece
            await feeding
            assert await session.wait() == 5
    assert bytes(found) == content
