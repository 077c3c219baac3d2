"""A Pod of the API server as the engine takes it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from podyard.manifest import parse
from podyard.manifest.model import Pod
from podyard.node.kube.client import JsonObject
from podyard.node.wanted import CONFIG_SOURCE, ORIGIN

_NOT_OURS = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
    }
)
"""Fields of the metadata that say nothing of what runs, and would make one Pod look like another."""


class Decoder:
    """Decodes Pods, each once until it changes, and calls ``on_news`` then. ``origin`` is written into their
    annotations."""

    def __init__(self, origin: str, on_news: Callable[[], None]) -> None:
        self._origin = origin
        self._on_news = on_news
        self._known: dict[str, tuple[bytes, Pod]] = {}

    def decode(self, found: JsonObject) -> Pod:
        """The Pod. Raises InvalidArgument and Unimplemented as ``manifest.parse`` does."""
        metadata = {key: value for key, value in found["metadata"].items() if key not in _NOT_OURS}
        annotations = {**(metadata.get("annotations") or {}), CONFIG_SOURCE: "api", ORIGIN: self._origin}
        text = msgspec.json.encode(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {**metadata, "annotations": annotations},
                "spec": found.get("spec"),
            }
        )
        uid = metadata["uid"]
        known = self._known.get(uid)
        if known is not None and known[0] == text:
            return known[1]
        name = f"pod {metadata.get('namespace')}/{metadata.get('name')} of the API server"
        (pod,) = parse(text, name).pods
        self._known[uid] = text, pod
        self._on_news()
        return pod

    def last(self, uid: str) -> Pod | None:
        """What a Pod was when it could be decoded the last time."""
        known = self._known.get(uid)
        return None if known is None else known[1]

    def keep(self, uids: set[str]) -> None:
        """Forget all Pods but these."""
        self._known = {uid: known for uid, known in self._known.items() if uid in uids}
