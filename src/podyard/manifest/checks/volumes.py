"""Faults of volumes and their mounts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from podyard.manifest.decode import NOT_SUPPORTED
from podyard.manifest.model import Container, Volume, VolumeMount
from podyard.manifest.names import label_fault
from podyard.manifest.problems import Problem


def check_volumes(volumes: Sequence[Volume]) -> Iterator[Problem]:
    """Faults of the Pod's volumes."""
    seen: set[str] = set()
    for index, volume in enumerate(volumes):
        path = f"spec.volumes[{index}]"
        if fault := label_fault(volume.name):
            yield Problem(0, f"{path}.name", fault)
        elif volume.name in seen:
            yield Problem(0, f"{path}.name", f"another volume is called {volume.name!r} already")
        seen.add(volume.name)
        if volume.empty_dir is not None and volume.host_path is not None:
            yield Problem(0, path, "emptyDir and hostPath exclude each other")
        elif volume.empty_dir is None and volume.host_path is None:
            yield Problem(0, path, "says not what it is; write emptyDir: {} for an empty directory")
        yield from _check_empty_dir(volume, path)
        if volume.host_path is not None and (fault := _path_fault(volume.host_path.path)):
            yield Problem(0, f"{path}.hostPath.path", fault)


def _check_empty_dir(volume: Volume, path: str) -> Iterator[Problem]:
    if volume.empty_dir is None or volume.empty_dir.size_limit is None:
        return
    where = f"{path}.emptyDir.sizeLimit"
    if volume.empty_dir.size_limit.amount <= 0:
        yield Problem(0, where, "must be more than 0")
    if volume.empty_dir.medium != "Memory":
        yield Problem(0, where, f"without medium Memory it is {NOT_SUPPORTED}", unsupported=True)


def check_volume_mounts(volumes: Sequence[Volume], container: Container, path: str) -> Iterator[Problem]:
    """Faults of one container's mounts."""
    known = {volume.name for volume in volumes}
    taken: set[str] = set()
    for index, mount in enumerate(container.volume_mounts):
        where = f"{path}.volumeMounts[{index}]"
        if mount.name not in known:
            names = ", ".join(sorted(known)) or "none"
            yield Problem(0, f"{where}.name", f"the Pod has no volume {mount.name!r} (its volumes: {names})")
        if fault := _path_fault(mount.mount_path):
            yield Problem(0, f"{where}.mountPath", fault)
        elif mount.mount_path.rstrip("/") in taken:
            yield Problem(0, f"{where}.mountPath", f"another volume is mounted on {mount.mount_path!r} already")
        taken.add(mount.mount_path.rstrip("/"))
        yield from _check_sub_path(container, mount, where)
        if mount.mount_propagation == "Bidirectional" and not container.security_context.privileged:
            yield Problem(0, f"{where}.mountPropagation", "Bidirectional is for privileged containers")
        if mount.recursive_read_only != "Disabled" and not (mount.read_only and mount.mount_propagation == "None"):
            text = f"{mount.recursive_read_only} needs readOnly: true and no mount propagation"
            yield Problem(0, f"{where}.recursiveReadOnly", text)


def _check_sub_path(container: Container, mount: VolumeMount, path: str) -> Iterator[Problem]:
    if mount.sub_path and mount.sub_path_expr:
        yield Problem(0, f"{path}.subPathExpr", "cannot go with subPath")
    for field, text in (("subPath", mount.sub_path), ("subPathExpr", mount.sub_path_expr)):
        if text and (fault := sub_path_fault(text)):
            yield Problem(0, f"{path}.{field}", fault)
    variables = {variable.name for variable in container.env}
    for name in re.findall(r"\$\(([^()]*)\)", mount.sub_path_expr.replace("$$", "")):
        if name not in variables:
            yield Problem(0, f"{path}.subPathExpr", f"the container has no variable {name!r}")


def sub_path_fault(text: str) -> str:
    """What is wrong with a path inside a volume, or ""."""
    if text.startswith("/"):
        return f"{text!r} must be relative to the volume"
    if ".." in text.split("/"):
        return f"{text!r} must not hold '..'"
    return "holds a NUL character" if "\0" in text else ""


def _path_fault(text: str) -> str:
    if not text.startswith("/"):
        return f"{text!r} is not an absolute path"
    if ".." in text.split("/"):
        return f"{text!r} must not hold '..'"
    if ":" in text or "\0" in text:
        return f"{text!r} must not hold ':' or NUL"
    return ""
