"""Networks of CNI's bridge plugin for runtimes that tests start, each with an interface and a subnet of its own.

Numbers are taken on the host as a whole, so that runs of the suite may stand side by side.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

CNI_BINARIES = Path("/usr/lib/cni")
FIRST, LAST = 128, 250
"""The second number of the subnets' addresses."""


class Network:
    """One that nothing else on the host has, until it is removed. Raises RuntimeError where none is free."""

    def __init__(self) -> None:
        # A name in the abstract namespace is one process's at a time, and is free again whatever becomes of it.
        self._claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        for number in range(FIRST, LAST):
            with suppress(OSError):
                self._claim.bind(f"\0podyard-tests-network-{number}")
                break
        else:
            self._claim.close()
            raise RuntimeError("every network that tests may have is taken")
        self.bridge = f"pytest-{number}"
        self.prefix = f"10.{number}"
        _users.enter()

    def write(self, folder: Path, data: Path) -> None:
        """A CNI configuration with the bridge and host ports; without masquerading, which is slow to set up.

        ``data`` is where host-local keeps the addresses that are taken.
        """
        folder.mkdir(parents=True, exist_ok=True)
        conflist = {
            "cniVersion": "1.0.0",
            "name": self.bridge,
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": self.bridge,
                    "isGateway": True,
                    "ipMasq": False,
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": f"{self.prefix}.0.0/16"}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                        "dataDir": str(data),
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
            ],
        }
        (folder / "10-bridge.conflist").write_text(json.dumps(conflist))

    def remove(self) -> None:
        """What the plugins leave once no pod is attached: the bridge, and the empty chains of host ports.

        A second time does nothing.
        """
        if self._claim.fileno() < 0:
            return
        subprocess.run(["ip", "link", "delete", self.bridge], capture_output=True, check=False)
        if _users.are_ours():
            for tool in ("iptables", "ip6tables"):
                _remove_host_port_chains(tool)
        _users.leave()
        self._claim.close()


class _Users:
    """The processes of the host whose networks use portmap's chains: each shares a lock as long as it has one."""

    def __init__(self) -> None:
        self._networks = 0
        self._lock = -1

    def enter(self) -> None:
        if self._networks == 0:
            self._lock = os.open(CNI_BINARIES / "portmap", os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_SH)
        self._networks += 1

    def are_ours(self) -> bool:
        """Whether no other process has a network; none can begin one until ``leave``."""
        with suppress(BlockingIOError):
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    def leave(self) -> None:
        self._networks -= 1
        if self._networks == 0:
            os.close(self._lock)
        else:
            fcntl.flock(self._lock, fcntl.LOCK_SH)


_users = _Users()


def _remove_host_port_chains(tool: str) -> None:
    """Take portmap's top chains out of the nat table, unless some pod of the host still uses them."""
    listing = subprocess.run([tool, "-w", "-t", "nat", "-S"], capture_output=True, text=True, check=False).stdout
    if "-A CNI-DN-" in listing or "CNI-HOSTPORT" not in listing:
        return
    rules = [shlex.split(line) for line in listing.splitlines()]
    for words in rules:
        if words[0] == "-A" and any(word.startswith("CNI-HOSTPORT") for word in words) and "CNI-DN" not in words[1]:
            subprocess.run([tool, "-w", "-t", "nat", "-D", *words[1:]], capture_output=True, check=False)
    chains = [words[1] for words in rules if words[0] == "-N" and words[1].startswith("CNI-HOSTPORT")]
    for verb in ("-F", "-X"):
        for chain in chains:
            subprocess.run([tool, "-w", "-t", "nat", verb, chain], capture_output=True, check=False)
