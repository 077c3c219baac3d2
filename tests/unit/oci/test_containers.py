"""Specs that really run: the process, its input and output, commands beside it, and the infra process."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path

import pytest
from tests.support.containers import (
    CGROUP,
    DEFAULT_MASK,
    STATUS,
    WAIT,
    Bench,
    Ended,
    runtime_default,
    status,
)

from podyard.cri import api
from podyard.errors import Internal
from podyard.linux import process
from podyard.oci import probe
from podyard.oci.monitor import reopen_log
from podyard.oci.process import exec_process
from podyard.oci.spec import infra_spec

pytestmark = pytest.mark.host


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
