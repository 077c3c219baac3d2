"""The archive of a checkpointed container, as podman, CRI-O and containerd write and read it. Blocking: for a thread.

config.dump      what the container was called, and its image (JSON)
spec.dump        its OCI spec
checkpoint/      CRIU's images of its processes
dump.log         CRIU's log, where there is one
stats-dump       CRIU's statistics, where there are some
rootfs-diff.tar  what it has written to its root file system
deleted.files    what it has deleted there: paths relative to its root (JSON)
bind.mounts      the host's files and directories that it has mounted (JSON)
"""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from podyard.errors import AlreadyExists

_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


@dataclass(frozen=True)
class Saved:
    """What there is to archive. ``upper``: the writable layer; ``lower``: the image's layers, the topmost first.
    ``images`` and ``work``: where CRIU has written its images, and its log."""

    id: str
    name: str
    image: str
    image_id: str
    image_ref: str
    runtime: str
    created_at: int
    spec: dict[str, Any]
    upper: Path
    lower: Sequence[Path]
    images: Path
    work: Path


def write(saved: Saved, target: Path) -> None:
    """Write the archive (mode 0600), in one step for every reader. The target's directory must be there.

    Raises AlreadyExists when the target does, OSError when it cannot be written.
    """
    part = partial(target, saved.id)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            _fill(archive, saved)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(part, target)
    except FileExistsError as error:
        raise AlreadyExists(f"{target} is there already: name another location, or remove it") from error
    part.unlink()


def partial(target: Path, container_id: str) -> Path:
    """Where an archive is until it is complete."""
    return target.with_name(f".{target.name}.{container_id[:12]}.partial")


def _fill(archive: tarfile.TarFile, saved: Saved) -> None:
    diff = saved.work / "rootfs-diff.tar"
    deleted: list[str] = []
    with tarfile.open(diff, "w", format=tarfile.PAX_FORMAT) as changes:
        for path, name in _written(saved, deleted):
            changes.add(path, name, recursive=False)
    _add(archive, "config.dump", _config(saved))
    _add(archive, "spec.dump", saved.spec)
    _add(archive, "deleted.files", deleted)
    _add(archive, "bind.mounts", _bind_mounts(saved.spec))
    archive.add(diff, "rootfs-diff.tar")
    archive.add(saved.images, "checkpoint")
    for name in ("dump.log", "stats-dump"):
        if (saved.work / name).exists():
            archive.add(saved.work / name, name)


def _add(archive: tarfile.TarFile, name: str, content: Any) -> None:
    data = json.dumps(content).encode()
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
    archive.addfile(entry, io.BytesIO(data))


def _config(saved: Saved) -> dict[str, Any]:
    return {
        "id": saved.id,
        "name": saved.name,
        "rootfsImage": saved.image_id,
        "rootfsImageRef": saved.image_ref,
        "rootfsImageName": saved.image,
        "runtime": saved.runtime,
        "createdTime": datetime.fromtimestamp(saved.created_at / 1e9, UTC).isoformat(),
        "checkpointedTime": datetime.now(UTC).isoformat(),
        "restored": False,
    }


def _written(saved: Saved, deleted: list[str]) -> Iterator[tuple[Path, str]]:
    """What stands in the writable layer, without overlayfs' marks; what these say was deleted goes to ``deleted``."""
    opaque: set[Path] = set()
    for folder, folders, files in os.walk(saved.upper):
        relative = Path(folder).relative_to(saved.upper)
        # What stands in a directory that was made anew was made anew, too, and has no mark of its own.
        if relative.parts and (relative.parent in opaque or _is_opaque(folder)):
            opaque.add(relative)
            kept = {*folders, *files}
            deleted += [str(relative / name) for name in _below(saved.lower, relative) if name not in kept]
        for name in sorted((*folders, *files)):
            path = Path(folder, name)
            status = path.lstat()
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                deleted.append(str(relative / name))
            else:
                yield path, str(relative / name)


def _is_opaque(folder: str) -> bool:
    for name in _OPAQUE:
        try:
            if os.getxattr(folder, name, follow_symlinks=False) == b"y":
                return True
        except OSError:
            continue
    return False


def _below(layers: Sequence[Path], folder: Path) -> list[str]:
    """The names in a directory of the image, out of all its layers."""
    found: set[str] = set()
    for layer in layers:
        # A link in a layer may lead out of it.
        linked = any((layer / part).is_symlink() for part in (folder, *folder.parents) if part.parts)
        if not linked and (layer / folder).is_dir():
            found.update(path.name for path in (layer / folder).iterdir())
    return sorted(found)


def _bind_mounts(spec: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for mount in spec.get("mounts", ()):
        source = Path(mount.get("source", ""))
        if mount.get("type") == "bind" and source.exists():
            status = source.stat()
            found.append(
                {
                    "source": str(source),
                    "destination": mount["destination"],
                    "file_type": "directory" if stat.S_ISDIR(status.st_mode) else "file",
                    "permissions": stat.S_IMODE(status.st_mode),
                }
            )
    return found
