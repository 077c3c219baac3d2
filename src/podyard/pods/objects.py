"""Where Pods get what does not stand in their own manifests: ConfigMaps, Secrets, service accounts' tokens, what a
runtime class means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from podyard.errors import FailedPrecondition
from podyard.manifest.objects import ConfigMap, Held, Secret, Service, ServicePort

__all__ = ["ConfigMap", "ManifestObjects", "Objects", "Secret", "Service", "ServicePort", "Token", "held"]


@dataclass(frozen=True, kw_only=True)
class Token:
    """A service account's token. ``expires_at``: seconds since 1970."""

    token: str = field(repr=False)
    expires_at: float


class Objects(Protocol):
    """Asked for an object each time that it is needed: it may change, come and go while Pods run.

    All raise Unavailable where it cannot be told now whether an object is there, PermissionDenied where it may not be
    read.
    """

    async def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        """A ConfigMap; None where there is none of that name."""

    async def secret(self, namespace: str, name: str) -> Secret | None:
        """A Secret; None where there is none of that name."""

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
        """A new token of a service account, bound to a Pod.

        ``audiences``: whom it is for; none for the API server itself. ``expiration_seconds``: the life that is asked
        for; the token says what it got. Raises NotFound where there is no such account or Pod.
        """

    async def runtime_handler(self, runtime_class: str) -> str:
        """What runtimes call a RuntimeClass. Raises NotFound where there is none of that name."""

    async def services(self, namespace: str, links: bool) -> tuple[Service, ...]:
        """The Services that containers in a namespace are told of: the API server's own, and with ``links`` all of the
        namespace."""


class ManifestObjects:
    """Objects for people without a cluster: those of manifests, by namespace and name. There are no tokens."""

    def __init__(
        self,
        config_maps: Mapping[tuple[str, str], ConfigMap] | None = None,
        secrets: Mapping[tuple[str, str], Secret] | None = None,
    ) -> None:
        self.config_maps = config_maps or {}
        self.secrets = secrets or {}

    async def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        return self.config_maps.get((namespace, name))

    async def secret(self, namespace: str, name: str) -> Secret | None:
        return self.secrets.get((namespace, name))

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
        """Raises FailedPrecondition: nobody signs tokens here."""
        raise FailedPrecondition(
            f"the pod {namespace}/{pod_name} wants a token of the service account {service_account!r}, which only a "
            "Kubernetes API server can make: run it on a node that has one, or leave the serviceAccountToken out"
        )

    async def runtime_handler(self, runtime_class: str) -> str:
        """The class is named as the runtime names its handler."""
        return runtime_class

    async def services(self, namespace: str, links: bool) -> tuple[Service, ...]:
        """There are none."""
        return ()


async def held(objects: Objects, namespace: str, config_maps: Iterable[str], secrets: Iterable[str]) -> Held:
    """Those of the named objects that are there. Raises what ``Objects`` raises."""
    found_maps = {name: await objects.config_map(namespace, name) for name in config_maps}
    found_secrets = {name: await objects.secret(namespace, name) for name in secrets}
    return Held(
        config_maps={name: found for name, found in found_maps.items() if found is not None},
        secrets={name: found for name, found in found_secrets.items() if found is not None},
    )
