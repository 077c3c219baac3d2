"""What a translation must know beside the manifest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ClusterDns:
    """The cluster's own name servers, which know its Services."""

    servers: tuple[str, ...] = ()
    """Addresses; without one there is no such server."""
    domain: str = ""
    """The end of all names in it, such as "cluster.local"; without one, short names are not looked for there."""


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """The node."""

    name: str
    ips: tuple[str, ...]
    """The one that its default route uses first."""
    cpus: int
    memory: int
    """Bytes."""
    storage: int = 0
    """Bytes of the file system that holds Pods' files."""
    resolv_conf: str
    """The text of the resolver configuration that pods get, resolv.conf(5)."""
    hosts: str
    """The text of /etc/hosts, which pods on the host's network get."""
    cluster_dns: ClusterDns = ClusterDns()


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """An image on the endpoint."""

    id: str
    """What the endpoint calls it: containers are made from exactly this image, whatever its tags become."""
    uid: int | None = None
    """The user that it sets, by number."""
    username: str = ""
    """The user that it sets, by name. Without either it runs as root."""
