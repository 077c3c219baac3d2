"""Where objects are on an API server."""

from __future__ import annotations

from urllib.parse import quote

NODES = "/api/v1/nodes"
PODS = "/api/v1/pods"
"""Pods of all namespaces."""
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
"""The nodes' heartbeats."""


def node(name: str, *more: str) -> str:
    """A Node, or what is below it ("status")."""
    return _joined(NODES, name, *more)


def lease(name: str) -> str:
    """A node's Lease."""
    return _joined(LEASES, name)


def runtime_class(name: str) -> str:
    """A RuntimeClass."""
    return _joined("/apis/node.k8s.io/v1/runtimeclasses", name)


def namespaced(resource: str, namespace: str, *more: str) -> str:
    """Objects of the core API in a namespace; ``more``: a name, and what is below it."""
    return _joined("/api/v1/namespaces", namespace, resource, *more)


def _joined(root: str, *parts: str) -> str:
    return "/".join([root, *(quote(part, safe="") for part in parts)])
