"""CheckpointContainer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import msgspec

from podyard.errors import AlreadyExists, InvalidArgument, NotFound
from podyard.lifecycle import containers
from podyard.linux import mounts
from podyard.operations import Operation, Step
from podyard.runtime import checkpoint_archive, criu
from podyard.runtime.context import Context
from podyard.runtime.store import ContainerEntry


class Journaled(msgspec.Struct, frozen=True):
    """What a checkpoint needs to be undone after a crash."""

    id: str
    location: str


def check(location: str, timeout: int) -> None:
    """Raise InvalidArgument, NotFound or AlreadyExists for an archive that cannot be."""
    if not location.startswith("/"):
        raise InvalidArgument(f"the checkpoint's location {location!r} is not an absolute path of a file")
    if timeout < 0:
        raise InvalidArgument(f"the checkpoint's timeout of {timeout} s is negative")
    if not Path(location).parent.is_dir():
        raise NotFound(f"there is no directory {Path(location).parent} for the checkpoint: make it first")
    if Path(location).exists():
        raise AlreadyExists(f"{location} is there already: name another location, or remove it")


class CheckpointContainer(Operation[None]):
    """Save a running container's processes, through CRIU, and its files in an archive. It goes on running.

    What it writes between the two is in its files alone. ``timeout``: seconds for each of both, 0 for no limit.
    """

    kind = "CheckpointContainer"
    policy = "undo"

    def __init__(self, context: Context, container_id: str, location: str, timeout: int) -> None:
        self.context = context
        self.subject = container_id
        self.location = Path(location)
        self.limit = float(timeout) or criu.LONGEST
        entry = context.store.containers.get(container_id)
        self.within = entry.record.sandbox_id if entry else ""
        self.folder = context.paths.writable(container_id) / "checkpoint"

    @classmethod
    def from_journal(cls, context: Context, data: bytes) -> CheckpointContainer:
        """The operation again, after a crash: only ever to be undone."""
        found = msgspec.json.decode(data, type=Journaled)
        return cls(context, found.id, found.location, 0)

    @property
    def fingerprint(self) -> bytes:
        return str(self.location).encode()

    def journal_input(self) -> bytes:
        return msgspec.json.encode(Journaled(self.subject, str(self.location)))

    def steps(self) -> Sequence[Step]:
        # The OCI runtime has the limit; the step's own leaves time to kill it.
        return [
            Step("saving the processes", self.save, undo=self.discard, limit=self.limit + 10),
            Step("writing the archive", self.write, undo=self.remove_partial, limit=self.limit),
            Step("removing the working files", self.remove_working_files),
        ]

    def result(self) -> None:
        return None

    async def save(self) -> None:
        """Let the OCI runtime and CRIU write the processes' images."""
        entry = self._entry()
        containers.check_is_running(entry.record)
        await criu.save(self.context, entry, self._images, self._work, limit=self.limit)

    async def discard(self) -> None:
        """Remove what was saved, and let the container go on if CRIU has left it stopped."""
        await self.remove_working_files()
        await criu.let_go(self.context, self.subject)

    async def write(self) -> None:
        """The archive of all that there is."""
        entry = self._entry()
        image = self.context.images.find(entry.record.image_id)
        spec = (self.context.paths.bundle(self.subject) / "config.json").read_text(encoding="utf-8")
        saved = checkpoint_archive.Saved(
            id=self.subject,
            name=entry.config.metadata.name,
            image=entry.config.image.user_specified_image or entry.config.image.image,
            image_id=entry.record.image_id,
            image_ref=entry.record.image_ref,
            runtime=entry.record.runtime,
            created_at=entry.record.created_at,
            spec=json.loads(spec),
            upper=self.context.paths.writable(self.subject) / "upper",
            lower=self.context.images.lower_dirs(image) if image is not None else [],
            images=self._images,
            work=self._work,
        )
        await asyncio.to_thread(checkpoint_archive.write, saved, self.location)

    async def remove_partial(self) -> None:
        """Remove an archive that was not completed. One that was stays: it is good."""
        part = checkpoint_archive.partial(self.location, self.subject)
        await asyncio.to_thread(part.unlink, missing_ok=True)

    async def remove_working_files(self) -> None:
        """CRIU's images and log: the archive has them."""
        await asyncio.to_thread(mounts.remove_tree, self.folder)

    @property
    def _images(self) -> Path:
        return self.folder / "images"

    @property
    def _work(self) -> Path:
        return self.folder / "work"

    def _entry(self) -> ContainerEntry:
        entry = self.context.store.containers.get(self.subject)
        if entry is None:
            raise NotFound(f"container {self.subject[:12]} was removed before it was checkpointed")
        return entry
