"""The process of a container or of an exec: OCI runtime spec, "Process", out of the request and the image."""

from __future__ import annotations

import copy
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from podyard.cri import api
from podyard.errors import InvalidArgument
from podyard.model.image import ImageConfig
from podyard.oci import capabilities, lsm, users
from podyard.oci.host import HostFacts
from podyard.oci.users import User

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TERM = "TERM=xterm"
OOM_SCORE_ADJ = range(-1000, 1001)


def container_process(
    config: api.ContainerConfig, image: ImageConfig, user: User, hostname: str, host: HostFacts
) -> dict[str, Any]:
    """The OCI ``process`` of a container (no rlimits: it keeps the monitor's).

    Raises InvalidArgument for what the request has wrong, FailedPrecondition for what this host cannot give.
    """
    security = config.linux.security_context
    process: dict[str, Any] = {
        "terminal": config.tty,
        "user": user_document(user),
        "args": command(config, image),
        "env": environment(config, image, hostname, user.home),
        "cwd": working_dir(config, image),
        "capabilities": capabilities.capability_sets(
            security.capabilities, privileged=security.privileged, available=host.capabilities
        ),
        "noNewPrivileges": security.no_new_privs,
    }
    if config.linux.HasField("resources"):
        process["oomScoreAdj"] = oom_score_adj(config.linux.resources.oom_score_adj, host.oom_score_adj_floor)
    process.update(lsm.process_labels(security, host))
    return process


def exec_process(spec: Mapping[str, Any], cmd: Sequence[str], *, tty: bool) -> dict[str, Any]:
    """The OCI ``process`` of a command that runs in the container of ``spec`` (CRI ExecSync, Exec).

    It has the container's user, environment, directory, capabilities and labels; a terminal adds TERM where the
    container sets none.

    Raises InvalidArgument when ``cmd`` is empty or holds a NUL.
    """
    if not cmd or not cmd[0]:
        raise InvalidArgument("no command specified: cmd is empty")
    process: dict[str, Any] = copy.deepcopy(dict(spec["process"]))
    process["args"] = _without_nul(cmd, "cmd")
    process["terminal"] = tty
    if tty and not any(entry.startswith("TERM=") for entry in process["env"]):
        process["env"].append(TERM)
    return process


def command(config: api.ContainerConfig, image: ImageConfig) -> list[str]:
    """What the container runs: CRI ``command`` stands for the image's Entrypoint and ``args`` for its Cmd; a command
    without args leaves the image's Cmd out (Kubernetes: "Define a Command and Arguments for a Container").

    Raises InvalidArgument "no command specified" when nothing is left, or for a NUL in an argument.
    """
    entrypoint, arguments = list(config.command), list(config.args)
    if not entrypoint:
        entrypoint = list(image.entrypoint)
        arguments = arguments or list(image.cmd)
    argv = entrypoint + arguments
    if not argv or not argv[0]:
        raise InvalidArgument("no command specified: neither the container nor its image names one")
    return _without_nul(argv, "command and args")


def environment(config: api.ContainerConfig, image: ImageConfig, hostname: str, home: str) -> list[str]:
    """The "NAME=value" strings: PATH, HOSTNAME, TERM with a tty, the image's, the request's, HOME where none set it.

    A later value replaces an earlier one in its place. Raises InvalidArgument for a name that is empty or holds "=",
    for a NUL, and for a value that is not UTF-8, which the OCI spec (JSON) cannot carry.
    """
    values = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if config.tty:
        values["TERM"] = "xterm"
    for entry in image.env:
        name, separator, value = entry.partition("=")
        if name and separator:
            values[name] = value
    for pair in config.envs:
        values[_variable_name(pair.key)] = _variable_value(pair.key, pair.value)
    values.setdefault("HOME", home)
    return _without_nul([f"{name}={value}" for name, value in values.items()], "envs")


def _variable_name(key: str) -> str:
    if not key or "=" in key:
        raise InvalidArgument(f"envs: {key!r} is no name of an environment variable")
    return key


def _variable_value(key: str, value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgument(
            f"envs: the value of {key} is not UTF-8 (byte {error.start}), as the OCI spec needs"
        ) from None


def working_dir(config: api.ContainerConfig, image: ImageConfig) -> str:
    """The request's ``working_dir``, else the image's (a relative one counts from "/"), else "/".

    Raises InvalidArgument when the request's is not absolute.
    """
    wanted = config.working_dir
    if wanted and not wanted.startswith("/"):
        raise InvalidArgument(f"working_dir {wanted!r} is not an absolute path")
    return posixpath.join("/", wanted or image.working_dir)


def oom_score_adj(wanted: int, floor: int) -> int:
    """The value for OCI ``oomScoreAdj``: never below ``floor``, since the kernel refuses to lower it (proc(5)).

    Raises InvalidArgument outside -1000 … 1000.
    """
    if wanted not in OOM_SCORE_ADJ:
        raise InvalidArgument(f"resources.oom_score_adj {wanted} is outside -1000 … 1000")
    return max(wanted, floor)


def infra_user(security: api.LinuxSandboxSecurityContext) -> dict[str, Any]:
    """OCI ``process.user`` of a sandbox's infra process: numbers alone, for it has no passwd; root by default."""
    uid = users.checked_id(security.run_as_user.value, "run_as_user")
    gid = users.checked_id(security.run_as_group.value, "run_as_group")
    extra = tuple(users.checked_id(group, "supplemental_groups") for group in security.supplemental_groups)
    return user_document(User(uid, gid, extra, "/"))


def user_document(user: User) -> dict[str, Any]:
    """OCI ``process.user``."""
    return {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)}


def _without_nul(strings: Iterable[str], field: str) -> list[str]:
    checked = list(strings)
    for text in checked:
        if "\0" in text:
            raise InvalidArgument(f"{field}: {text!r} holds a NUL character")
    return checked
