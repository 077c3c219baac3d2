"""A pod's checkpoint: a directory of files, which podyard writes and podyard reads.

pod.json                     which pod it is, and its containers; written last: with it the checkpoint is complete
<sandbox>/shm                what stands in the pod's /dev/shm
<sandbox>/<container>/images CRIU's images of the container's processes
<sandbox>/<container>/upper  its writable layer, overlayfs' marks included
<sandbox>/<container>/volumes  its volumes that the image declares
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from podyard.cri import api
from podyard.errors import AlreadyExists, DataLoss, FailedPrecondition, Internal, InvalidArgument, NotFound
from podyard.linux import process
from podyard.model.ids import ID_LENGTH
from podyard.oci import idmaps

FORMAT = 1
"""The format's number: a podyard that writes another one cannot read this one."""
MANIFEST = "pod.json"
MANIFEST_LIMIT = 16 << 20
"""Bytes: two configurations of the protocol's greatest size do not fit in a request."""

_ID = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")


class SavedContainer(msgspec.Struct, frozen=True, kw_only=True):
    """A container of the pod. ``config``: the serialized runtime.v1.ContainerConfig."""

    id: str
    name: str
    image_id: str
    config: bytes


class SavedPod(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest. ``config``: the serialized runtime.v1.PodSandboxConfig; ``runtime``: the OCI runtime's name."""

    format: int
    id: str
    runtime: str
    config: bytes
    containers: tuple[SavedContainer, ...]


def check_output(output: str) -> None:
    """Raise InvalidArgument, NotFound or AlreadyExists for a directory that no checkpoint can be written to."""
    if not output.startswith("/"):
        raise InvalidArgument(f"the checkpoint's output_path {output!r} is not an absolute path of a directory")
    if not Path(output).is_dir():
        raise NotFound(f"there is no directory {output} for the checkpoint: make it first")
    if any(Path(output).iterdir()):
        raise AlreadyExists(f"the directory {output} is not empty: name another one for the checkpoint, or empty it")


def write(output: Path, pod: SavedPod) -> None:
    """Write the manifest, in one step for every reader. Raises AlreadyExists where there is one, OSError."""
    part = output / pod.id / MANIFEST
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(pod))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(part, output / MANIFEST)
    except FileExistsError as error:
        raise AlreadyExists(f"{output} has another pod's checkpoint by now: name another directory") from error
    part.unlink()
    descriptor = os.open(output, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(folder: str) -> SavedPod:
    """The manifest of a checkpoint.

    Raises InvalidArgument, NotFound, FailedPrecondition for an incomplete checkpoint or another format, DataLoss for a
    damaged one.
    """
    if not folder.startswith("/"):
        raise InvalidArgument(f"checkpoint_path {folder!r} is not an absolute path of a directory")
    if not Path(folder).is_dir():
        raise NotFound(f"there is no directory {folder} with a checkpoint")
    try:
        with Path(folder, MANIFEST).open("rb") as file:
            content = file.read(MANIFEST_LIMIT + 1)
    except FileNotFoundError:
        raise FailedPrecondition(f"{folder} has no complete checkpoint of a pod: {MANIFEST} is missing") from None
    if len(content) > MANIFEST_LIMIT:
        raise DataLoss(f"{folder}/{MANIFEST} has more than {MANIFEST_LIMIT} bytes: it is no checkpoint's")
    try:
        pod = msgspec.json.decode(content, type=SavedPod)
    except msgspec.DecodeError as error:
        raise DataLoss(f"{folder}/{MANIFEST} is no manifest of a checkpoint: {error}") from error
    if pod.format != FORMAT:
        raise FailedPrecondition(f"the checkpoint in {folder} has the format {pod.format}; this podyard has {FORMAT}")
    for found in (pod.id, *(container.id for container in pod.containers)):
        if not _ID.fullmatch(found):
            raise DataLoss(f"{folder}/{MANIFEST} has {found[:80]!r} as an id")
    return pod


def check_fits(
    saved: SavedPod,
    config: api.PodSandboxConfig,
    containers: Sequence[tuple[api.ContainerConfig, str]],
    *,
    runtime: str,
) -> None:
    """Raise FailedPrecondition where the restored processes would not be what the request describes.

    Processes come back as they were: their programs, terminals, namespaces and mount points are in CRIU's images, and
    the request has to agree. Names, labels, host paths, limits, logs and the environment of later processes are new.

    ``containers``: each one's request and the id of its image. ``runtime``: the name of the OCI runtime that shall
    restore them.
    """
    if runtime != saved.runtime:
        raise FailedPrecondition(
            f"the checkpoint was written by {saved.runtime}, and the request's handler is {runtime}: no OCI runtime "
            "restores what another one has saved; use that one's handler"
        )
    before = api.PodSandboxConfig.FromString(saved.config)
    _compare("the pod", _of_pod(before), _of_pod(config))
    known = {container.name: container for container in saved.containers}
    wanted = {wanted.metadata.name: (wanted, image) for wanted, image in containers}
    if known.keys() != wanted.keys() or len(wanted) != len(containers):
        names = ", ".join(sorted(known))
        raise FailedPrecondition(
            f"the checkpoint is of the containers {names}: container_configs must have each of them once, "
            f"not {', '.join(sorted(one.metadata.name for one, _ in containers)) or 'none'}"
        )
    for name, (request, image_id) in wanted.items():
        of = known[name]
        _compare(f"container {name}", {"image": of.image_id}, {"image": image_id})
        _compare(f"container {name}", _of_container(api.ContainerConfig.FromString(of.config)), _of_container(request))


def check_can_be_restored(config: api.PodSandboxConfig, containers: Sequence[api.ContainerConfig]) -> None:
    """Raise FailedPrecondition for a pod that CRIU could save and would not restore."""
    if idmaps.of_sandbox(config) is not None:
        raise FailedPrecondition("a pod with a user namespace of its own cannot be restored: CRIU makes another one")
    for container in containers:
        if container.linux.security_context.namespace_options.pid == api.TARGET:
            raise FailedPrecondition(
                f"container {container.metadata.name} has pid mode TARGET: it cannot be restored without its target"
            )


async def copy(source: Path, target: Path, *, limit: float) -> None:
    """Copy a tree with owners, modes, times, links, devices and extended attributes, those of overlayfs included.

    Raises Internal with cp's words, DeadlineExceeded after ``limit`` seconds.
    """
    preserved = "--preserve=mode,ownership,timestamps,links,xattr"
    argv = ["cp", "--recursive", "--no-dereference", preserved, "--no-target-directory", str(source), str(target)]
    done = await process.run(argv, limit=limit)
    if done.code != 0:
        raise Internal(f"cannot copy {source} to {target}: {done.stderr.decode(errors='replace').strip()[-500:]}")


def _of_pod(config: api.PodSandboxConfig) -> dict[str, Any]:
    return {"namespace_options": config.linux.security_context.namespace_options}


def _of_container(config: api.ContainerConfig) -> dict[str, Any]:
    return {
        "command": list(config.command),
        "args": list(config.args),
        "working_dir": config.working_dir,
        "stdin": (config.stdin, config.stdin_once),
        "tty": config.tty,
        "mounts": sorted(os.path.normpath(mount.container_path) for mount in config.mounts),
        "security_context": config.linux.security_context,
    }


def _compare(what: str, saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name, value in saved.items():
        if value != wanted[name]:
            raise FailedPrecondition(
                f"{what} was checkpointed with {_short(name, value)}, and the request has "
                f"{_short(name, wanted[name])}: processes are restored as they were"
            )


def _short(name: str, value: object) -> str:
    text = " ".join(str(value).split())
    return f"{name} {text[:200] or '(none)'}"
