"""What is changed of a status on the server."""

from __future__ import annotations

from typing import Any

from tests.support.kube.patches import strategic_merge

from podyard.node.cluster.status_patch import status_patch

READY = {"type": "Ready", "status": "True", "lastTransitionTime": "t"}
UNREADY = {**READY, "status": "False", "reason": "ContainersNotReady", "message": "no"}
GATE = {"type": "gate", "status": "True", "lastProbeTime": None}


def patched(wanted: dict[str, Any], there: dict[str, Any]) -> dict[str, Any]:
    """What the server has then."""
    return dict(strategic_merge(there, status_patch(wanted, there)))


def test_what_the_server_has_already_is_not_sent() -> None:
    wanted = {"phase": "Running", "conditions": [READY], "podIPs": [{"ip": "a"}]}
    there = {**wanted, "conditions": [GATE, {**READY, "lastProbeTime": None}], "qosClass": "Burstable", "reason": None}
    assert status_patch(wanted, there) == {}


def test_what_is_not_so_any_more_goes() -> None:
    there = {
        "phase": "Pending",
        "reason": "FailedToStart",
        "podIP": "a",
        "podIPs": [{"ip": "a"}, {"ip": "b"}],
        "conditions": [GATE, UNREADY],
        "containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "x"}}}],
        "qosClass": "Burstable",
    }
    wanted = {
        "phase": "Running",
        "podIPs": [{"ip": "b"}],
        "conditions": [READY],
        "containerStatuses": [{"name": "a", "state": {"running": {}}}],
    }
    assert patched(wanted, there) == {**wanted, "conditions": [GATE, READY], "qosClass": "Burstable"}
    assert patched({"phase": "Failed", "conditions": []}, there) == {
        "phase": "Failed",
        "conditions": [GATE, UNREADY],
        "qosClass": "Burstable",
    }
