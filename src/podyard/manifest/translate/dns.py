"""The resolver settings of a Pod (Kubernetes documentation, "DNS for Services and Pods")."""

from __future__ import annotations

from collections.abc import Iterable

from podyard.cri import api
from podyard.manifest.model import Pod
from podyard.manifest.translate.facts import HostFacts

MAX_SERVERS = 3
"""More are ignored by resolvers (resolv.conf(5), MAXNS)."""
MAX_SEARCHES = 32


CLUSTER_OPTIONS = ("ndots:5",)
"""Names with fewer dots are looked for in the cluster first: service.namespace.svc is one."""


def dns_config(pod: Pod, host: HostFacts) -> api.DNSConfig:
    """The cluster's settings, the host's or none, as the Pod's policy says, then those of dnsConfig.

    Where there is no cluster DNS, ClusterFirst means what Default means, as for a kubelet that has none.
    """
    spec, cluster = pod.spec, host.cluster_dns
    servers, searches, options = ([], [], []) if spec.dns_policy == "None" else _parse(host.resolv_conf)
    by_cluster = spec.dns_policy == "ClusterFirst" and not spec.host_network
    if cluster.servers and (by_cluster or spec.dns_policy == "ClusterFirstWithHostNet"):
        servers, options = list(cluster.servers), list(CLUSTER_OPTIONS)
        if domain := cluster.domain:
            searches = [f"{pod.metadata.namespace}.svc.{domain}", f"svc.{domain}", domain, *searches]
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
