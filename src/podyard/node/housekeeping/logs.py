"""Containers' logs that grow: a new file is begun, and old ones are compressed and removed (Kubernetes documentation,
"Logging Architecture": log rotation)."""

from __future__ import annotations

import asyncio
import gzip
import logging
import re
import shutil
import time
from pathlib import Path

from podyard.client import Client
from podyard.cri import api
from podyard.errors import InvalidArgument, PodyardError
from podyard.manifest.translate import labels
from podyard.node.agent import Agent
from podyard.node.housekeeping.settings import Settings
from podyard.pods.folders import Folders

logger = logging.getLogger(__name__)

_PART = re.compile(r"\.[0-9]{8}-[0-9]{6}(\.gz)?")
_RUNNING = api.ContainerFilter(state=api.ContainerStateValue(state=api.CONTAINER_RUNNING))


class LogRotation:
    """Looks at the logs of the agent's containers that run."""

    def __init__(self, client: Client, agent: Agent, folders: Folders, settings: Settings) -> None:
        self._client = client
        self._agent = agent
        self._folders = folders
        self._settings = settings

    async def look(self) -> None:
        """Begin a new file for each log that is longer than it may be. Raises what the runtime answers to the list."""
        if not self._settings.log_size:
            return
        for container in await self._client.runtime.list_containers(_RUNNING):
            path = self._path(container)
            if path is None or not await asyncio.to_thread(_is_longer, path, self._settings.log_size):
                continue
            try:
                await self._rotate(container.id, path)
            except (PodyardError, OSError) as error:
                logger.warning("the log %s is not rotated yet: %s", path, error)

    def _path(self, container: api.Container) -> Path | None:
        """The log of one of the agent's containers; None for others'."""
        known = container.labels
        namespace, name = known.get(labels.POD_NAMESPACE, ""), known.get(labels.POD_NAME, "")
        if f"{namespace}/{name}" not in self._agent.workers:
            return None
        try:
            logs = self._folders.of(namespace, name, known.get(labels.POD_UID, "")).logs
        except InvalidArgument:
            return None
        return logs / container.metadata.name / f"{container.metadata.attempt}.log"

    async def _rotate(self, container_id: str, path: Path) -> None:
        await asyncio.to_thread(tidy_parts, path, self._settings.log_files)
        part = path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
        await asyncio.to_thread(path.rename, part)
        try:
            await self._client.runtime.reopen_container_log(container_id)
        except PodyardError:
            if not await asyncio.to_thread(path.exists):  # the container writes to the old file still
                await asyncio.to_thread(part.rename, path)
            raise


def tidy_parts(path: Path, files: int) -> None:
    """Make room for one part more of a log of which ``files`` are kept, its newest among them; compress the others.

    For a thread. Raises OSError.
    """
    parts = sorted(one for one in path.parent.glob(f"{path.name}.*") if _PART.fullmatch(one.name[len(path.name) :]))
    for temporary in path.parent.glob(f"{path.name}.*.tmp"):
        temporary.unlink()  # an agent was killed at work
    for plain in [one for one in parts if one.with_name(f"{one.name}.gz") in parts]:
        plain.unlink()  # or before it removed what it had compressed
        parts.remove(plain)
    kept = max(files - 2, 0)
    for old in parts[: len(parts) - kept]:
        old.unlink()
    for plain in parts[len(parts) - kept :]:
        if plain.suffix != ".gz":
            _compress(plain)


def _compress(path: Path) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    with path.open("rb") as source, gzip.open(temporary, "wb") as target:
        shutil.copyfileobj(source, target)
    temporary.chmod(path.stat().st_mode & 0o777)
    temporary.rename(path.with_name(f"{path.name}.gz"))
    path.unlink()


def _is_longer(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size > size
    except FileNotFoundError:
        return False  # it writes nothing, or has just been removed
