"""Readiness gates: conditions that others set and that a Pod's readiness waits for (Kubernetes documentation, "Pod
Lifecycle", "Pod readiness"). Pure functions."""

from __future__ import annotations

import time
from typing import Any

from podyard.node.kube.client import JsonObject
from podyard.node.times import rfc3339


def with_gates(status: dict[str, Any], found: JsonObject) -> dict[str, Any]:
    """A Pod's status, where it is not ready as long as one of its gates on the server (``found``) is shut."""
    there = {one["type"]: one for one in found.get("status", {}).get("conditions") or ()}
    gates = [gate["conditionType"] for gate in found.get("spec", {}).get("readinessGates") or ()]
    shut = [_why(kind, there[kind]["status"] if kind in there else "") for kind in gates]
    reasons = "; ".join(text for text in shut if text)
    if not reasons:
        return status
    known = there.get("Ready", {})
    # A condition's time is that of its last change.
    since = known.get("lastTransitionTime") if known.get("status") == "False" else None
    told = {"type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady", "message": reasons}
    told["lastTransitionTime"] = since or rfc3339(time.time())
    conditions = [
        told if (one["type"], one["status"]) == ("Ready", "True") else one for one in status.get("conditions", ())
    ]
    return {**status, "conditions": conditions}


def _why(kind: str, state: str) -> str:
    if state == "True":
        return ""
    return f"the readiness gate {kind!r} is {state or 'not there'}, not True"
