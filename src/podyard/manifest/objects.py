"""ConfigMaps and Secrets: what Pods take from beside their own manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DOCKER_CONFIG_JSON = "kubernetes.io/dockerconfigjson"
"""Type of a Secret that holds the text of a docker configuration, under the key ``.dockerconfigjson``."""
DOCKER_CONFIG = "kubernetes.io/dockercfg"
"""Type of a Secret that holds the older form of one, under the key ``.dockercfg``."""


@dataclass(frozen=True, kw_only=True)
class ConfigMap:
    """What a ConfigMap holds. No key stands in both."""

    data: Mapping[str, str] = field(default_factory=dict)
    binary_data: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, bytes]:
        """Its contents as a volume shows them."""
        return {**{key: text.encode() for key, text in self.data.items()}, **self.binary_data}


@dataclass(frozen=True, kw_only=True)
class Secret:
    """What a Secret holds, decoded."""

    data: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    type: str = "Opaque"
