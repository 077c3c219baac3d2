"""Manifests from files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from podyard.errors import InvalidArgument, NotFound, PermissionDenied
from podyard.manifest.checks import check_document, check_pod
from podyard.manifest.decode import Decoder
from podyard.manifest.model import ConfigMapDocument, Pod, SecretDocument
from podyard.manifest.objects import ConfigMap, Secret
from podyard.manifest.problems import Problem, error_of
from podyard.manifest.source import MAX_BYTES, Node, parse_documents

_KINDS: dict[str, type[Pod | ConfigMapDocument | SecretDocument]] = {
    "Pod": Pod,
    "ConfigMap": ConfigMapDocument,
    "Secret": SecretDocument,
}

Name = tuple[str, str]
"""A namespace and a name in it."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a manifest holds."""

    pods: list[Pod] = field(default_factory=list)
    """In the manifest's order."""
    config_maps: dict[Name, ConfigMap] = field(default_factory=dict)
    secrets: dict[Name, Secret] = field(default_factory=dict)


def load(path: str) -> Manifest:
    """What a manifest file holds; ``-`` reads the standard input.

    Raises NotFound or PermissionDenied for the file, InvalidArgument when there is no Pod in it, and as ``parse`` does.
    """
    try:
        if path == "-":
            return _with_pods(parse(sys.stdin.buffer.read(MAX_BYTES + 1), "(stdin)"), "(stdin)")
        with Path(path).open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFound(f"{path}: no such file") from error
    except PermissionError as error:
        raise PermissionDenied(f"{path}: may not be read by this user") from error
    except OSError as error:
        raise InvalidArgument(f"{path}: cannot be read: {error.strerror}") from error
    return _with_pods(parse(text, path), path)


def parse(text: bytes, source: str) -> Manifest:
    """The Pods, ConfigMaps and Secrets of a manifest; ``source`` names it in errors.

    Raises InvalidArgument with all problems, one in a line ("web.yaml:14: spec.containers[0].image: missing"), and
    Unimplemented when the manifest is right but uses what podyard cannot do yet.
    """
    documents = parse_documents(text, source)
    if not documents:
        raise InvalidArgument(f"{source}: no Pod in it")
    problems: list[Problem] = []
    manifest = Manifest()
    seen: set[tuple[str, str, str]] = set()
    for node in documents:
        decoded = _decode(node, problems)
        if decoded is None:
            continue
        metadata = decoded.metadata
        name = metadata.namespace, metadata.name
        if (decoded.kind, *name) in seen:
            fault = f"the {decoded.kind} {'/'.join(name)} stands in this file twice"
            problems.append(Problem(node.line, "metadata.name", fault))
        seen.add((decoded.kind, *name))
        if problems:
            continue
        match decoded:
            case Pod():
                manifest.pods.append(decoded)
            case ConfigMapDocument():
                manifest.config_maps[name] = ConfigMap.of(decoded)
            case SecretDocument():
                manifest.secrets[name] = Secret.of(decoded)
    if problems:
        raise error_of(problems, source)
    return manifest


def _decode(node: Node, problems: list[Problem]) -> Pod | ConfigMapDocument | SecretDocument | None:
    """The object of one document; None when a fault leaves none. Its faults go to ``problems``."""
    name, version = _kind(node)
    if version != "v1" or name not in _KINDS:
        text = f"{version[:60]} {name[:60]} is not a v1 Pod, ConfigMap or Secret, the only kinds that podyard knows"
        problems.append(Problem(node.line, "", text))
        return None
    decoder = Decoder()
    decoded = decoder.decode(_KINDS[name], node)
    if decoded is not None:
        decoder.problems.extend(replace(fault, line=decoder.line(fault.path)) for fault in _faults(decoded))
    problems.extend(decoder.problems)
    return decoded


def _faults(decoded: Pod | ConfigMapDocument | SecretDocument) -> Iterator[Problem]:
    return check_pod(decoded) if isinstance(decoded, Pod) else check_document(decoded)


def _kind(node: Node) -> tuple[str, str]:
    """A document's kind and version; one that says neither is taken for a Pod, and what it lacks is found."""
    fields = node.value if isinstance(node.value, dict) else {}
    kind, version = fields.get("kind"), fields.get("apiVersion")
    if kind is None or version is None or not isinstance(kind.value, str) or not isinstance(version.value, str):
        return "Pod", "v1"
    return kind.value, version.value


def _with_pods(manifest: Manifest, source: str) -> Manifest:
    if not manifest.pods:
        raise InvalidArgument(f"{source}: no Pod in it")
    return manifest
