"""A Pod's and a container's state in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from podyard.cri import api
    from podyard.pods import ContainerView, PodView

# Numbers of the protocol's ContainerState: the help imports this module and must not import protobuf.
CREATED, RUNNING, EXITED = 0, 1, 2

SIGNALLED = 128
"""Exit codes above this one stand for a signal, which is how stopping ends what does not end by itself."""


def container_state(container: api.Container, ended: Mapping[str, api.ContainerStatus]) -> str:
    """One or two words: "Created", "Running", "Completed", "Error (3)", "OOMKilled (137)", "Unknown".

    ``ended``: the statuses of containers that have ended, by id.
    """
    if container.state == EXITED:
        status = ended.get(container.id)
        return "Exited" if status is None else _ended(status.reason, status.exit_code)
    return {CREATED: "Created", RUNNING: "Running"}.get(container.state, "Unknown")


def image_name(container: api.Container) -> str:
    """The image as it was asked for, where the runtime keeps that."""
    return container.image.user_specified_image or container.image.image or container.image_id


def pod_status(pod: PodView) -> str:
    """One word or two, like kubectl's.

    "Init:1/2" while init containers run, "Running" while any container does, "Completed" or the first failure when all
    have ended, "Stopped" for a sandbox that has ended, its containers killed or without any, "Created" before the first
    start, "Ready" for a sandbox without containers.
    """
    init = [one for one in pod.containers if one.init and one.kind != "sidecar"]
    main = [one for one in pod.containers if one not in init]
    failed = next((one for one in (*init, *main) if one.state == "exited" and one.exit_code != 0), None)
    if pod.ready and any(one.state == "running" for one in main):
        return "Running"
    if pod.ready and any(one.state == "running" for one in init):
        return f"Init:{sum(one.succeeded for one in init)}/{len(init)}"
    if not pod.ready and (failed is None or failed.exit_code > SIGNALLED) and not _completed(main):
        return "Stopped"
    if failed is not None:
        return f"{'Init:' if failed.init else ''}{_ended(failed.reason, failed.exit_code)}"
    if _completed(main):
        return "Completed"
    return "Created" if pod.containers else "Ready"


def ready(pod: PodView) -> str:
    """How many of the containers run: "1/2". Init containers do not count, sidecars do."""
    counted = [one for one in pod.containers if one.kind in ("container", "sidecar")]
    return f"{sum(one.state == 'running' for one in counted)}/{len(counted)}"


def pod_data(pod: PodView) -> dict[str, Any]:
    """A Pod as plain data: the documented shape of ``podyard pods -o json``."""
    return {
        "name": pod.name,
        "namespace": pod.namespace,
        "uid": pod.uid,
        "id": pod.sandbox_id,
        "status": pod_status(pod),
        "ready": pod.ready,
        "ip": pod.ips[0] if pod.ips else "",
        "ips": list(pod.ips),
        "created_at": pod.created_at,
        "runtime_handler": pod.handler,
        "labels": dict(pod.labels),
        "annotations": dict(pod.annotations),
        "containers": [_container_data(one) for one in pod.containers],
    }


def restarts(containers: Sequence[ContainerView]) -> int:
    """How often containers were started again."""
    return sum(one.restarts for one in containers)


def _container_data(container: ContainerView) -> dict[str, Any]:
    return {
        "name": container.name,
        "id": container.id,
        "kind": container.kind,
        "image": container.image,
        "state": container.state,
        "exit_code": container.exit_code,
        "reason": container.reason,
        "message": container.message,
        "restarts": container.restarts,
        "created_at": container.created_at,
        "started_at": container.started_at,
        "finished_at": container.finished_at,
        "log_path": None if container.log_path is None else str(container.log_path),
    }


def _completed(containers: Sequence[ContainerView]) -> bool:
    return bool(containers) and all(one.succeeded for one in containers)


def _ended(reason: str, exit_code: int) -> str:
    if exit_code == 0:
        return reason or "Completed"
    return f"{reason or 'Error'} ({exit_code})"
