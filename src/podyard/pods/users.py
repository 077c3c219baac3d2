"""Ids of the host for Pods with a user namespace of their own (Kubernetes documentation, "User Namespaces"), and what
an endpoint must be able to do for users and groups."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from podyard.client import Client
from podyard.errors import ResourceExhausted, Unimplemented
from podyard.manifest.model import Pod
from podyard.manifest.translate import IDS
from podyard.pods.folders import PodFolder

BLOCKS = 1024
"""How many Pods can have one: blocks of ``IDS`` ids from ``IDS`` on, as a kubelet takes them that is told nothing."""
_UNUSED = 3600.0
"""Seconds after which a block whose Pod has no directory is free again: a start may take its time to make one."""


def first_id(root: Path, folder: PodFolder) -> int:
    """The first host id of a Pod's block, which is its own for as long as its directory is there.

    ``root`` holds the directories of all Pods. A block is taken by a link that leads to the Pod's directory. For a
    thread. Raises ResourceExhausted when all are taken.
    """
    taken = root / ".users"
    taken.mkdir(mode=0o755, parents=True, exist_ok=True)
    with _locked(taken):
        mine = Path("..", folder.path.name)
        links = {int(entry.name): entry for entry in taken.iterdir()}
        for block, link in links.items():
            if link.readlink() == mine:
                return block * IDS
        for block in range(1, BLOCKS + 1):
            if block not in links or _is_unused(links[block]):
                link = taken / str(block)
                link.unlink(missing_ok=True)
                link.symlink_to(mine)
                return block * IDS
    raise ResourceExhausted(f"all {BLOCKS} blocks of user ids are taken by Pods with hostUsers false: remove some")


async def check_user_namespaces(client: Client, pod: Pod, name: str) -> None:
    """Raise Unimplemented where a Pod must have its own user namespace and the handler called ``name`` makes none."""
    handlers = (await client.runtime.status()).runtime_handlers
    if not any(handler.name == name and handler.features.user_namespaces for handler in handlers):
        raise Unimplemented(
            f"{pod.full_name} has hostUsers false, but the endpoint's runtime handler {name!r} makes no user namespaces"
        )


async def check_groups_policy(client: Client, pod: Pod) -> None:
    """Raise Unimplemented where a Pod's users are to have no groups but its own and the endpoint would add others."""
    if pod.spec.security_context.supplemental_groups_policy != "Strict":
        return
    if not (await client.runtime.status()).features.supplemental_groups_policy:
        raise Unimplemented(
            f"{pod.full_name} has supplementalGroupsPolicy Strict, but {client.endpoint} adds the image's groups always"
        )


def _is_unused(link: Path) -> bool:
    return not link.exists() and time.time() - link.lstat().st_mtime > _UNUSED


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Other agents look for a block, too: for as long as that takes, milliseconds."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
