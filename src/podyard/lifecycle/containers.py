"""A container's states.

created ──start──▶ running ──its process ends──▶ exited
   └──start fails, or its process ends──────────────▲
created | running ──what became of it cannot be found out──▶ exited, reason Unknown
"""

from __future__ import annotations

from msgspec.structs import replace

from podyard.errors import FailedPrecondition, PodyardError
from podyard.model.records import Container

SIGKILL_EXIT = 128 + 9
START_ERROR_EXIT = 128
"""What shells and the kubelet take as "could not be started"."""
UNKNOWN_EXIT = 255


def check_may_start(container: Container) -> None:
    """Raise FailedPrecondition, naming the state, unless the container can be started."""
    if container.state != "created":
        raise FailedPrecondition(
            f"container {container.id[:12]} is {container.state}, only a created one can be started: "
            "create a new container (with a higher attempt) instead"
        )


def check_is_running(container: Container) -> None:
    """Raise FailedPrecondition, naming the state, unless the container runs."""
    if container.state != "running":
        raise FailedPrecondition(f"container {container.id[:12]} is {container.state}, not running")


def check_may_change(container: Container) -> None:
    """Raise FailedPrecondition, naming the state, unless the container has limits that can be changed."""
    if container.state not in {"created", "running"}:
        raise FailedPrecondition(
            f"container {container.id[:12]} is {container.state}: only one that is created or runs has limits to change"
        )
    if is_to_be_restored(container):
        raise FailedPrecondition(f"container {container.id[:12]} is restored when it is started: start it first")


def is_to_be_restored(container: Container) -> bool:
    """Whether it has no process yet, because its start brings back those of a checkpoint."""
    return container.state == "created" and bool(container.restored_from) and container.process is None


def started(container: Container, at: int) -> Container:
    """The container once its process runs; it may have ended already, and then stays so."""
    state = container.state if container.state == "exited" else "running"
    return replace(container, state=state, started_at=at)


def start_failed(container: Container, error: PodyardError, at: int) -> Container:
    """The container whose process could not be started."""
    return replace(
        container,
        state="exited",
        started_at=0,
        finished_at=at,
        exit_code=START_ERROR_EXIT,
        reason="StartError",
        message=str(error),
    )


def exited(container: Container, code: int, at: int, *, oom_killed: bool) -> Container:
    """The container whose process has ended. An end that is recorded already stays as it is."""
    if container.state == "exited":
        return container
    reason = "Completed" if code == 0 else "Error"
    if oom_killed and code == SIGKILL_EXIT:
        reason = "OOMKilled"
    return replace(container, state="exited", finished_at=at, exit_code=code, reason=reason)


def lost(container: Container, at: int, why: str) -> Container:
    """The container whose end nobody saw."""
    if container.state == "exited":
        return container
    return replace(container, state="exited", finished_at=at, exit_code=UNKNOWN_EXIT, reason="Unknown", message=why)
