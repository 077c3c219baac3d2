"""The Node object of this machine. Pure functions of what is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from podyard import __version__
from podyard.cri import api
from podyard.node.housekeeping.thresholds import HARD, Threshold, parse_hard, reserved
from podyard.node.machine import Machine
from podyard.node.times import rfc3339

MAX_IMAGES = 50
"""Images that are told, the largest ones: a kubelet's default, as the next two."""
MAX_NAMES = 5
"""Names of each of them."""
MAX_PODS = 110
"""A kubelet's default."""

_FINE = {
    "MemoryPressure": ("KubeletHasSufficientMemory", "enough memory is available"),
    "DiskPressure": ("KubeletHasNoDiskPressure", "enough disk space is available"),
    "PIDPressure": ("KubeletHasSufficientPID", "enough process ids are available"),
}
_BAD = {
    "MemoryPressure": "KubeletHasInsufficientMemory",
    "DiskPressure": "KubeletHasDiskPressure",
    "PIDPressure": "KubeletHasInsufficientPID",
}


@dataclass(frozen=True, kw_only=True)
class Taint:
    """Keeps Pods that do not tolerate it away."""

    key: str
    effect: str
    """"NoSchedule", "PreferNoSchedule" or "NoExecute"."""
    value: str = ""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a node is told about itself."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Taint] = ()
    max_pods: int = MAX_PODS
    thresholds: Sequence[Threshold] = field(default_factory=lambda: parse_hard(HARD))
    """When Pods are evicted: what the hard ones keep free is not for Pods."""
    port: int | None = None
    """Where the node's own API listens; None where it is not served."""


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """What a status is made of."""

    machine: Machine
    disk: int
    """Bytes of the file system that holds Pods' volumes and logs."""
    runtime: str
    """The runtime's ``name://version``."""
    trouble: str
    """Why the node is not ready; "" when it is."""
    pressures: Mapping[str, str]
    """What the machine runs out of, and by which figures: "MemoryPressure", "DiskPressure", "PIDPressure"."""
    images: Sequence[api.Image] = ()
    handlers: Sequence[api.RuntimeHandler] = ()
    features: api.RuntimeFeatures | None = None
    """What the runtime can do; None for one that does not say."""


def node_object(settings: Settings, machine: Machine) -> dict[str, Any]:
    """A new Node, without its status."""
    spec: dict[str, Any] = {}
    if settings.taints:
        spec["taints"] = [
            {"key": taint.key, "effect": taint.effect} | ({"value": taint.value} if taint.value else {})
            for taint in settings.taints
        ]
    metadata = {"name": settings.name, "labels": labels(settings, machine)}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec}


def labels(settings: Settings, machine: Machine) -> dict[str, str]:
    """The labels that every node has, and its own."""
    return {
        "kubernetes.io/hostname": settings.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        # Old names, which kubelets give their nodes still.
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": machine.architecture,
        **settings.labels,
    }


def node_status(settings: Settings, facts: NodeFacts, before: Mapping[str, Any], now: float) -> dict[str, Any]:
    """The status. ``before``: the one that was told last, from which conditions keep the time of their last change."""
    machine = facts.machine
    kept = {
        "memory": reserved(settings.thresholds, "memory.available", machine.memory),
        "ephemeral-storage": reserved(settings.thresholds, "nodefs.available", facts.disk),
    }
    amounts = {"memory": machine.memory, "ephemeral-storage": facts.disk}
    amounts |= {_huge_page_name(size): amount for size, amount in machine.huge_pages.items()}
    # Memory in huge pages is not there for anything else.
    kept["memory"] += sum(machine.huge_pages.values())
    counts = {"cpu": str(machine.cpus), "pods": str(settings.max_pods)}
    free = {name: max(0, amount - kept.get(name, 0)) for name, amount in amounts.items()}
    return {
        "capacity": {**counts, **{name: _kibibytes(amount) for name, amount in amounts.items()}},
        "allocatable": {**counts, **{name: _kibibytes(amount) for name, amount in free.items()}},
        "addresses": [
            *({"type": "InternalIP", "address": ip} for ip in machine.ips),
            {"type": "Hostname", "address": settings.name},
        ],
        "conditions": conditions(facts, before, now),
        "images": images(facts.images),
        "runtimeHandlers": [_handler(one) for one in facts.handlers],
        "features": {}
        if facts.features is None
        else {"supplementalGroupsPolicy": facts.features.supplemental_groups_policy},
        **({} if settings.port is None else {"daemonEndpoints": {"kubeletEndpoint": {"Port": settings.port}}}),
        "nodeInfo": {
            "machineID": machine.machine_id,
            "systemUUID": machine.system_uuid,
            "bootID": machine.boot_id,
            "kernelVersion": machine.kernel,
            "osImage": machine.os_image,
            "containerRuntimeVersion": facts.runtime,
            "kubeletVersion": f"v{__version__}+podyard",
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": machine.architecture,
        },
    }


def images(found: Sequence[api.Image]) -> list[dict[str, Any]]:
    """The images that are there, by which a scheduler prefers nodes. Those that have no name are left out."""
    named = [(image.size, [*image.repo_digests, *image.repo_tags]) for image in found]
    ordered = sorted(((size, names) for size, names in named if names), key=lambda one: (-one[0], one[1]))
    return [{"names": names[:MAX_NAMES], "sizeBytes": size} for size, names in ordered[:MAX_IMAGES]]


def _handler(found: api.RuntimeHandler) -> dict[str, Any]:
    features = {
        "recursiveReadOnlyMounts": found.features.recursive_read_only_mounts,
        "userNamespaces": found.features.user_namespaces,
    }
    return {"name": found.name, "features": features}


def conditions(facts: NodeFacts, before: Mapping[str, Any], now: float) -> list[dict[str, Any]]:
    """The pressures, and Ready, which comes last."""
    found = []
    for kind, (reason, message) in _FINE.items():
        bad = facts.pressures.get(kind)
        if bad is None:
            found.append({"type": kind, "status": "False", "reason": reason, "message": message})
        else:
            found.append({"type": kind, "status": "True", "reason": _BAD[kind], "message": bad})
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "the runtime is ready"}
    if facts.trouble:
        ready |= {"status": "False", "reason": "KubeletNotReady", "message": facts.trouble}
    found.append(ready)
    known = {one["type"]: one for one in before.get("conditions", ())}
    for one in found:
        last = known.get(one["type"], {})
        same = last.get("status") == one["status"]
        one["lastHeartbeatTime"] = rfc3339(now)
        one["lastTransitionTime"] = last.get("lastTransitionTime") if same else rfc3339(now)
    return found


def without_heartbeats(status: Mapping[str, Any]) -> dict[str, Any]:
    """What is news in a status when it changes."""
    beating = "lastHeartbeatTime"
    told = [{key: value for key, value in one.items() if key != beating} for one in status.get("conditions", ())]
    return {**status, "conditions": told}


def _huge_page_name(size: int) -> str:
    return f"hugepages-{size >> 30}Gi" if size >= 1 << 30 else f"hugepages-{size >> 20}Mi"


def _kibibytes(amount: int) -> str:
    return f"{amount >> 10}Ki"
