"""Sandboxes and containers in memory, by id and by name. Every change goes to the database first.

Lists and status answer from here and never wait for an operation. An entry keeps its parsed request and its built list
message: building messages costs much more than sending them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from podyard.cri import api
from podyard.errors import NotFound
from podyard.model.ids import match_id
from podyard.model.records import Container, Sandbox
from podyard.runtime import messages
from podyard.state.records import Records

SandboxName = tuple[str, str, str, int]
"""Name, namespace, uid, attempt: what makes a sandbox unique among requests."""
ContainerName = tuple[str, str, int]
"""Sandbox id, name, attempt."""

STATUSES_LIMIT = 8 << 20
"""Bytes of the containers' statuses in what tells of a sandbox: clients take 16 MiB, with all that is in them."""


class SandboxEntry:
    """A sandbox: its record, the request that made it, its message in lists, and an event for its end."""

    def __init__(self, record: Sandbox) -> None:
        self.config = api.PodSandboxConfig.FromString(record.config)
        self.ended = asyncio.Event()
        self.record = record
        self.attributes = messages.sandbox_attributes(record.id, self.config)

    @property
    def record(self) -> Sandbox:
        """The record; setting it rebuilds the message."""
        return self._record

    @record.setter
    def record(self, record: Sandbox) -> None:
        self._record = record
        self.message = messages.sandbox(record, self.config)
        if not record.ready:
            self.ended.set()


class ContainerEntry:
    """A container: its record, the request that made it, its message in lists, and an event for its end."""

    def __init__(self, record: Container) -> None:
        self.config = api.ContainerConfig.FromString(record.config)
        self.ended = asyncio.Event()
        self._after_start: list[Callable[[], None]] | None = None
        self.record = record
        self.attributes = messages.container_attributes(record.id, self.config)

    @property
    def record(self) -> Container:
        """The record; setting it rebuilds the message."""
        return self._record

    @record.setter
    def record(self, record: Container) -> None:
        self._record = record
        self.message = messages.container(record, self.config)
        if record.state == "exited":
            self.ended.set()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """While its start is carried out and recorded."""
        waiting: list[Callable[[], None]] = []
        self._after_start = waiting
        try:
            yield
        finally:
            self._after_start = None
            for call in waiting:
                call()

    def unless_starting(self, call: Callable[[], None]) -> None:
        """Call now, or as soon as the start in flight is recorded: a short process ends before it is."""
        if self._after_start is None:
            call()
        else:
            self._after_start.append(call)


@dataclass(frozen=True)
class SandboxChange:
    """A sandbox's record ``before`` (None: it is new) and ``after`` (None: it is forgotten)."""

    entry: SandboxEntry
    before: Sandbox | None
    after: Sandbox | None


@dataclass(frozen=True)
class ContainerChange:
    """A container's record ``before`` (None: it is new) and ``after`` (None: it is forgotten)."""

    entry: ContainerEntry
    before: Container | None
    after: Container | None


Change = SandboxChange | ContainerChange


class Store:
    """All sandboxes and containers that exist. What an operation is still making is not here yet."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self.sandboxes: dict[str, SandboxEntry] = {}
        self.containers: dict[str, ContainerEntry] = {}
        self.observers: list[Callable[[Change], None]] = []
        """Called after each change, in order; they must not raise and not wait."""
        self._sandbox_names: dict[SandboxName, str] = {}
        self._container_names: dict[ContainerName, str] = {}
        for sandbox in records.sandboxes():
            self._remember_sandbox(SandboxEntry(sandbox))
        for container in records.containers():
            self._remember_container(ContainerEntry(container))

    def sandbox(self, prefix: str) -> SandboxEntry:
        """By id or unique prefix. Raises NotFound, InvalidArgument for an empty or ambiguous one."""
        found = match_id(prefix, self.sandboxes, what="pod sandbox")
        if found is None:
            raise NotFound(f"there is no pod sandbox {prefix}")
        return self.sandboxes[found]

    def container(self, prefix: str) -> ContainerEntry:
        """By id or unique prefix. Raises NotFound, InvalidArgument for an empty or ambiguous one."""
        found = match_id(prefix, self.containers, what="container")
        if found is None:
            raise NotFound(f"there is no container {prefix}")
        return self.containers[found]

    def containers_of(self, sandbox_id: str) -> list[ContainerEntry]:
        """The containers of a sandbox, the oldest first."""
        found = [entry for entry in self.containers.values() if entry.record.sandbox_id == sandbox_id]
        return sorted(found, key=lambda entry: entry.record.created_at)

    def sandbox_by_name(self, name: SandboxName) -> SandboxEntry | None:
        """The sandbox that was made under these metadata."""
        found = self._sandbox_names.get(name)
        return self.sandboxes[found] if found else None

    def container_by_name(self, name: ContainerName) -> ContainerEntry | None:
        """The container that was made under these metadata."""
        found = self._container_names.get(name)
        return self.containers[found] if found else None

    def save_sandbox(self, record: Sandbox) -> SandboxEntry:
        """Write a new or changed sandbox."""
        self._records.save_sandbox(record)
        entry = self.sandboxes.get(record.id)
        before = entry.record if entry else None
        if entry is None:
            entry = SandboxEntry(record)
            self._remember_sandbox(entry)
        else:
            entry.record = record
        self._tell(SandboxChange(entry, before, record))
        return entry

    def save_container(self, record: Container) -> ContainerEntry:
        """Write a new or changed container."""
        self._records.save_container(record)
        entry = self.containers.get(record.id)
        before = entry.record if entry else None
        if entry is None:
            entry = ContainerEntry(record)
            self._remember_container(entry)
        else:
            entry.record = record
        self._tell(ContainerChange(entry, before, record))
        return entry

    def delete_sandbox(self, sandbox_id: str) -> None:
        """Forget a sandbox; one that is not known is fine."""
        self._records.delete_sandbox(sandbox_id)
        entry = self.sandboxes.pop(sandbox_id, None)
        if entry is not None:
            self._sandbox_names.pop(sandbox_name(entry.config), None)
            self._tell(SandboxChange(entry, entry.record, None))

    def delete_container(self, container_id: str) -> None:
        """Forget a container; one that is not known is fine."""
        self._records.delete_container(container_id)
        entry = self.containers.pop(container_id, None)
        if entry is not None:
            self._container_names.pop(container_name(entry.record.sandbox_id, entry.config), None)
            self._tell(ContainerChange(entry, entry.record, None))

    def images_in_use(self) -> set[str]:
        """The ids of the images whose layers a container's root file system or one of its volumes is made of."""
        records = [entry.record for entry in self.containers.values()]
        return {image for record in records for image in (record.image_id, *record.volume_images.values())}

    def _tell(self, change: Change) -> None:
        for observer in self.observers:
            observer(change)

    def _remember_sandbox(self, entry: SandboxEntry) -> None:
        self.sandboxes[entry.record.id] = entry
        self._sandbox_names[sandbox_name(entry.config)] = entry.record.id

    def _remember_container(self, entry: ContainerEntry) -> None:
        self.containers[entry.record.id] = entry
        self._container_names[container_name(entry.record.sandbox_id, entry.config)] = entry.record.id


def statuses_of(store: Store, sandbox_id: str) -> list[api.ContainerStatus] | None:
    """The statuses of a sandbox's containers; None where they have more than STATUSES_LIMIT bytes."""
    found: list[api.ContainerStatus] = []
    size = 0
    for container in store.containers_of(sandbox_id):
        status = messages.container_status(container.record, container.config)
        size += status.ByteSize()
        if size > STATUSES_LIMIT:
            return None
        found.append(status)
    return found


def sandbox_name(config: api.PodSandboxConfig) -> SandboxName:
    """The name of a sandbox out of its request."""
    metadata = config.metadata
    return metadata.name, metadata.namespace, metadata.uid, metadata.attempt


def container_name(sandbox_id: str, config: api.ContainerConfig) -> ContainerName:
    """The name of a container out of its request."""
    return sandbox_id, config.metadata.name, config.metadata.attempt
