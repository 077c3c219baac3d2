"""Faults of security contexts."""

from __future__ import annotations

from collections.abc import Iterator

from podyard.manifest.model import AppArmorProfile, PodSpec, SeccompProfile, SecurityContext
from podyard.manifest.names import sysctl_fault
from podyard.manifest.problems import Problem

MAX_ID = 2**31 - 1
"""Kubernetes' largest user and group id."""

# what a pod that shares the host's namespace would set for the whole host
_NETWORK_SYSCTLS = ("net.",)
_IPC_SYSCTLS = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")


def check_pod_security(spec: PodSpec) -> Iterator[Problem]:
    """Faults of the Pod's security context."""
    context, path = spec.security_context, "spec.securityContext"
    ids = {"runAsUser": context.run_as_user, "runAsGroup": context.run_as_group, "fsGroup": context.fs_group}
    ids |= {f"supplementalGroups[{index}]": group for index, group in enumerate(context.supplemental_groups)}
    yield from _check_ids(ids, path)
    yield from _check_profile(context.seccomp_profile, f"{path}.seccompProfile")
    yield from _check_profile(context.app_armor_profile, f"{path}.appArmorProfile")
    seen: set[str] = set()
    for index, sysctl in enumerate(context.sysctls):
        where = f"{path}.sysctls[{index}].name"
        name = sysctl.name.replace("/", ".")
        if fault := sysctl_fault(sysctl.name):
            yield Problem(0, where, fault)
        elif name in seen:
            yield Problem(0, where, f"{sysctl.name} stands here twice")
        elif spec.host_network and name.startswith(_NETWORK_SYSCTLS):
            yield Problem(0, where, "would change the host, since hostNetwork is on")
        elif spec.host_ipc and name.startswith(_IPC_SYSCTLS):
            yield Problem(0, where, "would change the host, since hostIPC is on")
        elif not name.startswith((*_NETWORK_SYSCTLS, *_IPC_SYSCTLS)):
            yield Problem(0, where, f"{sysctl.name} belongs to the host, not to a pod's namespaces")
        seen.add(name)


def check_container_security(context: SecurityContext, path: str) -> Iterator[Problem]:
    """Faults of a container's security context."""
    yield from _check_ids({"runAsUser": context.run_as_user, "runAsGroup": context.run_as_group}, path)
    yield from _check_profile(context.seccomp_profile, f"{path}.seccompProfile")
    yield from _check_profile(context.app_armor_profile, f"{path}.appArmorProfile")
    if context.allow_privilege_escalation is False:
        where = f"{path}.allowPrivilegeEscalation"
        if context.privileged:
            yield Problem(0, where, "false cannot go with privileged")
        if any(name.removeprefix("CAP_") == "SYS_ADMIN" for name in context.capabilities.add):
            yield Problem(0, where, "false cannot go with the capability SYS_ADMIN")


def _check_ids(ids: dict[str, int | None], path: str) -> Iterator[Problem]:
    for field, number in ids.items():
        if number is not None and not 0 <= number <= MAX_ID:
            yield Problem(0, f"{path}.{field}", f"{number} is not between 0 and {MAX_ID}")


def _check_profile(profile: SeccompProfile | AppArmorProfile | None, path: str) -> Iterator[Problem]:
    if profile is None:
        return
    if (profile.type == "Localhost") != bool(profile.localhost_profile):
        yield Problem(0, f"{path}.localhostProfile", "goes with type Localhost, and only with it")
    if isinstance(profile, SeccompProfile) and profile.localhost_profile:
        name = profile.localhost_profile
        if name.startswith("/") or ".." in name.split("/"):
            yield Problem(0, f"{path}.localhostProfile", "must be relative to the directory of profiles, without '..'")
