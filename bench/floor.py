"""The floor: the CNI plugins and the OCI runtime called one after the other, with nothing around them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections import defaultdict
from pathlib import Path

from tests.support.networks import CNI_BINARIES, Network

from podyard.linux import namespaces
from podyard.oci.probe import find_binary


def measure(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of each part, by its name."""
    times: defaultdict[str, list[float]] = defaultdict(list)
    network = Network()
    network.write(folder / "cni", folder / "ipam")
    try:
        for number in range(rounds):
            _network_round(folder, number, times)
        for name in ("crun", "runc"):
            for number in range(rounds):
                if not _container_round(folder, name, number, times):
                    break
    finally:
        network.remove()
    return times


def _network_round(folder: Path, number: int, times: defaultdict[str, list[float]]) -> None:
    pins = folder / f"pins-{number}"
    begin = time.perf_counter()
    namespaces.pin(pins, namespaces.NewNamespaces(frozenset({"network", "ipc", "uts"}), "floor"))
    times["namespaces"].append(time.perf_counter() - begin)
    conflist = json.loads((folder / "cni" / "10-bridge.conflist").read_text())
    try:
        for verb in ("ADD", "DEL"):
            begin = time.perf_counter()
            _plugins(conflist, verb, f"floor-{number}", pins / "network")
            times[f"CNI {verb}"].append(time.perf_counter() - begin)
    finally:
        namespaces.unpin(pins)


def _plugins(conflist: dict[str, object], verb: str, container: str, netns: Path) -> None:
    env = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": str(netns),
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(CNI_BINARIES),
        "PATH": os.environ["PATH"],
    }
    plugins = conflist["plugins"]
    assert isinstance(plugins, list)
    previous = None
    for plugin in plugins if verb == "ADD" else plugins[::-1]:
        config = {**plugin, "name": conflist["name"], "cniVersion": conflist["cniVersion"]}
        if previous is not None:
            config["prevResult"] = previous
        done = subprocess.run(
            [str(CNI_BINARIES / plugin["type"])], input=json.dumps(config).encode(), env=env, capture_output=True
        )
        if done.returncode != 0:
            raise RuntimeError(done.stdout.decode())
        previous = json.loads(done.stdout) if verb == "ADD" else None


def _container_round(folder: Path, name: str, number: int, times: defaultdict[str, list[float]]) -> bool:
    """Create, start and delete a container; False where this OCI runtime does not work on this host."""
    bundle = folder / "bundle"
    if not bundle.exists():
        (bundle / "rootfs").mkdir(parents=True)
        shutil.copy2(find_binary("catatonit", "catatonit"), bundle / "rootfs" / "init")
        (bundle / "config.json").write_text(json.dumps(_spec()))
    root, container = folder / f"state-{name}", f"floor-{number}"
    begin = time.perf_counter()
    for verb in (["create", "--bundle", str(bundle), container], ["start", container]):
        # The container's process keeps its descriptors: pipes would never end.
        done = subprocess.run(
            [name, "--root", str(root), *verb], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode != 0:
            subprocess.run([name, "--root", str(root), "delete", "--force", container], capture_output=True)
            return False
    times[f"{name} create + start"].append(time.perf_counter() - begin)
    begin = time.perf_counter()
    subprocess.run([name, "--root", str(root), "delete", "--force", container], capture_output=True, check=True)
    times[f"{name} kill + delete"].append(time.perf_counter() - begin)
    return True


def _spec() -> dict[str, object]:
    kinds = ("pid", "network", "ipc", "uts", "mount")
    return {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs", "readonly": True},
        "process": {"cwd": "/", "args": ["/init", "-P"], "user": {"uid": 0, "gid": 0}},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"cgroupsPath": "/podyard-floor", "namespaces": [{"type": kind} for kind in kinds]},
    }
