"""ConfigMaps, Secrets, tokens, runtime classes and Services of the API server."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Mapping, Sequence
from typing import Any

from podyard.errors import DataLoss, NotFound
from podyard.node.kube import KubeClient, paths
from podyard.node.kube.client import JsonObject
from podyard.node.times import seconds_of
from podyard.pods.objects import ConfigMap, Secret, Service, ServicePort, Token

KEPT = 60.0
"""Seconds for which an answer is used again, for all Pods: so long may a change take to reach a volume, as with a
kubelet."""

_MASTER = ("default", "kubernetes")
"""Namespace and name of the API server's own Service."""


class ApiObjects:
    """Asks the API server. ConfigMaps and Secrets are kept for a while, since volumes are looked at often.

    ``forget`` makes sure that a Pod which is new, or has changed, gets what is there now. What is not there is asked
    for anew each time.
    """

    def __init__(self, kube: KubeClient, *, kept: float = KEPT) -> None:
        self._kube = kube
        self._kept = kept
        self._known: dict[str, tuple[float, JsonObject]] = {}

    def forget(self) -> None:
        """Ask for everything anew."""
        self._known = {}  # another one: an answer that is on its way goes to the old one

    async def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        """A ConfigMap; None where there is none of that name."""
        found = await self._get("configmaps", namespace, name)
        if found is None:
            return None
        return ConfigMap(data=dict(found.get("data") or {}), binary_data=_decoded(found.get("binaryData"), found))

    async def secret(self, namespace: str, name: str) -> Secret | None:
        """A Secret; None where there is none of that name."""
        found = await self._get("secrets", namespace, name)
        if found is None:
            return None
        return Secret(data=_decoded(found.get("data"), found), type=found.get("type") or "Opaque")

    async def token(
        self,
        namespace: str,
        service_account: str,
        *,
        audiences: Sequence[str],
        expiration_seconds: int,
        pod_name: str,
        pod_uid: str,
    ) -> Token:
        """A new token of a service account, bound to a Pod (the API's TokenRequest)."""
        pod = {"apiVersion": "v1", "kind": "Pod", "name": pod_name, "uid": pod_uid}
        spec: dict[str, Any] = {
            "audiences": list(audiences),
            "expirationSeconds": expiration_seconds,
            "boundObjectRef": pod,
        }
        path = paths.namespaced("serviceaccounts", namespace, service_account, "token")
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        status = (await self._kube.create(path, body)).get("status") or {}
        try:
            return Token(token=status["token"], expires_at=seconds_of(status["expirationTimestamp"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataLoss(f"POST {path}: the API server's answer is no token with an end") from error

    async def runtime_handler(self, runtime_class: str) -> str:
        """The handler of a RuntimeClass."""
        path = paths.runtime_class(runtime_class)
        found = await self._kube.get(path)
        if not isinstance(found.get("handler"), str):
            raise DataLoss(f"GET {path}: the API server's answer names no handler")
        return str(found["handler"])

    async def services(self, namespace: str, links: bool) -> tuple[Service, ...]:
        """The API server's own Service, and with ``links`` all of the namespace that have an address."""
        found: list[JsonObject] = []
        if links:
            found, _ = await self._kube.list(paths.namespaced("services", namespace))
        if not links or namespace != _MASTER[0]:
            master = await self._get("services", *_MASTER)
            found = [*found, *([master] if master is not None else [])]
        return tuple(service for one in found if (service := _service(one)) is not None)

    async def _get(self, resource: str, namespace: str, name: str) -> JsonObject | None:
        known, path, now = self._known, paths.namespaced(resource, namespace, name), time.monotonic()
        for old in [old for old, (since, _) in known.items() if now - since > self._kept]:
            del known[old]
        if path not in known:
            try:
                known[path] = now, await self._kube.get(path)
            except NotFound:
                return None
        return known[path][1]


def _service(found: JsonObject) -> Service | None:
    """None for one that has no address: it is headless, or leads out of the cluster."""
    spec = found.get("spec") or {}
    ip = spec.get("clusterIP") or "None"
    if ip == "None":
        return None
    try:
        ports = tuple(
            ServicePort(port=int(port["port"]), name=port.get("name") or "", protocol=port.get("protocol") or "TCP")
            for port in spec.get("ports") or []
        )
        return Service(name=found["metadata"]["name"], ip=str(ip), ports=ports)
    except (KeyError, TypeError, ValueError) as error:
        raise DataLoss(f"the API server's Service {found.get('metadata')} has no ports that are numbers") from error


def _decoded(values: Mapping[str, str] | None, found: JsonObject) -> dict[str, bytes]:
    try:
        return {key: base64.b64decode(text, validate=True) for key, text in (values or {}).items()}
    except (binascii.Error, TypeError) as error:
        metadata = found["metadata"]
        raise DataLoss(
            f"{found.get('kind')} {metadata['namespace']}/{metadata['name']}: not base64: {error}"
        ) from error
