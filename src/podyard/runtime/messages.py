"""Records as the messages that the CRI returns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import json_format

from podyard.cri import api
from podyard.model.records import Container, Sandbox
from podyard.runtime import resources

CONTAINER_STATES: Mapping[str, api.ContainerState.ValueType] = {
    "created": api.CONTAINER_CREATED,
    "running": api.CONTAINER_RUNNING,
    "exited": api.CONTAINER_EXITED,
    "unknown": api.CONTAINER_UNKNOWN,
}


def sandbox_state(record: Sandbox) -> api.PodSandboxState.ValueType:
    """READY while its namespaces live."""
    return api.SANDBOX_READY if record.ready else api.SANDBOX_NOTREADY


def sandbox(record: Sandbox, config: api.PodSandboxConfig) -> api.PodSandbox:
    """A sandbox as it stands in lists."""
    return api.PodSandbox(
        id=record.id,
        metadata=config.metadata,
        state=sandbox_state(record),
        created_at=record.created_at,
        labels=config.labels,
        annotations=config.annotations,
        runtime_handler=record.handler,
    )


def sandbox_status(record: Sandbox, config: api.PodSandboxConfig) -> api.PodSandboxStatus:
    """A sandbox in full."""
    options = config.linux.security_context.namespace_options
    network = api.PodSandboxNetworkStatus()
    if record.ips:
        network.ip = record.ips[0]
        network.additional_ips.extend(api.PodIP(ip=address) for address in record.ips[1:])
    return api.PodSandboxStatus(
        id=record.id,
        metadata=config.metadata,
        state=sandbox_state(record),
        created_at=record.created_at,
        network=network,
        linux=api.LinuxPodSandboxStatus(namespaces=api.Namespace(options=options)),
        labels=config.labels,
        annotations=config.annotations,
        runtime_handler=record.handler,
    )


def container(record: Container, config: api.ContainerConfig) -> api.Container:
    """A container as it stands in lists."""
    return api.Container(
        id=record.id,
        pod_sandbox_id=record.sandbox_id,
        metadata=config.metadata,
        image=config.image,
        image_ref=record.image_id,
        image_id=record.image_id,
        state=CONTAINER_STATES[record.state],
        created_at=record.created_at,
        labels=config.labels,
        annotations=config.annotations,
    )


def container_status(record: Container, config: api.ContainerConfig) -> api.ContainerStatus:
    """A container in full."""
    return api.ContainerStatus(
        id=record.id,
        metadata=config.metadata,
        state=CONTAINER_STATES[record.state],
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        exit_code=record.exit_code,
        image=_image(config.image, record),
        image_ref=record.image_ref,
        image_id=record.image_id,
        reason=record.reason,
        message=record.message,
        labels=config.labels,
        annotations=config.annotations,
        mounts=[_mount(mount, record) for mount in config.mounts],
        log_path=record.log_path,
        resources=api.ContainerResources(linux=resources.effective(record, config)),
        user=api.ContainerUser(
            linux=api.LinuxContainerUser(uid=record.uid, gid=record.gid, supplemental_groups=record.groups)
        ),
        stop_signal=api.Signal.Value(f"SIGNAL_{record.stop_signal}"),
    )


def _image(image: api.ImageSpec, record: Container) -> api.ImageSpec:
    """The image as it was asked for, by its name: a kubelet shows it to whoever looks at the Pod."""
    if not record.image_name:
        return image
    told = api.ImageSpec()
    told.CopyFrom(image)
    told.image = record.image_name
    return told


def _mount(mount: api.Mount, record: Container) -> api.Mount:
    """A mount as it was asked for, and which image it is (Kubernetes enhancement 5365)."""
    image_id = record.volume_images.get(mount.image.image)
    if image_id is None:
        return mount
    told = api.Mount()
    told.CopyFrom(mount)
    told.image.image_ref = image_id
    return told


def sandbox_attributes(id_: str, config: api.PodSandboxConfig) -> api.PodSandboxAttributes:
    """What tells a sandbox from others in statistics."""
    return api.PodSandboxAttributes(
        id=id_, metadata=config.metadata, labels=config.labels, annotations=config.annotations
    )


def container_attributes(id_: str, config: api.ContainerConfig) -> api.ContainerAttributes:
    """What tells a container from others in statistics."""
    return api.ContainerAttributes(
        id=id_, metadata=config.metadata, labels=config.labels, annotations=config.annotations
    )


def matches_labels(labels: Mapping[str, str], selector: Iterable[tuple[str, str]]) -> bool:
    """Whether all of a filter's labels are there with the same values."""
    return all(labels.get(key) == value for key, value in selector)


def info(values: Mapping[str, Any]) -> dict[str, str]:
    """The ``info`` of a verbose answer: one JSON document under the key that tools read."""
    return {"info": json.dumps(values)}


def as_json(message: Any) -> Any:
    """A message as JSON values, with the protocol's field names."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True)
