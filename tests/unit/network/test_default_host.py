"""The default network with the real plugins and the real iptables, on a host of each test's own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from podyard.errors import FailedPrecondition
from podyard.linux import bridges, namespaces
from podyard.network import AttachRequest, Network, PortMapping
from podyard.network.config import NetworkConfig

pytestmark = [pytest.mark.host, pytest.mark.usefixtures("own_host")]

SERVE = """
import socket, sys
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as server:
    print("ready", flush=True)
    while True:
        connection, peer = server.accept()
        connection.sendall(peer[0].encode())
        connection.close()
"""
"""Answers each connection with the address that it came from."""

FETCH = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10) as connection:
    print(connection.makefile().read())
"""

Pin = Callable[..., AttachRequest]


@pytest.fixture
def pin(tmp_path: Path, request_for: Callable[..., AttachRequest]) -> Iterator[Pin]:
    """Pins a network namespace for a sandbox and returns the request to attach it."""
    pinned: list[Path] = []

    def make(sandbox_id: str, **more: Any) -> AttachRequest:
        request = request_for(sandbox_id, **more)
        pinned.append(request.netns.parent)
        namespaces.pin(request.netns.parent, namespaces.NewNamespaces(frozenset({"network"})))
        return request

    yield make
    for folder in pinned:
        namespaces.unpin(folder)


@contextlib.asynccontextmanager
async def opened(folder: Path, **settings: Any) -> AsyncIterator[Network]:
    values = {"conf_dir": folder / "no-conf", "bridge": "pytest0", "subnets": ("10.203.7.0/24",)} | settings
    network = Network(NetworkConfig(**values), folder / "state")
    await network.start()
    try:
        yield network
    finally:
        await network.close()


def output(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def rules() -> list[str]:
    """All rules and chains of users' own, of both families."""
    lines = (output("iptables-save") + output("ip6tables-save")).splitlines()
    return sorted(line.split(" [")[0] for line in lines if line.startswith("-A") or " - [" in line)


def links() -> list[str]:
    return sorted(link["ifname"] for link in json.loads(output("ip", "-j", "link")))


def addresses_inside(request: AttachRequest) -> list[str]:
    shown = json.loads(output("nsenter", f"--net={request.netns}", "ip", "-j", "addr", "show", "dev", "eth0"))
    return [info["local"] for info in shown[0]["addr_info"] if info["scope"] == "global"]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@contextlib.contextmanager
def served(netns: str, address: str, port: int) -> Iterator[None]:
    argv = ["nsenter", f"--net={netns}", sys.executable, "-c", SERVE, address, str(port)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield
        finally:
            server.kill()


def fetch_inside(netns: str, address: str, port: int) -> str:
    return output("nsenter", f"--net={netns}", sys.executable, "-c", FETCH, address, str(port)).strip()


def fetch(address: str, port: int) -> str:
    with socket.create_connection((address, port), timeout=10) as connection:
        return connection.makefile().read()


async def test_a_pod_gets_an_address_and_reaches_the_host_and_others(tmp_path: Path, pin: Pin) -> None:
    first, second = pin("a" * 64), pin("b" * 64)
    async with opened(tmp_path) as network:
        assert network.status().ready
        (ip,) = (await network.attach(first)).ips
        (other,) = (await network.attach(second)).ips
        assert (addresses_inside(first), addresses_inside(second)) == ([ip], [other])
        with served("/proc/thread-self/ns/net", "10.203.7.1", 8000), served(str(second.netns), other, 80):
            assert fetch_inside(str(first.netns), "10.203.7.1", 8000) == ip
            assert fetch_inside(str(first.netns), other, 80) == ip
            assert fetch(other, 80) == "10.203.7.1"


async def test_a_host_port_leads_to_the_pod_from_everywhere_and_ends_with_it(tmp_path: Path, pin: Pin) -> None:
    request = pin("a" * 64, port_mappings=(PortMapping(18080, 80),))
    async with opened(tmp_path) as network:
        (ip,) = (await network.attach(request)).ips
        with served(str(request.netns), ip, 80):
            assert fetch("127.0.0.1", 18080) == "10.203.7.1"
            assert fetch("10.203.7.1", 18080) == "10.203.7.1"
            # The pod itself, through the host's port.
            assert fetch_inside(str(request.netns), "10.203.7.1", 18080) == "10.203.7.1"
            await network.detach(request)
            with pytest.raises(ConnectionRefusedError):
                fetch("127.0.0.1", 18080)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[str]:
    """Another host, 198.51.100.1, that knows nothing of the pods' subnet; ours is 198.51.100.2."""
    folder = tmp_path / "outside"
    namespaces.pin(folder, namespaces.NewNamespaces(frozenset({"network"})))
    netns = str(folder / "network")
    try:
        output("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1", "netns", netns)
        output("ip", "addr", "add", "198.51.100.2/24", "dev", "up0")
        output("ip", "link", "set", "up0", "up")
        for argv in (("addr", "add", "198.51.100.1/24", "dev", "up1"), ("link", "set", "up1", "up")):
            output("nsenter", f"--net={netns}", "ip", *argv)
        yield netns
    finally:
        namespaces.unpin(folder)


async def test_pods_reach_the_outside_by_the_hosts_address_even_where_forwarding_is_dropped(
    tmp_path: Path, pin: Pin, outside: str
) -> None:
    output("iptables", "-P", "FORWARD", "DROP")
    request = pin("a" * 64, port_mappings=(PortMapping(18081, 80),))
    async with opened(tmp_path) as network:
        (ip,) = (await network.attach(request)).ips
        with served(outside, "198.51.100.1", 8000):
            assert fetch_inside(str(request.netns), "198.51.100.1", 8000) == "198.51.100.2"
        with served(str(request.netns), ip, 80):
            assert fetch_inside(outside, "198.51.100.2", 18081) == "198.51.100.1"


async def test_detaching_frees_the_address_and_the_interface_even_when_the_namespace_is_gone(
    tmp_path: Path, pin: Pin
) -> None:
    kept, gone = pin("a" * 64), pin("b" * 64, port_mappings=(PortMapping(18082, 80),))
    async with opened(tmp_path) as network:
        (first,) = (await network.attach(kept)).ips
        before = rules()
        (second,) = (await network.attach(gone)).ips
        addresses = tmp_path / "state/addresses/podyard"
        assert {file.name for file in addresses.iterdir()} >= {first, second}
        namespaces.unpin(gone.netns.parent)
        await network.detach(gone)
        await network.detach(kept)
        assert not {file.name for file in addresses.iterdir()} & {first, second}
        assert addresses_inside_or_none(kept) is None
        assert bridges.ports("pytest0") == []
        assert [rule for rule in rules() if "CNI-HOSTPORT" not in rule] == before


def addresses_inside_or_none(request: AttachRequest) -> list[str] | None:
    try:
        return addresses_inside(request)
    except subprocess.CalledProcessError:
        return None


async def test_many_pods_at_once_get_addresses_of_their_own(tmp_path: Path, pin: Pin) -> None:
    requests = [pin(f"{number:064x}") for number in range(20)]
    async with opened(tmp_path) as network:
        results = await asyncio.gather(*(network.attach(request) for request in requests))
        ips = [result.ips[0] for result in results]
        assert len(set(ips)) == 20
        assert [addresses_inside(request) for request in requests] == [[ip] for ip in ips]
        assert len(bridges.ports("pytest0")) == 20
        await asyncio.gather(*(network.detach(request) for request in requests))
        assert bridges.ports("pytest0") == []


async def test_what_a_crash_left_is_taken_away_by_gc(tmp_path: Path, pin: Pin) -> None:
    kept, crashed = pin("a" * 64), pin("b" * 64, port_mappings=(PortMapping(18083, 80),))
    async with opened(tmp_path) as network:
        (ip,) = (await network.attach(kept)).ips
        before = rules()
        await network.attach(crashed)
    namespaces.unpin(crashed.netns.parent)
    stray = tmp_path / "state/addresses/podyard/10.203.7.200"
    stray.write_text("c" * 64 + "\r\neth0")
    async with opened(tmp_path) as network:
        assert await network.gc({kept.sandbox_id}) == []
        names = {file.name for file in stray.parent.iterdir()}
        assert {name for name in names if name.startswith("10.")} == {ip}
        assert files(tmp_path / "state/attachments") == [f"{kept.sandbox_id}.json"]
        assert [rule for rule in rules() if "CNI-HOSTPORT" not in rule] == before
        assert addresses_inside(kept) == [ip]


async def test_removing_the_default_network_leaves_the_host_as_it_was(tmp_path: Path, pin: Pin) -> None:
    output("iptables", "-A", "FORWARD", "-i", "others0", "-j", "ACCEPT")
    before = links(), rules()
    request = pin("a" * 64, port_mappings=(PortMapping(18084, 80),))
    async with opened(tmp_path) as network:
        await network.attach(request)
        assert "pytest0" in links()
        assert len(rules()) > len(before[1])
        with pytest.raises(FailedPrecondition, match="still attached"):
            await network.remove_default_network()
        await network.detach(request)
        await network.remove_default_network()
        assert (links(), rules()) == before
        assert files(tmp_path / "state") == []
        await network.remove_default_network()
    again = pin("b" * 64)
    async with opened(tmp_path) as network:
        assert len((await network.attach(again)).ips) == 1
        await network.detach(again)
        await network.remove_default_network()
    assert (links(), rules()) == before


async def test_host_port_chains_that_another_uses_stay(tmp_path: Path, pin: Pin) -> None:
    ours = pin("a" * 64, port_mappings=(PortMapping(18085, 80),))
    theirs = pin("b" * 64, port_mappings=(PortMapping(18086, 80),))
    other = {"bridge": "pytest1", "subnets": ("10.203.8.0/24",)}
    (tmp_path / "other").mkdir()
    async with opened(tmp_path) as network, opened(tmp_path / "other", **other) as neighbour:
        await network.attach(ours)
        (ip,) = (await neighbour.attach(theirs)).ips
        await network.detach(ours)
        await network.remove_default_network()
        assert links() == ["lo", "pytest1", *sorted(bridges.ports("pytest1"))]
        with served(str(theirs.netns), ip, 80):
            assert fetch("127.0.0.1", 18086) == "10.203.8.1"
        await neighbour.detach(theirs)
        await neighbour.remove_default_network()
    assert (links(), rules()) == (["lo"], [])


async def test_a_bridge_that_another_daemon_uses_is_not_taken(tmp_path: Path, pin: Pin) -> None:
    ours, theirs = pin("a" * 64), pin("b" * 64)
    (tmp_path / "other").mkdir()
    async with opened(tmp_path) as network, opened(tmp_path / "other") as neighbour:
        await neighbour.attach(theirs)
        with pytest.raises(FailedPrecondition, match="pytest0 is there already and others use it"):
            await network.attach(ours)
        await network.detach(ours)
        await network.remove_default_network()
        assert addresses_inside(theirs)


async def test_both_families(tmp_path: Path, pin: Pin) -> None:
    request = pin("a" * 64, port_mappings=(PortMapping(18087, 80),))
    async with opened(tmp_path, subnets=("10.203.7.0/24", "fd00:203::/64")) as network:
        ipv4, ipv6 = (await network.attach(request)).ips
        assert addresses_inside(request) == [ipv4, ipv6]
        with served(str(request.netns), ipv4, 80):
            assert fetch("127.0.0.1", 18087) == "10.203.7.1"
        await network.detach(request)
        await network.remove_default_network()
    assert (links(), rules()) == (["lo"], [])


async def test_changed_settings_replace_the_bridge_and_the_rules_once_no_pod_is_left(tmp_path: Path, pin: Pin) -> None:
    request = pin("a" * 64)
    async with opened(tmp_path) as network:
        await network.attach(request)
        await network.detach(request)
    async with opened(tmp_path, subnets=("10.203.9.0/24",), masquerade=False) as network:
        (ip,) = (await network.attach(request)).ips
        assert ip.startswith("10.203.9.")
        assert [rule for rule in rules() if "MASQUERADE" in rule] == []
        await network.detach(request)
        await network.remove_default_network()
    assert (links(), rules()) == (["lo"], [])


async def test_a_pod_cidr_replaces_the_bridge_and_the_rules(tmp_path: Path, pin: Pin) -> None:
    request = pin("a" * 64)
    async with opened(tmp_path) as network:
        await network.attach(request)
        with pytest.raises(FailedPrecondition, match="stop aaaaaaaaaaaa first"):
            await network.set_pod_cidr("10.203.9.0/24")
        await network.detach(request)
        await network.set_pod_cidr("10.203.9.0/24")
        assert (await network.attach(request)).ips[0].startswith("10.203.9.")
        assert [rule.split()[3] for rule in rules() if "MASQUERADE" in rule] == ["10.203.9.0/24"]
        await network.detach(request)
        await network.remove_default_network()
    assert (links(), rules()) == (["lo"], [])


async def test_iptables_is_found_where_the_daemons_path_is_short(
    tmp_path: Path, pin: Pin, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = pin("a" * 64, port_mappings=(PortMapping(18088, 80),))
    async with opened(tmp_path) as network:
        with monkeypatch.context() as short:
            short.setenv("PATH", "/nowhere")
            await network.attach(request)
        assert any("MASQUERADE" in rule for rule in rules())
        with monkeypatch.context() as short:
            short.setenv("PATH", "/nowhere")
            await network.detach(request)
            await network.remove_default_network()
    assert (links(), rules()) == (["lo"], [])
