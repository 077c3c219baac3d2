"""A Pod."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import msgspec

from podyard.manifest.model.base import Object
from podyard.manifest.model.container import Container, EphemeralContainer
from podyard.manifest.model.reference import LocalReference
from podyard.manifest.model.security import PodSecurityContext
from podyard.manifest.model.volume import Volume
from podyard.manifest.quantity import Quantity


class Metadata(Object, frozen=True, kw_only=True):
    unsupported: ClassVar[frozenset[str]] = frozenset({"generateName"})
    ignored: ClassVar[frozenset[str]] = frozenset(
        {
            "creationTimestamp",
            "deletionGracePeriodSeconds",
            "deletionTimestamp",
            "finalizers",
            "generation",
            "managedFields",
            "ownerReferences",
            "resourceVersion",
            "selfLink",
        }
    )

    name: str
    namespace: str = "default"
    uid: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class DnsOption(Object, frozen=True, kw_only=True):
    name: str
    value: str | None = None


class DnsConfig(Object, frozen=True, kw_only=True):
    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[DnsOption, ...] = ()


class HostAlias(Object, frozen=True, kw_only=True):
    ip: str
    hostnames: tuple[str, ...] = ()


class PodOs(Object, frozen=True, kw_only=True):
    name: Literal["linux"]


class PodSpec(Object, frozen=True, kw_only=True):
    unsupported: ClassVar[frozenset[str]] = frozenset(
        {
            "resourceClaims",
            "resources",
            "schedulingGates",
        }
    )
    ignored: ClassVar[frozenset[str]] = frozenset(
        {
            "affinity",
            "automountServiceAccountToken",
            "nodeSelector",
            "preemptionPolicy",
            "readinessGates",
            "schedulerName",
            "serviceAccount",
            "tolerations",
            "topologySpreadConstraints",
        }
    )

    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] = ()
    ephemeral_containers: tuple[EphemeralContainer, ...] = ()
    image_pull_secrets: tuple[LocalReference, ...] = ()
    volumes: tuple[Volume, ...] = ()
    restart_policy: Literal["Always", "OnFailure", "Never"] = "Always"
    active_deadline_seconds: int | None = None
    termination_grace_period_seconds: int = 30
    hostname: str = ""
    hostname_override: str = ""
    subdomain: str = ""
    set_hostname_as_fqdn: bool = False
    host_aliases: tuple[HostAlias, ...] = ()
    dns_policy: Literal["Default", "None", "ClusterFirst", "ClusterFirstWithHostNet"] = "ClusterFirst"
    dns_config: DnsConfig = DnsConfig()
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    host_users: bool = True
    share_process_namespace: bool = False
    security_context: PodSecurityContext = PodSecurityContext()
    overhead: dict[str, Quantity] = msgspec.field(default_factory=dict)
    """What the Pod costs beside its containers."""
    runtime_class_name: str = ""
    service_account_name: str = "default"
    enable_service_links: bool = True
    node_name: str = ""
    priority: int | None = None
    priority_class_name: str = ""
    os: PodOs | None = None


class Pod(Object, frozen=True, kw_only=True):
    ignored: ClassVar[frozenset[str]] = frozenset({"status"})

    api_version: Literal["v1"]
    kind: Literal["Pod"]
    metadata: Metadata
    spec: PodSpec

    @property
    def full_name(self) -> str:
        """``namespace/name``, how messages name a Pod."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    def all_containers(self) -> Iterator[Container]:
        """Init containers, then containers, each in the manifest's order. Ephemeral ones come and go beside them."""
        yield from self.spec.init_containers
        yield from self.spec.containers

    def container(self, name: str) -> Container:
        """The container or init container called ``name``. Raises KeyError."""
        for container in self.all_containers():
            if container.name == name:
                return container
        raise KeyError(name)


def is_sidecar(container: Container) -> bool:
    """Whether an init container (no other is asked for) is restartable: it keeps running beside the containers and ends
    after them."""
    return container.restart_policy == "Always"
