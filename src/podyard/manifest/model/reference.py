"""What a manifest points at beside itself: fields of the Pod, resources of containers, keys of other objects."""

from __future__ import annotations

from podyard.manifest.model.base import Object
from podyard.manifest.quantity import Quantity


class FieldRef(Object, frozen=True, kw_only=True):
    field_path: str
    api_version: str = "v1"


class ResourceFieldRef(Object, frozen=True, kw_only=True):
    resource: str
    container_name: str = ""
    divisor: Quantity | None = None


class LocalReference(Object, frozen=True, kw_only=True):
    """An object of the Pod's namespace, by its name."""

    name: str = ""


class ObjectRef(Object, frozen=True, kw_only=True):
    """A ConfigMap or Secret as a whole. An optional one may be missing."""

    name: str = ""
    optional: bool = False


class KeyRef(Object, frozen=True, kw_only=True):
    """One key of a ConfigMap or Secret. An optional one may be missing, and so may its object."""

    key: str
    name: str = ""
    optional: bool = False
