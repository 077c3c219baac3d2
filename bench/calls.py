"""Timing the calls of a pod's life."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

from podyard.client import Client
from podyard.cri import api

Result = TypeVar("Result")

POD_START = ("RunPodSandbox", "CreateContainer", "StartContainer")
"""What stands between a request and a running pod of one container."""

AS_KUBELET = api.NamespaceOption(pid=api.CONTAINER)
"""What a kubelet asks for where a Pod says nothing of its namespaces."""

_numbers = itertools.count(1)


class Calls:
    """The times of each call, in seconds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.times: defaultdict[str, list[float]] = defaultdict(list)

    async def timed(self, call: str, answer: Awaitable[Result]) -> Result:
        """Await ``answer`` and keep how long it took."""
        begin = time.perf_counter()
        result = await answer
        self.times[call].append(time.perf_counter() - begin)
        return result


def pod_config(logs: Path) -> api.PodSandboxConfig:
    """The request for one more sandbox."""
    name = f"bench-{next(_numbers)}"
    return api.PodSandboxConfig(
        metadata=api.PodSandboxMetadata(name=name, namespace="bench", uid=name),
        hostname=name,
        log_directory=str(logs / name),
        linux=api.LinuxPodSandboxConfig(security_context=api.LinuxSandboxSecurityContext(namespace_options=AS_KUBELET)),
    )


def container_config(image: str) -> api.ContainerConfig:
    """The request for a container that sleeps."""
    return api.ContainerConfig(
        metadata=api.ContainerMetadata(name="main"),
        image=api.ImageSpec(image=image),
        command=["sleep", "1000000"],
        log_path="main.log",
        linux=api.LinuxContainerConfig(
            security_context=api.LinuxContainerSecurityContext(namespace_options=AS_KUBELET)
        ),
    )


async def start_pod(client: Client, image: str, logs: Path, calls: Calls) -> tuple[str, str]:
    """Start a pod of one container; the ids of its sandbox and its container."""
    runtime, config = client.runtime, pod_config(logs)
    sandbox_id = await calls.timed("RunPodSandbox", runtime.run_pod_sandbox(config))
    container_id = await calls.timed(
        "CreateContainer", runtime.create_container(sandbox_id, container_config(image), config)
    )
    await calls.timed("StartContainer", runtime.start_container(container_id))
    return sandbox_id, container_id


async def measure_round(client: Client, image: str, logs: Path, calls: Calls) -> None:
    """One pod from its start to its end."""
    runtime = client.runtime
    sandbox_id, container_id = await start_pod(client, image, logs, calls)
    await calls.timed("ExecSync", runtime.exec_sync(container_id, ["true"], 20))
    await calls.timed("StopContainer", runtime.stop_container(container_id, 0))
    await calls.timed("RemoveContainer", runtime.remove_container(container_id))
    await calls.timed("StopPodSandbox", runtime.stop_pod_sandbox(sandbox_id))
    await calls.timed("RemovePodSandbox", runtime.remove_pod_sandbox(sandbox_id))
