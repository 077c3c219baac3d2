"""A container of a Pod."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from podyard.manifest.model.base import Object
from podyard.manifest.model.probe import Lifecycle, Probe
from podyard.manifest.model.security import SecurityContext
from podyard.manifest.model.volume import VolumeMount
from podyard.manifest.quantity import Quantity


class ContainerPort(Object, frozen=True, kw_only=True):
    container_port: int
    host_port: int = 0
    host_ip: str = ""
    name: str = ""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"


class FieldRef(Object, frozen=True, kw_only=True):
    field_path: str
    api_version: str = "v1"


class ResourceFieldRef(Object, frozen=True, kw_only=True):
    resource: str
    container_name: str = ""
    divisor: Quantity | None = None


class ValueFrom(Object, frozen=True, kw_only=True):
    unsupported: ClassVar[frozenset[str]] = frozenset({"configMapKeyRef", "fileKeyRef", "secretKeyRef"})

    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None


class EnvVar(Object, frozen=True, kw_only=True):
    name: str
    value: str = ""
    value_from: ValueFrom | None = None


class Resources(Object, frozen=True, kw_only=True):
    """Requests are for a scheduler, save that the cpu request becomes shares and the memory request a rank for the
    OOM killer. Limits are enforced."""

    unsupported: ClassVar[frozenset[str]] = frozenset({"claims"})

    requests: dict[str, Quantity] = msgspec.field(default_factory=dict)
    limits: dict[str, Quantity] = msgspec.field(default_factory=dict)


class Container(Object, frozen=True, kw_only=True):
    unsupported: ClassVar[frozenset[str]] = frozenset(
        {
            "envFrom",
            "resizePolicy",
            "restartPolicyRules",
            "volumeDevices",
        }
    )

    name: str
    image: str
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    resources: Resources = Resources()
    volume_mounts: tuple[VolumeMount, ...] = ()
    security_context: SecurityContext = SecurityContext()
    startup_probe: Probe | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    lifecycle: Lifecycle = Lifecycle()
    restart_policy: Literal["Always"] | None = None
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    termination_message_path: str = "/dev/termination-log"
    termination_message_policy: Literal["File", "FallbackToLogsOnError"] = "File"

    @property
    def pull_policy(self) -> Literal["Always", "IfNotPresent", "Never"]:
        """The policy given, or Kubernetes' default: Always for the tag latest, else IfNotPresent."""
        if self.image_pull_policy is not None:
            return self.image_pull_policy
        name, at, _ = self.image.partition("@")
        tag = name.rpartition("/")[2].partition(":")[2]
        return "IfNotPresent" if at or tag not in {"", "latest"} else "Always"
