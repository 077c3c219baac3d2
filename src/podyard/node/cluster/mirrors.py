"""Mirror Pods: the API server's pictures of the Pods that the node has from elsewhere (Kubernetes, "Static Pods")."""

from __future__ import annotations

import logging
import time
from typing import Any

from podyard.errors import AlreadyExists, NotFound, PodyardError, Unavailable
from podyard.manifest.model import Pod, plain
from podyard.manifest.translate import pod_hash
from podyard.node.agent import Agent
from podyard.node.cluster.bound import MIRROR, is_mirror
from podyard.node.kube import Conflict, KubeClient, Reflector, paths
from podyard.node.kube.client import JsonObject
from podyard.node.times import rfc3339
from podyard.node.wanted import ORIGIN

logger = logging.getLogger(__name__)

HASH = "kubernetes.io/config.hash"
SEEN = "kubernetes.io/config.seen"


class Mirrors:
    """Makes them, makes them anew when their Pod changes or somebody deletes them, and takes them away."""

    def __init__(self, kube: KubeClient, copied: Reflector, agent: Agent) -> None:
        self._kube = kube
        self._copied = copied
        self._agent = agent
        self._said: dict[str, str] = {}

    async def agree(self, node: JsonObject) -> None:
        """Bring them to agree with the node's own Pods. Raises Unavailable when the server cannot be told; what it
        refuses is logged."""
        if not self._copied.synced or self._agent.look is None:
            return
        mirrors = {name: found for name, found in self._copied.objects.items() if is_mirror(found)}
        own = self._agent.own_pods()
        for name in own.keys() | mirrors.keys():
            pod, found = own.get(name), mirrors.get(name)
            try:
                if pod is not None and found is None:
                    await self._make(pod, node)
                elif found is not None and self._is_outdated(name, pod, found):
                    await self._delete(found)
            except (NotFound, Conflict) as error:
                self._say(name, f"the mirror of pod {name} cannot be made or deleted: {error}")
            except Unavailable:
                raise
            except PodyardError as error:
                self._say(name, f"the mirror of pod {name} cannot be made: {error}")
            else:
                self._said.pop(name, None)

    def _is_outdated(self, name: str, pod: Pod | None, found: JsonObject) -> bool:
        if pod is not None:
            return found["metadata"]["annotations"][MIRROR] != pod_hash(pod) or _ends(found)
        # While it is being removed, or nobody knows whether it is wanted, its picture stays.
        look = self._agent.look
        origin = found["metadata"]["annotations"].get(ORIGIN, "")
        return name not in self._agent.workers and look is not None and not look.holds(origin)

    async def _make(self, pod: Pod, node: JsonObject) -> None:
        if pod.full_name in self._copied.objects:
            raise AlreadyExists(f"the API server has another Pod {pod.full_name} bound to this node")
        path = paths.namespaced("pods", pod.metadata.namespace)
        made = await self._kube.create(path, mirror_of(pod, node, time.time()))
        self._copied.learn(made)

    async def _delete(self, found: JsonObject) -> None:
        metadata = found["metadata"]
        path = paths.namespaced("pods", metadata["namespace"], metadata["name"])
        await self._kube.delete(path, uid=metadata["uid"], grace=0)

    def _say(self, name: str, text: str) -> None:
        if self._said.get(name) != text:
            self._said[name] = text
            logger.warning("%s", text)


def mirror_of(pod: Pod, node: JsonObject, now: float) -> dict[str, Any]:
    """The picture of a Pod."""
    written: dict[str, Any] = plain(pod)
    owner = {
        "apiVersion": "v1",
        "kind": "Node",
        "name": node["metadata"]["name"],
        "uid": node["metadata"]["uid"],
        "controller": True,
    }
    marks = {MIRROR: pod_hash(pod), HASH: pod_hash(pod), SEEN: rfc3339(now)}
    metadata = {
        **written["metadata"],
        "namespace": pod.metadata.namespace,
        "annotations": {**pod.metadata.annotations, **marks},
        "ownerReferences": [owner],
    }
    tolerations = [
        {"operator": "Exists", "effect": "NoExecute"}
    ]  # no taint may have it deleted: that would end nothing
    spec = {**written["spec"], "nodeName": node["metadata"]["name"], "tolerations": tolerations}
    return {**written, "metadata": metadata, "spec": spec}


def _ends(found: JsonObject) -> bool:
    return bool(found["metadata"].get("deletionTimestamp"))
