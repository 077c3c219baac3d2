"""The nursery: a process that forks workers, so that each starts in milliseconds: ``python -m … nursery PARENT``.

It has loaded all that workers need, and reads nothing that an image's author wrote. A few workers are forked ahead, and
wait for what they have to do. The nursery's standard input is a socket (SOCK_SEQPACKET). A message is JSON:
``{"run": "worker"|"packer", "request": {…}}`` with three descriptors, the worker's standard input, output and error, is
answered by ``{"pid": N}`` with the worker's pidfd; ``{"reap": N}``, sent once that worker has ended, by ``{"code": N}``
(negative: the signal). It ends when the other end of the socket is closed, and its workers with it. PARENT: the process
that has started it.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
from collections import deque
from collections.abc import Sequence
from typing import NoReturn

from podyard.images.unpack import packer, worker
from podyard.images.unpack.limits import MESSAGE_LIMIT
from podyard.images.unpack.stream import decoders
from podyard.linux import confine, libc

AHEAD = 4
"""Workers that are forked at once."""
_PROGRAMS = {"worker": worker.run, "packer": packer.run}


def main() -> None:
    """Serve until the socket is closed."""
    libc.die_with_parent(int(sys.argv[1]))
    decoders()
    # Once for all workers: it is most of what confining one of them takes.
    confine.isolate()
    # What is here now stays: no worker's collector writes to it, so that its pages stay shared.
    gc.freeze()
    with socket.socket(fileno=0) as channel:
        waiting: deque[_Waiting] = deque()
        while True:
            if not waiting:
                _fork(waiting, channel, ())
            try:
                message, descriptors, _, _ = socket.recv_fds(channel, MESSAGE_LIMIT, 3)
            except ConnectionResetError:
                return  # the daemon has ended before it has read all answers
            if not message:
                return
            order = json.loads(message)
            if "reap" in order:
                _, status = os.waitpid(order["reap"], 0)
                channel.send(json.dumps({"code": os.waitstatus_to_exitcode(status)}).encode())
                continue
            worker = _ready(waiting, channel, message, descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            worker.introduce(channel)


class _Waiting:
    """A worker that has nothing to do yet.

    ``others``, ``descriptors``: what the nursery has open and is none of its business.
    """

    def __init__(self, others: Sequence[socket.socket], descriptors: Sequence[int]) -> None:
        self.socket, orders = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            for other in (self.socket, *others):
                other.close()
            for descriptor in descriptors:
                os.close(descriptor)
            _be(orders, parent)
        orders.close()

    def begin(self, message: bytes, descriptors: Sequence[int]) -> None:
        """Let it work. Raises BrokenPipeError when it has been killed meanwhile."""
        with self.socket:
            try:
                socket.send_fds(self.socket, [message], descriptors)
            except BrokenPipeError:
                os.waitpid(self._pid, 0)
                raise

    def introduce(self, channel: socket.socket) -> None:
        """Tell who it is."""
        pidfd = os.pidfd_open(self._pid)
        socket.send_fds(channel, [json.dumps({"pid": self._pid}).encode()], [pidfd])
        os.close(pidfd)


def _fork(waiting: deque[_Waiting], channel: socket.socket, descriptors: Sequence[int]) -> None:
    # Together: after a fork each page is copied when it is first written to, which is more work than the fork.
    for _ in range(AHEAD):
        waiting.append(_Waiting([channel, *(other.socket for other in waiting)], descriptors))


def _ready(waiting: deque[_Waiting], channel: socket.socket, message: bytes, descriptors: Sequence[int]) -> _Waiting:
    """A worker that has taken the message; those that were killed while they waited are passed over."""
    while True:
        worker = waiting.popleft()
        try:
            worker.begin(message, descriptors)
        except BrokenPipeError:
            if not waiting:
                _fork(waiting, channel, descriptors)
        else:
            return worker


def _be(orders: socket.socket, parent: int) -> NoReturn:
    """Be a worker, in the forked process."""
    code = 1
    try:
        libc.die_with_parent(parent)
        with orders:
            message, descriptors, _, _ = socket.recv_fds(orders, MESSAGE_LIMIT, 3)
        if message:
            for target, descriptor in enumerate(descriptors):
                if descriptor != target:
                    os.dup2(descriptor, target)
                    os.close(descriptor)
            order = json.loads(message)
            _PROGRAMS[order["run"]](order["request"])
        code = 0
    except BaseException:
        # What a program of its own would leave on standard error.
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
