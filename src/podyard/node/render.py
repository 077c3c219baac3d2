"""Objects of a manifest as the Kubernetes API writes them in JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from podyard.manifest.model import Pod
from podyard.manifest.quantity import Quantity
from podyard.pods import PodView


def pod_object(pod: Pod, view: PodView | None, status: dict[str, Any]) -> dict[str, Any]:
    """A v1 Pod. Fields that have their default are left out, as in a manifest."""
    written: dict[str, Any] = _plain(pod)
    metadata = {**written["metadata"], "namespace": pod.metadata.namespace}
    if view is not None:
        metadata["uid"] = view.uid
    return {**written, "metadata": metadata, "status": status}


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {
            field.encode_name: _plain(getattr(value, field.name))
            for field in msgspec.structs.fields(value)
            if field.required or getattr(value, field.name) != _default(field)
        }
    if isinstance(value, Quantity):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
