"""What a pod asks for, in the form of CNI's capabilities (CNI conventions, "Dynamic plugin specific fields").

A plugin gets only those that its configuration declares.
"""

from __future__ import annotations

import logging
import re
from decimal import Decimal
from typing import Any

from podyard.errors import InvalidArgument
from podyard.network.configuration import NetworkConfiguration
from podyard.network.model import AttachRequest

logger = logging.getLogger(__name__)

INGRESS = "kubernetes.io/ingress-bandwidth"
EGRESS = "kubernetes.io/egress-bandwidth"

BURST = (1 << 32) - 1
"""Bits that may pass at once: the most that the bandwidth plugin takes, since pods cannot say it."""

_QUANTITY = re.compile(r"(\d{1,20}(?:\.\d{0,9})?|\.\d{1,9})(|[kMGTP]|[KMGTP]i)")
_FACTORS = {"": 1} | {
    name: base**power
    for base, names in ((1000, "k M G T P"), (1024, "Ki Mi Gi Ti Pi"))
    for power, name in enumerate(names.split(), 1)
}
_LEAST, _MOST = 1000, 10**15
"""Bits a second that Kubernetes admits: 1k to 1P."""


def runtime_configs(configuration: NetworkConfiguration, request: AttachRequest) -> list[dict[str, Any]]:
    """``runtimeConfig`` for each plugin of a configuration, {} for one that wants none.

    Raises InvalidArgument for a bandwidth annotation that is none.
    """
    wishes = _wishes(request)
    configs = []
    for plugin in configuration.plugins:
        declared = plugin.get("capabilities") or {}
        configs.append({name: value for name, value in wishes.items() if declared.get(name) is True})
    for name in ("portMappings", "bandwidth"):
        if name in wishes and not any(name in config for config in configs):
            logger.warning(
                "sandbox %s asks for %s, but no plugin of the CNI network %s declares that capability: "
                "it depends on the network whether it is heeded",
                request.sandbox_id[:12],
                name,
                configuration.name,
            )
    return configs


def _wishes(request: AttachRequest) -> dict[str, Any]:
    wishes: dict[str, Any] = {}
    if request.port_mappings:
        wishes["portMappings"] = [
            {"hostPort": mapping.host_port, "containerPort": mapping.container_port, "protocol": mapping.protocol}
            | ({"hostIP": mapping.host_ip} if mapping.host_ip else {})
            for mapping in request.port_mappings
        ]
    bandwidth = _bandwidth(request)
    if bandwidth:
        wishes["bandwidth"] = bandwidth
    dns = {"servers": request.dns_servers, "searches": request.dns_searches, "options": request.dns_options}
    if any(dns.values()):
        wishes["dns"] = {name: list(values) for name, values in dns.items() if values}
    if request.cgroup_parent:
        wishes["cgroupPath"] = request.cgroup_parent
    if request.annotations:
        wishes["io.kubernetes.cri.pod-annotations"] = dict(request.annotations)
    return wishes


def _bandwidth(request: AttachRequest) -> dict[str, int]:
    limits: dict[str, int] = {}
    for annotation, direction in ((INGRESS, "ingress"), (EGRESS, "egress")):
        text = request.annotations.get(annotation)
        if text is not None:
            limits |= {f"{direction}Rate": _rate(annotation, text), f"{direction}Burst": BURST}
    return limits


def _rate(annotation: str, text: str) -> int:
    """Bits a second from a Kubernetes quantity such as 10M."""
    match = _QUANTITY.fullmatch(text)
    rate = int(Decimal(match[1]) * _FACTORS[match[2]]) if match else 0
    if not _LEAST <= rate <= _MOST:
        raise InvalidArgument(f"the annotation {annotation}={text!r} is no bandwidth from 1k to 1P bits a second")
    return rate
