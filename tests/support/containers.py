"""Containers that run by a spec of podyard's, under conmon and an OCI runtime, without a daemon."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from podyard.cri import api
from podyard.linux import process
from podyard.model.image import ImageConfig
from podyard.model.records import Process
from podyard.oci.host import HostFacts
from podyard.oci.lookup import look_up
from podyard.oci.monitor import Monitor
from podyard.oci.runtime import OciRuntime
from podyard.oci.spec import SpecInputs, build_spec

CGROUP = f"/podyard-test-{os.getpid()}"
WAIT = 30.0
PLAIN = ImageConfig()
PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:99:98::/home/nobody:/bin/false\n"
GROUP = "root:x:0:\nnogroup:x:98:\nvideo:x:44:nobody,daemon\n"


@dataclass(frozen=True)
class Ended:
    """``pieces``: stream and text of the log's lines; one that goes on has no end of line."""

    code: int
    pieces: list[tuple[str, str]]

    @property
    def out(self) -> str:
        return self._of("stdout")

    @property
    def err(self) -> str:
        return self._of("stderr")

    def _of(self, wanted: str) -> str:
        # The order is kept in each stream, not between the two.
        return "".join(text for stream, text in self.pieces if stream == wanted).removesuffix("\n")


@dataclass(frozen=True)
class Bench:
    """Everything to run containers with one OCI runtime."""

    folder: Path
    runtime: OciRuntime
    monitor: Monitor
    host: HostFacts

    def rootfs(self, bundle: Path) -> Path:
        rootfs = bundle / "rootfs"
        for name in ("bin", "etc", "tmp"):
            (rootfs / name).mkdir(parents=True)
        (rootfs / "etc" / "passwd").write_text(PASSWD)
        (rootfs / "etc" / "group").write_text(GROUP)
        shutil.copy2("/bin/busybox", rootfs / "bin" / "busybox")
        for applet in subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True).stdout.split():
            if applet != "busybox":
                (rootfs / "bin" / applet).symlink_to("busybox")
        return rootfs

    async def create(
        self, name: str, config: api.ContainerConfig, image: ImageConfig = PLAIN, **inputs: object
    ) -> Process:
        bundle = self.folder / name
        rootfs = self.rootfs(bundle)
        found = await asyncio.to_thread(look_up, config, image.user, rootfs, self.host)
        kinds = dict.fromkeys(("mount", "pid", "network", "ipc", "uts", "cgroup"), "")
        if config.linux.security_context.privileged:
            del kinds["cgroup"]
        defaults = {"namespaces": kinds, "files": {}, "shm": None, "sandbox": api.PodSandboxConfig()}
        spec = build_spec(
            SpecInputs(
                config=config,
                image=image,
                rootfs=rootfs,
                found=found,
                cgroups_path=f"{CGROUP}/{name}",
                host=self.host,
                **(defaults | inputs),  # type: ignore[arg-type]
            )
        )
        (bundle / "config.json").write_text(json.dumps(spec))
        return await self.monitor.create(
            name,
            bundle,
            self.runtime,
            log_path=self.folder / f"{name}.log",
            tty=config.tty,
            stdin=config.stdin,
            stdin_once=config.stdin_once,
        )

    async def ended(self, name: str, made: Process) -> Ended:
        async with asyncio.timeout(WAIT):
            await process.ended(made.monitor_pid)
        exit_file = self.monitor.exit_of(name)
        assert exit_file is not None, "conmon wrote no exit file"
        pieces = []
        for line in (self.folder / f"{name}.log").read_text().splitlines():
            _, stream, tag, text = line.split(" ", 3)
            assert tag in {"F", "P"}
            pieces.append((stream, text + ("\n" if tag == "F" else "")))
        return Ended(exit_file[0], pieces)

    async def run(
        self, script: str, config: api.ContainerConfig | None = None, name: str = "c", **inputs: object
    ) -> Ended:
        config = config or api.ContainerConfig()
        if script:
            config.command[:] = ["sh", "-c", script]
        made = await self.create(name, config, **inputs)  # type: ignore[arg-type]
        await self.runtime.start(name)
        return await self.ended(name, made)


def container(**security: object) -> api.ContainerConfig:
    return api.ContainerConfig(
        linux=api.LinuxContainerConfig(security_context=api.LinuxContainerSecurityContext(**security))  # type: ignore[arg-type]
    )


def runtime_default(**security: object) -> api.ContainerConfig:
    return container(seccomp=api.SecurityProfile(profile_type=api.SecurityProfile.RuntimeDefault), **security)


STATUS = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups|Uid|Gid)' /proc/self/status"


def status(ended: Ended) -> dict[str, str]:
    assert ended.code == 0, ended.pieces
    return {key: " ".join(value.split()) for key, _, value in (line.partition(":") for line in ended.out.splitlines())}


def mask(*numbers: int) -> int:
    return sum(1 << number for number in numbers)


DEFAULT_MASK = mask(0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)
