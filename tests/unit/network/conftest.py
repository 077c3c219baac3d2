"""CNI plugins that do what a test tells them, and a host of the test's own for the real ones."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from podyard.linux import bridges
from podyard.network import AttachRequest, Network
from podyard.network.config import NetworkConfig

SCRIPT = """#!{python} -ISE
import json, os, sys, time
name, verb = os.path.basename(sys.argv[0]), os.environ["CNI_COMMAND"]
config = json.loads(sys.stdin.read())
said = json.load(open({orders!r})).get(name, {{}})
if verb == "VERSION":
    print(json.dumps({{"cniVersion": "1.0.0", "supportedVersions": said.get("versions", ["0.3.1", "0.4.0", "1.0.0"])}}))
    sys.exit()
environ = {{key: value for key, value in os.environ.items() if key.startswith("CNI_")}}
with open({calls!r}, "a") as log:
    log.write(json.dumps([name, verb, environ, config]) + "\\n")
order = said.get(verb, {{}})
if order.get("hang"):
    time.sleep(60)
if "together" in order:
    # All but the first wait for each other.
    def logged():
        return [json.loads(line)[1] for line in open({calls!r})]
    limit = time.monotonic() + 20
    while "ended" in logged() and logged().count(verb) < order["together"]:
        if time.monotonic() > limit:
            sys.exit("the others did not come")
        time.sleep(0.01)
    time.sleep(0.1)
    with open({calls!r}, "a") as log:
        log.write(json.dumps([name, "ended", environ, config]) + "\\n")
if "stdout" in order:
    print(order["stdout"])
elif verb == "ADD":
    result = dict(config.get("prevResult") or {{"cniVersion": config["cniVersion"], "ips": []}})
    result["ips"] = result["ips"] + [{{"address": f"10.0.0.{{len(result['ips']) + 2}}/24"}}]
    print(json.dumps(result))
print(order.get("stderr", ""), file=sys.stderr)
sys.exit(order.get("exit", 0))
"""


class Scripted:
    """A directory of scripted plugins, the CNI configuration that uses them, and what they were told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin, self.conf = folder / "bin", folder / "conf"
        self._orders, self._calls = folder / "orders.json", folder / "calls"
        for path in (self.bin, self.conf):
            path.mkdir()
        self._orders.write_text("{}")
        self._told: dict[str, Any] = {}

    def install(self, *names: str) -> None:
        script = SCRIPT.format(python=sys.executable, orders=str(self._orders), calls=str(self._calls))
        for name in names:
            (self.bin / name).write_text(script)
            (self.bin / name).chmod(0o755)

    def configure(self, *plugins: dict[str, Any], name: str = "net", version: str = "1.0.0", **more: Any) -> None:
        raw = {"cniVersion": version, "name": name, "plugins": list(plugins)} | more
        (self.conf / "10-net.conflist").write_text(json.dumps(raw))

    def tell(self, plugin: str, **orders: Any) -> None:
        self._told[plugin] = orders
        self._orders.write_text(json.dumps(self._told))

    def calls(self) -> list[tuple[str, str, dict[str, str], dict[str, Any]]]:
        """(plugin, verb, CNI_ environment, configuration) of every run but VERSION, oldest first."""
        if not self._calls.exists():
            return []
        return [tuple(json.loads(line)) for line in self._calls.read_text().splitlines()]

    def verbs(self) -> list[tuple[str, str]]:
        return [(name, verb) for name, verb, *_ in self.calls()]

    def network(self, **settings: Any) -> Network:
        values = {"conf_dir": self.conf, "bin_dirs": (self.bin,), "default": False} | settings
        return Network(NetworkConfig(**values), self.folder / "state")


@pytest.fixture
def scripted(tmp_path: Path) -> Scripted:
    return Scripted(tmp_path)


@pytest.fixture
def request_for(tmp_path: Path) -> Callable[..., AttachRequest]:
    def make(sandbox_id: str = "a" * 64, **more: Any) -> AttachRequest:
        values = {"netns": tmp_path / "pins" / sandbox_id / "network", "name": "web", "namespace": "ns", "uid": "u1"}
        return AttachRequest(**({"sandbox_id": sandbox_id} | values | more))

    return make


@pytest.fixture
def own_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The test's thread, and whatever it runs, in a network namespace of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    sys_folder = tmp_path / "sys"
    sys_folder.mkdir()
    assert libc.unshare(0x40000000) == 0, os.strerror(ctypes.get_errno())
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        # A sysfs shows the interfaces of the namespace that it was mounted in.
        subprocess.run(["mount", "-t", "sysfs", "sysfs", str(sys_folder)], check=True)
        monkeypatch.setattr(bridges, "NETWORK_DEVICES", sys_folder / "class/net")
        yield
    finally:
        subprocess.run(["umount", str(sys_folder)], check=True)
        assert libc.setns(home, 0x40000000) == 0, os.strerror(ctypes.get_errno())
        os.close(home)
