"""Faults of volumes and their mounts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from podyard.manifest.checks.paths import path_fault, sub_path_fault
from podyard.manifest.checks.projection import check_projection
from podyard.manifest.checks.resources import HUGE_PAGES
from podyard.manifest.model import Container, Pod, Volume, VolumeMount
from podyard.manifest.names import label_fault
from podyard.manifest.problems import Problem


def check_volumes(pod: Pod) -> Iterator[Problem]:
    """Faults of the Pod's volumes."""
    seen: set[str] = set()
    for index, volume in enumerate(pod.spec.volumes):
        path = f"spec.volumes[{index}]"
        if fault := label_fault(volume.name):
            yield Problem(0, f"{path}.name", fault)
        elif volume.name in seen:
            yield Problem(0, f"{path}.name", f"another volume is called {volume.name!r} already")
        seen.add(volume.name)
        if len(volume.kinds) > 1:
            yield Problem(0, path, f"{' and '.join(volume.kinds)} exclude each other")
        elif not volume.kinds:
            yield Problem(0, path, "says not what it is; write emptyDir: {} for an empty directory")
        yield from _check_empty_dir(pod, volume, path)
        if volume.host_path is not None and (fault := path_fault(volume.host_path.path)):
            yield Problem(0, f"{path}.hostPath.path", fault)
        if volume.image is not None and not volume.image.reference:
            yield Problem(0, f"{path}.image.reference", "names no image")
        yield from check_projection(pod, volume, path)


def _check_empty_dir(pod: Pod, volume: Volume, path: str) -> Iterator[Problem]:
    if volume.empty_dir is None:
        return
    if volume.empty_dir.size_limit is not None and volume.empty_dir.size_limit.amount <= 0:
        yield Problem(0, f"{path}.emptyDir.sizeLimit", "must be more than 0")
    medium = volume.empty_dir.medium
    if medium in ("", "Memory"):
        return
    path = f"{path}.emptyDir.medium"
    if not medium.startswith("HugePages"):
        yield Problem(0, path, f"{medium!r} is not Memory, HugePages or HugePages-SIZE")
        return
    limited = [container.resources.limits for container in pod.all_containers()]
    sizes = {name.removeprefix(HUGE_PAGES) for limits in limited for name in limits if name.startswith(HUGE_PAGES)}
    size = medium.removeprefix("HugePages").removeprefix("-")
    if size and size not in sizes:
        yield Problem(0, path, f"no container has a limit of hugepages-{size}")
    elif not size and len(sizes) != 1:
        yield Problem(0, path, "containers have limits of huge pages of one size, or this names the size")


def check_volume_mounts(volumes: Sequence[Volume], container: Container, path: str) -> Iterator[Problem]:
    """Faults of one container's mounts."""
    known = {volume.name for volume in volumes}
    taken: set[str] = set()
    for index, mount in enumerate(container.volume_mounts):
        where = f"{path}.volumeMounts[{index}]"
        if mount.name not in known:
            names = ", ".join(sorted(known)) or "none"
            yield Problem(0, f"{where}.name", f"the Pod has no volume {mount.name!r} (its volumes: {names})")
        if fault := path_fault(mount.mount_path):
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
        if name not in variables and not container.env_from:
            yield Problem(0, f"{path}.subPathExpr", f"the container has no variable {name!r}")
