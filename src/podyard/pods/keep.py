"""A Pod that is to run, whatever there is of it: it is started, gone on with, or found to have ended."""

from __future__ import annotations

from msgspec.structs import replace

from podyard.manifest.model import Pod
from podyard.manifest.translate import pod_hash, sandbox_hash
from podyard.manifest.translate.labels import MANIFEST_HASH, SANDBOX_HASH, sandbox_labels
from podyard.pods.folders import PodFolder
from podyard.pods.restarts import starts_again
from podyard.pods.views import PodView


def is_of(view: PodView, pod: Pod) -> bool:
    """Whether a Pod on the endpoint is this one: by its uid, where it has one, else by its manifest.

    A manifest may change in what can be done to a Pod that runs.
    """
    if pod.metadata.uid:
        return view.uid == pod.metadata.uid
    annotations = {key: view.annotations[key] for key in view.annotations.keys() - {MANIFEST_HASH, SANDBOX_HASH}}
    labels = sandbox_labels(replace(pod, metadata=replace(pod.metadata, uid=view.uid)))
    same = view.annotations.get(SANDBOX_HASH) == sandbox_hash(pod)
    return same and (view.labels, annotations) == (labels, pod.metadata.annotations)


def can_go_on(view: PodView, folder: PodFolder) -> bool:
    """Whether the sandbox that is there can be used: it lives, has its files, and nobody began to stop it."""
    return view.ready and folder.hosts.exists() and not folder.stopping.exists()


def has_ended(view: PodView, pod: Pod) -> bool:
    """Whether a Pod has ended for good: no container of it is to be started, or started again."""
    if view.verdict is not None:
        return True
    views = {container.name: container for container in view.containers if container.state == "exited"}
    ended = {
        container.name
        for container in pod.all_containers()
        if container.name in views and not starts_again(pod, container, views[container.name].exit_code)
    }
    if any(container.name in ended and not views[container.name].succeeded for container in pod.spec.init_containers):
        return True
    return all(container.name in ended for container in pod.spec.containers)


def occupies(found: PodView, pod: Pod) -> bool:
    """Whether a Pod that is there keeps its name: it runs, and came up whole, or podyard did not make it."""
    if MANIFEST_HASH not in found.annotations:
        return found.ready
    return found.running and not any(view.never_ran for view in found.containers) and _is_whole(found, pod)


def _is_whole(found: PodView, pod: Pod) -> bool:
    """Whether its start got as far as its last container; of another manifest that cannot be told, so it counts as."""
    if found.annotations.get(MANIFEST_HASH) != pod_hash(pod):
        return True
    return {container.name for container in pod.spec.containers} <= {view.name for view in found.containers}
