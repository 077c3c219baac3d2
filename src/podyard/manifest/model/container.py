"""A container of a Pod."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from podyard.manifest.model.base import Object
from podyard.manifest.model.probe import Lifecycle, Probe
from podyard.manifest.model.reference import FieldRef, KeyRef, ObjectRef, ResourceFieldRef
from podyard.manifest.model.security import SecurityContext
from podyard.manifest.model.volume import VolumeMount
from podyard.manifest.quantity import Quantity


class ContainerPort(Object, frozen=True, kw_only=True):
    container_port: int
    host_port: int = 0
    host_ip: str = ""
    name: str = ""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"


class ValueFrom(Object, frozen=True, kw_only=True):
    unsupported: ClassVar[frozenset[str]] = frozenset({"fileKeyRef"})

    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None

    @property
    def kinds(self) -> list[str]:
        """What the manifest gives of the fields: one's name, when it was checked."""
        fields = msgspec.structs.fields(self)
        return [field.encode_name for field in fields if getattr(self, field.name) is not None]


class EnvVar(Object, frozen=True, kw_only=True):
    name: str
    value: str = ""
    value_from: ValueFrom | None = None


class EnvFrom(Object, frozen=True, kw_only=True):
    """All of a ConfigMap or Secret as variables, ``prefix`` before each name."""

    prefix: str = ""
    config_map_ref: ObjectRef | None = None
    secret_ref: ObjectRef | None = None


class ResizePolicy(Object, frozen=True, kw_only=True):
    """What a change of a resource means for a container that runs."""

    resource_name: Literal["cpu", "memory"]
    restart_policy: Literal["NotRequired", "RestartContainer"]


class ExitCodes(Object, frozen=True, kw_only=True):
    operator: Literal["In", "NotIn"]
    values: tuple[int, ...]

    def match(self, exit_code: int) -> bool:
        """Whether it is one of them, or with NotIn none of them."""
        return (exit_code in self.values) == (self.operator == "In")


class RestartRule(Object, frozen=True, kw_only=True):
    """Which exit codes make a container start again, whatever its policy."""

    action: Literal["Restart"]
    exit_codes: ExitCodes


class Resources(Object, frozen=True, kw_only=True):
    """Requests are for a scheduler, save that the cpu request becomes shares and the memory request a rank for the
    OOM killer. Limits are enforced."""

    unsupported: ClassVar[frozenset[str]] = frozenset({"claims"})

    requests: dict[str, Quantity] = msgspec.field(default_factory=dict)
    limits: dict[str, Quantity] = msgspec.field(default_factory=dict)


class Container(Object, frozen=True, kw_only=True):
    unsupported: ClassVar[frozenset[str]] = frozenset({"volumeDevices"})

    name: str
    image: str
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    resources: Resources = Resources()
    resize_policy: tuple[ResizePolicy, ...] = ()
    volume_mounts: tuple[VolumeMount, ...] = ()
    security_context: SecurityContext = SecurityContext()
    startup_probe: Probe | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    lifecycle: Lifecycle = Lifecycle()
    restart_policy: Literal["Always", "OnFailure", "Never"] | None = None
    """In place of the Pod's. An init container with Always is a sidecar."""
    restart_policy_rules: tuple[RestartRule, ...] = ()
    """They come before the policy."""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    termination_message_path: str = "/dev/termination-log"
    termination_message_policy: Literal["File", "FallbackToLogsOnError"] = "File"

    @property
    def pull_policy(self) -> Literal["Always", "IfNotPresent", "Never"]:
        """The policy given, or Kubernetes' default."""
        return self.image_pull_policy or default_pull_policy(self.image)


class EphemeralContainer(Container, frozen=True, kw_only=True):
    """A container that joins a Pod which runs, to look into it. It is never started again."""

    target_container_name: str = ""
    """Whose processes it sees; "" for its own alone."""


def default_pull_policy(image: str) -> Literal["Always", "IfNotPresent"]:
    """Always for the tag latest, else IfNotPresent."""
    name, at, _ = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return "IfNotPresent" if at or tag not in {"", "latest"} else "Always"
