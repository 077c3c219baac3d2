"""Which mounts, made after the container's start, are seen on the other side."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

from podyard.cri import api
from podyard.errors import FailedPrecondition
from podyard.validate.case import case, table
from podyard.validate.expect import equal, skip
from podyard.validate.kit import Kit
from podyard.validate.requests import bind, pod_security, security

PRIVATE = api.PROPAGATION_PRIVATE
FROM_HOST = api.PROPAGATION_HOST_TO_CONTAINER
BOTH_WAYS = api.PROPAGATION_BIDIRECTIONAL


async def host_tool(*argv: str) -> None:
    """A tool of the host; skips the case where the host does not let it work."""
    done = await asyncio.to_thread(
        subprocess.run, argv, capture_output=True, text=True, check=False, timeout=20, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        skip(f"{' '.join(argv)} failed on the host: {done.stderr.strip()}")


@contextlib.asynccontextmanager
async def mounted(folder: Path) -> AsyncIterator[None]:
    """A tmpfs of the host at a directory."""
    await host_tool("mount", "-t", "tmpfs", "validate", str(folder))
    try:
        yield
    finally:
        await asyncio.to_thread(
            subprocess.run, ["umount", "-l", str(folder)], capture_output=True, check=False, timeout=20
        )


@contextlib.asynccontextmanager
async def _shared_folder(kit: Kit) -> AsyncIterator[Path]:
    """A directory of the host that is a shared mount, with an empty directory "point" in it."""
    folder = kit.folder / "shared"
    folder.mkdir()
    async with mounted(folder):
        await host_tool("mount", "--make-rshared", str(folder))
        (folder / "point").mkdir()
        try:
            yield folder
        finally:
            # The containers first: what they have mounted would hold the directory.
            await kit.close()


async def _privileged(kit: Kit) -> str:
    return await kit.sandbox(linux=pod_security(privileged=True))


@table(
    "propagation",
    {
        "private: a later mount of the host is not seen": (PRIVATE, "", False),
        "from the host: a later mount of the host is seen": (FROM_HOST, "late\n", False),
        "both ways: a later mount of the host is seen": (BOTH_WAYS, "late\n", True),
    },
)
async def _(kit: Kit, propagation: api.MountPropagation.ValueType, expected: str, privileged: bool) -> None:
    async with _shared_folder(kit) as folder:
        sandbox_id = await _privileged(kit) if privileged else await kit.shared()
        container_id = await kit.idle(
            sandbox_id,
            mounts=[bind("/shared", folder, propagation=propagation)],
            linux=security(privileged=privileged),
        )
        async with mounted(folder / "point"):
            (folder / "point" / "file").write_text("late\n")
            output = await kit.exec(container_id, "sh", "-c", "cat /shared/point/file 2>/dev/null || true")
    equal(output, expected, "the file of the later mount")


@table(
    "propagation",
    {
        "private: a mount of the container is not seen on the host": (PRIVATE, False),
        "from the host: a mount of the container is not seen on the host": (FROM_HOST, False),
        "both ways: a mount of the container is seen on the host": (BOTH_WAYS, True),
    },
)
async def _(kit: Kit, propagation: api.MountPropagation.ValueType, seen: bool) -> None:
    async with _shared_folder(kit) as folder:
        container_id = await kit.idle(
            await _privileged(kit),
            mounts=[bind("/shared", folder, propagation=propagation)],
            linux=security(privileged=True),
        )
        await kit.exec(container_id, "mount", "-t", "tmpfs", "inside", "/shared/point")
        await kit.exec(container_id, "touch", "/shared/point/file")
        there = (folder / "point" / "file").exists()
    equal(there, seen, "the container's mount is seen on the host")


@case("propagation", "a read-only mount takes part in it, too")
async def _(kit: Kit) -> None:
    async with _shared_folder(kit) as folder:
        container_id = await kit.idle(mounts=[bind("/shared", folder, propagation=FROM_HOST, readonly=True)])
        async with mounted(folder / "point"):
            (folder / "point" / "file").write_text("late\n")
            output = await kit.exec(container_id, "sh", "-c", "cat /shared/point/file 2>/dev/null || true")
    equal(output, "late\n", "the file of the later mount")


@case("propagation", "both ways, of a directory that is on no shared mount: refused")
async def _(kit: Kit) -> None:
    folder = kit.folder / "private"
    folder.mkdir()
    async with mounted(folder):
        await host_tool("mount", "--make-rprivate", str(folder))
        sandbox_id = await _privileged(kit)
        call = kit.create(
            ["true"],
            sandbox_id,
            mounts=[bind("/shared", folder, propagation=BOTH_WAYS)],
            linux=security(privileged=True),
        )
        await kit.refused(call, FailedPrecondition)
