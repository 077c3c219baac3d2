"""Kubeconfig files, and the TLS that they ask for, against a real server."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.kube import ApiServer, serving
from tests.support.kube.certificates import Authority, Pair

from podyard.errors import ConfigError, PodyardError, Unavailable, Unimplemented
from podyard.node.kube import KubeClient, load_kubeconfig

NODES = "/api/v1/nodes"


def write(path: Path, cluster: dict[str, Any], user: dict[str, Any], **more: Any) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "other", "cluster": {"server": "http://x"}}, {"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "k", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "k",
        "preferences": {},
        **more,
    }
    path.write_text(yaml.safe_dump(config))
    return path


def encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def server(authority: Authority, tmp_path: Path) -> AsyncIterator[ApiServer]:
    """An API server that lets in who has a certificate of the authority; its own names the address 127.0.0.1."""
    pair = authority.issue("server", ip="127.0.0.1", host="kubernetes.test")
    async with serving(ApiServer(), tls=authority.server_side(pair, tmp_path)) as server:
        yield server


async def reach(path: Path) -> None:
    async with KubeClient(load_kubeconfig(path)) as kube:
        await kube.list(NODES)


def data(authority: Authority, pair: Pair) -> tuple[dict[str, Any], dict[str, Any]]:
    cluster = {"certificate-authority-data": encoded(authority.pair.certificate)}
    user = {"client-certificate-data": encoded(pair.certificate), "client-key-data": encoded(pair.key)}
    return cluster, user


async def test_certificates_in_the_file(authority: Authority, server: ApiServer, tmp_path: Path) -> None:
    cluster, user = data(authority, authority.issue("node"))
    await reach(write(tmp_path / "config", {"server": server.url, **cluster}, user))


async def test_certificates_in_files_beside_it_are_read_again_when_they_change(
    authority: Authority, server: ApiServer, tmp_path: Path
) -> None:
    files = {"certificate-authority": "ca.pem"}
    user = {"client-certificate": "node.pem", "client-key": "key.pem"}
    stranger = Authority().issue("node")

    def install(pair: Pair, then: int) -> None:
        (tmp_path / "node.pem").write_bytes(pair.certificate)
        (tmp_path / "key.pem").write_bytes(pair.key)
        os.utime(tmp_path / "node.pem", (then, then))

    (tmp_path / "ca.pem").write_bytes(authority.pair.certificate)
    install(stranger, 1000)
    path = write(tmp_path / "config", {"server": server.url, **files}, user)
    async with KubeClient(load_kubeconfig(path)) as kube:
        with pytest.raises(Unavailable):
            await kube.list(NODES)
        install(authority.issue("node"), 2000)
        await kube.list(NODES)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"certificate-authority-data": encoded(Authority().pair.certificate)}, "certificate verify failed"),
        ({"tls-server-name": "another.test"}, "another.test"),
    ],
)
async def test_a_server_that_is_not_trusted_is_not_spoken_to(
    authority: Authority, server: ApiServer, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    cluster, user = data(authority, authority.issue("node"))
    path = write(tmp_path / "config", {"server": server.url, **cluster, **change}, user)
    with pytest.raises(Unavailable, match=said):
        await reach(path)
    assert not server.requests


@pytest.mark.parametrize("change", [{"tls-server-name": "kubernetes.test"}, {"insecure-skip-tls-verify": True}])
async def test_the_name_and_the_check_can_be_set(
    authority: Authority, server: ApiServer, tmp_path: Path, change: dict[str, Any]
) -> None:
    cluster, user = data(authority, authority.issue("node"))
    if "insecure-skip-tls-verify" in change:
        cluster = {}
    await reach(write(tmp_path / "config", {"server": server.url, **cluster, **change}, user))


async def test_a_token_and_a_file_with_one(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    async with serving(ApiServer(token="s3cret")) as server:
        await reach(write(tmp_path / "a", {"server": f"{server.url}/"}, {"token": "s3cret"}))
        await reach(write(tmp_path / "b", {"server": server.url}, {"token": "old", "tokenFile": "token"}))
        (tmp_path / "token").write_text("")
        with pytest.raises(ConfigError, match=r"token: has no token in it"):
            await reach(tmp_path / "b")
        (tmp_path / "token").unlink()
        with pytest.raises(ConfigError, match=r"token: cannot be read: No such file"):
            await reach(tmp_path / "b")


@pytest.mark.parametrize(
    ("cluster", "user", "more", "kind", "said"),
    [
        ({"server": "ftp://x"}, {}, {}, ConfigError, "is not an http or https URL"),
        ({}, {}, {}, ConfigError, "is not an http or https URL"),
        ({"server": "https://x", "proxy-url": "http://p"}, {}, {}, Unimplemented, "proxy-url is not built"),
        ({"server": "https://x"}, {"exec": {"command": "a"}}, {}, Unimplemented, "exec is not built: use a client"),
        ({"server": "https://x"}, {"auth-provider": {"name": "a"}}, {}, Unimplemented, "auth-provider is not built"),
        ({"server": "https://x"}, {"username": "a"}, {}, Unimplemented, "username is not built"),
        ({"server": "https://x"}, {"as": "a"}, {}, Unimplemented, "as is not built"),
        (
            {"server": "https://x"},
            {"client-key": "a"},
            {},
            ConfigError,
            "client-certificate and client-key go together",
        ),
        ({"server": "https://x"}, {"client-key-data": "%"}, {}, ConfigError, "client-key-data is not base64"),
        ({"server": "https://x"}, {}, {"current-context": "z"}, ConfigError, "current-context 'z' is not one of its"),
        ({"server": "https://x"}, {}, {"clusters": []}, ConfigError, "cluster 'c' is not one of its clusters"),
        ({"server": "https://x"}, {}, {"users": None}, ConfigError, "user 'u' is not one of its users"),
        ({"server": 5}, {}, {}, ConfigError, "not a kubeconfig: Expected `str`, got `int`"),
    ],
)
def test_what_is_wrong_is_told(
    tmp_path: Path, cluster: Any, user: Any, more: Any, kind: type[PodyardError], said: str
) -> None:
    path = write(tmp_path / "config", cluster, user, **more)
    with pytest.raises(kind) as caught:
        load_kubeconfig(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("field", "said"),
    [("certificate-authority-data", "certificate-authority-data"), ("client-certificate-data", "cannot be used with")],
)
async def test_certificates_that_are_none_are_told(authority: Authority, tmp_path: Path, field: str, said: str) -> None:
    cluster, user = data(authority, authority.issue("node"))
    (cluster if field in cluster else user)[field] = encoded(b"nonsense")
    with pytest.raises(ConfigError, match=said):
        await reach(write(tmp_path / "config", {"server": "https://127.0.0.1:1", **cluster}, user))


@pytest.mark.parametrize("text", ["a: [", "- 1", "\x00"])
def test_a_file_that_is_no_kubeconfig(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(ConfigError, match="config: not"):
        load_kubeconfig(tmp_path / "config")
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_kubeconfig(tmp_path / "none")
