"""Namespaces that live without a process: each is pinned by a bind mount of its file (namespaces(7)).

The work is done by a thread of its own that leaves the daemon's namespaces and ends afterwards: no helper process, and
sysctls, the host name and the loopback interface are set from inside before anybody else can look in. Those of a user
namespace of its own are made with it, by the tool that ``userns`` needs; the thread then enters them.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from podyard.errors import InvalidArgument
from podyard.linux import libc, mounts, userns

_FLAGS = {"network": libc.CLONE_NEWNET, "ipc": libc.CLONE_NEWIPC, "uts": libc.CLONE_NEWUTS}
_PROC_NAMES = {"network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid", "user": "user"}

TOOL_LIMIT = 10.0
"""Seconds for a host tool that enters a namespace; it takes milliseconds."""

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1


@dataclass(frozen=True)
class NewNamespaces:
    """What to make: ``kinds`` out of network, ipc and uts; host name and sysctls are set inside.

    ``id_map``: that of a new user namespace that the others belong to; None leaves them to the host's.
    """

    kinds: frozenset[str]
    hostname: str = ""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    id_map: userns.IdMap | None = None


def pin(folder: Path, wanted: NewNamespaces) -> None:
    """Make new namespaces and pin each to ``folder/<kind>``. The loopback interface of a new network is up.

    Raises InvalidArgument when a sysctl or an id map is refused, FailedPrecondition when the host makes no user
    namespaces, OSError for anything else. What was pinned before a failure stays for ``unpin``.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if wanted.id_map is not None:
        with userns.held(wanted.id_map, wanted.kinds) as pid:
            _bind(f"/proc/{pid}/ns/user", folder / "user")
            own = {name: value for name, value in wanted.sysctls.items() if _path_of_sysctl(name).startswith("net/")}
            if wanted.kinds:
                _in_a_thread(lambda: _join_and_pin(folder, replace(wanted, sysctls=own), pid))
            for name in wanted.sysctls.keys() - own.keys():
                _set_sysctl_inside(pid, name, wanted.sysctls[name])
    elif wanted.kinds:
        _in_a_thread(lambda: _unshare_and_pin(folder, wanted))


def pin_of_process(folder: Path, kind: str, pid: int) -> None:
    """Pin a namespace of a running process to ``folder/<kind>``."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _bind(f"/proc/{pid}/ns/{_PROC_NAMES[kind]}", folder / kind)


def set_hostname(pin: Path, hostname: str) -> None:
    """Set the host name of a pinned UTS namespace. Blocks; raises OSError when there is none at ``pin``."""

    def enter_and_set() -> None:
        with pin.open("rb") as file:
            libc.setns(file.fileno(), libc.CLONE_NEWUTS)
        socket.sethostname(hostname)

    _in_a_thread(enter_and_set)


def unpin(folder: Path) -> None:
    """Take away all pins in ``folder``, and the folder. What is not there is fine."""
    mounts.remove_tree(folder)


def is_pinned(path: Path) -> bool:
    """Whether a namespace is mounted at ``path``: a pin whose mount is gone is an empty file on another device."""
    try:
        return path.stat().st_dev == Path("/proc/self/ns/net").stat().st_dev
    except OSError:
        return False


def _unshare_and_pin(folder: Path, wanted: NewNamespaces) -> None:
    flags = 0
    for kind in wanted.kinds:
        flags |= _FLAGS[kind]
    libc.unshare(flags)
    _set_up_and_pin(folder, wanted)


def _join_and_pin(folder: Path, wanted: NewNamespaces, pid: int) -> None:
    for kind in wanted.kinds:
        with open(f"/proc/{pid}/ns/{_PROC_NAMES[kind]}", "rb") as file:
            libc.setns(file.fileno(), _FLAGS[kind])
    _set_up_and_pin(folder, wanted)


def _set_up_and_pin(folder: Path, wanted: NewNamespaces) -> None:
    if "uts" in wanted.kinds and wanted.hostname:
        socket.sethostname(wanted.hostname)
    if "network" in wanted.kinds:
        _loopback_up()
    for name, value in wanted.sysctls.items():
        _set_sysctl(name, value)
    for kind in sorted(wanted.kinds):
        _bind(f"/proc/thread-self/ns/{_PROC_NAMES[kind]}", folder / kind)


def _bind(source: str, target: Path) -> None:
    target.touch(mode=0o400)
    mounts.bind(source, target)


def _loopback_up() -> None:
    """Set IFF_UP on lo (netdevice(7)); the kernel gives it its addresses by itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sh22x", b"lo", 0))
        (flags,) = struct.unpack_from("16xh", request)
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | _IFF_UP))


def _set_sysctl(name: str, value: str) -> None:
    try:
        Path("/proc/sys", _path_of_sysctl(name)).write_text(value, encoding="utf-8")
    except OSError as error:
        raise InvalidArgument(f"cannot set the sysctl {name}={value}: {error.strerror}") from error


def _set_sysctl_inside(pid: int, name: str, value: str) -> None:
    """Set a sysctl as the root of a process' user namespace: those of an IPC namespace obey nobody else."""
    argv = ["nsenter", f"--target={pid}", "--user", "--ipc", "--", "tee", f"/proc/sys/{_path_of_sysctl(name)}"]
    done = subprocess.run(argv, input=value.encode(), capture_output=True, timeout=TOOL_LIMIT, check=False)
    if done.returncode != 0:
        why = done.stderr.decode("utf-8", "replace").strip().rpartition(": ")[2]
        raise InvalidArgument(f"cannot set the sysctl {name}={value}: {why}")


def _path_of_sysctl(name: str) -> str:
    # Both separators are in use (sysctl.d(5)); what comes first tells which one separates.
    first = next((char for char in name if char in "./"), ".")
    return name if first == "/" else name.translate(str.maketrans("./", "/."))


def _in_a_thread(action: Callable[[], None]) -> None:
    """Run ``action`` in a thread that ends afterwards: a pool's thread would carry the namespaces on to other work."""
    failure: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:  # handed to the caller below
            failure.append(error)

    thread = threading.Thread(target=run, name="namespaces")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
