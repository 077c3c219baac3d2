"""Mounts, namespaces, cgroups and processes of a real host."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from podyard.errors import DeadlineExceeded, Internal, InvalidArgument
from podyard.linux import cgroups, mounts, namespaces, process


async def test_a_tools_output_and_exit_code(tmp_path: Path) -> None:
    result = await process.run(["sh", "-c", "pwd; cat; echo oops >&2; exit 3"], limit=10, stdin=b"in", cwd=tmp_path)
    assert (result.code, result.stdout, result.stderr) == (3, f"{tmp_path}\nin".encode(), b"oops\n")


async def test_a_tool_that_hangs_is_killed_with_its_group() -> None:
    with pytest.raises(DeadlineExceeded, match="sh did not end"):
        await process.run(["sh", "-c", "sleep 77 & sleep 77; true"], limit=0.2)
    assert subprocess.run(["pgrep", "-f", "^sleep 77$"], capture_output=True).returncode == 1


async def test_output_beyond_the_limit_is_read_and_dropped() -> None:
    result = await process.run(["sh", "-c", "head -c 3000000 /dev/zero"], limit=10, output_limit=1000)
    assert (result.code, len(result.stdout)) == (0, 1000)


async def test_an_orphan_that_keeps_the_pipe_open_is_not_waited_for() -> None:
    result = await process.run(["sh", "-c", "echo $$; sleep 5 & echo $!"], limit=4)
    try:
        assert result.code == 0
    finally:
        os.kill(int(result.stdout.split()[1]), signal.SIGKILL)


async def test_a_missing_tool_is_named() -> None:
    with pytest.raises(Internal, match="cannot run /no/such/tool"):
        await process.run(["/no/such/tool"], limit=1)


async def test_the_end_of_a_process_that_is_no_child_is_seen() -> None:
    shell = "sleep 0.2 >/dev/null 2>&1 & echo $!"
    pid = int((await process.run(["sh", "-c", shell], limit=5)).stdout)
    assert process.start_time(pid) > 0
    async with asyncio.timeout(10):
        await process.ended(pid)
    assert process.start_time(pid) == 0


@pytest.mark.host
def test_namespaces_are_pinned_with_hostname_sysctls_and_loopback(tmp_path: Path) -> None:
    wanted = namespaces.NewNamespaces(
        frozenset({"network", "ipc", "uts"}), "pinned", {"net.ipv4.ip_unprivileged_port_start": "7"}
    )
    folder = tmp_path / "pins"
    try:
        namespaces.pin(folder, wanted)
        assert {path.name for path in folder.iterdir()} == {"network", "ipc", "uts"}
        assert all(namespaces.is_pinned(path) for path in folder.iterdir())
        script = "hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; cat /sys/class/net/lo/flags"
        enter = ["nsenter", f"--net={folder / 'network'}", f"--uts={folder / 'uts'}", f"--ipc={folder / 'ipc'}"]
        remounted = f"mount -t sysfs sysfs /sys; {script}"
        output = subprocess.run(
            [*enter, "unshare", "--mount", "sh", "-c", remounted], capture_output=True, text=True, check=True
        ).stdout.split()
        assert output[:2] == ["pinned", "7"]
        assert int(output[2], 16) & 1
    finally:
        namespaces.unpin(folder)
    assert not folder.exists()
    assert mounts.mounted_below(tmp_path) == []
    assert os.uname().nodename != "pinned"


@pytest.mark.host
def test_a_refused_sysctl_is_named(tmp_path: Path) -> None:
    wanted = namespaces.NewNamespaces(frozenset({"network"}), "", {"net.core.no_such_thing": "1"})
    try:
        with pytest.raises(InvalidArgument, match=r"net\.core\.no_such_thing=1"):
            namespaces.pin(tmp_path / "pins", wanted)
    finally:
        namespaces.unpin(tmp_path / "pins")


def test_unpinning_what_is_not_there_is_fine(tmp_path: Path) -> None:
    namespaces.unpin(tmp_path / "nothing")
    (tmp_path / "file").touch()
    assert not namespaces.is_pinned(tmp_path / "file")


@pytest.mark.host
def test_an_overlay_with_many_layers(tmp_path: Path) -> None:
    layers = [tmp_path / "l" / str(number) for number in range(30)]
    for number, layer in enumerate(layers):
        layer.mkdir(parents=True)
        (layer / "file").write_text(str(number))
    for name in ("upper", "work", "merged"):
        (tmp_path / name).mkdir()
    try:
        mounts.mount_overlay(layers, tmp_path / "upper", tmp_path / "work", tmp_path / "merged")
        assert (tmp_path / "merged" / "file").read_text() == "0"
        with pytest.raises(InvalidArgument, match="fewer layers"):
            mounts.mount_overlay(layers * 20, tmp_path / "upper", tmp_path / "work", tmp_path / "merged")
    finally:
        mounts.remove_tree(tmp_path / "merged")
    assert mounts.mounted_below(tmp_path) == []
    assert (tmp_path / "l" / "0" / "file").exists()


def test_a_tree_is_removed_though_others_take_parts_of_it_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    for name in ("a", "b", "below/c"):
        (tree / name).touch()
    real, others = os.unlink, []

    def unlink(path: str, **options: int) -> None:
        # Whoever takes the first file away is a moment faster.
        real(path, **options)
        if not others:
            others.append(path)
            real(path, **options)

    monkeypatch.setattr(os, "unlink", unlink)
    mounts.remove_tree(tree)
    assert others
    assert not tree.exists()


def test_a_path_that_overlayfs_cannot_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="comma, colon"):
        mounts.mount_overlay([tmp_path / "a:b"], tmp_path, tmp_path, tmp_path)


@pytest.mark.host
def test_a_cgroup_is_emptied_and_removed() -> None:
    name = f"/podyard-test-{os.getpid()}"
    for base in cgroups.hierarchies():
        (base / name.lstrip("/") / "below").mkdir(parents=True)
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"], stdout=-1)
    try:
        assert sleeper.stdout is not None
        sleeper.stdout.readline()
        base = next(base for base in cgroups.hierarchies() if cgroups.is_v2() or base.name == "memory")
        (base / name.lstrip("/") / "below" / "cgroup.procs").write_text(str(sleeper.pid))
        assert cgroups.of_process(sleeper.pid) == f"{name}/below"
        assert cgroups.processes(name) == [sleeper.pid]
        assert cgroups.oom_kills(name) == 0
        assert (cgroups.memory_current(name) or 0) >= 0
        cgroups.kill(name)
        assert sleeper.wait() == -signal.SIGKILL
        assert cgroups.processes(name) == []
    finally:
        sleeper.kill()
        sleeper.wait()
        sleeper.stdout.close() if sleeper.stdout else None
        cgroups.remove(name)
    assert not any((base / name.lstrip("/")).exists() for base in cgroups.hierarchies())
    cgroups.remove(name)
