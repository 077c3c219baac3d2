"""What each Pod uses of something that is short."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from podyard.client import Client
from podyard.cri import api
from podyard.manifest.model import Pod
from podyard.manifest.translate.resources import requests_of
from podyard.node.agent import Agent
from podyard.node.housekeeping.ranking import Candidate, resource_of
from podyard.node.housekeeping.thresholds import Signal
from podyard.node.requests import pod_requests
from podyard.node.usage import pod_stats
from podyard.pods import PodEngine, PodView
from podyard.pods.folders import PodFolder
from podyard.pods.usage import TreeUsage, tree_usage


async def candidates(
    client: Client, engine: PodEngine, agent: Agent, signal: Signal, own_image_disk: bool
) -> list[Candidate]:
    """The agent's Pods of which a container runs, and what they use. Raises what the runtime answers, and OSError."""
    running = [
        (worker.pod, view)
        for view in await engine.list()
        if agent.owns(view)
        and view.running
        and view.verdict is None
        and (worker := agent.workers.get(view.full_name)) is not None
        and worker.pod is not None
        and not worker.ending
    ]
    stats = {one.attributes.metadata.uid: one for one in await pod_stats(client)}
    found = []
    for pod, view in running:
        told = stats.get(view.uid, api.PodSandboxStats())
        found.append(await _candidate(pod, view, told, engine.folder(view), signal=signal, own=own_image_disk))
    return found


async def _candidate(
    pod: Pod, view: PodView, told: api.PodSandboxStats, folder: PodFolder, *, signal: Signal, own: bool
) -> Candidate:
    names = {one.id: one.name for one in view.containers if one.state == "running"}
    containers = {name: one for one in told.linux.containers if (name := names.get(one.attributes.id)) is not None}
    if signal == "memory.available":
        used = {name: one.memory.working_set_bytes.value for name, one in containers.items()}
        whole = told.linux.memory.working_set_bytes.value
    elif signal == "pid.available":
        used, whole = {}, told.linux.process.process_count.value
    else:
        used, whole = await asyncio.to_thread(_disk, pod, folder, containers, signal=signal, own=own)
    resource = resource_of(signal)
    requested = pod_requests(pod).get(resource)
    return Candidate(
        pod=pod,
        view=view,
        used=whole,
        requested=int(requested) if requested is not None else 0,
        containers={name: (amount, _request(pod, name, resource)) for name, amount in used.items()},
    )


def _disk(
    pod: Pod, folder: PodFolder, containers: Mapping[str, api.ContainerStats], *, signal: Signal, own: bool
) -> tuple[dict[str, int], int]:
    """What its containers use, and the Pod with its volumes: where images have a disk of their own, writable layers are
    there, too, and all else is on the node's."""
    layers, files = (signal.startswith("imagefs"), signal.startswith("nodefs")) if own else (True, True)
    used = {}
    for name, one in containers.items():
        amount = TreeUsage()
        if layers:
            amount += TreeUsage(one.writable_layer.used_bytes.value, one.writable_layer.inodes_used.value)
        if files:
            amount += tree_usage(folder.logs / name)
        used[name] = amount
    whole = sum(used.values(), TreeUsage())
    if files:
        whole = sum((tree_usage(folder.volume(name)) for name in disk_volumes(pod)), whole)
    if signal.endswith("inodesFree"):
        return {name: amount.inodes for name, amount in used.items()}, whole.inodes
    return {name: amount.size for name, amount in used.items()}, whole.size


def disk_volumes(pod: Pod) -> Sequence[str]:
    """The volumes that the node's disk holds for it."""
    return [volume.name for volume in pod.spec.volumes if volume.empty_dir is not None and not volume.empty_dir.medium]


def _request(pod: Pod, name: str, resource: str) -> int:
    for container in pod.all_containers():
        if container.name == name and (amount := requests_of(container).get(resource)) is not None:
            return amount.value
    return 0
