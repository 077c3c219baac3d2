"""The system call filter of a container (OCI config-linux.md, Seccomp; CRI ``seccomp``, ``seccomp_profile_path``)."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Set
from pathlib import Path
from typing import Any, Literal

import msgspec

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument
from podyard.linux.resolve import open_in_root
from podyard.oci import profiles, seccomp_calls
from podyard.oci.host import HostFacts
from podyard.oci.profiles import Profile

FILE_LIMIT = 1 << 20
"""Bytes of a profile on this node; the largest known ones have some 20 KiB."""

ALLOW = "SCMP_ACT_ALLOW"
ERRNO = "SCMP_ACT_ERRNO"

NAMESPACE_FLAGS = 0x7E02_0000
"""clone(2): CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET together."""

AF_VSOCK = 40
"""vsock(7): talks to the hypervisor past every network namespace."""

PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFF_FFFF)
"""personality(2): Linux, 32-bit Linux, both with UNAME26, and the question for the present one."""

Action = Literal[
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
]
Comparison = Literal[
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
]


class Argument(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A condition on one argument of a call."""

    index: int
    value: int
    op: Comparison
    valueTwo: int = 0


class Rule(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What happens to some calls."""

    names: list[str]
    action: Action
    errnoRet: int | None = None
    args: list[Argument] | None = None
    comment: str = ""


class ProfileFile(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A profile on this node: ``linux.seccomp`` as JSON, which is what Kubernetes calls a profile's format.

    Other fields are refused, not skipped: docker's "includes" left out would widen a rule.
    """

    defaultAction: Action
    defaultErrnoRet: int | None = None
    architectures: list[str] | None = None
    flags: list[str] | None = None
    listenerPath: str = ""
    listenerMetadata: str = ""
    syscalls: list[Rule] | None = None
    comment: str = ""


def requested(security: api.LinuxContainerSecurityContext) -> Profile | None:
    """The profile that a container asks for; None where it says nothing, which the CRI equates with unconfined.

    A privileged container is always unconfined (Kubernetes, "Restrict a Container's Syscalls with seccomp").
    """
    if security.privileged:
        return Profile("unconfined")
    message = security.seccomp if security.HasField("seccomp") else None
    return profiles.requested(message, security.seccomp_profile_path, "security_context.seccomp")


def find_profile(security: api.LinuxContainerSecurityContext, folder: Path) -> dict[str, Any] | None:
    """The profile of type Localhost that a container asks for, None for any other. Blocking: reads a file.

    ``folder``: where profiles with a relative name are. Raises InvalidArgument, naming the file, when it is missing or
    no profile.
    """
    profile = requested(security)
    return read_profile(profile.name, folder) if profile is not None and profile.kind == "localhost" else None


def linux_seccomp(
    security: api.LinuxContainerSecurityContext,
    capabilities: Iterable[str],
    local: dict[str, Any] | None,
    host: HostFacts,
) -> dict[str, Any] | None:
    """OCI ``linux.seccomp``, None for a container without a filter: an unconfined one, or one that asks for nothing.

    ``capabilities``: its bounding set. ``local``: what ``find_profile`` found.

    Raises FailedPrecondition for a filter on a kernel or a machine that has none.
    """
    profile = requested(security)
    if profile is None or profile.kind == "unconfined":
        return None
    if not host.seccomp:
        raise FailedPrecondition("the container asks for a seccomp profile, and this kernel has no seccomp")
    return local if profile.kind == "localhost" else default_profile(set(capabilities), host.machine)


def default_profile(capabilities: Set[str], machine: str) -> dict[str, Any]:
    """The profile of type RuntimeDefault: an allow list; any other call fails with EPERM.

    ``capabilities``: the bounding set; calls that the kernel guards with one of them are let through, too.

    Raises FailedPrecondition for a machine that there is no profile for.
    """
    if machine not in seccomp_calls.ARCHITECTURES:
        known = ", ".join(sorted(seccomp_calls.ARCHITECTURES))
        raise FailedPrecondition(f"there is no default seccomp profile for {machine}, only for {known}: use another")
    names = set(seccomp_calls.ALWAYS) | set(seccomp_calls.BY_MACHINE.get(machine, "").split())
    for capability in capabilities:
        names.update(seccomp_calls.BY_CAPABILITY.get(capability, "").split())
    rules = [_rule(sorted(names), ALLOW), _rule(["socket"], ALLOW, _condition(0, AF_VSOCK, "SCMP_CMP_NE"))]
    rules += [_rule(["personality"], ALLOW, _condition(0, value, "SCMP_CMP_EQ")) for value in PERSONALITIES]
    if "clone" not in names:
        rules += _clone_rules(machine)
    return {
        "defaultAction": ERRNO,
        "architectures": list(seccomp_calls.ARCHITECTURES[machine]),
        "syscalls": rules,
    }


def read_profile(name: str, folder: Path) -> dict[str, Any]:
    """A profile on this node as OCI ``linux.seccomp``. Blocking: reads a file.

    ``name``: an absolute path (as the kubelet gives it), or one inside ``folder``, which it cannot leave.

    Raises InvalidArgument, naming the file, when it is missing or no profile.
    """
    path = folder / name
    where = f"seccomp profile {path}"
    try:
        content = _read(Path("/") if name.startswith("/") else folder, name)
    except OSError as error:
        raise InvalidArgument(f"cannot read {where}: {error.strerror}") from error
    if len(content) > FILE_LIMIT:
        raise InvalidArgument(f"{where} has more than {FILE_LIMIT} bytes")
    try:
        parsed = msgspec.json.decode(content, type=ProfileFile)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArgument(f"{where} is not one of OCI's form (linux.seccomp): {error}") from error
    for rule in parsed.syscalls or ():
        rule.comment = ""
    parsed.comment = ""
    document: dict[str, Any] = msgspec.to_builtins(parsed)
    return document


def _read(root: Path, name: str) -> bytes:
    found = open_in_root(root, name, os.O_PATH)
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise OSError(errno.EINVAL, "it is not a plain file", name)
        with open(f"/proc/self/fd/{found}", "rb") as file:
            return file.read(FILE_LIMIT + 1)
    finally:
        os.close(found)


def _clone_rules(machine: str) -> list[dict[str, Any]]:
    """Threads and processes, but no namespaces.

    clone3(2) has its flags in memory, where a filter cannot look: it answers "no such call", and C libraries fall back
    to clone(2), whose flags are an argument, the second one on s390 (clone(2), "C library/kernel differences").
    """
    flags = 1 if machine == "s390x" else 0
    return [
        _rule(["clone"], ALLOW, {**_condition(flags, NAMESPACE_FLAGS, "SCMP_CMP_MASKED_EQ"), "valueTwo": 0}),
        {"names": ["clone3"], "action": ERRNO, "errnoRet": errno.ENOSYS},
    ]


def _rule(names: list[str], action: str, *conditions: dict[str, Any]) -> dict[str, Any]:
    return {"names": names, "action": action, **({"args": list(conditions)} if conditions else {})}


def _condition(index: int, value: int, comparison: str) -> dict[str, Any]:
    return {"index": index, "value": value, "op": comparison}
