"""ConfigMaps and Secrets from several places."""

from __future__ import annotations

from collections.abc import Sequence

from podyard.pods.objects import ConfigMap, Objects, Secret


class FirstOf:
    """Asks one place after the other; tokens, runtime classes and Services come from the last.

    What stands in the node's own manifests comes before what an API server has: it is there for the Pods beside it, and
    whoever writes those files may do anything on this node.
    """

    def __init__(self, places: Sequence[Objects]) -> None:
        self._places = places
        last = places[-1]
        self.token, self.runtime_handler, self.services = last.token, last.runtime_handler, last.services

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
