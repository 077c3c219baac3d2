"""The main program that checks an unpacked layer or packs it again: ``python -m podyard.images.unpack.packer REQUEST``.

REQUEST is JSON: ``tree`` and ``record`` (paths), ``diff_id``, and ``output`` (the path of the archive to write, "" to
check only). It writes lines of JSON to standard output, as worker.py does; the result has ``problems`` (in words, what
is wrong with the tree) and ``size`` (bytes of the archive).

It opens the record and the output, then confines itself to the tree as the unpack worker does.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import time
from typing import Any

from podyard.errors import FailedPrecondition, Internal, PodyardError, ResourceExhausted
from podyard.images.unpack.paths import shown
from podyard.images.unpack.record import Entry, Record, Stretch, walk
from podyard.images.unpack.worker import confine_to, say
from podyard.linux import confine

PROBLEMS_LIMIT = 20
"""Problems that are told; one more says how many there are."""
_READ = 1 << 20
_REPORT = 0.1
_TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symbolic link"}


def main() -> None:
    """Check or pack one layer as the first argument asks for."""
    confine.isolate()
    run(json.loads(sys.argv[1]))


def run(request: dict[str, Any]) -> None:
    """Check or pack one layer, in a process that is isolated and of no other use afterwards."""
    try:
        say({"result": _run(request)})
    except PodyardError as error:
        say({"error": [error.status, str(error)]})


def _run(request: dict[str, Any]) -> dict[str, Any]:
    try:
        file = os.open(request["record"], os.O_RDONLY | os.O_CLOEXEC)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        output = os.open(request["output"], flags, 0o600) if request["output"] else None
    except OSError as error:
        raise Internal(f"cannot open {error.filename}: {error.strerror}") from error
    record = Record(file)
    confine_to([request["tree"]], (), (confine.CAP_DAC_OVERRIDE, confine.CAP_SYS_ADMIN))
    packer = _Packer(output)
    problem = packer.pack(record)
    if record.lost:
        raise FailedPrecondition("the layer's archive has two files of one name: it cannot be made again")
    if not problem and packer.digest() != request["diff_id"]:
        problem = f"its content has the digest {packer.digest()} instead of {request['diff_id']}"
    problems = _compared(record.listing(), {path: Entry(*fields) for path, fields in walk()})
    return {"problems": _told(([problem] if problem else []) + problems), "size": packer.size}


class _Packer:
    """Makes the archive, to hash it and, with ``output``, to write it."""

    def __init__(self, output: int | None) -> None:
        self.size = 0
        self._output = output
        self._hash = hashlib.sha256()
        self._next = 0.0
        self._file = -1
        self._path = b""

    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def pack(self, record: Record) -> str:
        """All of it; what keeps it from being made, or ""."""
        problem = ""
        for piece in record.pieces():
            # The record is read to its end all the same: the listing comes after.
            if not problem:
                problem = self._stretch(piece) if isinstance(piece, Stretch) else self._add(piece)
        if self._file >= 0:
            os.close(self._file)
        return problem

    def _stretch(self, stretch: Stretch) -> str:
        try:
            if stretch.path != self._path:
                if self._file >= 0:
                    os.close(self._file)
                    self._file = -1
                self._file = os.open(stretch.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                self._path = stretch.path
            at, end = stretch.start, stretch.start + stretch.length
            while at < end:
                data = os.pread(self._file, min(_READ, end - at), at)
                if not data:
                    return f"{shown(stretch.path)} is shorter than it was"
                at += len(data)
                self._add(data)
        except OSError as error:
            return f"{shown(stretch.path)} cannot be read: {error.strerror}"
        return ""

    def _add(self, data: bytes) -> str:
        self._hash.update(data)
        self.size += len(data)
        if self._output is not None:
            view = memoryview(data)
            try:
                while view:
                    view = view[os.write(self._output, view) :]
            except OSError as error:
                raise ResourceExhausted(f"the archive cannot be written: {error.strerror}") from error
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _REPORT
            say({"read": self.size})
        return ""


def _compared(expected: dict[bytes, Entry], found: dict[bytes, Entry]) -> list[str]:
    problems = []
    for path, entry in expected.items():
        there = found.get(path)
        if there is None:
            problems.append(f"{shown(path)} is missing")
        elif there != entry and (differences := _differences(entry, there, expected, found)):
            problems.append(f"{shown(path)} differs: {differences}")
    problems += [f"{shown(path)} is not of the layer" for path in found if path not in expected]
    return problems


def _differences(entry: Entry, there: Entry, expected: dict[bytes, Entry], found: dict[bytes, Entry]) -> str:
    if stat.S_IFMT(entry.mode) != stat.S_IFMT(there.mode):
        return f"it should be a {_type(entry.mode)} but is a {_type(there.mode)}"
    texts = []
    for name in Entry._fields:
        was, now = getattr(entry, name), getattr(there, name)
        if was == now or (name == "link" and _same_file(was, now, expected, found)):
            continue
        texts.append(f"mode {was & 0o7777:o} is {now & 0o7777:o}" if name == "mode" else f"{name} {was!r} is {now!r}")
    return ", ".join(texts)


def _same_file(was: bytes, now: bytes, expected: dict[bytes, Entry], found: dict[bytes, Entry]) -> bool:
    """Which of a file's names is the first depends on the order of the directory's entries."""
    return bool(was) and bool(now) and expected.get(now, _NONE).link == was and found.get(was, _NONE).link == now


_NONE = Entry(0, 0, 0, 0, 0, 0, b"", b"")


def _type(mode: int) -> str:
    return _TYPES.get(stat.S_IFMT(mode), "special file")


def _told(problems: list[str]) -> list[str]:
    more = len(problems) - PROBLEMS_LIMIT
    return [*problems[:PROBLEMS_LIMIT], *([f"{more} problems more"] if more > 0 else [])]


if __name__ == "__main__":
    main()
