"""The resolver settings of a Pod (Kubernetes documentation, "DNS for Services and Pods")."""

from __future__ import annotations

from collections.abc import Iterable

from podyard.cri import api
from podyard.manifest.model import PodSpec

MAX_SERVERS = 3
"""More are ignored by resolvers (resolv.conf(5), MAXNS)."""
MAX_SEARCHES = 32


def dns_config(spec: PodSpec, resolv_conf: str) -> api.DNSConfig:
    """The host's settings unless the policy is None, then those of dnsConfig.

    There is no cluster DNS on one node, so ClusterFirst means what Default means, as for a kubelet that has none.
    """
    servers, searches, options = ([], [], []) if spec.dns_policy == "None" else _parse(resolv_conf)
    servers += spec.dns_config.nameservers
    searches += spec.dns_config.searches
    by_name = {option.partition(":")[0]: option for option in options}
    for option in spec.dns_config.options:
        by_name[option.name] = option.name if option.value is None else f"{option.name}:{option.value}"
    return api.DNSConfig(
        servers=_unique(servers)[:MAX_SERVERS],
        searches=_unique(searches)[:MAX_SEARCHES],
        options=list(by_name.values()),
    )


def _parse(text: str) -> tuple[list[str], list[str], list[str]]:
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        word, *values = line.split()[:MAX_SEARCHES] or [""]
        if word == "nameserver" and values:
            servers.append(values[0])
        elif word in {"search", "domain"}:
            searches = values  # the last line counts, resolv.conf(5)
        elif word == "options":
            options += values
    return servers, searches, options


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
