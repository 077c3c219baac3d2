"""What goes into the network and what comes out of it: plain types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PortMapping:
    """A port of the host that leads to one of a pod. ``protocol`` is tcp, udp or sctp; ``host_ip`` "" is any."""

    host_port: int
    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""


@dataclass(frozen=True)
class AttachRequest:
    """What the plugins are told of a sandbox. ``netns`` is the pin of its network namespace."""

    sandbox_id: str
    netns: Path
    name: str
    namespace: str
    uid: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    port_mappings: tuple[PortMapping, ...] = ()
    cgroup_parent: str = ""
    dns_servers: tuple[str, ...] = ()
    dns_searches: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class AttachResult:
    """A sandbox's addresses, the pod's main one first, and the whole CNI result."""

    ips: tuple[str, ...]
    raw: dict[str, Any]


@dataclass(frozen=True)
class NetworkStatus:
    """Whether pods can be attached, and if not why. ``config`` is the network configuration in use."""

    ready: bool
    reason: str = ""
    message: str = ""
    config: dict[str, Any] | None = None
