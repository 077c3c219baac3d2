"""Specs that really run: build_spec's output under conmon and each OCI runtime that works on this host."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from podyard.cri import api
from podyard.errors import Internal, PodyardError
from podyard.linux import cgroups, mounts, process
from podyard.model.image import ImageConfig
from podyard.model.records import Process
from podyard.oci import probe
from podyard.oci.host import HostFacts, read_host_facts
from podyard.oci.lookup import look_up
from podyard.oci.monitor import Monitor, reopen_log
from podyard.oci.process import exec_process
from podyard.oci.runtime import OciRuntime
from podyard.oci.spec import SpecInputs, build_spec, infra_spec

pytestmark = pytest.mark.host

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


@pytest.fixture(scope="module")
def usable() -> Callable[[str, Path], Awaitable[None]]:
    """Skips a test, with the reason, for an OCI runtime that does not work on this host."""
    reasons: dict[str, str] = {}

    async def check(name: str, folder: Path) -> None:
        if name not in reasons:
            try:
                runtime = OciRuntime(probe.find_binary(name, name), folder / "trial")
                await probe.try_runtime(runtime, probe.find_binary("catatonit", "catatonit"), f"{CGROUP}-trial")
                reasons[name] = ""
            except PodyardError as error:
                reasons[name] = str(error)
        if reasons[name]:
            pytest.skip(reasons[name])

    return check


@pytest.fixture(params=["crun", "runc"])
async def bench(
    request: pytest.FixtureRequest, tmp_path: Path, usable: Callable[[str, Path], Awaitable[None]]
) -> AsyncIterator[Bench]:
    await usable(request.param, tmp_path)
    (tmp_path / "exits").mkdir()
    made = Bench(
        tmp_path,
        OciRuntime(probe.find_binary(request.param, request.param), tmp_path / "oci"),
        Monitor(probe.find_binary("conmon", "conmon"), tmp_path / "exits"),
        read_host_facts(tmp_path / "seccomp"),
    )
    try:
        yield made
    finally:
        for bundle in tmp_path.glob("*/config.json"):
            await made.runtime.delete(bundle.parent.name)
            monitor = bundle.parent / "monitor-pid"
            if monitor.exists():
                async with asyncio.timeout(WAIT):
                    await process.ended(int(monitor.read_text()))
        cgroups.remove(CGROUP)
        mounts.remove_tree(tmp_path / "oci")
        mounts.remove_tree(tmp_path / "shared")
        assert mounts.mounted_below(tmp_path) == []


def container(**security: object) -> api.ContainerConfig:
    return api.ContainerConfig(
        linux=api.LinuxContainerConfig(security_context=api.LinuxContainerSecurityContext(**security))  # type: ignore[arg-type]
    )


async def test_output_exit_code_environment_and_directory(bench: Bench) -> None:
    config = api.ContainerConfig(
        working_dir="/made/on/the/way", envs=[api.KeyValue(key="GREETING", value=b"hello  world\xc3\xa9")]
    )
    script = 'echo "$GREETING $HOME $HOSTNAME"; pwd; echo oops >&2; printf last; exit 7'
    ended = await bench.run(script, config, sandbox=api.PodSandboxConfig(hostname="pod-1"))
    assert ended.code == 7
    assert ended.out == "hello  worldé /root pod-1\n/made/on/the/way\nlast"
    assert ended.err == "oops"


async def test_a_command_that_does_not_exist_is_named(bench: Bench) -> None:
    with pytest.raises(Internal, match="/no/such/program"):
        await bench.create("c", api.ContainerConfig(command=["/no/such/program"]))
        await bench.runtime.start("c")


async def test_standard_input(bench: Bench) -> None:
    config = api.ContainerConfig(stdin=True, stdin_once=True, command=["sh", "-c", "read line; echo got $line"])
    made = await bench.create("c", config)
    await bench.runtime.start("c")
    writer = (
        "import os, socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); os.chdir(sys.argv[1]);"
        "s.connect('attach'); s.send(b'a line\\n')"
    )
    result = await process.run([sys.executable, "-c", writer, str(bench.folder / "c")], limit=WAIT)
    assert result.code == 0, result.stderr
    assert (await bench.ended("c", made)).out == "got a line"


async def test_a_terminal(bench: Bench) -> None:
    ended = await bench.run("tty; echo $TERM; test -t 0 && test -t 2", api.ContainerConfig(tty=True))
    assert ended.code == 0
    assert ended.out.split() == ["/dev/pts/0", "xterm"]
    assert ended.err == ""


async def test_a_log_is_reopened(bench: Bench) -> None:
    script = "echo one; while [ ! -e /tmp/go ]; do sleep 0.01; done; echo two"
    made = await bench.create("c", api.ContainerConfig(command=["sh", "-c", script]))
    await bench.runtime.start("c")
    log = bench.folder / "c.log"
    async with asyncio.timeout(WAIT):
        while b"one" not in log.read_bytes():
            await asyncio.sleep(0.01)
    log.rename(bench.folder / "old.log")
    await reopen_log(bench.folder / "c", log)
    (bench.folder / "c" / "rootfs" / "tmp" / "go").touch()
    assert (await bench.ended("c", made)).out == "two"
    assert "one" in (bench.folder / "old.log").read_text()


STATUS = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups|Uid|Gid)' /proc/self/status"


def status(ended: Ended) -> dict[str, str]:
    assert ended.code == 0, ended.pieces
    return {key: " ".join(value.split()) for key, _, value in (line.partition(":") for line in ended.out.splitlines())}


def mask(*numbers: int) -> int:
    return sum(1 << number for number in numbers)


DEFAULT_MASK = mask(0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)


async def test_default_capabilities_as_the_kernel_sees_them(bench: Bench) -> None:
    seen = status(await bench.run(STATUS))
    assert {int(seen[f"Cap{name}"], 16) for name in ("Bnd", "Eff", "Prm")} == {DEFAULT_MASK}
    assert {int(seen[f"Cap{name}"], 16) for name in ("Inh", "Amb")} == {0}
    assert (seen["NoNewPrivs"], seen["Seccomp"]) == ("0", "0")


async def test_added_dropped_and_ambient_capabilities_of_another_user(bench: Bench) -> None:
    wanted = api.Capability(
        add_capabilities=["NET_ADMIN"], drop_capabilities=["ALL"], add_ambient_capabilities=["NET_BIND_SERVICE"]
    )
    config = container(
        capabilities=wanted,
        no_new_privs=True,
        run_as_user=api.Int64Value(value=1000),
        run_as_group=api.Int64Value(value=2000),
        supplemental_groups=[3000, 4000],
    )
    seen = status(await bench.run(STATUS, config))
    assert int(seen["CapBnd"], 16) == mask(10, 12)
    assert int(seen["CapEff"], 16) == mask(10)
    assert int(seen["CapAmb"], 16) == mask(10)
    assert seen["NoNewPrivs"] == "1"
    assert (seen["Uid"].split()[0], seen["Gid"].split()[0], seen["Groups"]) == ("1000", "2000", "2000 3000 4000")


async def test_the_images_user_and_its_groups(bench: Bench) -> None:
    ended = await bench.run(f"{STATUS}; echo Home: $HOME", image=ImageConfig(user="nobody"))
    seen = status(ended)
    assert (seen["Uid"].split()[0], seen["Gid"].split()[0], seen["Groups"]) == ("99", "98", "44 98")
    assert seen["Home"] == "/home/nobody"


async def test_a_privileged_container_has_all_that_the_daemon_has(bench: Bench) -> None:
    config = container(privileged=True, masked_paths=["/proc/kcore"])
    script = f"{STATUS}; test -w /sys/kernel && echo sys: writable; test -c /dev/kmsg && echo kmsg: there"
    seen = status(await bench.run(script, config))
    own = Path("/proc/self/status").read_text().partition("CapBnd:")[2].split()[0]
    assert int(seen["CapEff"], 16) == int(own, 16)
    assert (seen["sys"], seen["kmsg"], seen["Seccomp"]) == (" writable".strip(), "there", "0")


def runtime_default(**security: object) -> api.ContainerConfig:
    return container(seccomp=api.SecurityProfile(profile_type=api.SecurityProfile.RuntimeDefault), **security)


async def test_the_default_seccomp_profile_filters(bench: Bench) -> None:
    added = api.Capability(add_capabilities=["SYS_RAWIO"])
    script = f"{STATUS}; unshare -m true 2>&1; swapoff -a 2>&1; echo $((6*7)); ls / >/dev/null && echo works: yes"
    ended = await bench.run(script, runtime_default(capabilities=added))
    seen = status(ended)
    assert seen["Seccomp"] == "2"
    assert "unshare" in seen and "Operation not permitted" in ended.out
    assert seen["works"] == "yes"


async def test_a_capability_opens_its_calls_in_the_default_profile(bench: Bench) -> None:
    admin = api.Capability(add_capabilities=["SYS_ADMIN"])
    assert (await bench.run("unshare -m true && mount -t tmpfs t /tmp", runtime_default(capabilities=admin))).code == 0


async def test_without_a_profile_the_same_call_is_up_to_the_kernel(bench: Bench) -> None:
    assert (await bench.run("unshare -U true")).code == 0


async def test_a_profile_on_this_node(bench: Bench) -> None:
    (bench.folder / "seccomp").mkdir()
    (bench.folder / "seccomp" / "no-mkdir.json").write_text(
        json.dumps(
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
            }
        )
    )
    profile = api.SecurityProfile(profile_type=api.SecurityProfile.Localhost, localhost_ref="no-mkdir.json")
    ended = await bench.run("echo fine; mkdir /tmp/x", container(seccomp=profile))
    assert ended.code == 1
    assert ended.out == "fine"
    assert "No space left on device" in ended.err


async def test_masked_and_readonly_paths(bench: Bench) -> None:
    config = container(masked_paths=["/proc/timer_list", "/sys/kernel", "/proc/none"], readonly_paths=["/proc/sys"])
    script = (
        "wc -c < /proc/timer_list; ls /sys/kernel | wc -l;"
        "echo 1 > /proc/sys/net/ipv4/ip_forward; grep -q Linux /proc/version && echo seen"
    )
    ended = await bench.run(script, config)
    assert ended.out == "0\n0\nseen"
    assert "Read-only file system" in ended.err


async def test_a_readonly_root(bench: Bench) -> None:
    (bench.folder / "shm").mkdir()
    script = "touch /x; touch /dev/shm/y && echo shm"
    ended = await bench.run(script, container(readonly_rootfs=True), shm=bench.folder / "shm")
    assert ended.out == "shm"
    assert "/x: Read-only file system" in ended.err


async def test_mounts_of_the_request_and_the_pods_files(bench: Bench) -> None:
    for name in ("data", "deep"):
        (bench.folder / name).mkdir()
        (bench.folder / name / "file").write_text(name)
    (bench.folder / "hosts").write_text("1.2.3.4 me\n")
    config = api.ContainerConfig(
        mounts=[
            api.Mount(container_path="/data/deep", host_path=str(bench.folder / "deep"), readonly=True),
            api.Mount(container_path="/data", host_path=str(bench.folder / "data"), mount_options=["noexec"]),
        ]
    )
    (bench.folder / "data" / "deep").mkdir()
    (bench.folder / "shm").mkdir()
    script = (
        "cat /data/file /data/deep/file /etc/hosts; echo new > /data/new; touch /data/deep/no;"
        "touch /dev/shm/here; grep ' /data ' /proc/mounts"
    )
    files = {"/etc/hosts": bench.folder / "hosts"}
    ended = await bench.run(script, config, files=files, shm=bench.folder / "shm")
    assert ended.out.startswith("datadeep1.2.3.4 me\n")
    assert "noexec" in ended.out
    assert "/data/deep/no: Read-only file system" in ended.err
    assert (bench.folder / "data" / "new").read_text() == "new\n"
    assert (bench.folder / "shm" / "here").exists()


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "shared"
    folder.mkdir()
    mounts.mount_tmpfs(folder, "size=1m")
    subprocess.run(["mount", "--make-shared", str(folder)], check=True)
    (folder / "below").mkdir()
    yield folder
    mounts.remove_tree(folder)


async def test_a_mount_made_in_the_container_is_seen_on_the_host(shared: Path, bench: Bench) -> None:
    config = container(privileged=True)
    config.mounts.append(
        api.Mount(container_path="/s", host_path=str(shared), propagation=api.PROPAGATION_BIDIRECTIONAL)
    )
    ended = await bench.run("mount -t tmpfs inside /s/below", config)
    assert ended.code == 0, ended.pieces
    assert mounts.mounted_below(shared) == [shared / "below", shared]


async def test_a_mount_made_on_the_host_is_seen_in_the_container(shared: Path, bench: Bench) -> None:
    wait = "while [ ! -e /s/below/sign ]; do sleep 0.01; done; echo seen"
    config = api.ContainerConfig(command=["sh", "-c", wait])
    config.mounts.append(
        api.Mount(container_path="/s", host_path=str(shared), propagation=api.PROPAGATION_HOST_TO_CONTAINER)
    )
    made = await bench.create("c", config)
    await bench.runtime.start("c")
    mounts.mount_tmpfs(shared / "below", "size=1m")
    (shared / "below" / "sign").touch()
    assert (await bench.ended("c", made)).out == "seen"


async def test_devices(bench: Bench) -> None:
    config = api.ContainerConfig(
        devices=[api.Device(container_path="/dev/mine", host_path="/dev/zero", permissions="r")]
    )
    script = (
        "head -c 3 /dev/mine | wc -c; head -c 5 /dev/urandom | wc -c; echo x > /dev/null; echo x > /dev/full;"
        "mknod /tmp/kmsg c 1 11 && cat /tmp/kmsg"
    )
    ended = await bench.run(script, config)
    errors = ended.err.splitlines()
    assert ended.out == "3\n5"
    assert "No space left" in errors[0]
    assert "Operation not permitted" in errors[1]
    assert ended.code == 1


async def test_limits_are_in_the_cgroup(bench: Bench) -> None:
    config = api.ContainerConfig(
        command=["sleep", "60"],
        linux=api.LinuxContainerConfig(
            resources=api.LinuxContainerResources(
                cpu_shares=512,
                cpu_quota=50_000,
                cpu_period=100_000,
                cpuset_cpus="0",
                memory_limit_in_bytes=64 << 20,
                oom_score_adj=500,
            )
        ),
    )
    made = await bench.create("c", config)
    assert Path(f"/proc/{made.pid}/oom_score_adj").read_text().strip() == "500"
    seen = read_limits(made.pid)
    assert seen["memory"] == str(64 << 20)
    assert seen["quota"] == "50000"
    assert seen["cpus"] == "0"
    assert seen["weight"] in {"512", "20"}


def read_limits(pid: int) -> dict[str, str]:
    """On v2 the OCI runtimes turn 512 shares into a weight of 20."""
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    paths = {name: path.lstrip("/") for _, names, path in lines for name in names.split(",")}

    def read(controller: str, v1: str, v2: str) -> str:
        if cgroups.is_v2():
            return (cgroups.ROOT / paths[""] / v2).read_text().split()[0]
        base = next(base for base in cgroups.hierarchies() if controller in base.name.split(","))
        return (base / paths[controller] / v1).read_text().strip()

    return {
        "memory": read("memory", "memory.limit_in_bytes", "memory.max"),
        "quota": read("cpu", "cpu.cfs_quota_us", "cpu.max"),
        "weight": read("cpu", "cpu.shares", "cpu.weight"),
        "cpus": read("cpuset", "cpuset.cpus", "cpuset.cpus"),
    }


async def test_the_process_sees_only_its_own_cgroup_and_names(bench: Bench) -> None:
    tree = "/sys/fs/cgroup" if cgroups.is_v2() else "/sys/fs/cgroup/pids"
    ended = await bench.run(f"cat /proc/self/cgroup; ls /proc | grep -c '^[0-9]'; mkdir {tree}/x")
    assert CGROUP not in ended.out
    assert int(ended.out.splitlines()[-1]) <= 5
    assert "Read-only file system" in ended.err


async def test_a_command_runs_in_a_container(bench: Bench) -> None:
    config = runtime_default(run_as_user=api.Int64Value(value=1000))
    config.command.extend(["sleep", "60"])
    config.envs.append(api.KeyValue(key="FROM", value=b"container"))
    await bench.create("c", config)
    await bench.runtime.start("c")
    spec = json.loads((bench.folder / "c" / "config.json").read_text())
    document = bench.folder / "process.json"
    document.write_text(json.dumps(exec_process(spec, ["sh", "-c", f"echo From: $FROM; {STATUS}"], tty=False)))
    argv = [str(bench.runtime.path), *bench.runtime.global_options, "exec", "--process", str(document), "c"]
    owner = Path("/dev/null").stat().st_uid
    result = await process.run(argv, limit=WAIT, stdin=b"")
    seen = status(Ended(result.code, [("stdout", result.stdout.decode())]))
    assert (seen["From"], seen["Uid"].split()[0], seen["Seccomp"]) == ("container", "1000", "2")
    assert int(seen["CapBnd"], 16) == DEFAULT_MASK
    assert await bench.runtime.state("c") == "running"
    # Some releases of crun and runc make the container's user the owner of the host's /dev/null.
    assert Path("/dev/null").stat().st_uid == owner


async def test_the_infra_process_waits_and_reaps_without_any_rights(bench: Bench) -> None:
    bundle = bench.folder / "infra"
    (bundle / "rootfs").mkdir(parents=True)
    shutil.copy2(probe.find_binary("catatonit", "catatonit"), bundle / "rootfs" / "init")
    spec = infra_spec(
        api.PodSandboxConfig(), namespaces={"ipc": "/proc/self/ns/ipc"}, cgroups_path=f"{CGROUP}/i", host=bench.host
    )
    (bundle / "config.json").write_text(json.dumps(spec))
    infra = await bench.monitor.create("infra", bundle, bench.runtime)
    await bench.runtime.start("infra")
    # A container joins its PID namespace and leaves an orphan, which then is the infra process' to reap.
    kinds = dict.fromkeys(("mount", "network", "ipc", "uts"), "") | {"pid": f"/proc/{infra.pid}/ns/pid"}
    ended = await bench.run(
        "cat /proc/1/comm; grep -E 'CapBnd|CapEff|NoNewPrivs|Seccomp:' /proc/1/status;"
        "sh -c 'sleep 0.1 & echo $! > /tmp/orphan'; grep PPid /proc/$(cat /tmp/orphan)/status;"
        "while [ -e /proc/$(cat /tmp/orphan) ]; do sleep 0.01; done",
        namespaces=kinds,
    )
    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert lines[0] in {"init", "catatonit"}
    assert lines[1:] == ["CapEff: " + "0" * 16, "CapBnd: " + "0" * 16, "NoNewPrivs: 1", "Seccomp: 2", "PPid: 1"]
    assert bench.monitor.exit_of("infra") is None
    assert list((bundle / "rootfs" / "dev").iterdir()) == []
