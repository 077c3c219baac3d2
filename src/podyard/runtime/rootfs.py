"""Root file systems and image volumes: an image's layers below a writable one. Blocking: call it in a thread."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podyard.errors import FailedPrecondition
from podyard.linux import idmap, mounts
from podyard.linux.folders import disinherit
from podyard.linux.userns import IdMap

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Owners:
    """Whose the files of an image shall be: the map of a sandbox's user namespace, and its pin."""

    id_map: IdMap
    pin: Path


def mount(lower: Sequence[Path], writable: Path, target: Path, owners: Owners | None) -> None:
    """Mount an overlay of ``lower`` (topmost first) at ``target``; what is written goes below ``writable``.

    With ``owners`` the files have the owners that a user namespace has for them: by idmapped mounts of the layers, or,
    where their file system has none, by a change of each file's owner, which copies the image.

    Raises InvalidArgument for too many layers, OSError when the kernel refuses.
    """
    upper, work = writable / "upper", writable / "work"
    for folder in (upper, work, target):
        if not folder.is_dir():
            folder.mkdir(mode=0o755, parents=True)
            disinherit(folder)
    if owners is None:
        mounts.mount_overlay(lower, upper, work, target)
        return
    os.chown(upper, *owners.id_map.root)
    try:
        _mount_mapped(lower, writable, target, owners)
    except FailedPrecondition as reason:
        logger.info("every file of an image is copied: %s", reason)
        mounts.mount_overlay(lower, upper, work, target)
        idmap.change_owners(target, owners.id_map)


def _mount_mapped(lower: Sequence[Path], writable: Path, target: Path, owners: Owners) -> None:
    """Raises FailedPrecondition where the layers or the overlay cannot be idmapped."""
    userns = os.open(owners.pin, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with idmap.mapped_layers(lower, target.with_name(f"{target.name}-layers"), userns) as mapped:
            mounts.mount_overlay(mapped, writable / "upper", writable / "work", target)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise FailedPrecondition("this kernel takes no idmapped layers for an overlay, as Linux 5.19 does") from error
    finally:
        os.close(userns)
