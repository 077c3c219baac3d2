"""Which credentials of a Pod's secrets are for an image."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from podyard.manifest.objects import Secret
from podyard.pods.credentials import credentials_for


def secret(auths: Any, kind: str = "kubernetes.io/dockerconfigjson") -> Secret:
    if kind.endswith("dockercfg"):
        return Secret(data={".dockercfg": json.dumps(auths).encode()}, type=kind)
    return Secret(data={".dockerconfigjson": json.dumps({"auths": auths}).encode()}, type=kind)


def users(image: str, *secrets: Secret) -> list[str]:
    return [auth.username for auth in credentials_for(image, secrets)]


@pytest.mark.parametrize(
    ("where", "image", "fits"),
    [
        ("example.com", "example.com/a:1", True),
        ("https://example.com/v2/", "example.com/a:1", True),
        ("example.com", "example.com:5000/a:1", False),
        ("example.com:5000", "example.com:5000/a@sha256:" + "a" * 64, True),
        ("*.example.com", "eu.example.com/a", True),
        ("*.example.com", "a.eu.example.com/a", False),
        ("example.com/shop", "example.com/shop/web:1", True),
        ("example.com/shop", "example.com/shopping:1", False),
        ("example.com/shop/web", "example.com/shop/web:1", True),
        ("https://index.docker.io/v1/", "busybox", True),
        ("docker.io/library", "busybox:1", True),
        ("docker.io/other", "busybox:1", False),
        ("localhost", "localhost/a", True),
    ],
)
def test_a_pattern_fits_by_host_and_path(where: str, image: str, fits: bool) -> None:
    assert bool(users(image, secret({where: {"username": "me", "password": "x"}}))) is fits


def test_the_longest_path_comes_first_then_the_first_secret() -> None:
    first = secret({"example.com": {"username": "whole"}, "example.com/shop": {"username": "shop"}})
    second = secret({"example.com": {"username": "second"}}, "kubernetes.io/dockercfg")
    assert users("example.com/shop/web", first, second) == ["shop", "whole", "second"]


def test_credentials_come_in_three_forms() -> None:
    encoded = base64.b64encode(b"me:a:b").decode()
    (auth,) = credentials_for("example.com/a", [secret({"example.com": {"auth": encoded}})])
    assert (auth.username, auth.password) == ("me", "a:b")
    broken = base64.encodebytes(b"me:" + b"x" * 90).decode()
    (auth,) = credentials_for("example.com/a", [secret({"example.com": {"auth": broken}})])
    assert auth.password == "x" * 90
    (auth,) = credentials_for("example.com/a", [secret({"example.com": {"identitytoken": "t"}})])
    assert auth.identity_token == "t"


@pytest.mark.parametrize("entry", [{}, [], {"auth": "!"}, {"auth": 7}, {"username": 7}, {"auth": "/w=="}, "x"])
def test_what_cannot_be_read_counts_as_none(entry: Any) -> None:
    assert users("example.com/a", secret({"example.com": entry})) == []


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"auths": 7}', b"\xff", b"[" * 100_000])
def test_a_broken_configuration_counts_as_none(text: bytes) -> None:
    broken = Secret(data={".dockerconfigjson": text}, type="kubernetes.io/dockerconfigjson")
    assert users("example.com/a", broken, Secret(data={".dockerconfigjson": b"{}"})) == []
