"""Proxies of the environment."""

from __future__ import annotations

import pytest

from podyard.errors import RegistryUnavailable
from podyard.images.registries.proxies import proxy_for

PROXIES = {"HTTPS_PROXY": "http://secure.test:3128", "http_proxy": "plain.test:80"}


def test_the_scheme_chooses_the_proxy() -> None:
    assert proxy_for("https", "a.test", PROXIES) == "http://secure.test:3128"
    assert proxy_for("http", "a.test", PROXIES) == "http://plain.test:80"
    assert proxy_for("https", "a.test", {}) is None


def test_a_proxy_that_is_none_for_http_is_told_and_not_its_password() -> None:
    environment = {"HTTPS_PROXY": "socks5://me:secret@socks.test:1080", "NO_PROXY": "b.test"}
    with pytest.raises(RegistryUnavailable, match=r"HTTPS_PROXY names a socks5 proxy for a\.test") as raised:
        proxy_for("https", "a.test", environment)
    assert "secret" not in str(raised.value)
    assert proxy_for("https", "b.test", environment) is None


@pytest.mark.parametrize("host", ["127.0.0.1:5000", "localhost", "[::1]:80"])
def test_this_machine_has_no_proxy(host: str) -> None:
    assert proxy_for("https", host, PROXIES) is None


@pytest.mark.parametrize(
    ("entry", "direct", "through"),
    [
        ("*", ["a.test", "10.0.0.1"], []),
        ("a.test", ["a.test", "b.a.test:5000", "A.TEST"], ["aa.test", "a.test.org"]),
        (".a.test", ["b.a.test"], ["a.test"]),
        ("*.a.test", ["b.a.test"], ["a.test"]),
        ("a.test:5000", ["a.test:5000"], ["a.test", "a.test:5001"]),
        ("a.test:443", ["a.test"], ["a.test:80"]),
        ("10.0.0.0/8", ["10.1.2.3", "10.1.2.3:5000"], ["11.0.0.1", "a.test"]),
        ("192.168.1.1", ["192.168.1.1"], ["192.168.1.2"]),
        ("fd00::/8", ["[fd00::1]:5000"], ["[fe00::1]"]),
        ("[fd00::1]:5000", ["[fd00::1]:5000"], ["[fd00::1]:5001"]),
        (" x.test , a.test ", ["a.test", "x.test"], ["b.test"]),
    ],
)
def test_no_proxy_names_hosts_domains_and_networks(entry: str, direct: list[str], through: list[str]) -> None:
    environment = {**PROXIES, "NO_PROXY": entry}
    assert [proxy_for("https", host, environment) for host in direct] == [None] * len(direct)
    assert all(proxy_for("https", host, environment) for host in through)
