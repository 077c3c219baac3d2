"""ConfigMaps and Secrets from several places."""

from __future__ import annotations

from collections.abc import Sequence

from podyard.pods.objects import ConfigMap, Objects, Secret, Service, Token


class FirstOf:
    """Asks one place after the other; tokens, runtime classes and Services come from the last.

    What stands in the node's own manifests comes before what an API server has: it is there for the Pods beside it, and
    whoever writes those files may do anything on this node.
    """

    def __init__(self, places: Sequence[Objects]) -> None:
        self._places = places

    async def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        """A ConfigMap; None where no place has it."""
        for place in self._places:
            if (found := await place.config_map(namespace, name)) is not None:
                return found
        return None

    async def secret(self, namespace: str, name: str) -> Secret | None:
        """A Secret; None where no place has it."""
        for place in self._places:
            if (found := await place.secret(namespace, name)) is not None:
                return found
        return None

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
        """A token of the last place."""
        return await self._places[-1].token(
            namespace,
            service_account,
            audiences=audiences,
            expiration_seconds=expiration_seconds,
            pod_name=pod_name,
            pod_uid=pod_uid,
        )

    async def runtime_handler(self, runtime_class: str) -> str:
        """What the last place knows of a runtime class."""
        return await self._places[-1].runtime_handler(runtime_class)

    async def services(self, namespace: str, links: bool) -> tuple[Service, ...]:
        """The Services of the last place."""
        return await self._places[-1].services(namespace, links)
