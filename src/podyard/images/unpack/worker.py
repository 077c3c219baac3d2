"""The worker's main program: ``python -m podyard.images.unpack.worker REQUEST``.

REQUEST is JSON: ``blob`` and ``target`` (paths), ``diff_id``, ``limits`` (the fields of Limits), ``lower`` (paths of
the layers below, the topmost first), ``record`` (the path of the record to write, "" for none) and ``further`` (paths
of directories for layers on top of this one). The worker writes a line of JSON at a time to standard output:
``{"read": N}`` with the number of the blob's bytes read, and at the end of a layer either ``{"read": N, "result": …}``
with the fields of UnpackResult or ``{"error": [STATUS, TEXT]}`` with the gRPC status name of a podyard error. Anything
else is a bug, whose trace goes to standard error.

It opens the blob and the directories, then gives up everything else before it reads the first byte. The layers below
may be in the making still: it looks at them only once there is something to read on its standard input, or the end.

With ``further`` directories the standard input is a socket (SOCK_SEQPACKET), from which it takes the next layer when it
has unpacked one: ``{"diff_id": …}`` with descriptors of the blob and the record. It can only look at what it has
unpacked before then: a layer is safe from those on top of it.
"""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from podyard.errors import DataLoss, Internal, PodyardError, ResourceExhausted
from podyard.images.unpack.below import Below
from podyard.images.unpack.entries import failure
from podyard.images.unpack.limits import MESSAGE_LIMIT, Limits
from podyard.images.unpack.reader import members
from podyard.images.unpack.record import OPENED, Recorder
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
_REPORT = 0.1  # seconds between two reports of progress
_WAITING = 1.0  # likewise, while it waits for the layers below


class _Layer(NamedTuple):
    """Descriptors of a layer's blob and of the record to write, and the digest that it must have."""

    blob: int
    record: int | None
    diff_id: str

    def close(self) -> None:
        os.close(self.blob)
        if self.record is not None:
            os.close(self.record)


def main() -> None:
    """Unpack one layer as the first argument asks for."""
    confine.isolate()
    run(json.loads(sys.argv[1]))


def run(request: dict[str, Any]) -> None:
    """Unpack layers, in a process that is isolated and of no other use afterwards."""
    try:
        _run(request)
    except PodyardError as error:
        say({"error": [error.status, str(error)]})
    except MemoryError:
        text = f"unpacking the layer takes more than {_MEMORY >> 20} MiB of memory"
        say({"error": [ResourceExhausted.status, text]})


def _run(request: dict[str, Any]) -> None:
    try:
        blob = os.open(request["blob"], os.O_RDONLY | os.O_CLOEXEC)
        record = os.open(request["record"], OPENED, 0o600) if request["record"] else None
    except OSError as error:
        raise Internal(f"cannot open {error.filename}: {error.strerror}") from error
    decoders()  # no module can be loaded from inside the layer
    confined = confine_to([request["target"], *request["further"]], request["lower"], _CAPABILITIES)
    limits = Limits(**request["limits"])
    lower = list(confined.read_only)
    say(_unpack(_Layer(blob, record, request["diff_id"]), limits, lower, _wait))
    for _ in request["further"]:
        message, descriptors = _next_layer()
        if not descriptors:
            return
        lower.insert(0, confined.advance())
        blob, record = descriptors
        say(_unpack(_Layer(blob, record, message["diff_id"]), limits, lower, lambda _: None))


def _next_layer() -> tuple[dict[str, Any], list[int]]:
    """What is to be unpacked next; no descriptors when nothing is."""
    with socket.socket(fileno=os.dup(0)) as orders:
        while True:
            message, descriptors, _, _ = socket.recv_fds(orders, MESSAGE_LIMIT, 2)
            if descriptors or not message:
                return json.loads(message or b"{}"), descriptors


def _unpack(layer: _Layer, limits: Limits, lower: Sequence[int], wait: Callable[[_Report], None]) -> dict[str, Any]:
    """Unpack one layer into the working directory. ``wait`` returns when the layers below are whole."""
    report = _Report(os.fstat(layer.blob).st_size)
    recorder = None if layer.record is None else Recorder(layer.record)
    source = Source(layer.blob, limits, report, recorder)
    tree = Tree(source, Below(lower, lambda: wait(report)), limits, recorder)
    try:
        disinherit(b".")
        for member in members(source, limits):
            tree.add(member)
        digest = source.digest()
    except OSError as error:
        # Of what is between the members: the blob is read, and the record written.
        raise failure(b"the layer", error) from error
    if digest != layer.diff_id:
        raise DataLoss(
            f"the uncompressed layer has the digest {digest}; the image's configuration says {layer.diff_id}"
        )
    tree.finish()
    result = {
        "size": tree.size,
        "inodes": tree.inodes,
        "diff_id": digest,
        "left_out": tree.attributes.left_out,
        "record": _finished(recorder, tree.attributes.used),
        "disk": recorder.disk if recorder is not None else 0,
    }
    layer.close()
    return {"read": source.blob_read, "result": result}


def _finished(recorder: Recorder | None, attributes: bool) -> str:
    try:
        return recorder.finish(attributes) if recorder is not None else ""
    except OSError as error:
        raise failure(b"the layer's record", error) from error


def confine_to(roots: Sequence[str], lower: Sequence[str], capabilities: Sequence[int]) -> confine.Confined:
    """Give up all but some directories, one at a time, those below, and some capabilities. Raises Internal."""
    os.umask(0)
    try:
        return confine.confine(
            roots,
            capabilities,
            {
                resource.RLIMIT_AS: _MEMORY,
                resource.RLIMIT_CORE: 0,
                resource.RLIMIT_NOFILE: len(lower) + 2 * len(roots) + _DESCRIPTORS,
            },
            read_only=lower,
        )
    except OSError as error:
        raise Internal(
            f"the unpack worker cannot confine itself to {roots[0]}: {error.strerror} ({error.filename}); it must run "
            "as root with CAP_SYS_ADMIN and CAP_SYS_CHROOT, on Linux 5.12 or newer"
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
    """Wait until standard input tells something."""
    while not select.select([0], [], [], _WAITING)[0]:
        report.again()


def say(message: dict[str, Any]) -> None:
    """Tell the daemon something."""
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    main()
