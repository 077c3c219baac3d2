"""Pulls from a registry behind TLS, which wants a client certificate."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.faulty import Proxy, redirect
from tests.support.registry_settings import conf, hosts
from tests.unit.images.conftest import MakeStore, Pushed

from podyard.errors import RegistryUnavailable
from podyard.images.auth import Credentials


@dataclass
class Secure:
    """A registry behind TLS that wants a client certificate. ``seen``: the subjects of those that came."""

    address: str
    folder: Path
    seen: list[str]
    wants: str = ""
    """The Authorization header to insist on."""


@pytest.fixture
async def secure(upstream: str, tmp_path: Path) -> AsyncIterator[Secure]:
    """Files in its folder: ca.pem, client.pem, client.key, other.pem."""
    authority = _Authority("authority")
    server, client, other = authority.issue("server"), authority.issue("client"), _Authority("other")
    folder = tmp_path / "tls"
    folder.mkdir()
    for name, content in {
        "ca.pem": authority.certificate,
        "server.pem": server[0] + server[1],
        "client.pem": client[0],
        "client.key": client[1],
        "other.pem": other.certificate,
    }.items():
        (folder / name).write_bytes(content)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "ca.pem")
    context.load_cert_chain(folder / "server.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    made = Secure("", folder, [])

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        made.seen.append(request.transport.get_extra_info("peercert")["subject"][0][0][1])
        if made.wants and request.headers.get("Authorization") != made.wants:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        headers = {key: request.headers[key] for key in ("Accept",) if key in request.headers}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.get(f"http://{upstream}{request.path}", headers=headers) as answer,
        ):
            passed = {"Content-Type": answer.headers["Content-Type"]}
            return web.Response(status=answer.status, body=await answer.read(), headers=passed)

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    made.address = f"127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


async def test_a_registry_that_redirects_from_http_to_https_gets_its_credentials_there(
    secure: Secure, pushed: Pushed, make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a proxy, since both schemes must be at their own ports."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, url, _ = (await reader.readuntil(b"\r\n\r\n")).decode().split(" ", 2)
        if method == "CONNECT":
            there = await asyncio.open_connection(*secure.address.split(":"))
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))
            return
        location = url.replace("http://", "https://")
        writer.write(f"HTTP/1.1 301 Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    secure.wants = Credentials("me", "secret").basic()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        proxy = "http://{}:{}".format(*server.sockets[0].getsockname())
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy)
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.delenv("NO_PROXY", raising=False)
        store = await make_store(insecure_registries=["far.test"], **docker_certificates(secure, tmp_path, "far.test"))
        image = await store.pull(f"far.test/{pushed.repository}:1", Credentials("me", "secret"))
        await store.close()
    assert image.id == pushed.manifest.image_id


async def test_own_authorities_and_client_certificates_are_used(
    secure: Secure, pushed: Pushed, make_store: MakeStore, tmp_path: Path
) -> None:
    files = f'ca = "{secure.folder}/ca.pem"\nclient = [["{secure.folder}/client.pem", "{secure.folder}/client.key"]]\n'
    store = await make_store(**hosts(tmp_path, secure.address, f'server = "https://{secure.address}"\n{files}'))
    assert (await store.pull(f"{secure.address}/{pushed.repository}:1")).id == pushed.manifest.image_id
    assert set(secure.seen) == {"client"}


def docker_certificates(secure: Secure, folder: Path, host: str = "") -> dict[str, object]:
    """Docker's directory of what a registry wants; the setting that makes a store read it."""
    own = folder / (host or secure.address)
    own.mkdir(parents=True)
    for name, source in {"ca.crt": "ca.pem", "me.cert": "client.pem", "me.key": "client.key"}.items():
        (own / name).write_bytes((secure.folder / source).read_bytes())
    return {"hosts_dirs": [folder]}


async def test_docker_s_directories_of_certificates_are_read(
    secure: Secure, pushed: Pushed, make_store: MakeStore, tmp_path: Path
) -> None:
    store = await make_store(**docker_certificates(secure, tmp_path / "docker"))
    assert (await store.pull(f"{secure.address}/{pushed.repository}:1")).id == pushed.manifest.image_id


@pytest.mark.parametrize("ours", [True, False], ids=["podyard's", "registries.conf"])
async def test_certificates_are_found_for_mirrors_too(
    secure: Secure, pushed: Pushed, make_store: MakeStore, tmp_path: Path, ours: bool
) -> None:
    certificates = docker_certificates(secure, tmp_path / "docker")
    # A registry that has certificates of its own keeps the mirrors that registries.conf has for it.
    (tmp_path / "docker/far.test").mkdir()
    (tmp_path / "docker/far.test/ca.crt").write_bytes((secure.folder / "other.pem").read_bytes())
    text = f'[[registry]]\nlocation = "far.test"\n[[registry.mirror]]\nlocation = "{secure.address}"\n'
    mirrors = {"mirrors": {"far.test": [secure.address]}} if ours else conf(tmp_path, text)
    store = await make_store(**certificates, **mirrors)
    assert (await store.pull(f"far.test/{pushed.repository}:1")).id == pushed.manifest.image_id


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ('ca = "{}/other.pem"', "is not trusted"),
        ('ca = "{}/none.pem"', "cannot read the certificates in .*none.pem"),
        ('ca = "{}/ca.pem"\nclient = "{}/client.pem"', "cannot use the client certificate .*client.pem"),
        ('ca = "{}/ca.pem"', "127.0.0.1"),
    ],
    ids=["another authority", "no file", "no key", "no client certificate"],
)
async def test_what_is_wrong_with_the_certificates_is_told(
    secure: Secure, pushed: Pushed, make_store: MakeStore, tmp_path: Path, files: str, text: str
) -> None:
    config = f'server = "https://{secure.address}"\n' + files.replace("{}", str(secure.folder))
    store = await make_store(attempts=1, **hosts(tmp_path, secure.address, config))
    with pytest.raises(RegistryUnavailable, match=text):
        await store.pull(f"{secure.address}/{pushed.repository}:1")


async def test_a_redirect_to_a_host_that_is_not_trusted_names_that_host(
    secure: Secure, proxy: Proxy, pushed: Pushed, make_store: MakeStore
) -> None:
    proxy.fault("/blobs/", redirect(lambda request: f"https://{secure.address}{request.path_qs}"), times=99)
    with pytest.raises(RegistryUnavailable, match=f"the certificate of {secure.address} is not trusted"):
        await (await make_store()).pull(f"{proxy.address}/{pushed.repository}:1")


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_the_check_of_certificates_can_be_left_out(
    secure: Secure, pushed: Pushed, make_store: MakeStore, tmp_path: Path, scheme: str
) -> None:
    files = f'skip_verify = true\nclient = [["{secure.folder}/client.pem", "{secure.folder}/client.key"]]\n'
    store = await make_store(**hosts(tmp_path, secure.address, f'server = "{scheme}://{secure.address}"\n{files}'))
    assert (await store.pull(f"{secure.address}/{pushed.repository}:1")).id == pushed.manifest.image_id


class _Authority:
    """Issues certificates for 127.0.0.1 and far.test."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.certificate = self._signed(self._name, self._key.public_key(), authority=True)

    def issue(self, name: str) -> tuple[bytes, bytes]:
        """A certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return self._signed(subject, key.public_key(), authority=False), private

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, authority: bool) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([address, x509.DNSName("far.test")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return built.public_bytes(serialization.Encoding.PEM)
