"""Which events there are: a kubelet's reasons for what the engine's steps and the Node's status tell. Pure functions.

Source of the reasons: the kubelet's list of them; "MountVolume" and the like are left out of the messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from podyard.manifest.model import Pod
from podyard.manifest.translate import pod_hash
from podyard.node.cluster.events import About, News
from podyard.pods import PodEvent

_Words = tuple[str, str]
"""A reason, and a message in which {s} is the step's subject, {d} its detail, {t} how long it took, and {p} the Pod."""

_BACK_OFF = "Back-off restarting failed container {s} in pod {p}"
_BEGUN: Mapping[str, _Words] = {
    "pulling the image": ("Pulling", 'Pulling image "{s}"'),
    "stopping the container": ("Killing", "Stopping container {s}"),
    "stopping the sidecar": ("Killing", "Stopping container {s}"),
    "stopping, for its probe failed,": ("Killing", "Container {s} failed its probe, will be restarted"),
    "stopping, for its manifest changed,": ("Killing", "Container {s} definition changed, will be restarted"),
}
_DONE: Mapping[str, _Words] = {
    "pulling the image": ("Pulled", 'Successfully pulled image "{s}"{t}'),
    "finding the image": ("Pulled", 'Container image "{s}" already present on machine'),
    "creating the container": ("Created", "Created container {s}"),
    "starting the container": ("Started", "Started container {s}"),
    "changing the resources of": ("ResizeCompleted", "Container {s} has the resources of its Pod"),
}
_FAILED: Mapping[str, _Words] = {
    "pulling the image": ("Failed", 'Failed to pull image "{s}": {d}'),
    "creating the container": ("Failed", "Error: {d}"),
    "starting the container": ("Failed", "Error: {d}"),
    "changing the resources of": ("ResizeError", "Container {s}: {d}"),
    "preparing the volumes of": ("FailedMount", "{d}"),
    "refreshing the volume": ("FailedMount", "{d}"),
    "running the sandbox of": ("FailedCreatePodSandBox", "Failed to create pod sandbox: {d}"),
    "stopping the sandbox of": ("FailedKillPod", "error killing pod: {d}"),
    "stopping the container": ("FailedKillPod", "error killing container {s}: {d}"),
    "running the postStart hook of": ("FailedPostStartHook", "PostStartHook failed: {d}"),
    "running the preStop hook of": ("FailedPreStopHook", "PreStopHook failed: {d}"),
    "running the startup probe of": ("Unhealthy", "Startup probe failed: {d}"),
    "running the liveness probe of": ("Unhealthy", "Liveness probe failed: {d}"),
    "running the readiness probe of": ("Unhealthy", "Readiness probe failed: {d}"),
    "running the sidecar": ("BackOff", _BACK_OFF),
}
_CONDITIONS: Mapping[tuple[str, str], str] = {
    ("Ready", "True"): "NodeReady",
    ("Ready", "False"): "NodeNotReady",
    ("MemoryPressure", "True"): "NodeHasInsufficientMemory",
    ("MemoryPressure", "False"): "NodeHasSufficientMemory",
    ("DiskPressure", "True"): "NodeHasDiskPressure",
    ("DiskPressure", "False"): "NodeHasNoDiskPressure",
    ("PIDPressure", "True"): "NodeHasInsufficientPID",
    ("PIDPressure", "False"): "NodeHasSufficientPID",
}


def of_step(pod: Pod, event: PodEvent) -> News | None:
    """What is told of a step; None for nothing."""
    if event.state == "failed" and event.detail == "interrupted":
        return None  # something else is wanted now
    words: _Words | None = {"begun": _BEGUN, "done": _DONE, "failed": _FAILED}[event.state].get(event.step)
    warning = event.state == "failed"
    if event.state == "done" and event.step == "starting again" and event.detail != "at once":
        words, warning = ("BackOff", _BACK_OFF), True
    elif event.step == "running the init container" and warning and pod.spec.restart_policy != "Never":
        words = ("BackOff", _BACK_OFF)
    elif event.step == "waiting to start" and event.detail == "ImagePullBackOff":
        words = ("BackOff", "Back-off pulling the image of container {s} in pod {p}")
    elif event.state == "done" and event.step == "evicting":
        words, warning = ("Evicted", "{d}"), True
    elif event.state == "done" and event.step == "ending" and event.detail:
        words = ("DeadlineExceeded", "{d}")
    if words is None:
        return None
    reason, message = words
    took = "" if event.seconds is None else f" in {event.seconds:.3f}s"
    about = about_pod(pod, _field(pod, event))
    where = f"{about.name}_{about.namespace}({about.uid})"
    text = message.format(s=event.subject, d=event.detail, t=took, p=where)
    return News(about=about, reason=reason, message=text, warning=warning)


def about_pod(pod: Pod, field: str = "") -> About:
    """A Pod, or one of its containers. A Pod of the node's own is known by its hash, which its mirror tells."""
    metadata = pod.metadata
    uid = metadata.uid or pod_hash(pod)
    return About(kind="Pod", name=metadata.name, uid=uid, namespace=metadata.namespace, field=field)


def about_node(name: str) -> About:
    """The Node: its name stands for its uid, as events of Nodes have it."""
    return About(kind="Node", name=name, uid=name)


def of_node(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[News]:
    """What has changed from one status of the Node to the next."""
    known = {one["type"]: one["status"] for one in before.get("conditions") or ()}
    for one in after["conditions"]:
        reason = _CONDITIONS[one["type"], one["status"]]
        if known.get(one["type"]) != one["status"]:
            yield News(about=about_node(name), reason=reason, message=f"Node {name} status is now: {reason}")
    booted, boots = (status.get("nodeInfo", {}).get("bootID", "") for status in (before, after))
    if booted and boots and booted != boots:
        text = f"Node {name} has been rebooted, boot id: {boots}"
        yield News(about=about_node(name), reason="Rebooted", message=text, warning=True)


def _field(pod: Pod, event: PodEvent) -> str:
    """The container that a step is about; "" for none."""
    kinds = {
        "initContainers": pod.spec.init_containers,
        "containers": pod.spec.containers,
        "ephemeralContainers": pod.spec.ephemeral_containers,
    }
    of_image = event.step.endswith("the image")
    for kind, containers in kinds.items():
        for container in containers:
            if event.subject == (container.image if of_image else container.name):
                return f"spec.{kind}{{{container.name}}}"
    return ""
