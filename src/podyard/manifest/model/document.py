"""ConfigMaps and Secrets as manifests write them."""

from __future__ import annotations

from typing import Literal

import msgspec

from podyard.manifest.model.base import Object
from podyard.manifest.model.pod import Metadata


class ConfigMapDocument(Object, frozen=True, kw_only=True):
    api_version: Literal["v1"]
    kind: Literal["ConfigMap"]
    metadata: Metadata
    data: dict[str, str] = msgspec.field(default_factory=dict)
    binary_data: dict[str, str] = msgspec.field(default_factory=dict)
    """In Base64."""
    immutable: bool = False


class SecretDocument(Object, frozen=True, kw_only=True):
    api_version: Literal["v1"]
    kind: Literal["Secret"]
    metadata: Metadata
    data: dict[str, str] = msgspec.field(default_factory=dict)
    """In Base64."""
    string_data: dict[str, str] = msgspec.field(default_factory=dict)
    """As it is; it wins over ``data``."""
    type: str = "Opaque"
    immutable: bool = False
