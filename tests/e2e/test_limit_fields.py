"""Where containers stand among the control groups, and limits that no other suite asks for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.support.pods import Kit

from podyard.cri import api
from podyard.errors import FailedPrecondition
from podyard.linux import cgroups


async def test_the_cgroup_of_the_client(ours: Kit) -> None:
    driver = (await ours.client.runtime.runtime_config()).linux.cgroup_driver
    parent = "pytestfields.slice" if driver == api.SYSTEMD else f"/pytest-fields-{os.getpid()}"
    sandbox_id = await ours.sandbox(linux=api.LinuxPodSandboxConfig(cgroup_parent=parent))
    try:
        container_id = await ours.start(sandbox_id, ["sleep", "1000"])
        info = json.loads((await ours.client.runtime.container_status(container_id, verbose=True)).info["info"])
        assert f"{parent}/" in Path(f"/proc/{info['pid']}/cgroup").read_text()
        await ours.close()
    finally:
        if driver != api.SYSTEMD:
            cgroups.remove(parent)


async def test_files_of_cgroup_v2(ours: Kit) -> None:
    linux = api.LinuxContainerConfig(resources=api.LinuxContainerResources(unified={"memory.high": "67108864"}))
    sandbox_id = await ours.sandbox()
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        with pytest.raises(FailedPrecondition, match="cgroup v2"):
            await ours.create(sandbox_id, ["true"], linux=linux)
    else:
        assert await ours.shell(sandbox_id, "cat /sys/fs/cgroup/memory.high", linux=linux) == "67108864\n"


async def test_oom_score_adj(ours: Kit) -> None:
    sandbox_id = await ours.sandbox()
    linux = api.LinuxContainerConfig(resources=api.LinuxContainerResources(oom_score_adj=500))
    assert await ours.shell(sandbox_id, "cat /proc/self/oom_score_adj", linux=linux) == "500\n"


async def test_processors_of_a_container(ours: Kit) -> None:
    sandbox_id = await ours.sandbox()
    linux = api.LinuxContainerConfig(resources=api.LinuxContainerResources(cpuset_cpus="0", cpuset_mems="0"))
    assert (await ours.shell(sandbox_id, "grep Cpus_allowed_list /proc/self/status", linux=linux)).split()[1] == "0"
