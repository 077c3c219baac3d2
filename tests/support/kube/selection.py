"""What a request is about: the objects that its path and its selectors name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.kube.store import Change, JsonObject, Key, Refused

KINDS = {
    "configmaps": ("v1", "ConfigMap"),
    "events": ("v1", "Event"),
    "leases": ("coordination.k8s.io/v1", "Lease"),
    "namespaces": ("v1", "Namespace"),
    "nodes": ("v1", "Node"),
    "pods": ("v1", "Pod"),
    "runtimeclasses": ("node.k8s.io/v1", "RuntimeClass"),
    "secrets": ("v1", "Secret"),
    "services": ("v1", "Service"),
    "serviceaccounts": ("v1", "ServiceAccount"),
    "subjectaccessreviews": ("authorization.k8s.io/v1", "SubjectAccessReview"),
    "tokenreviews": ("authentication.k8s.io/v1", "TokenReview"),
}


def parse(path: str) -> tuple[Key, str]:
    """The object, or the collection, that a path names, and what is below it."""
    parts = path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    resource, name, below = (*rest, "", "", "")[:3]
    if resource not in KINDS or len(rest) > 3:
        raise Refused(404, "NotFound", "the server could not find the requested resource")
    return (resource, namespace, name), below


def selected(key: Key, found: JsonObject, resource: str, namespace: str, query: Mapping[str, str]) -> bool:
    """Whether an object is in a collection, and meets the field selector."""
    if key[0] != resource or namespace not in ("", key[1]):
        return False
    selectors = [part for part in query.get("fieldSelector", "").split(",") if part]
    for selector in selectors:
        field, _, wanted = selector.replace("==", "=").partition("=")
        value: Any = found
        for part in field.split("."):
            value = value.get(part, "") if isinstance(value, dict) else ""
        if value != wanted:
            return False
    return True


def seen_as(change: Change, resource: str, namespace: str, query: Mapping[str, str]) -> str | None:
    """What a change is for a watch with a selector: by changing, objects come into its sight and go out of it."""
    now = selected(change.key, change.found, resource, namespace, query)
    before = change.before is not None and selected(change.key, change.before, resource, namespace, query)
    if change.kind == "MODIFIED":
        return {(True, True): "MODIFIED", (False, True): "ADDED", (True, False): "DELETED"}.get((before, now))
    return change.kind if now else None
