"""Which Pods an endpoint has: its sandboxes and containers put together, whoever made them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from podyard.client import Client
from podyard.cri import api
from podyard.errors import InvalidArgument, NotFound
from podyard.manifest.translate import labels
from podyard.pods.folders import Folders
from podyard.pods.patience import patiently
from podyard.pods.stopping import pre_stop_of
from podyard.pods.termination import termination_message
from podyard.pods.verdict import Verdict, read_verdict
from podyard.pods.views import ContainerKind, ContainerView, PodView

_AT_ONCE = 16
"""Status calls in flight."""
DEFAULT_GRACE = 30
"""Seconds: Kubernetes' default."""

_STATES: Mapping[int, Literal["created", "running", "exited", "unknown"]] = {
    api.CONTAINER_CREATED: "created",
    api.CONTAINER_RUNNING: "running",
    api.CONTAINER_EXITED: "exited",
}


class Inventory:
    """Reads Pods from an endpoint."""

    def __init__(self, client: Client, folders: Folders) -> None:
        self._client = client
        self._folders = folders
        self._calls = asyncio.Semaphore(_AT_ONCE)

    async def pods(self, name: str | None = None, namespace: str | None = None) -> list[PodView]:
        """All Pods, or those of a name and of a namespace, by namespace, name and age. What goes away meanwhile is
        left out."""
        sandboxes, containers = await asyncio.gather(
            self._client.runtime.list_pod_sandbox(), self._client.runtime.list_containers()
        )
        groups: defaultdict[tuple[str, str, str], list[api.PodSandbox]] = defaultdict(list)
        for sandbox in sandboxes:
            metadata = sandbox.metadata
            if name in (None, metadata.name) and namespace in (None, metadata.namespace):
                groups[metadata.namespace, metadata.name, metadata.uid].append(sandbox)
        views = await asyncio.gather(*(self._pod(group, containers) for group in groups.values()))
        found = [view for view in views if view is not None]
        return sorted(found, key=lambda view: (view.namespace, view.name, view.created_at))

    async def has_ended(self, container_id: str) -> bool:
        """Whether a container has ended or is gone, so that it writes nothing any more."""
        try:
            status = (await patiently(lambda: self._client.runtime.container_status(container_id))).status
        except NotFound:
            return True
        return status.state == api.CONTAINER_EXITED

    async def _pod(self, sandboxes: list[api.PodSandbox], containers: Iterable[api.Container]) -> PodView | None:
        # By their numbers first: somebody may have set the clock back between two of them.
        sandboxes = sorted(sandboxes, key=lambda one: (one.metadata.attempt, one.created_at), reverse=True)
        newest = sandboxes[0]
        ids = {sandbox.id for sandbox in sandboxes}
        mine = [container for container in containers if container.pod_sandbox_id in ids]
        try:
            async with self._calls:
                status = (await self._client.runtime.pod_sandbox_status(newest.id)).status
        except NotFound:
            return None
        views = await asyncio.gather(*(self._container(newest, container) for container in mine))
        current, earlier = _by_attempt([view for view in views if view is not None])
        addresses = [status.network.ip, *(more.ip for more in status.network.additional_ips)]
        return PodView(
            name=newest.metadata.name,
            namespace=newest.metadata.namespace,
            uid=newest.metadata.uid,
            sandbox_id=newest.id,
            attempt=newest.metadata.attempt,
            ips=tuple(address for address in addresses if address),
            containers=current,
            earlier=earlier,
            ready=status.state == api.SANDBOX_READY,
            created_at=newest.created_at,
            handler=newest.runtime_handler,
            labels=dict(newest.labels),
            annotations=dict(newest.annotations),
            verdict=await asyncio.to_thread(self._verdict, newest.metadata),
            sandboxes=tuple(sandbox.id for sandbox in sandboxes),
        )

    async def _container(self, sandbox: api.PodSandbox, container: api.Container) -> ContainerView | None:
        try:
            async with self._calls:
                status = (await self._client.runtime.container_status(container.id)).status
        except NotFound:
            return None
        state = _STATES.get(status.state, "unknown")
        kind = _kind(container)
        message = status.message
        if state == "exited" and not message:
            message = await asyncio.to_thread(self._last_words, sandbox, status)
        return ContainerView(
            name=container.metadata.name,
            id=container.id,
            state=state,
            exit_code=status.exit_code,
            reason=status.reason,
            restarts=container.metadata.attempt,
            log_path=Path(status.log_path) if status.log_path else None,
            init=kind in ("init", "sidecar"),
            kind=kind,
            image=container.image.user_specified_image or container.image.image,
            image_ref=status.image_ref,
            pre_stop=pre_stop_of(container.annotations),
            message=message,
            grace=_grace(container.annotations),
            created_at=status.created_at,
            started_at=status.started_at,
            finished_at=status.finished_at,
        )

    def _verdict(self, metadata: api.PodSandboxMetadata) -> Verdict | None:
        try:
            return read_verdict(self._folders.of(metadata.namespace, metadata.name, metadata.uid).verdict)
        except InvalidArgument:
            return None  # a Pod of another maker

    def _last_words(self, sandbox: api.PodSandbox, status: api.ContainerStatus) -> str:
        metadata = sandbox.metadata
        try:
            folder = self._folders.of(metadata.namespace, metadata.name, metadata.uid)
            path = folder.termination_message(status.metadata.name, status.metadata.attempt)
        except InvalidArgument:
            return ""  # a Pod that podyard did not make: it has no such file
        log = Path(status.log_path) if status.log_path else None
        fall_back = status.annotations.get(labels.TERMINATION_MESSAGE_POLICY) == "FallbackToLogsOnError"
        return termination_message(path, log if fall_back and status.exit_code else None)


def _kind(container: api.Container) -> ContainerKind:
    """Pods of other makers do not say, so theirs are all plain containers."""
    match container.annotations.get(labels.CONTAINER_KIND):
        case "init":
            return "init"
        case "sidecar":
            return "sidecar"
        case "ephemeral":
            return "ephemeral"
    return "container"


def _grace(annotations: Mapping[str, str]) -> int:
    text = annotations.get(labels.GRACE_PERIOD, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else DEFAULT_GRACE


def _by_attempt(views: list[ContainerView]) -> tuple[tuple[ContainerView, ...], tuple[ContainerView, ...]]:
    """The newest attempt at each name, in the order in which the names came up, and all others, newest first."""
    names = [view.name for view in sorted(views, key=lambda view: view.created_at)]
    order = {name: index for index, name in enumerate(dict.fromkeys(names))}
    views = sorted(views, key=lambda view: (view.restarts, view.created_at))  # the clock may have been set back
    newest = {view.name: view for view in views}
    current = sorted(newest.values(), key=lambda view: (not view.init, view.kind == "ephemeral", order[view.name]))
    kept = {view.id for view in current}
    return tuple(current), tuple(view for view in reversed(views) if view.id not in kept)
