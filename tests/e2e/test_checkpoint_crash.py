"""Checkpoints and restores that podyard's death interrupts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.images import Images
from tests.support.pods import WAIT_LIMIT, Kit, kit_on
from tests.support.saved_pods import counted, counting_pod, entries
from tests.support.servers import Podyard

from podyard.cri import api
from podyard.errors import (
    PodyardError,
)


@pytest.fixture
async def kit(saver: Podyard, images: Images) -> AsyncIterator[Kit]:
    async with kit_on(saver, images.busybox) as kit:
        yield kit


async def test_podyard_may_die_while_a_container_is_restored(
    kit: Kit, saver: Podyard, output: Path, fault: Path
) -> None:
    ours = counting_pod(kit, names=("one",))
    await ours.start()
    await ours.checkpoint(output)
    answer = await ours.restore(ours.request(output))
    restored = answer.restored_containers[0].container_id
    assert saver.process is not None
    (fault / "restore.kills").write_text(str(saver.process.pid))
    with pytest.raises(PodyardError):
        await kit.client.runtime.start_container(restored)
    await again(saver)
    status = await kit.status(restored)
    assert (status.state, status.finished_at) == (api.CONTAINER_RUNNING, 0)
    await counted(kit, restored, 2)
    await kit.client.runtime.stop_container(restored, 0)
    assert (await kit.ended(restored)).exit_code == 137
    assert "after the start" not in saver.log.read_text()


async def again(saver: Podyard) -> None:
    """Start a podyard that was killed."""
    assert saver.process is not None
    saver.process.wait(timeout=WAIT_LIMIT)
    saver.spawn()
    await saver.ready()


async def life(kit: Kit, name: str, output: Path) -> None:
    """A pod saved and restored; each call may be a repetition."""
    runtime = kit.client.runtime
    network = api.LinuxSandboxSecurityContext(
        namespace_options=api.NamespaceOption(network=api.NODE, pid=api.CONTAINER)
    )
    linux = api.LinuxPodSandboxConfig(security_context=network)
    own_pids = api.LinuxContainerSecurityContext(namespace_options=network.namespace_options)
    first = counting_pod(kit, names=("one",))
    first.containers[0].linux.security_context.CopyFrom(own_pids)
    first.id = await kit.sandbox(kit.sandbox_config(f"{name}-first", linux=linux), first.handler)
    container_id = await runtime.create_container(first.id, first.containers[0], kit.configs[first.id])
    if (await kit.status(container_id)).state == api.CONTAINER_CREATED:
        await runtime.start_container(container_id)
    if not (output / "pod.json").exists():
        assert entries(output) == []
        await first.checkpoint(output)
    await counted(kit, container_id, (await counted(kit, container_id, 1))[-1] + 1)
    request = first.request(output, kit.sandbox_config(f"{name}-second", linux=linux))
    answer = await first.restore(request)
    restored = answer.restored_containers[0].container_id
    if (await kit.status(restored)).state == api.CONTAINER_CREATED:
        await runtime.start_container(restored)
    await counted(kit, restored, 1)
    assert await kit.exec(restored, "echo", "alive") == "alive\n"


STEPS = (
    "CheckpointPod: holding the processes",
    "CheckpointPod: saving the processes",
    "CheckpointPod: completing the checkpoint",
    "RestoreContainer: copying the checkpoint",
    "RestoreContainer: remembering the container",
    "RestorePod: making the containers",
)
"""Those after which something of its own has to be undone, or is done: a restart for every step would take too long."""


async def test_killed_in_a_checkpoint_and_in_a_restore(kit: Kit, saver: Podyard, tmp_path: Path) -> None:
    """After a step the journal does not know that it is done: what is undone or repeated is the most there can be."""
    for number, step in enumerate(STEPS):
        output = tmp_path / str(number)
        output.mkdir()
        (saver.folder / "kill").write_text(f"after {step}")
        with pytest.raises(PodyardError):
            await life(kit, f"life-{number}", output)
        (saver.folder / "kill").unlink()
        await again(saver)
        await life(kit, f"life-{number}", output)
        await kit.close()
        for folder in ("bundles", "pins", "sandboxes", "exits"):
            assert list((saver.run / folder).iterdir()) == [], step
        assert list((saver.root / "containers").iterdir()) == [], step
