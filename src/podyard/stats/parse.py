"""The formats of the kernel's files as functions from text to values; nothing here touches the host.

A line or a value that is not as documented is passed over: a newer kernel may have added it.
"""

from __future__ import annotations

from podyard.stats.usage import DeviceIo, Interface, Pressure, Stall

NO_LIMIT = 1 << 62
"""v1 writes "no limit" as the largest multiple of a page; everything this large means the same."""


def number(text: str | None) -> int | None:
    """A file with one number; None for "max", for an empty file and for one that is not there."""
    text = (text or "").strip()
    return int(text) if text.removeprefix("-").isdecimal() else None


def limit(text: str | None) -> int | None:
    """A file with a limit; None where it says that there is none."""
    value = number(text)
    return None if value is None or not 0 <= value < NO_LIMIT else value


def keyed(text: str | None) -> dict[str, int]:
    """Lines of a key and a number ("flat keyed"): memory.stat, cpu.stat, memory.events."""
    found: dict[str, int] = {}
    for line in (text or "").splitlines():
        key, _, value = line.partition(" ")
        if value.isdecimal():
            found[key] = int(value)
    return found


def pressure(text: str | None) -> Pressure | None:
    """A *.pressure file of v2; None where it is not there or pressure is not counted (psi=0)."""
    stalls = {}
    for line in (text or "").splitlines():
        kind, _, pairs = line.partition(" ")
        values = dict(pair.split("=", 1) for pair in pairs.split() if "=" in pair)
        try:
            stalls[kind] = Stall(
                float(values["avg10"]), float(values["avg60"]), float(values["avg300"]), int(values["total"])
            )
        except (KeyError, ValueError):
            continue
    if "some" not in stalls:
        return None
    # Older kernels have no "full" line for the CPU.
    return Pressure(stalls["some"], stalls.get("full", Stall()))


def io_stat(text: str | None) -> list[DeviceIo]:
    """io.stat of v2: a device, then key=value pairs."""
    found = []
    for line in (text or "").splitlines():
        device, _, rest = line.partition(" ")
        pairs = (pair.partition("=") for pair in rest.split())
        values = {key: int(value) for key, _, value in pairs if value.isdecimal()}
        if values:
            found.append(
                DeviceIo(
                    device,
                    read_bytes=values.get("rbytes", 0),
                    written_bytes=values.get("wbytes", 0),
                    reads=values.get("rios", 0),
                    writes=values.get("wios", 0),
                )
            )
    return found


def blkio(sizes: str | None, counts: str | None) -> list[DeviceIo]:
    """The blkio files of v1, "device operation value": one of bytes, one of operations."""
    read_bytes, written_bytes = _operations(sizes)
    reads, writes = _operations(counts)
    devices = dict.fromkeys([*read_bytes, *written_bytes, *reads, *writes])
    return [
        DeviceIo(
            device,
            read_bytes=read_bytes.get(device, 0),
            written_bytes=written_bytes.get(device, 0),
            reads=reads.get(device, 0),
            writes=writes.get(device, 0),
        )
        for device in devices
    ]


def _operations(text: str | None) -> tuple[dict[str, int], dict[str, int]]:
    reads: dict[str, int] = {}
    writes: dict[str, int] = {}
    for line in (text or "").splitlines():
        match line.split():
            case [device, "Read", value] if value.isdecimal():
                reads[device] = int(value)
            case [device, "Write", value] if value.isdecimal():
                writes[device] = int(value)
    return reads, writes


def interfaces(text: str) -> list[Interface]:
    """/proc/net/dev (proc_net(5)): two lines of headings, then "name: 8 counters received, 8 sent"."""
    found = []
    for line in text.splitlines()[2:]:
        name, _, rest = line.rpartition(":")
        counters = rest.split()
        if len(counters) < 12 or not all(counter.isdecimal() for counter in counters[:12]):
            continue
        values = [int(counter) for counter in counters]
        found.append(
            Interface(
                name.strip(),
                rx_bytes=values[0],
                rx_packets=values[1],
                rx_errors=values[2],
                rx_dropped=values[3],
                tx_bytes=values[8],
                tx_packets=values[9],
                tx_errors=values[10],
                tx_dropped=values[11],
            )
        )
    return found


def soft_limits(text: str) -> dict[str, int]:
    """Soft limits out of /proc/PID/limits, by names such as "max_open_files"; those that are unlimited are left out."""
    heading, *lines = text.splitlines() or [""]
    width = heading.find("Soft Limit")
    found = {}
    for line in lines if width > 0 else []:
        name, (soft, *_) = line[:width].strip(), [*line[width:].split(), ""]
        if name and soft.isdecimal():
            found[name.lower().replace(" ", "_")] = int(soft)
    return found
