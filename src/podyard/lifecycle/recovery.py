"""What a restart must do with the containers that it finds in the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from podyard.lifecycle.containers import is_to_be_restored
from podyard.model.records import Container

Action = Literal["nothing", "record exit", "watch monitor", "watch process", "lost"]


@dataclass(frozen=True)
class Found:
    """What is there of a container: whether its monitor and its process live, and whether its exit was written."""

    same_boot: bool
    monitor_alive: bool
    process_alive: bool
    exit_written: bool


def decide(container: Container, found: Found) -> tuple[Action, str]:
    """What to do with a container after a restart, and why."""
    to_come = is_to_be_restored(container) and found.same_boot and not found.exit_written
    if container.state == "exited" or to_come:
        return "nothing", ""
    if found.exit_written and found.same_boot:
        return "record exit", ""
    if not found.same_boot:
        return "lost", "the host was restarted while the container was there"
    if found.monitor_alive:
        return "watch monitor", ""
    if found.process_alive:
        return "watch process", "its monitor is gone: its further output is not logged"
    return "lost", "the container's monitor was killed together with it while podyard did not run"
