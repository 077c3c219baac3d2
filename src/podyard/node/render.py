"""Objects of a manifest as the Kubernetes API writes them in JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from podyard.manifest.model import Pod, plain
from podyard.pods import PodView


def pod_object(pod: Pod, view: PodView | None, status: dict[str, Any]) -> dict[str, Any]:
    """A v1 Pod. Fields that have their default are left out, as in a manifest."""
    written: dict[str, Any] = plain(pod)
    metadata = {**written["metadata"], "namespace": pod.metadata.namespace}
    if view is not None:
        metadata["uid"] = view.uid
    return {**written, "metadata": metadata, "status": status}


def pod_list(pods: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A v1 PodList."""
    return {"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": list(pods)}
