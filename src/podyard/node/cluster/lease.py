"""The node's Lease, by which the cluster knows that it lives."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from podyard.errors import NotFound
from podyard.node.cluster.registration import Registration
from podyard.node.kube import KubeClient, for_ever, paths
from podyard.node.times import rfc3339_micro

RENEW = 10.0
"""Seconds between two renewals."""
DURATION = 40
"""Seconds after which a node that renews nothing counts as gone."""


class Heartbeat:
    """Renews the Lease, whatever becomes of the runtime: the node's conditions tell that."""

    def __init__(self, kube: KubeClient, registration: Registration, name: str) -> None:
        self._kube = kube
        self._registration = registration
        self._name = name
        self._lease: dict[str, Any] = {}

    async def run(self) -> None:
        """For ever, until cancelled; begins when the node is registered."""
        await self._registration.registered.wait()
        await for_ever(self.renew, self._rest, "renew the node's Lease")

    async def renew(self) -> None:
        """Renew it, or make it. Raises what the server answers; then it is read again the next time."""
        path = paths.lease(self._name)
        known, self._lease = self._lease, {}
        if not known:
            try:
                known = await self._kube.get(path)
            except NotFound:
                self._lease = await self._kube.create(paths.LEASES, self._renewed({}))
                return
        self._lease = await self._kube.update(path, self._renewed(known))

    @staticmethod
    async def _rest() -> None:
        await asyncio.sleep(RENEW)

    def _renewed(self, lease: dict[str, Any]) -> dict[str, Any]:
        metadata = lease.get("metadata") or {"name": self._name, "namespace": "kube-node-lease"}
        if node := self._registration.node:
            owner = {"apiVersion": "v1", "kind": "Node", "name": self._name, "uid": node["metadata"]["uid"]}
            metadata = {**metadata, "ownerReferences": [owner]}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                **lease.get("spec", {}),
                "holderIdentity": self._name,
                "leaseDurationSeconds": DURATION,
                "renewTime": rfc3339_micro(time.time()),
            },
        }
