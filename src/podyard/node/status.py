"""A Pod's status as kubectl shows it (Kubernetes documentation, "Pod Lifecycle"). Pure functions of what is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from podyard.manifest.model import Container, Pod, plain
from podyard.manifest.translate import kind_of
from podyard.manifest.translate.resources import qos_class, requests_of
from podyard.node.times import rfc3339
from podyard.pods import Board, ContainerView, PodView, Waiting
from podyard.pods.restarts import starts_again

_UNKNOWN_END = {
    "exitCode": 137,
    "reason": "ContainerStatusUnknown",
    "message": "the container was removed when the Pod had been ended",
}
_FORGOTTEN_INIT = {"exitCode": 0, "reason": "Completed", "message": "the container was removed after it had ended"}
CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


@dataclass(frozen=True, kw_only=True)
class Record:
    """What the agent knows of a Pod. Times: seconds since 1970."""

    pod: Pod
    since: float
    """When the agent took it on."""
    view: PodView | None = None
    """As the endpoint shows it; None while it has no sandbox."""
    board: Board = field(default_factory=Board)
    failure: Waiting | None = None
    """Why the Pod as a whole cannot be started."""
    host_ips: Sequence[str] = ()
    runtime: str = ""
    """The runtime's name, where containers' ids are told as ``name://id``: an API server's clients want that."""
    over: bool = False
    """Whether it was stopped and is not started again, whatever its restart policy."""
    before: Mapping[str, Any] = field(default_factory=dict)
    """The status that was told last: conditions keep the time of their last change from it."""

    def id_of(self, view: ContainerView) -> str:
        """A container's id as it is told."""
        return f"{self.runtime}://{view.id}" if self.runtime else view.id


@dataclass(frozen=True)
class _Known:
    """One container: its status and the few words of it that others depend on."""

    container: Container
    status: dict[str, Any]
    kind: str
    started: bool
    ready: bool

    @property
    def state(self) -> str:
        return str(next(iter(self.status["state"])))

    @property
    def succeeded(self) -> bool:
        return self.state == "terminated" and self.status["state"]["terminated"]["exitCode"] == 0

    @property
    def has_run(self) -> bool:
        """Whether it runs, has ended, or has ended before and waits to be started again."""
        return self.state != "waiting" or "terminated" in self.status["lastState"]


def pod_status(record: Record, now: float) -> dict[str, Any]:
    """The ``status`` of a v1 Pod."""
    known = [_container(record, container) for container in record.pod.all_containers()]
    inits = [one for one in known if one.kind != "container"]
    mains = [one for one in known if one.kind == "container"]
    view = record.view
    phase = _last_phase(mains) if record.over else _phase(record.pod, inits, mains)
    if view is not None and view.verdict and not any(one.state == "running" for one in known):
        phase = "Failed"
    ips = view.ips if view is not None and view.ready else ()
    if record.pod.spec.host_network and view is not None and not ips:
        ips = tuple(record.host_ips)
    status: dict[str, Any] = {"phase": phase, "conditions": _conditions(record, phase, inits, mains, now=now)}
    if record.failure is not None:
        status |= {"reason": record.failure.reason, "message": record.failure.message}
    elif view is not None and view.verdict:
        status |= {"reason": view.verdict.reason, "message": view.verdict.message}
    if record.host_ips:
        status |= {"hostIP": record.host_ips[0], "hostIPs": [{"ip": ip} for ip in record.host_ips]}
    if ips:
        status |= {"podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]}
    status["startTime"] = rfc3339(record.since if view is None else view.created_at / 1e9)
    if inits:
        status["initContainerStatuses"] = [one.status for one in inits]
    status["containerStatuses"] = [one.status for one in mains]
    if ephemeral := [_container(record, container).status for container in record.pod.spec.ephemeral_containers]:
        status["ephemeralContainerStatuses"] = ephemeral
    status["qosClass"] = qos_class(record.pod)
    return status


def _container(record: Record, container: Container) -> _Known:
    view = record.view
    found = next((one for one in view.containers if one.name == container.name), None) if view else None
    earlier = next((one for one in view.earlier if one.name == container.name), None) if view else None
    kind = kind_of(record.pod, container)
    waiting = record.board.waiting.get(container.name)
    running = found is not None and found.state == "running"
    started = found is not None and running and (container.startup_probe is None or found.id in record.board.started)
    ready = started and (container.readiness_probe is None or (found is not None and found.id in record.board.ready))
    if kind == "init":
        started, ready = running, found is not None and found.succeeded
    state, last = _states(record, found, earlier, waiting, kind=kind)
    if kind == "init" and found is None and _has_initialized(record):
        ready, state = True, {"terminated": dict(_FORGOTTEN_INIT)}
    status: dict[str, Any] = {
        "name": container.name,
        "state": state,
        "lastState": last,
        "ready": ready,
        "started": started,
        "restartCount": found.restarts if found is not None else 0,
        "image": container.image,
        "imageID": found.image_ref if found is not None else "",
    }
    if running:
        status |= _resources(record, container)
    if found is not None:
        status["containerID"] = record.id_of(found)
    return _Known(container, status, kind, started, ready)


def _has_initialized(record: Record) -> bool:
    """Whether the Pod got as far as its containers, so that its init containers have ended well."""
    there = {one.name for one in record.view.containers} if record.view is not None else set()
    return any(container.name in there for container in record.pod.spec.containers)


def _resources(record: Record, container: Container) -> dict[str, Any]:
    """What the node has set aside for a container, and what it has been given: not the same while that changes
    (Kubernetes documentation, "Resize CPU and Memory Resources assigned to Containers")."""
    allocated = {name: str(amount) for name, amount in requests_of(container).items()}
    given = record.board.resources.get(container.name)
    told = plain(given) if given is not None else {}
    return ({"allocatedResources": allocated} if allocated else {}) | ({"resources": told} if told else {})


def _states(
    record: Record, found: ContainerView | None, earlier: ContainerView | None, waiting: Waiting | None, *, kind: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a container does now, and how it ended the last time."""
    last = {"terminated": _terminated(record, earlier)} if earlier is not None else {}
    if found is not None and found.state == "running":
        return {"running": {"startedAt": rfc3339(found.started_at / 1e9)}}, last
    if found is not None and found.state == "exited":
        if waiting is None:
            return {"terminated": _terminated(record, found)}, last
        last = {"terminated": _terminated(record, found)}
    if waiting is None and record.view is not None and record.view.verdict:
        return {"terminated": dict(_UNKNOWN_END)}, last
    if waiting is None:
        has_inits = bool(record.pod.spec.init_containers) and kind == "container"
        waiting = Waiting("PodInitializing" if has_inits else "ContainerCreating")
    state = {"reason": waiting.reason}
    if waiting.message:
        state["message"] = waiting.message
    return {"waiting": state}, last


def _terminated(record: Record, view: ContainerView) -> dict[str, Any]:
    ended: dict[str, Any] = {
        "exitCode": view.exit_code,
        "reason": view.reason or ("Error" if view.exit_code else "Completed"),
        "startedAt": rfc3339(view.started_at / 1e9),
        "finishedAt": rfc3339(view.finished_at / 1e9),
        "containerID": record.id_of(view),
    }
    if view.message:
        ended["message"] = view.message
    return ended


def _phase(pod: Pod, inits: Sequence[_Known], mains: Sequence[_Known]) -> str:
    if any(_has_ended(pod, one) and not one.succeeded for one in inits):
        return "Failed"
    if not all(one.has_run for one in mains):
        return "Pending"
    return _last_phase(mains) if all(_has_ended(pod, one) for one in mains) else "Running"


def _has_ended(pod: Pod, one: _Known) -> bool:
    """Whether a container has ended for good."""
    ended = one.status["state"].get("terminated")
    return ended is not None and not starts_again(pod, one.container, ended["exitCode"])


def _last_phase(mains: Sequence[_Known]) -> str:
    return "Succeeded" if all(one.succeeded for one in mains) else "Failed"


def _conditions(
    record: Record, phase: str, inits: Sequence[_Known], mains: Sequence[_Known], *, now: float
) -> list[dict[str, Any]]:
    """One for each of ``CONDITIONS``, those that say what was done to the Pod where it was."""
    view = record.view
    begun = any(one.has_run for one in mains)
    lacking = [one for one in inits if not (one.ready if one.kind == "init" else one.started)]
    lasting = [*mains, *(one for one in inits if one.kind == "sidecar")]
    unready = [one for one in lasting if not one.ready]
    initialized = _condition("Initialized", "ContainersNotInitialized", "incomplete", [] if begun else lacking)
    containers = _condition("ContainersReady", "ContainersNotReady", "unready", unready)
    if phase == "Succeeded":
        containers = {"type": "ContainersReady", "status": "False", "reason": "PodCompleted"}
        initialized = {"type": "Initialized", "status": "True", "reason": "PodCompleted"}
    elif phase == "Failed":
        containers = {"type": "ContainersReady", "status": "False", "reason": "PodFailed"}
    made = [
        {"type": "PodReadyToStartContainers", "status": "True" if view is not None and view.ready else "False"},
        initialized,
        {**containers, "type": "Ready"},
        containers,
        {"type": "PodScheduled", "status": "True"},
    ]
    if view is not None and view.verdict and view.verdict.disruption:
        ended = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}
        made.append({**ended, "message": view.verdict.message})
    if (resize := _resize(record)) is not None:
        made.append(resize)
    before = {one["type"]: one for one in record.before.get("conditions", [])}
    return [_dated(one, before.get(one["type"]), now) for one in made]


def _resize(record: Record) -> dict[str, Any] | None:
    """The condition of a Pod whose containers are given other resources, or were."""
    kind = "PodResizeInProgress"
    running = record.board.resizing
    if not running:
        had = any(one["type"] == kind for one in record.before.get("conditions", []))
        return {"type": kind, "status": "False"} if had else None
    failures = [f"{name}: {error}" for name, error in running.items() if error]
    failed = {"reason": "Error", "message": "; ".join(failures)} if failures else {}
    return {"type": kind, "status": "True", **failed}


def _condition(kind: str, reason: str, word: str, lacking: Iterable[_Known]) -> dict[str, Any]:
    names = [one.container.name for one in lacking]
    if not names:
        return {"type": kind, "status": "True"}
    message = f"containers with {word} status: [{' '.join(names)}]"
    return {"type": kind, "status": "False", "reason": reason, "message": message}


def _dated(condition: dict[str, Any], before: Mapping[str, Any] | None, now: float) -> dict[str, Any]:
    same = before is not None and before["status"] == condition["status"]
    changed = before["lastTransitionTime"] if same and before is not None else rfc3339(now)
    return {**condition, "lastTransitionTime": changed}
