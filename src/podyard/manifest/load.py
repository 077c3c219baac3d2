"""Manifests from files."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from podyard.errors import InvalidArgument, NotFound, PermissionDenied
from podyard.manifest.checks import check_pod
from podyard.manifest.decode import Decoder
from podyard.manifest.model import Pod
from podyard.manifest.problems import Problem, error_of
from podyard.manifest.source import MAX_BYTES, Node, parse_documents


def load(path: str) -> list[Pod]:
    """The Pods of a manifest file, in its order; ``-`` reads the standard input.

    Raises NotFound or PermissionDenied for the file, and as ``parse`` does.
    """
    try:
        if path == "-":
            return parse(sys.stdin.buffer.read(MAX_BYTES + 1), "(stdin)")
        with Path(path).open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFound(f"{path}: no such file") from error
    except PermissionError as error:
        raise PermissionDenied(f"{path}: may not be read by this user") from error
    except OSError as error:
        raise InvalidArgument(f"{path}: cannot be read: {error.strerror}") from error
    return parse(text, path)


def parse(text: bytes, source: str) -> list[Pod]:
    """The Pods of a manifest; ``source`` names it in errors.

    Raises InvalidArgument with all problems, one in a line ("web.yaml:14: spec.containers[0].image: missing"), and
    Unimplemented when the manifest is right but uses what podyard cannot do yet.
    """
    problems: list[Problem] = []
    pods: list[Pod] = []
    documents = parse_documents(text, source)
    if not documents:
        raise InvalidArgument(f"{source}: no Pod in it")
    for node in documents:
        decoder = Decoder()
        if foreign := _foreign_kind(node):
            problems.append(Problem(node.line, "", foreign))
            continue
        pod = decoder.decode(Pod, node)
        if pod is not None:
            decoder.problems.extend(replace(fault, line=decoder.line(fault.path)) for fault in check_pod(pod))
            pods.append(pod)
        problems.extend(decoder.problems)
    problems.extend(_repeated(pods, documents))
    if problems:
        raise error_of(problems, source)
    return pods


def _foreign_kind(node: Node) -> str:
    """What a document is, when it is not a Pod; "" when it may be one."""
    fields = node.value if isinstance(node.value, dict) else {}
    kind, version = fields.get("kind"), fields.get("apiVersion")
    if kind is None or version is None or not isinstance(kind.value, str) or not isinstance(version.value, str):
        return ""
    if (kind.value, version.value) == ("Pod", "v1"):
        return ""
    return f"{version.value[:60]} {kind.value[:60]} is not a v1 Pod, the only kind that podyard runs"


def _repeated(pods: list[Pod], documents: list[Node]) -> list[Problem]:
    if len(pods) != len(documents):
        return []  # some document is broken already: its problems say so
    seen: set[str] = set()
    found = []
    for pod, node in zip(pods, documents, strict=True):
        if pod.full_name in seen:
            found.append(Problem(node.line, "metadata.name", f"the Pod {pod.full_name} stands in this file twice"))
        seen.add(pod.full_name)
    return found
