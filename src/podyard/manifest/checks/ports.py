"""Faults of ports."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from podyard.manifest.model import ContainerPort, PodSpec
from podyard.manifest.names import port_name_fault
from podyard.manifest.problems import Problem

MAX_PORT = 65535


def check_ports(ports: Sequence[ContainerPort], path: str) -> Iterator[Problem]:
    """Faults of one container's ports."""
    names: set[str] = set()
    for index, port in enumerate(ports):
        where = f"{path}[{index}]"
        if not 1 <= port.container_port <= MAX_PORT:
            yield Problem(0, f"{where}.containerPort", f"{port.container_port} is not between 1 and {MAX_PORT}")
        if not 0 <= port.host_port <= MAX_PORT:
            yield Problem(0, f"{where}.hostPort", f"{port.host_port} is not between 1 and {MAX_PORT}")
        if port.host_ip and not _is_ip(port.host_ip):
            yield Problem(0, f"{where}.hostIP", f"{port.host_ip!r} is not an IP address")
        if port.name:
            if fault := port_name_fault(port.name):
                yield Problem(0, f"{where}.name", fault)
            if port.name in names:
                yield Problem(0, f"{where}.name", f"another port is called {port.name!r} already")
            names.add(port.name)


def check_host_ports(spec: PodSpec) -> Iterator[Problem]:
    """Host ports that two containers want; with host network every container port is one."""
    taken: dict[tuple[str, str, int], str] = {}
    for index, container in enumerate(spec.containers):
        for position, port in enumerate(container.ports):
            path = f"spec.containers[{index}].ports[{position}].hostPort"
            if spec.host_network and port.host_port not in (0, port.container_port):
                yield Problem(0, path, f"must be {port.container_port} as containerPort, since hostNetwork is on")
            if not port.host_port:
                continue
            key = (port.protocol, port.host_ip, port.host_port)
            if key in taken:
                yield Problem(0, path, f"{port.protocol} port {port.host_port} is taken by {taken[key]}")
            taken.setdefault(key, path.removesuffix(".hostPort"))


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
