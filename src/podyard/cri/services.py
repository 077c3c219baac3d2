"""The calls of each service, in each version of the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from podyard.cri import admin, api

__all__ = ["ADMIN", "METHODS", "VERSIONS", "Method", "service_name"]

VERSIONS = ("v1", "v1alpha2")
"""Versions of the CRI that podyard speaks, the newest first."""

ADMIN = "admin"
"""What stands for a version where the service is Admin, which has one only."""

_SINCE_V1 = frozenset(
    {
        "CheckpointContainer",
        "CheckpointPod",
        "GetContainerEvents",
        "ListMetricDescriptors",
        "ListPodSandboxMetrics",
        "RestorePod",
        "RuntimeConfig",
        "StreamContainerStats",
        "StreamContainers",
        "StreamImages",
        "StreamPodSandboxMetrics",
        "StreamPodSandboxStats",
        "StreamPodSandboxes",
        "UpdatePodSandboxResources",
    }
)
"""The calls that v1alpha2 lacks."""


@dataclass(frozen=True)
class Method:
    """One call. ``versions`` are those that have it; its messages are the same in all of them."""

    name: str
    request: type[Message]
    response: type[Message]
    server_streaming: bool
    versions: tuple[str, ...]


def service_name(version: str, service: str) -> str:
    """The full name of a service as it stands in a request's path: "runtime.v1.ImageService"."""
    return "podyard.admin.v1.Admin" if service == "Admin" else f"runtime.{version}.{service}"


def _methods(file: FileDescriptor, service: str) -> tuple[Method, ...]:
    return tuple(
        Method(
            name=method.name,
            request=GetMessageClass(method.input_type),
            response=GetMessageClass(method.output_type),
            server_streaming=method.server_streaming,
            versions=_versions(service, method.name),
        )
        for method in file.services_by_name[service].methods
    )


def _versions(service: str, method: str) -> tuple[str, ...]:
    if service == "Admin":
        return (ADMIN,)
    return ("v1",) if method in _SINCE_V1 else VERSIONS


METHODS: Mapping[str, tuple[Method, ...]] = MappingProxyType(
    {
        "RuntimeService": _methods(api.DESCRIPTOR, "RuntimeService"),
        "ImageService": _methods(api.DESCRIPTOR, "ImageService"),
        "Admin": _methods(admin.DESCRIPTOR, "Admin"),
    }
)
"""The calls of "RuntimeService", "ImageService" and "Admin", in the order of the .proto files."""
