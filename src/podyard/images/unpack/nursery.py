"""The nursery: a process that forks workers, so that each starts in milliseconds: ``python -m … nursery PARENT``.

It has loaded all that workers need, and reads nothing that an image's author wrote. Its standard input is a socket
(SOCK_SEQPACKET). A message is JSON: ``{"run": "worker"|"packer", "request": {…}}`` with two descriptors, the worker's
standard output and error, is answered by ``{"pid": N}`` with the worker's pidfd; ``{"reap": N}``, sent once that worker
has ended, by ``{"code": N}`` (negative: the signal). It ends when the other end of the socket is closed, and its
workers with it. PARENT: the process that has started it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import traceback
from typing import Any, NoReturn

from podyard.images.unpack import packer, worker
from podyard.images.unpack.limits import MESSAGE_LIMIT
from podyard.images.unpack.stream import decoders
from podyard.linux import confine, libc

_PROGRAMS = {"worker": worker.run, "packer": packer.run}


def main() -> None:
    """Serve until the socket is closed."""
    libc.die_with_parent(int(sys.argv[1]))
    decoders()
    # Once for all workers: it is most of what confining one of them takes.
    confine.isolate()
    with socket.socket(fileno=0) as channel:
        while True:
            message, descriptors, _, _ = socket.recv_fds(channel, MESSAGE_LIMIT, 2)
            if not message:
                return
            order = json.loads(message)
            if "reap" in order:
                _, status = os.waitpid(order["reap"], 0)
                channel.send(json.dumps({"code": os.waitstatus_to_exitcode(status)}).encode())
            else:
                _fork(channel, order, descriptors)


def _fork(channel: socket.socket, order: dict[str, Any], descriptors: list[int]) -> None:
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _be(order, descriptors, channel, parent)
    for descriptor in descriptors:
        os.close(descriptor)
    pidfd = os.pidfd_open(pid)
    socket.send_fds(channel, [json.dumps({"pid": pid}).encode()], [pidfd])
    os.close(pidfd)


def _be(order: dict[str, Any], descriptors: list[int], channel: socket.socket, parent: int) -> NoReturn:
    """Be a worker, in the forked process."""
    code = 1
    try:
        libc.die_with_parent(parent)
        channel.close()
        for target, descriptor in enumerate(descriptors, start=1):
            os.dup2(descriptor, target)
            os.close(descriptor)
        _PROGRAMS[order["run"]](order["request"])
        code = 0
    except BaseException:
        # What a program of its own would leave on standard error.
        os.write(2, traceback.format_exc().encode(errors="replace"))
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
