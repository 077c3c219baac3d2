"""Credentials that a host has."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from podyard.images.auth import Credentials
from podyard.images.registries import keychain


def entry(user: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:secret".encode()).decode()}


def write(folder: Path, content: Any, name: str = "auth.json") -> Path:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / name


async def users(files: list[Path], registry: str, repository: str = "a/b") -> list[str]:
    found = await keychain.find(files, registry, repository)
    assert found.problems == []
    return [one.username for one in found.credentials]


async def test_the_most_specific_entry_counts(tmp_path: Path) -> None:
    auths = {
        "r.test": entry("all"),
        "r.test/a": entry("part"),
        "r.test/a/b": entry("one"),
        "https://q.test/v1/": entry("url"),
        "https://index.docker.io/v1/": entry("hub"),
        "empty.test": {},
    }
    file = write(tmp_path, {"auths": auths, "HttpHeaders": {"x": "y"}})
    assert await users([file], "r.test") == ["one"]
    assert await users([file], "r.test", "a/c") == ["part"]
    assert await users([file], "r.test", "x/y/z") == ["all"]
    assert await users([file], "r.test:5000") == []
    assert await users([file], "q.test") == ["url"]
    assert await users([file], "docker.io", "library/busybox") == ["hub"]
    assert await users([file], "empty.test") == []


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("https://r.test", "r.test"),
        ("https://r.test/v1", "r.test"),
        ("https://r.test/v2/", "r.test"),
        ("https://r.test:5000/any/path", "r.test:5000"),
        ("http://r.test/", "r.test"),
        ("r.test/v1/", "r.test"),
        ("r.test:5000/", "r.test:5000"),
        ("https://index.docker.io/v2/", "docker.io"),
        ("https://registry-1.docker.io", "docker.io"),
    ],
)
async def test_a_registry_s_key_may_have_the_forms_that_docker_reads(tmp_path: Path, key: str, registry: str) -> None:
    file = write(tmp_path, {"auths": {key: entry("me"), "r.test/x": entry("other"), "q.test": entry("other")}})
    assert await users([file], registry) == ["me"]
    assert await users([file], "r.test:1") == []


async def test_null_is_as_good_as_absent(tmp_path: Path) -> None:
    one = {"auth": None, "username": "me", "password": "x", "identitytoken": None}
    content = {"auths": {"r.test/other": None, "r.test": one}, "credHelpers": None, "credsStore": None}
    assert await users([write(tmp_path, content)], "r.test") == ["me"]
    assert await users([write(tmp_path, {"auths": None})], "r.test") == []


async def test_all_files_are_tried_in_order(tmp_path: Path) -> None:
    first = write(tmp_path, {"auths": {"r.test": entry("first")}})
    second = write(tmp_path, {"auths": {"r.test": entry("second")}}, "config.json")
    assert await users([tmp_path / "none", second, first], "r.test") == ["second", "first"]


async def test_tokens_are_taken_too(tmp_path: Path) -> None:
    file = write(tmp_path, {"auths": {"r.test": {"identitytoken": "i"}, "q.test": {"registrytoken": "r"}}})
    assert (await keychain.find([file], "r.test", "a")).credentials == [Credentials(identity_token="i")]
    assert (await keychain.find([file], "q.test", "a")).credentials == [Credentials(registry_token="r")]


def helper(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> None:
    """A credential helper in PATH."""
    path = folder / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


async def test_a_helper_is_asked_for_its_registry_before_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = 'read server; test "$1" = get && echo "{\\"Username\\": \\"%s-$server\\", \\"Secret\\": \\"s\\"}"'
    helper(tmp_path, monkeypatch, "own", answer % "own")
    helper(tmp_path, monkeypatch, "all", answer % "all")
    file = write(tmp_path, {"credHelpers": {"r.test": "own"}, "credsStore": "all", "auths": {"r.test": entry("file")}})
    assert await users([file], "r.test") == ["own-r.test", "file"]
    assert await users([file], "q.test") == ["all-q.test"]
    assert await users([file], "docker.io") == ["all-https://index.docker.io/v1/"]


@pytest.mark.parametrize("key", ["docker.io", keychain.DOCKER_HUB_KEY])
async def test_a_helper_is_asked_for_docker_io_by_the_name_that_it_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    helper(tmp_path, monkeypatch, "h", f"""test "$(cat)" = {key} && echo '{{"Username": "u", "Secret": "p"}}'""")
    assert await users([write(tmp_path, {"credHelpers": {key: "h"}})], "docker.io", "library/busybox") == ["u"]


async def test_a_helper_s_token_is_an_identity_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, monkeypatch, "t", """echo '{"Username": "<token>", "Secret": "i"}'""")
    file = write(tmp_path, {"credsStore": "t"})
    assert (await keychain.find([file], "r.test", "a")).credentials == [Credentials(identity_token="i")]


async def test_a_helper_that_knows_nothing_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, monkeypatch, "n", "echo credentials not found in native keychain; exit 1")
    assert await users([write(tmp_path, {"credsStore": "n"})], "r.test") == []


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("echo locked >&2; exit 3", "docker-credential-h failed with exit code 3: locked"),
        ("echo nonsense", "the answer of docker-credential-h cannot be read"),
    ],
)
async def test_a_helper_that_fails_is_told_and_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, text: str
) -> None:
    helper(tmp_path, monkeypatch, "h", script)
    bad = write(tmp_path, {"credsStore": "h"})
    good = write(tmp_path, {"auths": {"r.test": entry("good")}}, "config.json")
    found = await keychain.find([bad, good], "r.test", "a")
    assert [one.username for one in found.credentials] == ["good"]
    assert text in found.problems[0]
    both = write(tmp_path, {"credsStore": "h", "auths": {"r.test": entry("beside")}})
    assert [one.username for one in (await keychain.find([both], "r.test", "a")).credentials] == ["beside"]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"auths": {"r.test": {"auth": "%%%secret"}}}',
        '{"credsStore": "../x"}',
        '{"credsStore": "missing-x"}',
    ],
)
async def test_a_file_that_cannot_be_used_is_told_without_secrets(tmp_path: Path, content: str) -> None:
    found = await keychain.find([write(tmp_path, content)], "r.test", "a")
    assert found.credentials == []
    assert str(tmp_path / "auth.json") in found.problems[0]
    assert "%%%secret" not in found.problems[0]


def test_the_files_are_podman_s_and_docker_s() -> None:
    assert keychain.default_files({"HOME": "/home/me"})[-2:] == [
        Path("/home/me/.config/containers/auth.json"),
        Path("/home/me/.docker/config.json"),
    ]
    given = {"REGISTRY_AUTH_FILE": "/a", "XDG_RUNTIME_DIR": "/r", "XDG_CONFIG_HOME": "/c", "DOCKER_CONFIG": "/d"}
    assert [str(path) for path in keychain.default_files(given)] == [
        "/a",
        "/r/containers/auth.json",
        "/c/containers/auth.json",
        "/d/config.json",
    ]
