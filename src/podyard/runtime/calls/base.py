"""What the calls of all nouns share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from podyard.errors import AlreadyExists, NotFound
from podyard.runtime.container_stop import StopContainer
from podyard.runtime.context import Context
from podyard.runtime.store import ContainerEntry, SandboxEntry

EntryType = TypeVar("EntryType", SandboxEntry, ContainerEntry)


class Calls:
    """Base of a noun's calls. Ids may be given as unique prefixes."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store

    def _hurry(self, subject: str, timeout: float) -> None:
        """Shorten the stops in flight of a container, or of a sandbox's containers."""
        for operation, _ in self._context.engine.in_flight(subject):
            if isinstance(operation, StopContainer):
                operation.hurry(timeout)


def known(find: Callable[[str], EntryType], prefix: str) -> EntryType | None:
    """What goes by an id, or None: to stop or remove what is not there is done already."""
    try:
        return find(prefix)
    except NotFound:
        return None


def taken(what: str, holder: str, name: str) -> str:
    """The text of AlreadyExists for a name that ``holder`` has."""
    return (
        f"{what} {holder[:12]} has the name {name} with the same attempt and another configuration: "
        "remove it first, or use a higher attempt"
    )


def check_is_ready(sandbox: SandboxEntry) -> None:
    """Raise AlreadyExists for a sandbox that was stopped: a request that succeeds answers with one that is ready."""
    if not sandbox.record.ready:
        raise AlreadyExists(
            f"pod sandbox {sandbox.record.id[:12]} has the name {sandbox.config.metadata.name} with the same attempt "
            "and is not ready any more: remove it first, or use a higher attempt"
        )


def read_spec(bundle: Path) -> object:
    """A bundle's OCI spec; None where it cannot be read."""
    try:
        return json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
