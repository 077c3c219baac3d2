"""A host as the pure functions see it, and a real one to run containers on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tests.support.containers import CGROUP, WAIT, Bench

from podyard.errors import PodyardError
from podyard.linux import cgroups, mounts, process
from podyard.oci import probe
from podyard.oci.capabilities import BY_NUMBER
from podyard.oci.host import HostFacts, read_host_facts
from podyard.oci.monitor import Monitor
from podyard.oci.runtime import OciRuntime

Facts = Callable[..., HostFacts]


@pytest.fixture
def facts(tmp_path: Path) -> Facts:
    """Facts of a well-equipped v2 host without AppArmor and SELinux; keywords replace single ones."""

    def make(**changes: object) -> HostFacts:
        values: dict[str, object] = {
            "capabilities": frozenset(BY_NUMBER),
            "oom_score_adj_floor": -1000,
            "cgroup_v2": True,
            "cgroup_namespace": True,
            "apparmor": False,
            "selinux": False,
            "seccomp": True,
            "seccomp_dir": tmp_path / "seccomp",
            "controllers": frozenset({"cpu", "cpuset", "memory", "pids", "hugetlb", "io"}),
            "hugepage_sizes": frozenset({"2MB", "1GB"}),
            "machine": "x86_64",
            "hostname": "node-1",
        }
        return HostFacts(**(values | changes))  # type: ignore[arg-type]

    return make


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
