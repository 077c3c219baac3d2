"""How patches change an object: RFC 7396, and Kubernetes' strategic merge, which merges some lists by a key."""

from __future__ import annotations

from typing import Any

_KEYS = {
    "conditions": "type",
    "addresses": "type",
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "podIPs": "ip",
    "hostIPs": "ip",
    "ownerReferences": "uid",
    "env": "name",
}
"""Lists of Pods and Nodes that are merged, and by which field (patchMergeKey in the API's types)."""


def merge(target: Any, patch: Any) -> Any:
    """A JSON merge patch: null removes, a list is replaced."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def strategic_merge(target: Any, patch: Any, field: str = "") -> Any:
    """A strategic merge patch, with the directives ``$patch: replace`` and ``$patch: delete`` of lists' elements."""
    if isinstance(patch, dict):
        merged = dict(target) if isinstance(target, dict) else {}
        for key, value in patch.items():
            if value is None:
                merged.pop(key, None)
            else:
                merged[key] = strategic_merge(merged.get(key), value, key)
        return merged
    if isinstance(patch, list) and field in _KEYS:
        return _merged_list(target if isinstance(target, list) else [], patch, _KEYS[field])
    return patch


def _merged_list(target: list[Any], patch: list[Any], key: str) -> list[Any]:
    if {"$patch": "replace"} in patch:
        return [one for one in patch if one != {"$patch": "replace"}]
    merged = {one[key]: one for one in target}
    for one in patch:
        if one.get("$patch") == "delete":
            merged.pop(one[key], None)
        else:
            merged[one[key]] = strategic_merge(merged.get(one[key]), one)
    return list(merged.values())
