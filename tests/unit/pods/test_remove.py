"""Finding, stopping and removing Pods, whoever made them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from podyard.client import Client
from podyard.cri import api
from podyard.errors import Internal, InvalidArgument, NotFound
from podyard.manifest.model import Pod
from podyard.pods import PodEngine, PodEvent
from podyard.pods.folders import Folders

MakePod = Callable[..., Pod]

SIDECARS = """\
terminationGracePeriodSeconds: 7
initContainers:
- {name: side, image: 'busybox:1', restartPolicy: Always}
- {name: logs, image: 'busybox:1', restartPolicy: Always}
"""


async def test_containers_are_stopped_before_sidecars_and_the_sandbox_last(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    await engine.run(make_pod(SIDECARS))
    before = len(runtime.calls)
    await engine.stop("web", "default")
    assert runtime.calls[before:] == [
        "StopContainer main",
        "StopContainer logs",
        "StopContainer side",
        "StopPodSandbox",
    ]
    assert runtime.stop_timeouts["main"] == 7
    (view,) = await engine.find("web")
    assert not view.ready


async def test_a_given_grace_wins_over_the_pods(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    await engine.run(make_pod(SIDECARS))
    await engine.stop("web", "default", 0)
    assert runtime.stop_timeouts == {"main": 0, "logs": 0, "side": 0}


async def test_stopping_goes_on_past_what_fails_and_tells_all_of_it(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    await engine.run(make_pod(SIDECARS))
    runtime.fails |= {"StopContainer main": Internal("main hangs"), "StopContainer side": Internal("side hangs")}
    with pytest.raises(Internal, match=r"main hangs.*while stopping the container main.*; .*side hangs"):
        await engine.stop("web", "default")
    assert runtime.calls[-1] == "StopPodSandbox"


async def test_stopping_an_unknown_pod_is_not_found(engine: PodEngine) -> None:
    with pytest.raises(NotFound, match="there is no pod default/none"):
        await engine.stop("none", "default")


async def test_removing_leaves_nothing_and_may_be_repeated(
    runtime: Any, engine: PodEngine, make_pod: MakePod, tmp_path: Path
) -> None:
    await engine.run(make_pod("volumes: [{name: a, emptyDir: {}}]"))
    events: list[PodEvent] = []
    await engine.remove("web", "default", events.append)
    assert (runtime.sandboxes, runtime.containers) == ({}, {})
    assert list((tmp_path / "pods").iterdir()) == list((tmp_path / "logs").iterdir()) == []
    assert "removing the files of" in [event.step for event in events]
    await engine.remove("web", "default")


async def test_removing_works_when_only_the_directories_are_left(
    runtime: Any, engine: PodEngine, make_pod: MakePod, tmp_path: Path
) -> None:
    await engine.run(make_pod())
    runtime.sandboxes.clear()
    runtime.containers.clear()
    await engine.remove("web", "default")
    assert list((tmp_path / "pods").iterdir()) == list((tmp_path / "logs").iterdir()) == []


async def test_another_pods_directories_stay(engine: PodEngine, make_pod: MakePod, tmp_path: Path) -> None:
    await engine.run(make_pod())
    await engine.run(make_pod(name="web-2"))
    await engine.remove("web", "default")
    assert [path.name.split("_")[1] for path in (tmp_path / "pods").iterdir()] == ["web-2"]
    assert [path.name.split("_")[1] for path in (tmp_path / "logs").iterdir()] == ["web-2"]


async def test_removing_follows_no_link(engine: PodEngine, make_pod: MakePod, tmp_path: Path) -> None:
    running = await engine.run(make_pod("volumes: [{name: a, emptyDir: {}}]"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (tmp_path / "pods" / f"default_web_{running.uid}" / "volumes" / "a" / "link").symlink_to(outside)
    (tmp_path / "logs" / "default_web_other").symlink_to(outside)
    await engine.remove("web", "default")
    assert (outside / "kept").exists()
    assert list((tmp_path / "logs").iterdir()) == []


async def test_directories_stay_while_a_sandbox_may_use_them(
    runtime: Any, engine: PodEngine, make_pod: MakePod, tmp_path: Path
) -> None:
    await engine.run(make_pod())
    runtime.fails["RemovePodSandbox"] = Internal("injected")
    with pytest.raises(Internal, match="injected"):
        await engine.remove("web", "default")
    assert list((tmp_path / "pods").iterdir())
    runtime.fails.clear()
    await engine.remove("web", "default")
    assert list((tmp_path / "pods").iterdir()) == []


async def test_a_container_that_could_not_be_stopped_goes_with_its_sandbox(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    await engine.run(make_pod())
    runtime.fails["StopContainer main"] = Internal("injected")
    await engine.remove("web", "default")
    assert runtime.sandboxes == {}


async def test_pods_of_other_makers_are_found_and_removed(runtime: Any, client: Client, engine: PodEngine) -> None:
    metadata = api.PodSandboxMetadata(name="theirs", namespace="shop", uid="../../etc")
    sandbox = api.PodSandboxConfig(metadata=metadata, log_directory="/nowhere")
    sandbox_id = await client.runtime.run_pod_sandbox(sandbox)
    config = api.ContainerConfig(metadata=api.ContainerMetadata(name="c"), log_path="c.log")
    config.image.image = "busybox:1"
    container_id = await client.runtime.create_container(sandbox_id, config, sandbox)
    await client.runtime.start_container(container_id)
    runtime.end(runtime.container("c"), 1)
    (view,) = await engine.list()
    assert (view.full_name, view.ready, view.containers[0].exit_code) == ("shop/theirs", True, 1)
    assert await engine.find("theirs", "default") == []
    await engine.remove("theirs", "shop")
    assert runtime.sandboxes == {}


async def test_an_ended_containers_last_words_are_shown(
    runtime: Any, engine: PodEngine, make_pod: MakePod, tmp_path: Path
) -> None:
    containers = """\
        - {name: main, image: 'busybox:1'}
        - {name: logs, image: 'busybox:1', terminationMessagePolicy: FallbackToLogsOnError}
        """

    def write(status: api.ContainerStatus) -> None:
        mounts = runtime.container_configs[status.id].mounts
        if status.metadata.name == "main":
            (path,) = [mount.host_path for mount in mounts if mount.container_path == "/dev/termination-log"]
            Path(path).write_text("disk on fire\n")
        else:
            Path(status.log_path).write_text("2026-01-02T03:04:05.0Z stderr F out of luck\n")

    runtime.exits |= {"main": [1], "logs": [1]}
    runtime.on_start = write
    running = await engine.run(make_pod("restartPolicy: Never", containers))
    assert [view.message for view in running.containers] == ["disk on fire", "out of luck"]


@pytest.mark.parametrize("uid", ["", "..", "a/b", "a\0", "../x"])
def test_names_that_could_lead_elsewhere_make_no_path(uid: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="cannot be part of a file name"):
        Folders(tmp_path, tmp_path).of("default", "web", uid)


async def test_files_of_a_pod_of_that_name_on_another_endpoint_are_left_alone(
    engine: PodEngine, make_pod: MakePod, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "pods" / "default_web_other"
    elsewhere.mkdir(parents=True)
    (elsewhere / "endpoint").write_text("unix:///run/elsewhere.sock")
    log = tmp_path / "logs" / "default_web_other" / "main"
    log.mkdir(parents=True)
    await engine.run(make_pod())
    await engine.remove("web", "default")
    assert (elsewhere.exists(), log.exists()) == (True, True)
    assert [path.name for path in (tmp_path / "pods").iterdir()] == ["default_web_other"]
