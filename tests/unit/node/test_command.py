"""``podyard node`` that cannot begin: it says why, exits with a code, and starts nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest


async def node(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the command to its end; its exit code and what it wrote to standard error."""
    process = await started(folder, *arguments)
    _, output = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, output.decode()


async def started(folder: Path, *arguments: str) -> asyncio.subprocess.Process:
    environment = {**os.environ, "PODYARD_POD_ROOT": f"{folder}/pods", "PODYARD_LOG_ROOT": f"{folder}/logs"}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "podyard", "node", *arguments), stderr=asyncio.subprocess.PIPE, env=environment
    )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "--pod-manifest-path DIR"),
        (("--kubeconfig", "/no/such/file"), 2, "/no/such/file: cannot be read: No such file"),
        (("--pod-manifest-path", "/no/such/directory"), 3, "/no/such/directory cannot be listed"),
        (("--pod-manifest-path", "/", "--versions", "v2"), 2, "v2"),
        (("--pod-manifest-path", "/", "--tls-cert-file", "a"), 2, "--tls-private-key-file go together"),
        (("--pod-manifest-path", "/", "--shutdown-grace-period", "500ms"), 2, "at least 1s, or 0"),
        (("--pod-manifest-path", "/", "--eviction-hard", "memory<1"), 2, "'memory' is not a signal"),
        (("--pod-manifest-path", "/", "--container-runtime-endpoint", "tcp://a:1"), 2, "is not a unix socket"),
    ],
)
async def test_what_is_asked_wrongly_is_told(tmp_path: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    found, output = await node(tmp_path, *arguments)
    assert (found, said in output) == (code, True), output


async def test_a_signal_ends_it_and_leaves_the_pods(
    runtime: Any, daemon: Any, directory: Any, until: Any, tmp_path: Path
) -> None:
    directory.pod("web")
    process = await started(
        tmp_path,
        *("--pod-manifest-path", str(directory.path), "--container-runtime-endpoint", f"{tmp_path}/cri.sock"),
        *("--eviction-hard", ""),  # how full this machine is must not matter
    )
    await until(lambda: "StartContainer main" in runtime.calls)
    process.send_signal(signal.SIGTERM)
    _, output = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, output
    assert len(runtime.sandboxes) == 1
    assert "StopContainer main" not in runtime.calls
    assert not (tmp_path / "node.sock").exists()


async def test_without_logind_no_shutdown_can_wait(
    daemon: Any, directory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    where = ("--pod-manifest-path", str(directory.path), "--container-runtime-endpoint", f"{tmp_path}/cri.sock")
    code, output = await node(tmp_path, *where, "--shutdown-grace-period", "30s")
    assert (code, "a shutdown cannot be noticed: " in output) == (5, True), output
