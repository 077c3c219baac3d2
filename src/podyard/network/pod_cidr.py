"""The subnets that a kubelet wants its node's pods to have (UpdateRuntimeConfig)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path

from podyard.errors import FailedPrecondition, InvalidArgument
from podyard.network.configuration import parse
from podyard.network.template import render

FILE = "10-podyard.conflist"
"""What a filled template is called in the directory of CNI configurations."""

_EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


def parse_subnets(text: str) -> tuple[str, ...]:
    """The subnets of a pod CIDR: one, or one of each family with a comma between. Raises InvalidArgument."""
    try:
        networks = [ipaddress.ip_network(part.strip()) for part in text.split(",")]
    except ValueError as error:
        raise InvalidArgument(f"the pod CIDR {text[:100]!r} is not a subnet such as 10.1.2.0/24: {error}") from error
    if len({network.version for network in networks}) != len(networks):
        raise InvalidArgument(f"the pod CIDR {text[:100]!r} has two subnets of one family: one of each is possible")
    return tuple(str(network) for network in networks)


def too_small(subnets: Sequence[str]) -> list[str]:
    """Those of which host-local gives no address: it keeps the first, the last and the gateway's for itself."""
    networks = [ipaddress.ip_network(subnet) for subnet in subnets]
    return [str(network) for network in networks if network.prefixlen > network.max_prefixlen - 2]


def routes(subnets: Sequence[str]) -> list[str]:
    """The default route of each family among some subnets."""
    return [_EVERYWHERE[ipaddress.ip_network(subnet).version] for subnet in subnets]


def filled(template: Path, subnets: Sequence[str]) -> bytes:
    """The CNI configuration list that a template makes of subnets.

    Raises FailedPrecondition when it cannot be read or makes no valid configuration.
    """
    try:
        text = template.read_text(encoding="utf-8")
        values = {"PodCIDR": subnets[0], "PodCIDRRanges": list(subnets), "Routes": routes(subnets)}
        content = render(text, values).encode()
        parse(content, is_list=True)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise FailedPrecondition(f"network.template {template} makes no CNI configuration: {reason}") from error
    return content


def write_new(file: Path, content: bytes) -> None:
    """Write a file in one step for every reader."""
    new = file.with_suffix(".new")
    new.write_bytes(content)
    new.rename(file)
