"""The images' part of the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from podyard import config
from podyard.errors import ConfigError
from podyard.images.config import split_endpoint
from podyard.images.registries.endpoint import is_loopback


def _load(folder: Path, text: str) -> config.Config:
    (folder / "podyard.toml").write_text(f"[images]\n{text}\n")
    return config.load(folder / "podyard.toml")


def test_the_table_is_read(tmp_path: Path) -> None:
    loaded = _load(
        tmp_path,
        'ca_file = "/etc/ca.pem"\nattempts = 2\npinned = ["pause:1"]\n'
        '[images.mirrors]\n"docker.io" = ["a.test", "https://b.test/cache"]',
    )
    assert loaded.images.ca_file == Path("/etc/ca.pem")
    assert loaded.images.mirrors == {"docker.io": ["a.test", "https://b.test/cache"]}


def test_certificates_are_looked_for_where_other_tools_have_them(tmp_path: Path) -> None:
    assert [str(path) for path in _load(tmp_path, "").images.hosts_dirs] == [
        "/etc/containerd/certs.d",
        "/etc/docker/certs.d",
        "/etc/containers/certs.d",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "attempts = 0",
        "parallel_layers = 0",
        "progress_timeout = 0",
        "unknown = 1",
        'pinned = ["A B"]',
        'mirrors = {"docker.io" = ["ftp://a.test"]}',
        'mirrors = {"docker.io" = [""]}',
        'mirrors = {"docker.io" = ["a.test:70000"]}',
        'mirrors = {"docker.io" = ["https://me:secret@a.test"]}',
        'mirrors = {"docker.io" = ["https://a.test/?x=y"]}',
    ],
)
def test_what_cannot_be_is_refused_with_the_file_s_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"podyard\.toml: ") as caught:
        _load(tmp_path, text)
    assert "secret" not in str(caught.value)


def test_a_mirror_has_a_scheme_a_host_and_a_path() -> None:
    assert split_endpoint("a.test:5000", "r") == ("", "a.test:5000", "")
    assert split_endpoint("http://a.test/x/y/", "r") == ("http", "a.test", "/x/y")
    assert split_endpoint("[::1]:80", "r") == ("", "[::1]:80", "")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1", True),
        ("127.1.2.3:80", True),
        ("[::1]:5000", True),
        ("localhost.example", False),
        ("10.0.0.1:5000", False),
        ("[fe80::1]", False),
        ("127.0.0.1.example:1", False),
    ],
)
def test_loopback_is_told_by_the_name_alone(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback
