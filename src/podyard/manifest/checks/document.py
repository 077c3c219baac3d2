"""Faults of ConfigMaps and Secrets in manifests."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping

from podyard.manifest.checks.pod import check_metadata
from podyard.manifest.model.document import ConfigMapDocument, SecretDocument
from podyard.manifest.names import data_key_fault
from podyard.manifest.problems import Problem

MAX_SIZE = 1 << 20
"""Bytes that an object may hold (core/v1, MaxSecretSize)."""


def check_document(document: ConfigMapDocument | SecretDocument) -> Iterator[Problem]:
    """All faults of a ConfigMap or Secret."""
    yield from check_metadata(document.metadata)
    if isinstance(document, ConfigMapDocument):
        encoded, field, plain, plain_field = document.binary_data, "binaryData", document.data, "data"
        for key in document.data.keys() & document.binary_data.keys():
            yield Problem(0, f"binaryData[{key!r}]", "stands in data too")
    else:
        encoded, field, plain, plain_field = document.data, "data", document.string_data, "stringData"
    for name, values in ((field, encoded), (plain_field, plain)):
        for key in values:
            if fault := data_key_fault(key):
                yield Problem(0, f"{name}[{key!r}]", fault)
    yield from _check_base64(encoded, field)
    size = sum(len(text) * 3 // 4 for text in encoded.values()) + sum(len(text.encode()) for text in plain.values())
    if size > MAX_SIZE:
        yield Problem(0, "", f"holds {size} bytes; at most {MAX_SIZE} are allowed")


def _check_base64(values: Mapping[str, str], field: str) -> Iterator[Problem]:
    for key, text in values.items():
        try:
            base64.b64decode(text.replace("\n", ""), validate=True)
        except binascii.Error as error:
            hint = "; plain text goes into stringData" if field == "data" else ""
            yield Problem(0, f"{field}[{key!r}]", f"is not Base64: {error}{hint}")
