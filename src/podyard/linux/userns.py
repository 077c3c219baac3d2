"""User namespaces: their maps of ids, and making one (user_namespaces(7)).

A process with threads cannot enter a user namespace, and its maps are written from outside. So a host tool unshares,
waits on its standard input while podyard writes the maps and pins what it wants, and ends with that pipe, also when
podyard dies.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from podyard.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument

START_LIMIT = 10.0
"""Seconds for the tool to unshare; it takes milliseconds."""

RANGES_LIMIT = 340
"""Lines that the kernel takes in one map."""

OVERFLOW = 2**32 - 1
"""(uid_t) -1 is no id; ids are below it."""

_OPTIONS = {"network": "--net", "ipc": "--ipc", "uts": "--uts"}


@dataclass(frozen=True)
class Range:
    """``length`` ids, from ``inside`` on in the namespace and from ``outside`` on out of it."""

    inside: int
    outside: int
    length: int


@dataclass(frozen=True)
class IdMap:
    """Which ids of the host stand behind those of a user namespace, or of an idmapped mount."""

    uids: tuple[Range, ...]
    gids: tuple[Range, ...]

    @property
    def root(self) -> tuple[int, int]:
        """Uid and gid, on the host, of the namespace's root. Raises ValueError where the map leaves it out."""
        uid, gid = self.uid(0), self.gid(0)
        if uid is None or gid is None:
            raise ValueError("the map has no root")
        return uid, gid

    def uid(self, inside: int) -> int | None:
        """The host's uid; None where the map has none."""
        return _mapped(self.uids, inside)

    def gid(self, inside: int) -> int | None:
        """The host's gid; None where the map has none."""
        return _mapped(self.gids, inside)


def check(ranges: Sequence[Range], field: str) -> tuple[Range, ...]:
    """The ranges of a map as the kernel takes them.

    Raises InvalidArgument, naming the field: none at all, empty ones, too many, and those that overlap or end too high.
    """
    if not ranges:
        raise InvalidArgument(f"{field} is empty: a mapping needs at least one range")
    if len(ranges) > RANGES_LIMIT:
        raise InvalidArgument(f"{field} has {len(ranges)} ranges, and the kernel takes {RANGES_LIMIT}")
    for entry in ranges:
        if entry.length <= 0:
            raise InvalidArgument(f"{field}: the range of container_id {entry.inside} has the length {entry.length}")
        if max(entry.inside, entry.outside) + entry.length > OVERFLOW:
            raise InvalidArgument(f"{field}: the range of container_id {entry.inside} ends above {OVERFLOW - 1}")
    for side, what in (("inside", "container_id"), ("outside", "host_id")):
        spans = sorted((getattr(entry, side), entry.length) for entry in ranges)
        for (start, length), (following, _) in pairwise(spans):
            if start + length > following:
                raise InvalidArgument(f"{field}: two ranges have the {what} {following}")
    return tuple(ranges)


@contextlib.contextmanager
def held(id_map: IdMap, kinds: Iterable[str] = ()) -> Iterator[int]:
    """A process in a new user namespace with these maps, and in new namespaces of ``kinds`` that belong to it.

    Yields its pid; it ends with the block. Blocking: some milliseconds.

    Raises FailedPrecondition when the host makes no user namespaces, InvalidArgument when it refuses the maps.
    """
    argv = ["unshare", "--user", *(_OPTIONS[kind] for kind in sorted(kinds)), "--", "cat"]
    try:
        tool = subprocess.Popen(
            argv,
            bufsize=0,  # what a failed write left in a buffer would fail again at the close
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise FailedPrecondition(f"cannot run unshare: {error.strerror}; install util-linux") from error
    with tool:
        try:
            _await_unshared(tool)
            _write_map(tool.pid, "uid_map", id_map.uids)
            _write_map(tool.pid, "gid_map", id_map.gids)
            yield tool.pid
        finally:
            tool.kill()


@contextlib.contextmanager
def opened(id_map: IdMap) -> Iterator[int]:
    """A descriptor of a new user namespace with these maps, for an idmapped mount. Raises as ``held`` does."""
    with held(id_map) as pid:
        descriptor = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _await_unshared(tool: subprocess.Popen[bytes]) -> None:
    """cat runs once unshare is done, and then answers."""
    assert tool.stdin is not None
    assert tool.stdout is not None
    assert tool.stderr is not None
    with contextlib.suppress(BrokenPipeError):
        tool.stdin.write(b"\n")
    readable, _, _ = select.select([tool.stdout], [], [], START_LIMIT)
    if not readable:
        raise DeadlineExceeded(f"unshare made no user namespace within {START_LIMIT:g} s")
    if not tool.stdout.read(1):
        why = tool.stderr.read(4096).decode("utf-8", "replace").strip()
        raise FailedPrecondition(f"this host makes no user namespaces: {why}")


def _write_map(pid: int, name: str, ranges: Sequence[Range]) -> None:
    # One write: the kernel takes a map whole, once.
    text = "".join(f"{entry.inside} {entry.outside} {entry.length}\n" for entry in ranges)
    try:
        Path(f"/proc/{pid}/{name}").write_text(text, encoding="ascii")
    except OSError as error:
        raise InvalidArgument(f"the kernel refuses the {name} {text.strip()!r}: {error.strerror}") from error


def _mapped(ranges: Iterable[Range], inside: int) -> int | None:
    for entry in ranges:
        if entry.inside <= inside < entry.inside + entry.length:
            return entry.outside + inside - entry.inside
    return None
