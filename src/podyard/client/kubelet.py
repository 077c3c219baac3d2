"""The rules of the kubelet's own client: how long it waits for each call, and what it demands of an answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.message import Message

from podyard.client.endpoints import Endpoint
from podyard.cri import admin, api
from podyard.errors import Internal

__all__ = ["check_answer", "time_limit"]

_PATIENCE = 120.0
"""Seconds for a call that has no limit of its own."""
_WITHOUT_LIMIT = (
    api.PullImageRequest,
    api.GetEventsRequest,
    admin.LoadImagesRequest,
    admin.SaveImagesRequest,
    admin.CheckImagesRequest,
    admin.CollectGarbageRequest,
    admin.DiffImagesRequest,
)


def time_limit(request: Message) -> float:
    """Seconds to wait for the answer to a request; ``math.inf`` where the kubelet sets no limit."""
    match request:
        case api.RunPodSandboxRequest():
            return 240.0
        case api.StopContainerRequest():
            return _PATIENCE + max(request.timeout, 0)
        case api.CheckpointContainerRequest():
            return _PATIENCE + request.timeout if request.timeout > 0 else math.inf
        case api.ExecSyncRequest():
            return _PATIENCE + request.timeout if request.timeout > 0 else math.inf
        case _ if isinstance(request, _WITHOUT_LIMIT):
            return math.inf
    return _PATIENCE


def check_answer(answer: Message, method: str, endpoint: Endpoint) -> None:
    """Raises Internal when an answer lacks what a kubelet demands of it."""
    demands = _DEMANDS.get(type(answer))
    lacking = [what for what, there in demands(answer).items() if not there] if demands is not None else []
    if lacking:
        raise Internal(f"{endpoint} answered {method} without {', '.join(lacking)}: the runtime is at fault")


def _version(answer: api.VersionResponse) -> dict[str, object]:
    return {
        'version "0.1.0"': answer.version == "0.1.0",
        "runtime_name": answer.runtime_name,
        "runtime_version": answer.runtime_version,
        "runtime_api_version": answer.runtime_api_version,
    }


def _status(answer: api.StatusResponse) -> dict[str, object]:
    there = {condition.type for condition in answer.status.conditions}
    return {f"the condition {name}": name in there for name in ("RuntimeReady", "NetworkReady")}


def _sandbox_status(answer: api.PodSandboxStatusResponse) -> dict[str, object]:
    status = answer.status
    return {
        "id": status.id,
        "metadata.name": status.metadata.name,
        "metadata.uid": status.metadata.uid,
        "metadata.namespace": status.metadata.namespace,
        "created_at": status.created_at,
    }


def _container_status(answer: api.ContainerStatusResponse) -> dict[str, object]:
    status = answer.status
    return {
        "id": status.id,
        "metadata.name": status.metadata.name,
        "created_at": status.created_at,
        "image.image": status.image.image,
        "image_ref": status.image_ref,
    }


def _image_status(answer: api.ImageStatusResponse) -> dict[str, object]:
    # No image at all is the answer for one that is not there.
    return {"image.id": answer.image.id, "image.size": answer.image.size} if answer.HasField("image") else {}


_DEMANDS: Mapping[type[Message], Callable[[Any], dict[str, object]]] = {
    api.VersionResponse: _version,
    api.StatusResponse: _status,
    api.RunPodSandboxResponse: lambda answer: {"pod_sandbox_id": answer.pod_sandbox_id},
    api.PodSandboxStatusResponse: _sandbox_status,
    api.CreateContainerResponse: lambda answer: {"container_id": answer.container_id},
    api.ContainerStatusResponse: _container_status,
    api.ExecResponse: lambda answer: {"url": answer.url},
    api.AttachResponse: lambda answer: {"url": answer.url},
    api.PortForwardResponse: lambda answer: {"url": answer.url},
    api.ImageStatusResponse: _image_status,
    api.PullImageResponse: lambda answer: {"image_ref": answer.image_ref},
}
"""For each kind of answer: what must be there, by its name in an error's text."""
