"""Labels and annotations of sandboxes and containers: the kubelet's, by which every tool finds Pods, and our own."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from msgspec.structs import replace

from podyard.manifest.model import (
    Container,
    EphemeralContainer,
    LifecycleHandler,
    Pod,
    Resources,
    canonical,
    is_sidecar,
)
from podyard.manifest.translate.resources import qos_class

POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
POD_UID = "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"
GRACE_PERIOD = "io.kubernetes.pod.terminationGracePeriod"
TERMINATION_MESSAGE_PATH = "io.kubernetes.container.terminationMessagePath"
TERMINATION_MESSAGE_POLICY = "io.kubernetes.container.terminationMessagePolicy"
RESTART_COUNT = "io.kubernetes.container.restartCount"
CONTAINER_HASH = "io.kubernetes.container.hash"
PRE_STOP = "io.kubernetes.container.preStopHandler"
"""What is done before the container is stopped: the JSON of a LifecycleHandler whose port is a number."""
PORTS = "io.kubernetes.container.ports"
MANIFEST_HASH = "podyard.io/manifest-hash"
"""On a sandbox: ``pod_hash`` of its manifest."""
SANDBOX_HASH = "podyard.io/sandbox-hash"
"""On a sandbox: ``sandbox_hash`` of its manifest."""
CONTAINER_KIND = "podyard.io/container-kind"
"""On a container: ``kind_of`` it."""


def pod_hash(pod: Pod) -> str:
    """The same for manifests that mean the same, whatever uid the Pod was given."""
    return hashlib.sha256(canonical(replace(pod, metadata=replace(pod.metadata, uid="")))).hexdigest()[:32]


def sandbox_hash(pod: Pod) -> str:
    """The same for manifests that can be carried out in one sandbox, one after the other.

    What may change while a Pod runs is left out: labels, annotations, ephemeral containers, its priority, its deadline,
    and the cpu and memory of containers as long as the Pod's QoS class stays the same.
    """
    spec = replace(
        pod.spec,
        init_containers=tuple(_without_resources(container) for container in pod.spec.init_containers),
        containers=tuple(_without_resources(container) for container in pod.spec.containers),
        ephemeral_containers=(),
        active_deadline_seconds=None,
        priority=None,
        priority_class_name="",
    )
    metadata = replace(pod.metadata, labels={}, annotations={})
    return f"{pod_hash(replace(pod, metadata=metadata, spec=spec))}-{qos_class(pod)}"


def _without_resources(container: Container) -> Container:
    fixed = {name: amount for name, amount in container.resources.limits.items() if name not in ("cpu", "memory")}
    return replace(container, resources=Resources(limits=fixed))


def container_hash(container: Container) -> str:
    """Changes with a container's part of the manifest, save for the cpu and memory that it is given."""
    return hashlib.sha256(canonical(_without_resources(container))).hexdigest()[:8]


def kind_of(pod: Pod, container: Container) -> Literal["init", "sidecar", "container", "ephemeral"]:
    """Whether it runs before the containers, from then on beside them, is one of them, or joins them later."""
    if isinstance(container, EphemeralContainer):
        return "ephemeral"
    if container in pod.spec.containers:
        return "container"
    return "sidecar" if is_sidecar(container) else "init"


def sandbox_labels(pod: Pod) -> dict[str, str]:
    """The Pod's own labels, and whose sandbox it is."""
    return {**pod.metadata.labels, **_identity(pod)}


def sandbox_annotations(pod: Pod) -> dict[str, str]:
    """The Pod's own annotations, and which manifest it was made from."""
    return {**pod.metadata.annotations, MANIFEST_HASH: pod_hash(pod), SANDBOX_HASH: sandbox_hash(pod)}


def container_labels(pod: Pod, container: Container) -> dict[str, str]:
    """Whose container it is."""
    return {**_identity(pod), CONTAINER_NAME: container.name}


def container_annotations(pod: Pod, container: Container, attempt: int) -> dict[str, str]:
    """What stop, restart and inspection need to know, with or without the manifest."""
    annotations = {
        CONTAINER_HASH: container_hash(container),
        RESTART_COUNT: str(attempt),
        TERMINATION_MESSAGE_PATH: container.termination_message_path,
        TERMINATION_MESSAGE_POLICY: container.termination_message_policy,
        GRACE_PERIOD: str(pod.spec.termination_grace_period_seconds),
        CONTAINER_KIND: kind_of(pod, container),
    }
    if container.lifecycle.pre_stop is not None:
        annotations[PRE_STOP] = canonical(with_port_number(container, container.lifecycle.pre_stop)).decode()
    if container.ports:
        annotations[PORTS] = _ports(container)
    return annotations


def port_number(container: Container, port: int | str) -> int:
    """The port that an action names by its number or by the name that the container gives it."""
    if isinstance(port, int):
        return port
    return next(known.container_port for known in container.ports if known.name == port)


def with_port_number(container: Container, handler: LifecycleHandler) -> LifecycleHandler:
    """A hook that can be carried out without the manifest."""
    if handler.http_get is None:
        return handler
    number = port_number(container, handler.http_get.port)
    return replace(handler, http_get=replace(handler.http_get, port=number))


def _identity(pod: Pod) -> dict[str, str]:
    return {
        POD_NAME: pod.metadata.name,
        POD_NAMESPACE: pod.metadata.namespace,
        POD_UID: pod.metadata.uid,
    }


def _ports(container: Container) -> str:
    fields = [
        {
            "name": port.name,
            "hostPort": port.host_port,
            "containerPort": port.container_port,
            "protocol": port.protocol,
            "hostIP": port.host_ip,
        }
        for port in container.ports
    ]
    return json.dumps([{key: value for key, value in entry.items() if value} for entry in fields])
