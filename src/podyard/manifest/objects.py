"""ConfigMaps, Secrets and Services: what Pods take from beside their own manifest."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

from podyard.manifest.model.document import ConfigMapDocument, SecretDocument

DOCKER_CONFIG_JSON = "kubernetes.io/dockerconfigjson"
"""Type of a Secret that holds the text of a docker configuration, under the key ``.dockerconfigjson``."""
DOCKER_CONFIG = "kubernetes.io/dockercfg"
"""Type of a Secret that holds the older form of one, under the key ``.dockercfg``."""


@dataclass(frozen=True, kw_only=True)
class ConfigMap:
    """What a ConfigMap holds. No key stands in both."""

    data: Mapping[str, str] = field(default_factory=dict)
    binary_data: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, document: ConfigMapDocument) -> ConfigMap:
        """That of a manifest which was checked."""
        return cls(data=document.data, binary_data=_decoded(document.binary_data))

    @property
    def files(self) -> dict[str, bytes]:
        """Its contents as a volume shows them."""
        return {**{key: text.encode() for key, text in self.data.items()}, **self.binary_data}


@dataclass(frozen=True, kw_only=True)
class Secret:
    """What a Secret holds, decoded."""

    data: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    type: str = "Opaque"

    @classmethod
    def of(cls, document: SecretDocument) -> Secret:
        """That of a manifest which was checked."""
        plain = {key: text.encode() for key, text in document.string_data.items()}
        return cls(data={**_decoded(document.data), **plain}, type=document.type)


@dataclass(frozen=True, kw_only=True)
class ServicePort:
    """One port of a Service."""

    port: int
    name: str = ""
    protocol: str = "TCP"


@dataclass(frozen=True, kw_only=True)
class Service:
    """A Service with an address of its own."""

    name: str
    ip: str
    ports: tuple[ServicePort, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Held:
    """The ConfigMaps and Secrets that a Pod's namespace has, of those that were asked for, by name; the Services that
    its containers are told of."""

    config_maps: Mapping[str, ConfigMap] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    services: tuple[Service, ...] = ()


def _decoded(values: Mapping[str, str]) -> dict[str, bytes]:
    return {key: base64.b64decode(text) for key, text in values.items()}
