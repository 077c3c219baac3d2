"""The sandbox's network: its address, its ports, the host's network."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
import urllib.request
from pathlib import Path
from typing import Any

from podyard.cri import api
from podyard.validate.case import case, table
from podyard.validate.expect import Unmet, contains, equal, holds, skip
from podyard.validate.kit import Kit
from podyard.validate.requests import namespaces, pod_security, security

HOST_NETWORK = namespaces(network=api.NODE)
SERVE = ["httpd", "-f", "-p", "8080", "-h", "/etc"]
PATIENCE = 10.0
"""Seconds until a server in a container must answer."""


async def _web(kit: Kit, **fields: Any) -> str:
    """A sandbox whose /etc is served on port 8080; its host name is "web"."""
    sandbox_id = await kit.sandbox(hostname="web", **fields)
    await kit.start(SERVE, sandbox_id)
    return sandbox_id


async def _fetched(url: str) -> str:
    """A page; the server may still be starting."""
    return await asyncio.to_thread(_fetch, url)


def _fetch(url: str) -> str:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                return str(answer.read().decode())
        except OSError as error:
            if time.monotonic() > deadline:
                raise Unmet(f"an answer from {url} within {PATIENCE:g} s", str(error)) from error
            time.sleep(0.05)


def _free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _host_address() -> str:
    """The host's address on its way out, or skip: no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            skip("the host has no route out, so no address but loopback is known")
        return str(probe.getsockname()[0])


@case("network", "a sandbox has an address, which an interface inside has, too")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.shared()
    network = (await kit.pod_status(sandbox_id)).network
    holds(network.ip, "an address in the status", network)
    for address in (network.ip, *(entry.ip for entry in network.additional_ips)):
        ipaddress.ip_address(address)
        contains(await kit.look("ip -o addr"), f" {address}/", "addresses inside")


@case("network", "loopback works inside")
async def _(kit: Kit) -> None:
    contains(await kit.look("ip -o link show lo; ping -c 1 -w 5 127.0.0.1"), "1 packets received", "ping")


@case("network", "there is a default route inside")
async def _(kit: Kit) -> None:
    contains(await kit.look("ip route"), "default", "routes")


@case("network", "the host reaches a server in the sandbox")
async def _(kit: Kit) -> None:
    sandbox_id = await _web(kit)
    address = (await kit.pod_status(sandbox_id)).network.ip
    equal(await _fetched(f"http://{address}:8080/hostname"), "web\n", "the page")


@case("network", "one sandbox reaches another")
async def _(kit: Kit) -> None:
    address = (await kit.pod_status(await _web(kit))).network.ip
    get = f"wget -q -O - http://{address}:8080/hostname"
    output = await kit.look(f"i=0; until {get}; do i=$((i+1)); [ $i -lt 50 ] || exit 1; sleep 0.1; done")
    equal(output, "web\n", "the page")


@case("network", "containers of one sandbox reach each other on localhost")
async def _(kit: Kit) -> None:
    sandbox_id = await _web(kit)
    get = "wget -q -O - http://127.0.0.1:8080/hostname"
    script = f"i=0; until {get}; do i=$((i+1)); [ $i -lt 50 ] || exit 1; sleep 0.1; done"
    equal(await kit.shell(script, sandbox_id), "web\n", "the page")


@case("network", "an address is no longer told when its sandbox is stopped, or stays the same")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    before = (await kit.pod_status(sandbox_id)).network.ip
    await kit.runtime.stop_pod_sandbox(sandbox_id)
    after = (await kit.pod_status(sandbox_id)).network.ip
    holds(after in {"", before}, f"'' or {before}", after)


@case("network", "the network namespace outlives every container")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    before = await kit.shell("readlink /proc/self/ns/net; ip -o -4 addr show dev eth0 | awk '{print $4}'", sandbox_id)
    for container in await kit.runtime.list_containers(api.ContainerFilter(pod_sandbox_id=sandbox_id)):
        await kit.runtime.remove_container(container.id)
    after = await kit.shell("readlink /proc/self/ns/net; ip -o -4 addr show dev eth0 | awk '{print $4}'", sandbox_id)
    equal(after, before, "namespace and address")


@case("network", "a TCP port of the host leads to the sandbox, until that is stopped")
async def _(kit: Kit) -> None:
    port = _free_port()
    mapping = api.PortMapping(protocol=api.TCP, container_port=8080, host_port=port)
    sandbox_id = await _web(kit, port_mappings=[mapping])
    equal(await _fetched(f"http://127.0.0.1:{port}/hostname"), "web\n", "the page")
    await kit.runtime.stop_pod_sandbox(sandbox_id)
    with socket.socket() as again:
        again.settimeout(1)
        holds(await asyncio.to_thread(again.connect_ex, ("127.0.0.1", port)) != 0, "no connection", "one")


@case("network", "a port on one address of the host is not open on another")
async def _(kit: Kit) -> None:
    outside, port = _host_address(), _free_port()
    mapping = api.PortMapping(protocol=api.TCP, container_port=8080, host_port=port, host_ip="127.0.0.1")
    await _web(kit, port_mappings=[mapping])
    equal(await _fetched(f"http://127.0.0.1:{port}/hostname"), "web\n", "the page on 127.0.0.1")
    with socket.socket() as other:
        other.settimeout(1)
        refused = await asyncio.to_thread(other.connect_ex, (outside, port)) != 0
        holds(refused, f"no connection to {outside}", "one")


@case("network", "a UDP port of the host leads to the sandbox")
async def _(kit: Kit) -> None:
    port = _free_port(socket.SOCK_DGRAM)
    mapping = api.PortMapping(protocol=api.UDP, container_port=9090, host_port=port)
    container_id = await kit.idle(await kit.sandbox(port_mappings=[mapping]))
    # Nothing needs to listen: the kernel counts datagrams to a port that is not in use.
    count = "awk '$1 == \"Udp:\" && $3 ~ /^[0-9]+$/ {print $3}' /proc/net/snmp"
    before = int(await kit.exec(container_id, "sh", "-c", count))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(5):
            sender.sendto(b"by udp\n", ("127.0.0.1", port))
    after = before
    for _ in range(50):
        after = int(await kit.exec(container_id, "sh", "-c", count))
        if after > before:
            return
        await asyncio.sleep(0.1)
    holds(after > before, f"more than {before} datagrams counted inside", after)


@case("network", "one port by TCP and by UDP are two mappings")
async def _(kit: Kit) -> None:
    port = _free_port()
    mappings = [api.PortMapping(protocol=kind, container_port=8080, host_port=port) for kind in (api.TCP, api.UDP)]
    await _web(kit, port_mappings=mappings)
    equal(await _fetched(f"http://127.0.0.1:{port}/hostname"), "web\n", "the page")


@case("network", "a mapping without a host port asks for nothing")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(port_mappings=[api.PortMapping(container_port=80)])
    equal((await kit.pod_status(sandbox_id)).state, api.SANDBOX_READY, "state")


@case("network", "a Pod on the host's network is in its network namespace")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(linux=pod_security(namespace_options=HOST_NETWORK), hostname="")
    output = await kit.shell("readlink /proc/self/ns/net", sandbox_id, linux=security(namespace_options=HOST_NETWORK))
    equal(output.strip(), str(Path("/proc/self/ns/net").readlink()), "network namespace")


@case("network", "a Pod on the host's network tells no address of its own")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(linux=pod_security(namespace_options=HOST_NETWORK), hostname="")
    equal((await kit.pod_status(sandbox_id)).network.ip, "", "ip")


@case("network", "a sandbox on the host's network is stopped and removed like any other")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(linux=pod_security(namespace_options=HOST_NETWORK), hostname="")
    await kit.runtime.stop_pod_sandbox(sandbox_id)
    equal((await kit.pod_status(sandbox_id)).state, api.SANDBOX_NOTREADY, "state")
    await kit.runtime.remove_pod_sandbox(sandbox_id)


@table(
    "network",
    {
        "low ports need no privilege": ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
        "ping needs no privilege": ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
    },
)
async def _(kit: Kit, path: str, expected: str) -> None:
    equal(" ".join((await kit.look(f"cat {path}")).split()), expected, path)
