"""systemd-logind itself on a message bus of its own. Only systemd's manager is the tests': it is asked to shut down,
says that it cannot, and remembers that it was asked."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.patience import PATIENCE

LOGIND = Path("/lib/systemd/systemd-logind")
NEEDED = [
    pytest.mark.host,
    pytest.mark.skipif(not LOGIND.exists(), reason="systemd-logind is not installed"),
    pytest.mark.skipif(Path("/run/systemd/system").exists(), reason="this machine has a logind that is at work"),
]
"""The marks of tests that use it."""
LIMIT = 20.0 * PATIENCE
_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
<allow user="*"/></policy></busconfig>
"""
# A mount namespace of its own: what logind writes below /run is seen by nobody else, and goes with it.
_LOGIND = """
mkdir -p /run/systemd
mount -t tmpfs tmpfs /run/systemd
mkdir /run/systemd/logind.conf.d
printf '[Login]\\nInhibitDelayMaxSec=600\\n' > /run/systemd/logind.conf.d/tests.conf
exec "$0"
"""
_MANAGER = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
_CALL, _RETURN, _ERROR = 1, 2, 3
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _DESTINATION, _SENDER, _SIGNATURE = range(1, 9)


class Manager(threading.Thread):
    """org.freedesktop.systemd1 on the bus: the messages are those of the D-Bus specification."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.asked = threading.Event()
        """Set when a unit is to be started: nothing holds the shutdown up any more."""
        self._serial = 0
        self._bus = socket.socket(socket.AF_UNIX)
        self._bus.settimeout(LIMIT)
        self._bus.connect(str(path))
        self._bus.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
        assert self._bus.recv(1024).startswith(b"OK")
        self._bus.sendall(b"BEGIN\r\n")
        self._ask("Hello", b"", "")
        self._ask("RequestName", _text("org.freedesktop.systemd1") + bytes(3 + 4), "su")  # no flags
        self._bus.settimeout(None)

    def close(self) -> None:
        """After the bus has ended."""
        self.join(LIMIT)
        self._bus.close()

    def run(self) -> None:
        """Answer until the bus ends."""
        try:
            while True:
                kind, serial, fields = self._message()
                if kind == _CALL:
                    self._answer(serial, fields)
        except (OSError, EOFError):
            return

    def _answer(self, serial: int, fields: dict[int, str]) -> None:
        reply: dict[int, str | int] = {_REPLY_SERIAL: serial, _DESTINATION: fields[_SENDER]}
        if fields[_MEMBER] == "Get":  # the load state of the unit that shuts down
            self._send(_RETURN, {**reply, _SIGNATURE: "v"}, b"\1s\0\0" + _text("loaded"))
        elif fields[_MEMBER] == "StartUnit":
            self.asked.set()
            self._send(_ERROR, {**reply, _ERROR_NAME: "org.example.No", _SIGNATURE: "s"}, _text("not here"))
        else:
            self._send(_RETURN, reply, b"")

    def _ask(self, member: str, body: bytes, signature: str) -> None:
        bus = "org.freedesktop.DBus"
        fields: dict[int, str | int] = {_PATH: "/org/freedesktop/DBus", _INTERFACE: bus, _MEMBER: member}
        self._send(_CALL, {**fields, _DESTINATION: bus, **({_SIGNATURE: signature} if signature else {})}, body)
        while self._message()[0] != _RETURN:
            pass

    def _send(self, kind: int, fields: dict[int, str | int], body: bytes) -> None:
        self._serial += 1
        found = b""
        for code, value in fields.items():
            found += b"\0" * (-len(found) % 8)
            if isinstance(value, int):
                found += struct.pack("<B2sBI", code, b"\1u", 0, value)
            elif code == _SIGNATURE:
                found += struct.pack("<B2sBB", code, b"\1g", 0, len(value)) + value.encode() + b"\0"
            else:
                found += struct.pack("<B2sB", code, b"\1o" if code == _PATH else b"\1s", 0) + _text(value)
        header = struct.pack("<BBBBIII", ord("l"), kind, 0, 1, len(body), self._serial, len(found)) + found
        self._bus.sendall(header + b"\0" * (-len(header) % 8) + body)

    def _message(self) -> tuple[int, int, dict[int, str]]:
        """A message's type, serial and the texts of its header."""
        start = self._exactly(16)
        _, kind, _, _, length, serial, size = struct.unpack("<BBBBIII", start)
        header = self._exactly(size + -size % 8)
        self._exactly(length)
        fields: dict[int, str] = {}
        at = 0
        while at < size:
            at += -at % 8
            code, sign = header[at], chr(header[at + 2])
            at += 4
            if sign in "so":
                end = at + 4 + struct.unpack_from("<I", header, at)[0]
                fields[code] = header[at + 4 : end].decode()
                at = end + 1
            elif sign == "g":
                at += header[at] + 2
            else:
                at += 4
        return kind, serial, fields

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            if not (more := self._bus.recv(size - len(data))):
                raise EOFError
            data += more
        return data


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<I", len(data)) + data + b"\0"


@contextmanager
def logind(folder: Path) -> Iterator[Manager]:
    """Run it. Who has DBUS_SYSTEM_BUS_ADDRESS as ``address`` tells it talks to it."""
    path = folder / "bus"
    (folder / "bus.conf").write_text(_BUS.format(socket=path))
    processes = []
    manager: Manager | None = None
    try:
        with (folder / "logind.log").open("wb") as log:
            argv = ["dbus-daemon", f"--config-file={folder}/bus.conf", "--nofork", "--nopidfile"]
            processes.append(subprocess.Popen(argv, stdout=log, stderr=log))
            _until(path.exists, folder)
            manager = Manager(path)
            manager.start()
            argv = ["unshare", "--mount", "sh", "-ec", _LOGIND, str(LOGIND)]
            environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": address(folder)}
            processes.append(subprocess.Popen(argv, stdout=log, stderr=log, env=environment))
        _until(lambda: "org.freedesktop.login1" in _busctl(folder, "list", "--no-legend"), folder)
        yield manager
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(timeout=LIMIT)
        if manager is not None:
            manager.close()


def address(folder: Path) -> str:
    """Where the bus is."""
    return f"unix:path={folder}/bus"


def power_off(folder: Path) -> None:
    """Ask logind to shut the machine down."""
    _busctl(folder, "call", *_MANAGER, "PowerOff", "b", "false")


def inhibitors(folder: Path) -> str:
    """Who holds a shutdown up."""
    return _busctl(folder, "call", *_MANAGER, "ListInhibitors")


def _busctl(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": address(folder)}
    argv = ["busctl", "--system", "--no-pager", *arguments]
    found = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=LIMIT, check=True)
    return found.stdout


def _until(what: object, folder: Path) -> None:
    assert callable(what)
    deadline = time.monotonic() + LIMIT
    while not what():
        assert time.monotonic() < deadline, (folder / "logind.log").read_text()
        time.sleep(0.05)
