"""Short ways to write the nested parts of requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from podyard.cri import api

__all__ = ["bind", "limits", "namespaces", "pod_limits", "pod_security", "profile", "security", "value"]


def security(**fields: Any) -> api.LinuxContainerConfig:
    """A container's security context."""
    return api.LinuxContainerConfig(security_context=api.LinuxContainerSecurityContext(**fields))


def pod_security(**fields: Any) -> api.LinuxPodSandboxConfig:
    """A sandbox's security context."""
    return api.LinuxPodSandboxConfig(security_context=api.LinuxSandboxSecurityContext(**fields))


def namespaces(**options: Any) -> api.NamespaceOption:
    """Namespace options, with a PID namespace of its own unless they say otherwise."""
    return api.NamespaceOption(**{"pid": api.CONTAINER, **options})


def limits(**fields: Any) -> api.LinuxContainerConfig:
    """A container's resources."""
    return api.LinuxContainerConfig(resources=api.LinuxContainerResources(**fields))


def pod_limits(**fields: Any) -> api.LinuxContainerResources:
    """Resources alone."""
    return api.LinuxContainerResources(**fields)


def value(number: int) -> api.Int64Value:
    """A number that can be absent."""
    return api.Int64Value(value=number)


def bind(container_path: str, host_path: Path | str, **fields: Any) -> api.Mount:
    """A mount of a host path."""
    return api.Mount(container_path=container_path, host_path=str(host_path), **fields)


def profile(kind: str, reference: str = "") -> api.SecurityProfile:
    """A seccomp or AppArmor profile: "RuntimeDefault", "Unconfined" or "Localhost"."""
    kinds = api.SecurityProfile.ProfileType
    return api.SecurityProfile(profile_type=kinds.Value(kind), localhost_ref=reference)
