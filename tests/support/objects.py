"""Objects of Pods that tests exchange while the Pods run."""

from __future__ import annotations

import time
from typing import Any

from podyard.errors import PodyardError
from podyard.pods.objects import ConfigMap, ManifestObjects, Secret, Token


class MemoryObjects(ManifestObjects):
    """Objects of the namespace default that tests exchange, and tokens.

    ``classes``: handlers of runtime classes. ``life``: seconds that a token lives; ``refusal`` is raised where one is
    asked for; ``asked`` has what was asked.
    """

    def __init__(self) -> None:
        super().__init__()
        self.life = 3600.0
        self.refusal: PodyardError | None = None
        self.classes: dict[str, str] = {}
        self.asked: list[dict[str, Any]] = []

    def put(self, name: str, **data: str) -> None:
        """A ConfigMap of that name, in place of the one before."""
        self.config_maps = {**self.config_maps, ("default", name): ConfigMap(data=data)}

    def put_secret(self, name: str, data: dict[str, bytes], kind: str = "Opaque") -> None:
        """A Secret of that name, in place of the one before."""
        self.secrets = {**self.secrets, ("default", name): Secret(data=data, type=kind)}

    async def runtime_handler(self, runtime_class: str) -> str:
        return self.classes.get(runtime_class, runtime_class)

    async def token(self, namespace: str, service_account: str, **more: Any) -> Token:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append({"account": f"{namespace}/{service_account}", **more})
        return Token(token=f"token-{len(self.asked)}", expires_at=time.time() + self.life)
