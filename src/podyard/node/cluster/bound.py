"""The Pods that the API server has bound to the node: one of the agent's sources."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from podyard.errors import PodyardError
from podyard.manifest.model import Pod
from podyard.node.cluster.admission import NodeView, rejection
from podyard.node.cluster.decode import Decoder
from podyard.node.cluster.events import About, News
from podyard.node.cluster.resizes import Resizes
from podyard.node.kube import Reflector
from podyard.node.kube.client import JsonObject
from podyard.node.wanted import Ending, Rejection, Wanted

logger = logging.getLogger(__name__)

MIRROR = "kubernetes.io/config.mirror"
"""Annotation of a Pod on the API server that is a picture of one of a node's own; its value is that one's hash."""
ENDED = ("Succeeded", "Failed")


def is_mirror(found: JsonObject) -> bool:
    """Whether a Pod on the API server is only a picture."""
    return MIRROR in (found["metadata"].get("annotations") or {})


class BoundPods:
    """Says what the API server asks for.

    ``node`` gives the Node, None while it is not registered; ``own`` the Pods of the node's other sources, which count
    when it has to be decided whether there is room; ``refuses`` why the node takes no such Pod now. ``on_news`` is
    called with each Pod that is new or has changed, before it is said; ``tell`` with what is an event.
    """

    def __init__(
        self,
        copied: Reflector,
        name: str,
        *,
        node: Callable[[], NodeView | None],
        own: Callable[[], Iterable[Pod]],
        refuses: Callable[[Pod], Rejection | None],
        on_news: Callable[[], None] = lambda: None,
        tell: Callable[[News], None],
    ) -> None:
        self.origin = f"node:{name}"
        self.rejected: dict[str, Rejection] = {}
        """By uid."""
        self.gone: set[str] = set()
        """Uids of Pods that were to end, and of which nothing is left."""
        self._copied = copied
        self._node = node
        self._own = own
        self._refuses = refuses
        self._tell = tell
        self._decoder = Decoder(self.origin, on_news)
        self._taken: set[str] = set()
        self.resizes = Resizes()
        self._unread: dict[str, str] = {}
        """Why the newest version of a Pod that runs cannot be read, by uid."""

    def owns(self, origin: str) -> bool:
        """Whether it is this node."""
        return origin == self.origin

    async def wanted(self) -> Wanted:
        """What the server asks for now. Pods are taken or rejected once, the oldest first."""
        node = self._node()
        if not self._copied.synced or node is None:
            return Wanted(blind=True)
        bound = {name: found for name, found in self._copied.objects.items() if not is_mirror(found)}
        self._forget({found["metadata"]["uid"] for found in bound.values()})
        pods: dict[str, Pod] = {}
        ending: dict[str, Ending] = {}
        left: set[str] = set()
        for name, found in sorted(bound.items(), key=_age):
            metadata = found["metadata"]
            uid = metadata["uid"]
            pod = self._decode(found)
            if uid in self.gone:
                continue
            if metadata.get("deletionTimestamp"):
                ending[name] = Ending(pod, metadata.get("deletionGracePeriodSeconds"))
            elif pod is None or _has_ended(found) or not self._takes(found, pod, node, pods.values()):
                left.add(name)
            else:
                pods[name] = self.resizes.sized(pod, node, self._own())
        self.resizes.keep({pod.metadata.uid for pod in pods.values()})
        return Wanted(pods, ending=ending, left=frozenset(left))

    def _decode(self, found: JsonObject) -> Pod | None:
        """The Pod; None when this node cannot run such a one, and then it is rejected.

        One that runs is never: it goes on as it was before the change.
        """
        uid = found["metadata"]["uid"]
        try:
            pod = self._decoder.decode(found)
        except PodyardError as error:
            last = self._decoder.last(uid)
            if last is None and not _has_run(found):
                self._reject(found, Rejection("PodSpecNotSupported", str(error)))
            elif self._unread.get(uid) != str(error):
                self._unread[uid] = str(error)
                text = f"a change of the pod is left out, and it goes on as it was: {error}"
                logger.warning("pod %s: %s", _full_name(found), text)
                self._tell(_warning(found, "FailedValidation", text))
            return last
        self._unread.pop(uid, None)
        return pod

    def _takes(self, found: JsonObject, pod: Pod, node: NodeView, others: Iterable[Pod]) -> bool:
        uid = found["metadata"]["uid"]
        if uid in self._taken:
            return True
        if uid in self.rejected:
            return False
        # What an earlier agent has started was taken by it.
        if not _has_run(found):
            refused = rejection(found, pod, node, [*self._own(), *others])
            refused = refused or self._refuses(pod)
            if refused is not None:
                self._reject(found, refused)
                return False
        self._taken.add(uid)
        return True

    def _reject(self, found: JsonObject, refused: Rejection) -> None:
        uid = found["metadata"]["uid"]
        if self.rejected.get(uid) != refused:
            self.rejected[uid] = refused
            logger.warning("pod %s is rejected: %s: %s", _full_name(found), refused.reason, refused.message)
            self._tell(_warning(found, refused.reason, refused.message))

    def _forget(self, there: set[str]) -> None:
        for uid in (self._taken | self.rejected.keys() | self.gone | self._unread.keys()) - there:
            self._taken.discard(uid)
            self.gone.discard(uid)
            self.rejected.pop(uid, None)
            self._unread.pop(uid, None)
        self._decoder.keep(there)


def _full_name(found: JsonObject) -> str:
    return f"{found['metadata'].get('namespace')}/{found['metadata'].get('name')}"


def _warning(found: JsonObject, reason: str, message: str) -> News:
    metadata = found["metadata"]
    about = About(kind="Pod", namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"])
    return News(about=about, reason=reason, message=message, warning=True)


def _has_run(found: JsonObject) -> bool:
    return bool(found.get("status", {}).get("containerStatuses"))


def _has_ended(found: JsonObject) -> bool:
    return found.get("status", {}).get("phase") in ENDED


def _age(item: tuple[str, JsonObject]) -> tuple[str, str]:
    name, found = item
    return found["metadata"].get("creationTimestamp") or "", name
