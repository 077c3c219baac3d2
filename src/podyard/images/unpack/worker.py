"""The worker's main program: ``python -m podyard.images.unpack.worker REQUEST``.

REQUEST is JSON: ``blob`` and ``target`` (paths), ``diff_id``, ``limits`` (the fields of Limits), ``lower`` (paths of
the layers below, the topmost first) and ``record`` (the path of the record to write, "" for none). The worker writes a
line of JSON at a time to standard output: ``{"read": N}`` with the number of the blob's bytes read, and at the end
either ``{"read": N, "result": {…}}`` with the fields of UnpackResult or ``{"error": [STATUS, TEXT]}`` with the gRPC
status name of a podyard error. Anything else is a bug, whose trace goes to standard error.

It opens the blob and the directories, then gives up everything else before it reads the first byte. The layers below
may be in the making still: it looks at them only once its standard input has ended.
"""

from __future__ import annotations

import json
import os
import resource
import select
import sys
import time
from collections.abc import Sequence
from typing import Any

from podyard.errors import DataLoss, Internal, PodyardError, ResourceExhausted
from podyard.images.unpack.below import Below
from podyard.images.unpack.entries import failure
from podyard.images.unpack.limits import Limits
from podyard.images.unpack.reader import members
from podyard.images.unpack.record import Recorder
from podyard.images.unpack.stream import READ, Source, decoders
from podyard.images.unpack.tree import Tree
from podyard.linux import confine
from podyard.linux.folders import disinherit

_CAPABILITIES = (
    confine.CAP_CHOWN,
    confine.CAP_DAC_OVERRIDE,
    confine.CAP_FOWNER,
    confine.CAP_FSETID,
    confine.CAP_MKNOD,
    confine.CAP_SETFCAP,
    confine.CAP_SYS_ADMIN,  # attributes named trusted.*
)
_MEMORY = 1 << 30  # a zstd window is 128 MiB at most
_DESCRIPTORS = 64  # besides those that are open
_RECORD = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
_REPORT = 0.1  # seconds between two reports of progress
_WAITING = 1.0  # likewise, while it waits for the layers below


def main() -> None:
    """Unpack one layer as the first argument asks for."""
    confine.isolate()
    run(json.loads(sys.argv[1]))


def run(request: dict[str, Any]) -> None:
    """Unpack one layer, in a process that is isolated and of no other use afterwards."""
    try:
        say(_unpack(request))
    except PodyardError as error:
        say({"error": [error.status, str(error)]})
    except MemoryError:
        text = f"unpacking the layer takes more than {_MEMORY >> 20} MiB of memory"
        say({"error": [ResourceExhausted.status, text]})


def _unpack(request: dict[str, Any]) -> dict[str, Any]:
    limits = Limits(**request["limits"])
    diff_id = request["diff_id"]
    try:
        blob = os.open(request["blob"], os.O_RDONLY | os.O_CLOEXEC)
        lower = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in request["lower"]]
        record = os.open(request["record"], _RECORD, 0o600) if request["record"] else None
    except OSError as error:
        raise Internal(f"cannot open {error.filename}: {error.strerror}") from error
    decoders()  # no module can be loaded from inside the layer
    recorder = None if record is None else Recorder(record)
    confine_to(request["target"], lower, _CAPABILITIES)
    report = _Report(os.fstat(blob).st_size)
    source = Source(blob, limits, report, recorder)
    tree = Tree(source, Below(lower, lambda: _wait(report)), limits, recorder)
    try:
        disinherit(b".")
        for member in members(source, limits):
            tree.add(member)
        digest = source.digest()
    except OSError as error:
        # Of what is between the members: the blob is read, and the record written.
        raise failure(b"the layer", error) from error
    if digest != diff_id:
        raise DataLoss(f"the uncompressed layer has the digest {digest}; the image's configuration says {diff_id}")
    tree.finish()
    result = {
        "size": tree.size,
        "inodes": tree.inodes,
        "diff_id": digest,
        "left_out": tree.attributes.left_out,
        "record": _finished(recorder, tree.attributes.used),
        "disk": recorder.disk if recorder is not None else 0,
    }
    return {"read": source.blob_read, "result": result}


def _finished(recorder: Recorder | None, attributes: bool) -> str:
    try:
        return recorder.finish(attributes) if recorder is not None else ""
    except OSError as error:
        raise failure(b"the layer's record", error) from error


def confine_to(target: str, lower: Sequence[int], capabilities: Sequence[int]) -> None:
    """Give up all but a directory, the layers below it, and some capabilities. Raises Internal."""
    os.umask(0)
    try:
        confine.confine(
            target,
            capabilities,
            {
                resource.RLIMIT_AS: _MEMORY,
                resource.RLIMIT_CORE: 0,
                resource.RLIMIT_NOFILE: len(lower) + _DESCRIPTORS,
            },
            read_only=lower,
        )
    except OSError as error:
        raise Internal(
            f"the unpack worker cannot confine itself to {target}: {error.strerror} ({error.filename}); it must run as "
            "root with CAP_SYS_ADMIN and CAP_SYS_CHROOT"
        ) from error


class _Report:
    """Tells how far the blob of ``size`` bytes is read, not too often.

    One that is read in one piece is mostly done at once: of it the result tells.
    """

    def __init__(self, size: int) -> None:
        self._next = time.monotonic() + _REPORT if 0 < size <= READ else 0.0
        self._read = 0

    def __call__(self, read: int) -> None:
        self._read = read
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _REPORT
            self.again()

    def again(self) -> None:
        """Tell the last once more, as a sign of life."""
        say({"read": self._read})


def _wait(report: _Report) -> None:
    """Wait for the end of standard input."""
    while not select.select([0], [], [], _WAITING)[0]:
        report.again()


def say(message: dict[str, Any]) -> None:
    """Tell the daemon something."""
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    main()
