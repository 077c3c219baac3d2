"""What the API server is told of the node's Pods: their status, and that they have ended."""

from __future__ import annotations

import logging
import time
from typing import Any

from podyard.errors import InvalidArgument, NotFound, PodyardError, Unavailable
from podyard.node.agent import Agent
from podyard.node.cluster.bound import ENDED, BoundPods, is_mirror
from podyard.node.cluster.gates import with_gates
from podyard.node.cluster.status_patch import status_patch
from podyard.node.kube import Conflict, KubeClient, Reflector, paths
from podyard.node.kube.client import JsonObject
from podyard.node.statuses import Statuses
from podyard.node.times import rfc3339
from podyard.node.worker import Worker

logger = logging.getLogger(__name__)


class Reports:
    """Compares what the server has with what the agent's workers tell. It is the agent's ``Farewell``, too."""

    def __init__(self, kube: KubeClient, copied: Reflector, bound: BoundPods, agent: Agent, statuses: Statuses) -> None:
        self._kube = kube
        self._copied = copied
        self._bound = bound
        self._agent = agent
        self._statuses = statuses
        self._last: dict[str, dict[str, Any]] = {}
        """The last status of Pods that were ended, by uid."""
        self._sent: dict[str, tuple[dict[str, Any], str]] = {}
        """What was sent last, by uid, and the version that it made, or that was there when it was refused."""
        self._said: dict[str, str] = {}

    async def stopped(self, worker: Worker) -> None:
        """Keep the last status of a Pod that the server has asked to end."""
        if worker.pod is not None and _is_bound(worker):
            await self._statuses.look(worker, over=True)
            self._last[worker.pod.metadata.uid] = worker.told

    def removed(self, worker: Worker) -> None:
        """Nothing is left of it: the server may forget it."""
        uid = ""
        if worker.pod is not None:
            uid = worker.pod.metadata.uid
        elif (found := self._copied.objects.get(worker.full_name)) and found["metadata"].get("deletionTimestamp"):
            uid = found["metadata"]["uid"]
        if uid:
            self._bound.gone.add(uid)

    async def tell(self) -> None:
        """Tell all that the server does not know yet.

        Raises Unavailable when it cannot be told. What it refuses is logged; what is invalid is told again when it has
        changed.
        """
        uids = set()
        for name, found in list(self._copied.objects.items()):
            uid = found["metadata"]["uid"]
            uids.add(uid)
            try:
                if uid in self._bound.gone:
                    await self._end(name, found)
                elif (status := self._status(name, found)) is not None:
                    await self._patch(found, status)
            except (NotFound, Conflict) as error:
                logger.debug("pod %s is gone from the server or changes there: %s", name, error)
            except Unavailable:
                raise
            except PodyardError as error:
                self._say(uid, f"pod {name}: {error}")
        for known in (self._last, self._sent, self._said):
            for uid in known.keys() - uids:
                del known[uid]

    def _status(self, name: str, found: JsonObject) -> dict[str, Any] | None:
        """What is to be told of a Pod on the server; None for nothing."""
        uid = found["metadata"]["uid"]
        worker = self._agent.workers.get(name)
        if refused := self._bound.rejected.get(uid):
            return {"phase": "Failed", "reason": refused.reason, "message": refused.message}
        if worker is None or not worker.told or is_mirror(found) == _is_bound(worker):
            return None
        if not is_mirror(found) and (worker.pod is None or worker.pod.metadata.uid != uid):
            return None  # another Pod of that name is still being removed
        status = with_gates(self._with_resize(self._last.get(uid, worker.told), found), found)
        # A Pod that has ended stays so, whatever becomes of its containers.
        before = found.get("status", {}).get("phase")
        return status if is_mirror(found) or before not in ENDED or status["phase"] == before else None

    def _with_resize(self, status: dict[str, Any], found: JsonObject) -> dict[str, Any]:
        """The status, with a condition that says why the Pod has not what it asks for, or that it has."""
        kind = "PodResizePending"
        there = {one["type"]: one for one in found.get("status", {}).get("conditions") or ()}.get(kind)
        pending = self._bound.resizes.pending.get(found["metadata"]["uid"])
        if pending is None and there is None:
            return status
        told = {"type": kind, "status": "False"}
        if pending is not None:
            told |= {"status": "True", "reason": pending.reason, "message": pending.message}
        same = there is not None and there["status"] == told["status"]
        changed = there["lastTransitionTime"] if same and there is not None else rfc3339(time.time())
        return {**status, "conditions": [*status["conditions"], {**told, "lastTransitionTime": changed}]}

    async def _end(self, name: str, found: JsonObject) -> None:
        metadata = found["metadata"]
        if metadata.get("deletionGracePeriodSeconds") == 0:
            return  # that was done; others have to do something (finalizers) before it goes
        status = self._last.get(metadata["uid"])
        if status is not None and found.get("status", {}).get("phase") not in ENDED:
            try:
                await self._patch(found, status)
            except InvalidArgument as error:
                self._say(metadata["uid"], f"pod {name}: its last status is refused: {error}")
        await self._kube.delete(_path(found), uid=metadata["uid"], grace=0)
        logger.info("pod %s has ended and is deleted", name)

    async def _patch(self, found: JsonObject, status: dict[str, Any]) -> None:
        metadata = found["metadata"]
        uid = metadata["uid"]
        patch = status_patch(status, found.get("status", {}))
        # What the server keeps in another form than it was sent must not be sent for ever.
        if not patch or self._sent.get(uid) == (status, metadata["resourceVersion"]):
            return
        try:
            answer = await self._kube.patch(f"{_path(found)}/status", {"metadata": {"uid": uid}, "status": patch})
        except InvalidArgument:
            self._sent[uid] = status, metadata["resourceVersion"]
            raise
        self._sent[uid] = status, answer["metadata"]["resourceVersion"]
        self._copied.learn(answer)

    def _say(self, uid: str, text: str) -> None:
        if self._said.get(uid) != text:
            self._said[uid] = text
            logger.warning("%s", text)


def _is_bound(worker: Worker) -> bool:
    """Whether its Pod is the API server's."""
    return worker.pod is not None and bool(worker.pod.metadata.uid)


def _path(found: JsonObject) -> str:
    metadata = found["metadata"]
    return paths.namespaced("pods", metadata["namespace"], metadata["name"])
