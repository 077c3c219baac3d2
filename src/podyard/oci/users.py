"""Which user and groups a process runs as: CRI security context, image config and the rootfs' passwd and group files.

The files are the image's, so they are untrusted: opened inside the rootfs whatever links they are, read up to a limit,
and lines of another form are skipped.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument
from podyard.linux.resolve import open_in_root
from podyard.linux.userns import IdMap

FILE_LIMIT = 4 << 20
"""Bytes of passwd or group that are read; a larger file is refused."""

MAX_ID = 2**31 - 1
"""The highest uid or gid: crun and runc take no more, and containerd allows no more."""


@dataclass(frozen=True)
class User:
    """``groups``: supplementary groups, the primary one first. ``home``: for the variable HOME."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


@dataclass(frozen=True)
class _Account:
    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True)
class _Group:
    name: str
    gid: int
    members: tuple[str, ...]


def resolve_user(security: api.LinuxContainerSecurityContext, image_user: str, rootfs: Path) -> User:
    """The user of a container. Blocking: reads two files of the rootfs.

    The request's ``run_as_username`` or ``run_as_user`` (with ``run_as_group``) stands before the image's ``User``
    ("uid", "name", "uid:gid", "name:group" …; OCI image spec, config), and root is the last resort. A uid that passwd
    does not know is fine: its group is then 0. Supplementary groups: the primary one, with policy Merge those whose
    group entry lists the user, and the request's ``supplemental_groups``.

    Raises InvalidArgument for a group without a user, an id out of range and a name that the image does not know,
    FailedPrecondition when a file cannot be read.
    """
    wanted = _wanted(security, image_user)
    name, separator, group = wanted.partition(":")
    name = name or "0"
    accounts = list(_accounts(rootfs))
    account = _find_account(name, accounts)
    gid = _find_gid(group, rootfs) if separator and group else account.gid
    groups = [gid]
    if security.supplemental_groups_policy == api.Merge and account.name:
        groups += [entry.gid for entry in _groups(rootfs) if account.name in entry.members]
    elif security.supplemental_groups_policy not in {api.Merge, api.Strict}:
        raise InvalidArgument(f"there is no supplemental_groups_policy {security.supplemental_groups_policy}")
    groups += [checked_id(extra, "supplemental_groups") for extra in security.supplemental_groups]
    return User(account.uid, gid, tuple(dict.fromkeys(groups)), account.home or "/")


def check_mapped(user: User, id_map: IdMap) -> None:
    """Raise InvalidArgument when a user or one of its groups has no id in the pod's user namespace."""
    if id_map.uid(user.uid) is None:
        raise InvalidArgument(f"the container's user {user.uid} is outside the mappings of its pod's user namespace")
    for gid in (user.gid, *user.groups):
        if id_map.gid(gid) is None:
            raise InvalidArgument(f"the container's group {gid} is outside the mappings of its pod's user namespace")


def _wanted(security: api.LinuxContainerSecurityContext, image_user: str) -> str:
    """The user as "name", "uid", "name:gid" or "uid:gid"."""
    if security.run_as_username:
        user = security.run_as_username
        if ":" in user:
            raise InvalidArgument(f"run_as_username {user!r} holds a colon: a group belongs in run_as_group")
    elif security.HasField("run_as_user"):
        user = str(checked_id(security.run_as_user.value, "run_as_user"))
    elif security.HasField("run_as_group"):
        raise InvalidArgument("run_as_group is set without run_as_user or run_as_username")
    else:
        return image_user or "0"
    if not security.HasField("run_as_group"):
        return user
    return f"{user}:{checked_id(security.run_as_group.value, 'run_as_group')}"


def _find_account(name: str, accounts: list[_Account]) -> _Account:
    """The account of a name or a uid; a uid need not have one.

    Digits are always a uid: an image could name its root account "1000".
    """
    uid = _number(name, "user")
    if uid is not None:
        return next((account for account in accounts if account.uid == uid), _Account("", uid, 0, "/"))
    for account in accounts:
        if account.name == name:
            return account
    raise InvalidArgument(f"user {name!r} is not in /etc/passwd of the image")


def _find_gid(name: str, rootfs: Path) -> int:
    gid = _number(name, "group")
    if gid is not None:
        return gid
    found = next((group for group in _groups(rootfs) if group.name == name), None)
    if found is None:
        raise InvalidArgument(f"group {name!r} is not in /etc/group of the image")
    return found.gid


def _number(text: str, field: str) -> int | None:
    """The id that the text spells, None when it is a name."""
    if not (text.isascii() and text.isdigit()):
        return None
    if len(text) > len(str(MAX_ID)):
        raise InvalidArgument(f"{field} {text[:20]!r} is outside 0 … {MAX_ID}")
    return checked_id(int(text), field)


def checked_id(value: int, field: str) -> int:
    """An id that the kernel and the OCI runtimes take. Raises InvalidArgument for any other, naming the field."""
    if not 0 <= value <= MAX_ID:
        raise InvalidArgument(f"{field} {value} is outside 0 … {MAX_ID}")
    return value


def _accounts(rootfs: Path) -> Iterator[_Account]:
    """The usable lines of passwd(5): name:password:uid:gid:gecos:home:shell."""
    for fields in _lines(rootfs, "etc/passwd"):
        uid, gid = _id(fields, 2), _id(fields, 3)
        if uid is not None and gid is not None:
            yield _Account(fields[0], uid, gid, fields[5] if len(fields) > 5 else "")


def _groups(rootfs: Path) -> Iterator[_Group]:
    """The usable lines of group(5): name:password:gid:member,member."""
    for fields in _lines(rootfs, "etc/group"):
        gid = _id(fields, 2)
        if gid is not None:
            yield _Group(fields[0], gid, tuple(fields[3].split(",")) if len(fields) > 3 else ())


def _lines(rootfs: Path, name: str) -> Iterator[list[str]]:
    # Not splitlines(): it takes a form feed and others for the end of a line, which no other reader of the file does.
    for line in _read(rootfs, name).split("\n"):
        fields = line.strip().split(":")
        if fields[0] and not fields[0].startswith("#"):
            yield fields


def _id(fields: list[str], index: int) -> int | None:
    text = fields[index] if index < len(fields) else ""
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(MAX_ID)):
        return None
    return int(text) if int(text) <= MAX_ID else None


def _read(rootfs: Path, name: str) -> str:
    """The text of a file of the rootfs, "" when there is none.

    Raises FailedPrecondition when it is no plain file, too large, or cannot be reached.
    """
    where = f"/{name} of the image"
    try:
        # O_PATH first: opening a device or a named pipe could block or act.
        found = open_in_root(rootfs, name, os.O_PATH)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        why = "its links lead nowhere" if error.errno == errno.ELOOP else error.strerror
        raise FailedPrecondition(f"cannot read {where}: {why}") from error
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise FailedPrecondition(f"{where} is not a plain file")
        with open(f"/proc/self/fd/{found}", "rb") as file:
            content = file.read(FILE_LIMIT + 1)
    finally:
        os.close(found)
    if len(content) > FILE_LIMIT:
        raise FailedPrecondition(f"{where} has more than {FILE_LIMIT} bytes")
    return content.decode("utf-8", "replace")
