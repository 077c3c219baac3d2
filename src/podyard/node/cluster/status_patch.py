"""What has to be changed of a Pod's status on the API server. Pure functions."""

from __future__ import annotations

from typing import Any

_OURS = (
    "phase",
    "reason",
    "message",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "startTime",
    "initContainerStatuses",
    "containerStatuses",
    "ephemeralContainerStatuses",
)
"""Fields that a node tells. (The QoS class is the API server's, and never changes.)"""
_MERGED = ("hostIPs", "podIPs")
"""Lists that the server would merge with its own."""


def status_patch(wanted: dict[str, Any], there: dict[str, Any]) -> dict[str, Any]:
    """A strategic merge patch that makes a status ``there`` say what is wanted; {} when it does.

    Conditions that others have set stay.
    """
    patch: dict[str, Any] = {}
    for name in _OURS:
        value = wanted.get(name)
        if _without_nulls(there.get(name)) != _without_nulls(value):
            patch[name] = [{"$patch": "replace"}, *value] if name in _MERGED and value else value
    known = {one["type"]: _without_nulls(one) for one in there.get("conditions") or ()}
    changed = [one for one in wanted.get("conditions", ()) if known.get(one["type"]) != _without_nulls(one)]
    if changed:
        # What a condition does not say any more would stay otherwise.
        patch["conditions"] = [{"reason": None, "message": None, **one} for one in changed]
    return patch


def _without_nulls(value: Any) -> Any:
    """The API server writes some fields that are not set as null."""
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_without_nulls(one) for one in value]
    return value
