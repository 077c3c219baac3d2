"""What a node is told about itself on the command line."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator

from podyard.errors import InvalidArgument
from podyard.manifest.names import key_fault, label_value_fault, subdomain_fault
from podyard.manifest.translate import ClusterDns
from podyard.node.cluster.node_object import Taint

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def node_name(given: str) -> str:
    """The node's name: the one given, or the host's. Raises InvalidArgument for what cannot be one."""
    name = given or socket.gethostname().lower()
    if fault := subdomain_fault(name):
        raise InvalidArgument(f"the node's name {name!r}: {fault}; give one with --node-name")
    return name


def parse_labels(text: str) -> dict[str, str]:
    """``key=value,…``. Raises InvalidArgument."""
    found = {}
    for part in _parts(text):
        key, equals, value = part.partition("=")
        fault = key_fault(key) or label_value_fault(value)
        if not equals or fault:
            raise InvalidArgument(f"--node-labels: {part!r}: {fault or 'a label is key=value'}")
        found[key] = value
    return found


def parse_taints(text: str) -> list[Taint]:
    """``key=value:Effect,…`` or ``key:Effect,…``. Raises InvalidArgument."""
    found = []
    for part in _parts(text):
        named, colon, effect = part.rpartition(":")
        key, _, value = named.partition("=")
        fault = key_fault(key) or label_value_fault(value)
        if not colon or effect not in _EFFECTS or fault:
            why = fault or f"a taint is key=value:Effect, the effect one of {', '.join(_EFFECTS)}"
            raise InvalidArgument(f"--register-with-taints: {part!r}: {why}")
        found.append(Taint(key=key, value=value, effect=effect))
    return found


def parse_dns(servers: str, domain: str) -> ClusterDns:
    """Addresses, ``a,b``, and a domain or "". Raises InvalidArgument."""
    found = tuple(_parts(servers))
    for server in found:
        try:
            ipaddress.ip_address(server)
        except ValueError:
            raise InvalidArgument(f"--cluster-dns: {server!r} is not an IP address") from None
    if domain and (fault := subdomain_fault(domain)):
        raise InvalidArgument(f"--cluster-domain: {domain!r}: {fault}")
    return ClusterDns(servers=found, domain=domain)


def parse_header(text: str) -> tuple[str, str]:
    """``Name:value``. Raises InvalidArgument."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not text.isprintable():
        raise InvalidArgument(f"--manifest-url-header: {text!r}: a header is Name:value")
    return name.strip(), value.strip()


def _parts(text: str) -> Iterator[str]:
    return (part.strip() for part in text.split(",") if part.strip())
