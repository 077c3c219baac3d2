"""A kubeconfig file (Kubernetes documentation, "Organizing Cluster Access Using kubeconfig Files")."""

from __future__ import annotations

import base64
import binascii
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from podyard.errors import ConfigError, Unimplemented

MAX_BYTES = 1 << 20


class _Cluster(msgspec.Struct, rename="kebab"):
    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""


class _User(msgspec.Struct, rename="kebab"):
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    token: str = ""
    token_file: str = msgspec.field(name="tokenFile", default="")
    username: str = ""
    password: str = ""
    impersonate: str = msgspec.field(name="as", default="")
    exec: Any = None
    auth_provider: Any = None


class _Context(msgspec.Struct):
    cluster: str = ""
    user: str = ""


class _NamedCluster(msgspec.Struct):
    name: str
    cluster: _Cluster


class _NamedUser(msgspec.Struct):
    name: str
    user: _User | None = None


class _NamedContext(msgspec.Struct):
    name: str
    context: _Context


class _Config(msgspec.Struct):
    clusters: list[_NamedCluster] | None = None
    users: list[_NamedUser] | None = None
    contexts: list[_NamedContext] | None = None
    current_context: str = msgspec.field(name="current-context", default="")


@dataclass(frozen=True)
class Part:
    """Something in PEM, or a token: given in the kubeconfig, or in a file that may change."""

    content: bytes = b""
    path: Path | None = None

    def __bool__(self) -> bool:
        return bool(self.content) or self.path is not None

    def read(self) -> bytes:
        """What it is now. Raises ConfigError when its file cannot be read."""
        if self.path is None:
            return self.content
        try:
            with self.path.open("rb") as file:
                return file.read(MAX_BYTES)
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be read: {error.strerror}") from error

    @property
    def changed(self) -> int:
        """Nanoseconds since 1970: when its file was changed last; 0 without one."""
        try:
            return self.path.stat().st_mtime_ns if self.path is not None else 0
        except FileNotFoundError:
            return 0


@dataclass(frozen=True, kw_only=True)
class Access:
    """How an API server is reached."""

    server: str
    """An http or https URL without a slash at its end."""
    authorities: Part = Part()
    """Who may have signed its certificate; empty for whom the system trusts."""
    certificate: Part = Part()
    key: Part = Part()
    token: Part = Part()
    server_name: str = ""
    """What its certificate is to say, if not the URL's host."""
    verify: bool = True

    @property
    def changed(self) -> tuple[int, ...]:
        """Another value when a file of the TLS settings has changed."""
        return tuple(part.changed for part in (self.authorities, self.certificate, self.key))

    def bearer(self) -> str:
        """The token to send, "" for none. Raises ConfigError when its file cannot be read or is empty."""
        if not self.token:
            return ""
        token = self.token.read().decode("ascii", errors="replace").strip()
        if not token or not token.isprintable():
            raise ConfigError(f"{self.token.path or 'the kubeconfig'}: has no token in it")
        return token

    def tls(self) -> ssl.SSLContext:
        """The TLS settings as they are now. Reads files: for a thread. Raises ConfigError for what cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.authorities:
            try:
                context.load_verify_locations(cadata=self.authorities.read().decode("ascii"))
            except (ssl.SSLError, UnicodeDecodeError) as error:
                raise ConfigError(f"{_named(self.authorities, 'certificate-authority')}: {error}") from error
        else:
            context.load_default_certs()
        if self.certificate:
            _load_certificate(context, self.certificate, self.key)
        return context


def load_kubeconfig(path: Path) -> Access:
    """What the current context of a kubeconfig file says; paths in it count from its folder.

    Raises ConfigError for a file that cannot be read or is wrong, Unimplemented for what it asks for and podyard does
    not do.
    """
    config = _parsed(path)
    context = next((one.context for one in config.contexts or () if one.name == config.current_context), None)
    if context is None:
        raise ConfigError(f"{path}: current-context {config.current_context!r} is not one of its contexts")
    cluster = next((one.cluster for one in config.clusters or () if one.name == context.cluster), None)
    if cluster is None:
        raise ConfigError(f"{path}: the context's cluster {context.cluster!r} is not one of its clusters")
    user = next((one.user for one in config.users or () if one.name == context.user), None)
    if user is None and context.user:
        raise ConfigError(f"{path}: the context's user {context.user!r} is not one of its users, or is empty")
    user = user or _User()
    _refuse_unbuilt(path, cluster, user)
    url = urlsplit(cluster.server)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ConfigError(f"{path}: the cluster's server {cluster.server!r} is not an http or https URL")
    certificate = _part(path, "client-certificate", user.client_certificate, user.client_certificate_data)
    key = _part(path, "client-key", user.client_key, user.client_key_data)
    if bool(certificate) != bool(key):
        raise ConfigError(f"{path}: client-certificate and client-key go together")
    return Access(
        server=cluster.server.rstrip("/"),
        authorities=_part(
            path, "certificate-authority", cluster.certificate_authority, cluster.certificate_authority_data
        ),
        certificate=certificate,
        key=key,
        token=Part(path=path.parent / user.token_file) if user.token_file else Part(user.token.encode()),
        server_name=cluster.tls_server_name,
        verify=not cluster.insecure_skip_tls_verify,
    )


def _parsed(path: Path) -> _Config:
    import yaml

    text = Part(path=path).read()
    if len(text) >= MAX_BYTES:
        raise ConfigError(f"{path}: {MAX_BYTES} bytes or more are no kubeconfig")
    try:
        return msgspec.convert(yaml.safe_load(text), _Config)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: not a kubeconfig: {error}") from error


def _refuse_unbuilt(path: Path, cluster: _Cluster, user: _User) -> None:
    given = {
        "exec": user.exec,
        "auth-provider": user.auth_provider,
        "username": user.username,
        "as": user.impersonate,
        "proxy-url": cluster.proxy_url,
    }
    for field, value in given.items():
        if value:
            raise Unimplemented(
                f"{path}: {field} is not built: use a client certificate, a token or a tokenFile, and no proxy"
            )


def _part(path: Path, field: str, file: str, data: str) -> Part:
    """The data counts where both are given, as Kubernetes has it."""
    if not data:
        return Part(path=path.parent / file) if file else Part()
    try:
        return Part(base64.b64decode(data, validate=True))
    except binascii.Error as error:
        raise ConfigError(f"{path}: {field}-data is not base64: {error}") from error


def _load_certificate(context: ssl.SSLContext, certificate: Part, key: Part) -> None:
    """OpenSSL reads them from a file: one in memory, which goes with its descriptor, so that no key is left on disk."""
    content = certificate.read() + b"\n" + key.read()
    descriptor = os.memfd_create("podyard-client-certificate")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        # A password would be asked for on a terminal.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=lambda: "")
    except ssl.SSLError as error:
        raise ConfigError(
            f"{_named(certificate, 'client-certificate')}: cannot be used with its key: {error}"
        ) from error
    finally:
        os.close(descriptor)


def _named(part: Part, field: str) -> str:
    return str(part.path) if part.path is not None else f"the kubeconfig's {field}-data"
