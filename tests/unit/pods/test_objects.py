"""What Pods take from ConfigMaps, Secrets and tokens: variables, files, credentials."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from podyard.client import Client
from podyard.errors import FailedPrecondition, NotFound, Unavailable
from podyard.manifest.model import Pod
from podyard.pods import Board, PodEngine, PodEvent, Waiting
from podyard.pods.objects import ManifestObjects

MakePod = Callable[..., Pod]
CREATING = {"first": "ContainerCreating", "main": "ContainerCreating"}


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not what():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def kept(engine: PodEngine, pod: Pod, board: Board, events: list[PodEvent] | None = None) -> AsyncIterator[None]:
    tell = (lambda event: None) if events is None else events.append
    task = asyncio.create_task(engine.keep(pod, owned=lambda view: True, board=board, on_event=tell))
    try:
        yield
        assert not task.done(), task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])


def mount(runtime: Any, path: str) -> Path:
    (found,) = [mount for mount in runtime.config("main").mounts if mount.container_path == path]
    assert found.readonly
    return Path(found.host_path)


def volume(kind: str, container: str = "") -> tuple[str, str]:
    main = f"- {{name: main, image: 'busybox:1', volumeMounts: [{{name: v, mountPath: /v}}]{container}}}"
    return f"volumes: [{{name: v, {kind}}}]", main


async def test_a_missing_object_is_waited_for(runtime: Any, engine: PodEngine, objects: Any, make_pod: MakePod) -> None:
    main = "- {name: main, image: 'busybox:1', envFrom: [{configMapRef: {name: web}}]}"
    board = Board()
    async with kept(engine, make_pod(containers=main), board):
        await until(lambda: "main" in board.waiting and board.waiting["main"].reason == "CreateContainerConfigError")
        assert board.waiting["main"].message == "configmap 'web' not found"
        assert "CreateContainer main" not in runtime.calls
        objects.put("web", A="1")
        await until(lambda: "StartContainer main" in runtime.calls)
        await until(lambda: not board.waiting)
    assert [(pair.key, pair.value) for pair in runtime.config("main").envs] == [("A", b"1")]


async def test_a_start_that_is_given_up_while_its_volumes_are_made_leaves_no_files(
    client: Client, engine: PodEngine, objects: Any, make_pod: MakePod, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def never(*_: str) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(objects, "config_map", never)
    async with kept(engine, make_pod(*volume("configMap: {name: web}")), Board()):
        await asyncio.wait_for(asked.wait(), 20)
        assert engine.folders.left("default", "web", client.endpoint)
    assert not engine.folders.left("default", "web", client.endpoint)


async def test_a_volume_and_an_init_container_wait_for_what_they_lack(
    runtime: Any, engine: PodEngine, objects: Any, make_pod: MakePod
) -> None:
    init = "\ninitContainers: [{name: first, image: 'busybox:1', envFrom: [{configMapRef: {name: late}}]}]"
    spec, main = volume("configMap: {name: web}")
    runtime.exits["first"] = [0]
    board, events = Board(), list[PodEvent]()
    async with kept(engine, make_pod(spec + init, main), board, events):
        await until(lambda: {name: waiting.reason for name, waiting in board.waiting.items()} == CREATING)
        assert "configmap 'web' not found" in board.waiting["main"].message
        assert "RunPodSandbox web" not in runtime.calls
        objects.put("web", color="red")
        await until(lambda: board.waiting.get("first", Waiting()).reason == "CreateContainerConfigError")
        objects.put("late", A="1")
        await until(lambda: "StartContainer main" in runtime.calls)
    assert runtime.calls.count("RunPodSandbox web") == 1


async def test_names_that_cannot_be_variables_are_told(engine: PodEngine, objects: Any, make_pod: MakePod) -> None:
    objects.put("web", **{"a=b": "1"})
    events: list[PodEvent] = []
    main = "- {name: main, image: 'busybox:1', envFrom: [{configMapRef: {name: web}}]}"
    await engine.run(make_pod(containers=main), on_event=events.append)
    told = [event for event in events if event.step == "leaving out of the environment of"]
    assert [(event.subject, event.detail) for event in told] == [
        ("main", "keys [a=b] of the configmap 'web', which cannot be variables' names")
    ]


async def test_a_volume_follows_its_config_map(
    runtime: Any, engine: PodEngine, objects: Any, make_pod: MakePod
) -> None:
    objects.put("web", color="red")
    pod = make_pod(*volume("configMap: {name: web}"))
    board, events = Board(), list[PodEvent]()
    async with kept(engine, pod, board, events):
        await until(lambda: "StartContainer main" in runtime.calls)
        path = mount(runtime, "/v")
        assert (path / "color").read_text() == "red"
        objects.put("web", shape="round")
        await until(lambda: (path / "shape").exists() and not (path / "color").is_symlink())
        objects.config_maps = {}
        failed = "refreshing the volume"
        await until(lambda: any((event.step, event.state) == (failed, "failed") for event in events))
        assert (path / "shape").read_text() == "round"
    assert runtime.calls.count("StartContainer main") == 1
    assert len([event for event in events if event.step == failed and event.state == "failed"]) == 1


async def test_a_volume_of_nothing_is_no_start(engine: PodEngine, runtime: Any, make_pod: MakePod) -> None:
    with pytest.raises(NotFound, match=r"configmap 'web' not found.*writing the volume v"):
        await engine.run(make_pod(*volume("configMap: {name: web}")))
    assert "RunPodSandbox web" not in runtime.calls
    await engine.run(make_pod(*volume("configMap: {name: web, optional: true}")))
    assert list(mount(runtime, "/v").iterdir())


@pytest.mark.host
async def test_a_token_is_renewed_and_an_old_one_serves_while_it_lives(
    runtime: Any, engine: PodEngine, objects: Any, make_pod: MakePod
) -> None:
    objects.life = 0.5
    source = "serviceAccountToken: {path: t, audience: a, expirationSeconds: 700}"
    pod = make_pod("serviceAccountName: web\n" + volume(f"projected: {{sources: [{{{source}}}]}}")[0], volume("")[1])
    board, events = Board(), list[PodEvent]()
    async with kept(engine, pod, board, events):
        await until(lambda: "StartContainer main" in runtime.calls)
        path = mount(runtime, "/v") / "t"
        await until(lambda: path.read_text() == "token-3")
        (view,) = await engine.find("web")
        assert objects.asked[0] == {
            "account": "default/web",
            "audiences": ["a"],
            "expiration_seconds": 700,
            "pod_name": "web",
            "pod_uid": view.uid,
        }
        objects.refusal = Unavailable("no server")
        await until(lambda: any("no server" in event.detail for event in events))
        assert path.read_text() == f"token-{len(objects.asked)}"
        objects.life = 3600
        asked = len(objects.asked) + 1
        objects.refusal = None
        await until(lambda: path.read_text() == f"token-{asked}")
        runtime.looked.clear()
        await asyncio.wait_for(runtime.looked.wait(), 20)
        assert len(objects.asked) == asked


async def test_manifests_hold_no_tokens() -> None:
    more: dict[str, Any] = {"audiences": [], "expiration_seconds": 600, "pod_name": "web", "pod_uid": "u"}
    with pytest.raises(FailedPrecondition, match="pod default/web wants a token of the service account 'robot'"):
        await ManifestObjects().token("default", "robot", **more)


def docker(**auths: str) -> dict[str, bytes]:
    entries = {where: {"auth": base64.b64encode(f"{user}:pass".encode()).decode()} for where, user in auths.items()}
    return {".dockerconfigjson": json.dumps({"auths": entries}).encode()}


async def test_secrets_open_registries_one_after_the_other(
    runtime: Any, engine: PodEngine, objects: Any, make_pod: MakePod
) -> None:
    runtime.registry.add("example.com/shop/web:1")
    runtime.credentials["example.com/shop/web:1"] = "right"
    kind = "kubernetes.io/dockerconfigjson"
    objects.put_secret("first", docker(**{"example.com": "wrong", "other.com": "none"}), kind)
    objects.put_secret("second", docker(**{"https://example.com": "right"}), kind)
    secrets = "imagePullSecrets: [{name: missing}, {name: first}, {name: second}]"
    await engine.run(make_pod(secrets, "- {name: main, image: 'example.com/shop/web:1'}"))
    assert runtime.asked_as == ["wrong", "right"]
    await engine.remove("web", "default")
    await engine.run(make_pod(secrets, "- {name: main, image: 'busybox:1', imagePullPolicy: Always}"))
    assert runtime.asked_as[2:] == [""]


async def test_an_image_can_be_a_volume(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    spec = "volumes: [{name: v, image: {reference: 'other:1', pullPolicy: Always}}]"
    main = "- {name: main, image: 'busybox:1', volumeMounts: [{name: v, mountPath: /v, subPath: a/b}]}"
    await engine.run(make_pod(spec, main))
    (found,) = [mount for mount in runtime.config("main").mounts if mount.container_path == "/v"]
    assert (found.image.image, found.image_sub_path, found.host_path) == (runtime.add_image("other:1"), "a/b", "")
    assert found.readonly
    board = Board()
    missing = spec.replace("other:1", "none:1").replace("Always", "Never")
    async with kept(engine, make_pod(missing, main), board):
        await until(lambda: "main" in board.waiting)
        assert board.waiting["main"].reason == "ErrImageNeverPull"
