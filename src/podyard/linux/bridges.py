"""Network bridges of the host, by the ioctls that every kernel has (netdevice(7), linux/sockios.h)."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from pathlib import Path

NETWORK_DEVICES = Path("/sys/class/net")

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_SIOCBRDELBR = 0x89A1
_IFF_UP = 0x1


def exists(name: str) -> bool:
    """Whether the host has an interface of that name, a bridge or not."""
    return (NETWORK_DEVICES / name).exists()


def is_bridge(name: str) -> bool:
    """Whether an interface is a bridge."""
    return (NETWORK_DEVICES / name / "bridge").is_dir()


def ports(name: str) -> list[str]:
    """The interfaces that are plugged into a bridge; none where it is not there or no bridge."""
    folder = NETWORK_DEVICES / name / "brif"
    return sorted(port.name for port in folder.iterdir()) if folder.is_dir() else []


def remove(name: str) -> None:
    """Take a bridge down and remove it. One that is not there is fine. Raises OSError for anything else."""
    encoded = name.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        try:
            request = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sh22x", encoded, 0))
            (flags,) = struct.unpack_from("16xh", request)
            # The kernel refuses to remove one that is up.
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", encoded, flags & ~_IFF_UP))
            fcntl.ioctl(control, _SIOCBRDELBR, encoded + b"\0")
        except OSError as error:
            if error.errno not in {errno.ENODEV, errno.ENXIO}:
                raise
