"""CRI runtimes that tests and the benchmark start: podyard from this tree, and Debian's containerd.

Each has its directories, its socket and its network in one folder, so that both run side by side and beside whatever
the host runs. ``stop`` removes all pods first and takes away what the CNI plugins leave on the host.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.networks import CNI_BINARIES, Network
from tests.support.patience import PATIENCE

from podyard.client import Client
from podyard.errors import PodyardError
from podyard.linux import cgroups, mounts

START_LIMIT = 30.0 * PATIENCE
OCI_RUNTIME = os.environ.get("PODYARD_TEST_OCI_RUNTIME", "")
"""The OCI runtime that podyard shall use; "" for the first that works."""
CGROUP_DRIVER = os.environ.get("PODYARD_TEST_CGROUP_DRIVER", "auto")
"""The cgroup driver that podyard shall use."""
SYSTEMD = CGROUP_DRIVER == "systemd" or (CGROUP_DRIVER == "auto" and Path("/run/systemd/system").is_dir())
"""Whether that is systemd's."""


class Server:
    """A runtime as a process. ``folder`` holds all that it writes, ``network`` is its own until ``stop``."""

    name: str

    def __init__(self, folder: Path) -> None:
        self.network = Network()
        self.folder = folder
        self.socket = folder / f"{self.name}.sock"
        self.log = folder / f"{self.name}.log"
        self.cni_conf = folder / "cni"
        self.environment: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"unix://{self.socket}"

    def argv(self) -> list[str]:
        """The command that starts it."""
        raise NotImplementedError

    def configure(self) -> None:
        """Write its configuration."""
        self.network.write(self.cni_conf, self.folder / "ipam")

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.configure()
        self.spawn()
        asyncio.run(self.ready())

    def spawn(self) -> None:
        """Start the process, without waiting for it."""
        with self.log.open("ab") as log:
            env = {**os.environ, **self.environment}
            self.process = subprocess.Popen(self.argv(), stdout=log, stderr=log, env=env, start_new_session=True)

    async def ready(self) -> None:
        """Wait until it answers, START_LIMIT seconds at most."""
        deadline = time.monotonic() + START_LIMIT
        while True:
            try:
                async with await Client.connect(self.endpoint) as client:
                    await client.runtime.version()
            except PodyardError as error:
                ended = self.process is None or self.process.poll() is not None
                if ended or time.monotonic() > deadline:
                    tail = self.log.read_text(errors="replace")[-3000:]
                    raise AssertionError(f"{self.name} does not answer: {error}\n{tail}") from error
            else:
                return
            await asyncio.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL to the daemon alone; what it has started goes on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=40 * PATIENCE)

    def stop(self) -> None:
        """Remove all pods, end the daemon, and take away what is left of its network."""
        try:
            if self.process is not None and self.process.poll() is None:
                try:
                    asyncio.run(self._remove_pods())
                finally:
                    self.terminate()
        finally:
            self.network.remove()
            for point in mounts.mounted_below(self.folder):
                mounts.unmount(point)

    def reset(self) -> None:
        """Remove what is on the host of a daemon that has ended, however it ended."""
        raise NotImplementedError

    async def _remove_pods(self) -> None:
        async with await Client.connect(self.endpoint) as client:
            for sandbox in await client.runtime.list_pod_sandbox():
                await client.runtime.stop_pod_sandbox(sandbox.id)
                await client.runtime.remove_pod_sandbox(sandbox.id)


class Podyard(Server):
    """podyard, from the installed tree."""

    name = "podyard"

    def __init__(self, folder: Path, **settings: object) -> None:
        super().__init__(folder)
        self.settings = settings
        runtime = settings.get("runtime", {})
        assert isinstance(runtime, dict)
        candidates = {"candidates": [OCI_RUNTIME]} if OCI_RUNTIME else {}
        self.settings["runtime"] = {"cgroup_driver": CGROUP_DRIVER, **candidates, **runtime}

    @property
    def root(self) -> Path:
        """Its state directory."""
        return self.folder / "root"

    @property
    def run(self) -> Path:
        """Its directory of what goes with a reboot."""
        return self.folder / "run"

    @property
    def config(self) -> Path:
        """Its configuration file."""
        return self.folder / "podyard.toml"

    def configure(self) -> None:
        super().configure()
        lines = [
            f'root = "{self.root}"',
            f'run = "{self.run}"',
            f'listen = "{self.socket}"',
            'log_level = "debug"',
            *(f"{key} = {json.dumps(value)}" for key, value in self.settings.items() if not isinstance(value, dict)),
            "[network]",
            f'conf_dir = "{self.cni_conf}"',
        ]
        for table, values in self.settings.items():
            if isinstance(values, dict):
                lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
        self.config.write_text("\n".join(lines) + "\n")

    def argv(self) -> list[str]:
        return [str(Path(sys.executable).parent / "podyard"), "serve", "--config", str(self.config)]

    def reset(self) -> None:
        argv = [str(Path(sys.executable).parent / "podyard"), "reset", "--yes", "--config", str(self.config)]
        env = {**os.environ, **self.environment}
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60 * PATIENCE, env=env, check=False)
        assert done.returncode == 0, done.stderr


class Containerd(Server):
    """Debian's containerd, over runc."""

    name = "containerd"

    def __init__(self, folder: Path, registry: str, pause_image: str) -> None:
        super().__init__(folder)
        self.registry = registry
        self.pause_image = pause_image

    def configure(self) -> None:
        super().configure()
        hosts = self.folder / "certs.d" / self.registry
        hosts.mkdir(parents=True, exist_ok=True)
        (hosts / "hosts.toml").write_text(
            f'server = "http://{self.registry}"\n[host."http://{self.registry}"]\ncapabilities = ["pull", "resolve"]\n'
        )
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        (self.folder / "containerd.toml").write_text(
            f"""version = 2
root = "{self.folder / "root"}"
state = "{self.folder / "state"}"
[grpc]
address = "{self.socket}"
[{cri}]
sandbox_image = "{self.pause_image}"
disable_apparmor = true
restrict_oom_score_adj = true
enable_unprivileged_ports = true
enable_unprivileged_icmp = true
max_concurrent_downloads = 3
[{cri}.containerd]
snapshotter = "overlayfs"
[{cri}.cni]
bin_dir = "{CNI_BINARIES}"
conf_dir = "{self.cni_conf}"
[{cri}.registry]
config_path = "{self.folder / "certs.d"}"
"""
        )

    def argv(self) -> list[str]:
        return ["containerd", "--config", str(self.folder / "containerd.toml")]

    def reset(self) -> None:
        shims = subprocess.run(
            ["pgrep", "-f", f"containerd-shim.*{self.socket}"], capture_output=True, text=True, check=False
        )
        for pid in shims.stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        cgroups.remove_if_empty("/k8s.io")


@contextmanager
def running(*servers: Server) -> Iterator[None]:
    """Servers for the time of a block, after which nothing of them is left on the host. The folders stay."""
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.reset)
            stack.callback(server.stop)
            server.start()
        yield


def remove_folder(folder: Path) -> None:
    """A server's folder, with what is still mounted in it."""
    for point in mounts.mounted_below(folder):
        mounts.unmount(point)
    shutil.rmtree(folder, ignore_errors=True)
