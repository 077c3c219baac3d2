"""What a name or an id on the command line stands for.

A Pod goes by "name" or "namespace/name", a container by "container", "pod/container" or "namespace/pod/container", and
everything by its id or a unique beginning of it. A name wins over an id. Where several fit, none is taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from podyard.cli.view import RUNNING
from podyard.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from podyard.client import Client
    from podyard.cri import api

Found = TypeVar("Found")

POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"


@dataclass(frozen=True)
class PodRef:
    """A Pod: all sandboxes with one namespace and name, the newest first."""

    namespace: str
    name: str
    sandboxes: tuple[api.PodSandbox, ...]

    @property
    def full_name(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    @property
    def sandbox(self) -> api.PodSandbox:
        """The newest sandbox."""
        return self.sandboxes[0]


@dataclass(frozen=True)
class ContainerRef:
    """The latest attempt of a container, and the sandbox that it belongs to (None when that is gone)."""

    container: api.Container
    sandbox: api.PodSandbox | None

    @property
    def pod_name(self) -> str:
        """The Pod's name, from the sandbox, or from the kubelet's label where the sandbox is gone."""
        return self.sandbox.metadata.name if self.sandbox else self.container.labels.get(POD_NAME, "")

    @property
    def namespace(self) -> str:
        """The Pod's namespace."""
        return self.sandbox.metadata.namespace if self.sandbox else self.container.labels.get(POD_NAMESPACE, "")

    @property
    def full_name(self) -> str:
        """``namespace/pod/container``."""
        return f"{self.namespace}/{self.pod_name}/{self.container.metadata.name}"


class Inventory:
    """All sandboxes and containers of a runtime at one moment."""

    def __init__(self, sandboxes: Iterable[api.PodSandbox], containers: Iterable[api.Container]) -> None:
        self.sandboxes = sorted(sandboxes, key=lambda sandbox: sandbox.created_at, reverse=True)
        self.containers = sorted(containers, key=lambda container: container.created_at, reverse=True)
        self._by_id = {sandbox.id: sandbox for sandbox in self.sandboxes}

    @classmethod
    async def load(cls, client: Client) -> Inventory:
        """Ask a runtime for both lists."""
        sandboxes, containers = await asyncio.gather(
            client.runtime.list_pod_sandbox(), client.runtime.list_containers()
        )
        return cls(sandboxes, containers)

    def pods(self) -> list[PodRef]:
        """All Pods, the newest first."""
        groups: dict[tuple[str, str], list[api.PodSandbox]] = {}
        for sandbox in self.sandboxes:
            groups.setdefault((sandbox.metadata.namespace, sandbox.metadata.name), []).append(sandbox)
        return [PodRef(namespace, name, tuple(members)) for (namespace, name), members in groups.items()]

    def of_sandbox(self, sandbox_id: str, *, latest: bool = True) -> list[api.Container]:
        """The containers of a sandbox, the oldest first. ``latest``: only the last attempt of each name."""
        found = [container for container in self.containers if container.pod_sandbox_id == sandbox_id]
        return (_latest(found) if latest else found)[::-1]

    def ref(self, container: api.Container) -> ContainerRef:
        """A container with its sandbox."""
        return ContainerRef(container, self._by_id.get(container.pod_sandbox_id))

    def pod(self, text: str) -> PodRef:
        """The Pod that ``text`` stands for. Raises NotFound or InvalidArgument (ambiguous)."""
        found = self._pods_named(text) or self._pods_with_id(text)
        return _only(text, found, "Pod", lambda pod: f"{pod.full_name} ({pod.sandbox.id[:13]})", '"podyard pods"')

    def container(self, text: str) -> ContainerRef:
        """The container that ``text`` stands for. Raises NotFound or InvalidArgument (ambiguous)."""
        found = self._containers_named(text) or self._containers_with_id(text)
        return _only(text, found, "container", _described, '"podyard ps -a"')

    def one_container(self, text: str, container_name: str | None = None) -> ContainerRef:
        """The container that ``text`` stands for, or the one of the Pod that it stands for.

        Raises NotFound, or InvalidArgument where a Pod has several containers and ``container_name`` is None.
        """
        found = self.any(text)
        if isinstance(found, ContainerRef):
            if container_name not in {None, found.container.metadata.name}:
                raise InvalidArgument(f"{text!r} is the container {found.full_name}: leave --container out")
            return found
        containers = self.of_sandbox(found.sandbox.id)
        names = sorted(container.metadata.name for container in containers)
        if container_name is not None:
            containers = [container for container in containers if container.metadata.name == container_name]
            if not containers:
                raise NotFound(f"Pod {found.full_name} has no container {container_name!r}; it has {', '.join(names)}")
        elif len(containers) > 1:
            running = [container for container in containers if container.state == RUNNING]
            # What ended (init containers, above all) is not what one means while something runs.
            containers = running if len(running) == 1 else containers
        if not containers:
            raise NotFound(f"Pod {found.full_name} has no container")
        if len(containers) > 1:
            raise InvalidArgument(
                f"Pod {found.full_name} has several containers: choose with --container ({', '.join(names)})"
            )
        return self.ref(containers[0])

    def any(self, text: str) -> PodRef | ContainerRef:
        """The Pod or the container that ``text`` stands for; a Pod's plain name wins over a container's.

        Raises NotFound or InvalidArgument (ambiguous).
        """
        found: Sequence[PodRef | ContainerRef] = self._pods_named(text)
        if not found or "/" in text:
            found = [*found, *self._containers_named(text)]
        if not found:
            found = [*self._pods_with_id(text), *self._containers_with_id(text)]
        return _only(
            text,
            found,
            "Pod or container",
            lambda one: f"Pod {one.full_name}" if isinstance(one, PodRef) else f"container {_described(one)}",
            '"podyard pods" and "podyard ps -a"',
        )

    def _pods_named(self, text: str) -> list[PodRef]:
        return [pod for pod in self.pods() if text in {pod.name, pod.full_name}]

    def _pods_with_id(self, text: str) -> list[PodRef]:
        return [pod for pod in self.pods() if text and any(one.id.startswith(text) for one in pod.sandboxes)]

    def _containers_named(self, text: str) -> list[ContainerRef]:
        refs = [self.ref(container) for container in _latest(self.containers)]
        found = [
            ref
            for ref in refs
            if text in {ref.container.metadata.name, f"{ref.pod_name}/{ref.container.metadata.name}", ref.full_name}
        ]
        # A Pod that was run again leaves old sandboxes behind: what belongs to the newest one is meant.
        newest: dict[str, ContainerRef] = {}
        for ref in sorted(found, key=lambda ref: ref.sandbox.created_at if ref.sandbox else 0, reverse=True):
            newest.setdefault(ref.full_name, ref)
        return list(newest.values())

    def _containers_with_id(self, text: str) -> list[ContainerRef]:
        return [self.ref(container) for container in self.containers if text and container.id.startswith(text)]


def _latest(containers: Iterable[api.Container]) -> list[api.Container]:
    """Of each container name in a sandbox the highest attempt, in the given order."""
    best: dict[tuple[str, str], api.Container] = {}
    for container in containers:
        key = (container.pod_sandbox_id, container.metadata.name)
        if key not in best or container.metadata.attempt > best[key].metadata.attempt:
            best[key] = container
    return list(best.values())


def _described(ref: ContainerRef) -> str:
    return f"{ref.full_name} ({ref.container.id[:13]})"


def _only(text: str, found: Sequence[Found], kind: str, describe: Callable[[Found], str], listed_by: str) -> Found:
    if not found:
        raise NotFound(f"no {kind} goes by {text!r}; see {listed_by}")
    if len(found) > 1:
        candidates = ", ".join(sorted(map(describe, found)))
        raise InvalidArgument(f"{text!r} may be any of {candidates}: say more of the name, or use an id")
    return found[0]
