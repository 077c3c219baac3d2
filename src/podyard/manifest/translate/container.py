"""ContainerConfig."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from podyard.cri import api
from podyard.manifest.model import Container, Pod, VolumeMount
from podyard.manifest.signals import SIGNALS
from podyard.manifest.translate import labels
from podyard.manifest.translate.environment import expand
from podyard.manifest.translate.facts import HostFacts, ImageFacts
from podyard.manifest.translate.resources import linux_resources
from podyard.manifest.translate.security import container_security, id_mappings

_PROPAGATION = {
    "None": api.PROPAGATION_PRIVATE,
    "HostToContainer": api.PROPAGATION_HOST_TO_CONTAINER,
    "Bidirectional": api.PROPAGATION_BIDIRECTIONAL,
}


@dataclass(frozen=True, kw_only=True)
class ResolvedMount:
    """A volume mount whose source is known: a place on the host or, without one, an image."""

    mount: VolumeMount
    host_path: str = ""
    image: str = ""
    """The id of an image that is there."""
    sub_path: str = ""
    """The part of the image that is mounted."""
    read_only: bool = False
    """Whether the volume cannot be written, whatever its mount says."""
    recursive_read_only: bool = False
    """Whether what is mounted below is to be read-only too: the endpoint can do it."""


def container_config(
    pod: Pod,
    container: Container,
    image: ImageFacts,
    host: HostFacts,
    *,
    attempt: int,
    variables: Mapping[str, str],
    volumes: Sequence[ResolvedMount],
    files: Mapping[str, str],
    target: str = "",
    users: int | None = None,
) -> api.ContainerConfig:
    """The request for one attempt at a container.

    ``variables``: what ``environment`` makes. ``files``: files that the Pod manages, path in the container → path on
    the host; a volume mounted on the same path wins. ``target``: the id of the container whose processes it sees.
    ``users``: the host id of the Pod's root, in a user namespace of its own.
    """
    return api.ContainerConfig(
        metadata=api.ContainerMetadata(name=container.name, attempt=attempt),
        image=api.ImageSpec(image=image.id, user_specified_image=container.image),
        command=[expand(word, variables) for word in container.command],
        args=[expand(word, variables) for word in container.args],
        working_dir=container.working_dir,
        envs=[
            api.KeyValue(key=key, value=value.encode("utf-8", "surrogateescape")) for key, value in variables.items()
        ],
        mounts=_mounts(volumes, files, [] if users is None else id_mappings(users)),
        labels=labels.container_labels(pod, container),
        annotations=labels.container_annotations(pod, container, attempt),
        log_path=log_path(container.name, attempt),
        stdin=container.stdin,
        stdin_once=container.stdin_once,
        tty=container.tty,
        stop_signal=SIGNALS.get(container.lifecycle.stop_signal, api.SIGNAL_RUNTIME_DEFAULT),
        linux=api.LinuxContainerConfig(
            resources=linux_resources(pod, container, host.memory),
            security_context=container_security(pod, container, image, target, users),
        ),
    )


def log_path(name: str, attempt: int) -> str:
    """The log of one attempt at a container, relative to the Pod's log directory: the kubelet's scheme."""
    return f"{name}/{attempt}.log"


def _mounts(
    volumes: Sequence[ResolvedMount], files: Mapping[str, str], users: Sequence[api.IDMapping]
) -> list[api.Mount]:
    """``users``: how owners on the host appear in the container, where they do otherwise."""
    mounts = [
        api.Mount(
            container_path=volume.mount.mount_path,
            host_path=volume.host_path,
            image=api.ImageSpec(image=volume.image) if volume.image else None,
            image_sub_path=volume.sub_path,
            readonly=volume.mount.read_only or volume.read_only,
            recursive_read_only=volume.recursive_read_only,
            propagation=_PROPAGATION[volume.mount.mount_propagation],
            uidMappings=users,
            gidMappings=users,
        )
        for volume in volumes
    ]
    taken = {mount.container_path.rstrip("/") for mount in mounts}
    mounts += [
        api.Mount(container_path=path, host_path=source, uidMappings=users, gidMappings=users)
        for path, source in files.items()
        if path not in taken
    ]
    return mounts
