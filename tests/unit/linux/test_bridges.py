"""Bridges of the host."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from podyard.linux import bridges

pytestmark = pytest.mark.host

NAME = "pytest-bridge0"


@pytest.fixture
def bridge() -> Iterator[str]:
    subprocess.run(["ip", "link", "add", NAME, "type", "bridge"], check=True)
    yield NAME
    subprocess.run(["ip", "link", "delete", NAME], stderr=subprocess.DEVNULL)


def test_a_bridge_and_its_ports_are_seen(bridge: str) -> None:
    assert (bridges.exists(bridge), bridges.is_bridge(bridge), bridges.ports(bridge)) == (True, True, [])
    subprocess.run(["ip", "link", "add", "pytest-port0", "master", bridge, "type", "veth"], check=True)
    try:
        assert bridges.ports(bridge) == ["pytest-port0"]
    finally:
        subprocess.run(["ip", "link", "delete", "pytest-port0"], check=True)


def test_an_interface_that_is_no_bridge_is_not_taken_for_one() -> None:
    assert (bridges.exists("lo"), bridges.is_bridge("lo"), bridges.ports("lo")) == (True, False, [])


def test_a_bridge_that_is_up_is_removed_and_again_is_fine(bridge: str) -> None:
    subprocess.run(["ip", "link", "set", bridge, "up"], check=True)
    bridges.remove(bridge)
    assert not bridges.exists(bridge)
    bridges.remove(bridge)


def test_an_interface_that_is_no_bridge_is_not_removed() -> None:
    subprocess.run(["ip", "link", "add", "pytest-veth0", "type", "veth"], check=True)
    try:
        with pytest.raises(OSError, match=r"Operation not permitted|Invalid argument"):
            bridges.remove("pytest-veth0")
    finally:
        subprocess.run(["ip", "link", "delete", "pytest-veth0"], check=True)
