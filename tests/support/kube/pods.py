"""What is special about Pods on an API server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.kube.store import JsonObject, Key, Store

MIRROR = "kubernetes.io/config.mirror"


def with_defaults(pod: JsonObject) -> JsonObject:
    """A new Pod as a server stores it: the defaults of its spec written out, and nothing of a status but Pending."""
    spec: dict[str, Any] = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "serviceAccountName": "default",
        "serviceAccount": "default",
        "enableServiceLinks": True,
        **pod["spec"],
    }
    spec["containers"] = [
        {
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "imagePullPolicy": "IfNotPresent",
            "resources": {},
            **container,
        }
        for container in spec["containers"]
    ]
    status = {"phase": "Pending", "qosClass": "BestEffort"}
    if spec.get("nodeName") and MIRROR not in pod["metadata"].get("annotations", {}):
        status |= {"conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": None}]}
    return {**pod, "spec": spec, "status": status}


def delete(store: Store, key: Key, grace: int | None) -> JsonObject:
    """Delete a Pod: one that runs on a node stays, with the time of its end, until the node deletes it with 0 seconds.

    A shorter grace makes that time earlier, a longer one changes nothing.
    """
    pod = store.get(key)
    mirror = MIRROR in pod["metadata"].get("annotations", {})
    if grace is None:
        grace = pod["spec"].get("terminationGracePeriodSeconds", 30)
    ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    if grace == 0 or mirror or ended or not pod["spec"].get("nodeName"):
        return store.remove(key)
    if pod["metadata"].get("deletionGracePeriodSeconds", grace + 1) <= grace:
        return pod
    until = datetime.now(UTC) + timedelta(seconds=grace)

    def mark(found: JsonObject) -> JsonObject:
        found["metadata"]["deletionTimestamp"] = until.strftime("%Y-%m-%dT%H:%M:%SZ")
        found["metadata"]["deletionGracePeriodSeconds"] = grace
        return found

    return store.change(key, mark)
