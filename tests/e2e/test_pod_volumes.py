"""What Pods take from ConfigMaps, Secrets, tokens and images, and what of them may change while they run, seen from
inside of real containers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from tests.support.images import Images
from tests.support.objects import MemoryObjects
from tests.support.patience import PATIENCE
from tests.support.pods import Kit

from podyard.manifest import parse
from podyard.manifest.model import Pod
from podyard.pods import Board, ContainerView, PodEngine
from podyard.pods.restarts import BackOffPolicy

WAIT_LIMIT = 30 * PATIENCE

VOLUMES = """\
apiVersion: v1
kind: Pod
metadata: {name: volumes, uid: volumes-1, labels: {tier: one}}
spec:
  terminationGracePeriodSeconds: 0
  serviceAccountName: robot
  securityContext: {fsGroup: 3000}
  volumes:
  - {name: config, configMap: {name: config}}
  - {name: key, secret: {secretName: key, defaultMode: 0400}}
  - name: all
    projected:
      sources:
      - serviceAccountToken: {path: token, expirationSeconds: 600}
      - downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
  containers:
  - name: main
    image: IMAGE
    command: [sleep, "1000"]
    resources: {limits: {cpu: 500m, memory: 64Mi}}
    resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]
    volumeMounts:
    - {name: config, mountPath: /config}
    - {name: config, mountPath: /part, subPath: color}
    - {name: key, mountPath: /key}
    - {name: all, mountPath: /all}
  - name: late
    image: IMAGE
    command: [sleep, "1000"]
    envFrom: [{configMapRef: {name: late}}]
"""
DEBUG = """\
  ephemeralContainers:
  - {name: debug, image: IMAGE, targetContainerName: main, command: [sleep, "1000"]}
"""
QUOTA = "cut -d ' ' -f 1 /sys/fs/cgroup/cpu.max 2>/dev/null || cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us"
LIMIT = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
PICTURE = """\
apiVersion: v1
kind: Pod
metadata: {name: picture}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  volumes:
  - {name: whole, image: {reference: OTHER}}
  containers:
  - name: main
    image: IMAGE
    command: [sh, -exc, 'test "$(cat /whole/kind)" = docker; test -x /part/sh; ! touch /whole/x']
    volumeMounts:
    - {name: whole, mountPath: /whole}
    - {name: whole, mountPath: /part, subPath: bin}
"""


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()


@pytest.fixture
async def engine(kit: Kit, objects: MemoryObjects) -> AsyncIterator[PodEngine]:
    engine = PodEngine(
        kit.client,
        kit.folder / "pods",
        log_root=kit.folder / "logs",
        objects=objects,
        back_off=BackOffPolicy(first=0.2),
        poll=0.2,
        refresh=0.2,
    )
    yield engine
    for view in await engine.list():
        await engine.remove(view.name, view.namespace)


@asynccontextmanager
async def kept(engine: PodEngine, pod: Pod, board: Board) -> AsyncIterator[None]:
    task = asyncio.create_task(engine.keep(pod, owned=lambda view: True, board=board))
    try:
        yield
        assert not task.done(), task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(what: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(WAIT_LIMIT):
        while not await what():
            await asyncio.sleep(0.1)


async def container(engine: PodEngine, name: str, pod: str = "volumes") -> ContainerView | None:
    """A container of a Pod that runs."""
    for view in await engine.find(pod):
        for one in view.containers:
            if one.name == name and one.state == "running":
                return one
    return None


async def test_volumes_and_limits_follow_what_they_are_made_of(
    kit: Kit, engine: PodEngine, objects: MemoryObjects, images: Images
) -> None:
    (pod,) = parse(VOLUMES.replace("IMAGE", images.busybox).encode(), "volumes.yaml").pods
    objects.put("config", color="red", shape="round")
    objects.put_secret("key", {"password": b"first"})
    objects.life = 5
    board = Board()
    async with kept(engine, pod, board):
        await until(lambda: container(engine, "main"))
        main = await container(engine, "main")
        assert main is not None

        async def said(command: str) -> str:
            return (await kit.exec(main.id, "sh", "-c", command)).strip()

        def says(command: str, text: str) -> Callable[[], Awaitable[bool]]:
            async def same() -> bool:
                return await said(command) == text

            return same

        assert await said("cat /config/color /config/shape /part") == "redroundred"
        assert await said("stat -Lc '%a %g' /key/password; cat /key/password") == "440 3000\nfirst"
        assert await said("cat /all/labels; stat -Lc %a /all/token") == 'tier="one"640'
        token = await said("cat /all/token")
        assert objects.asked[0]["pod_uid"] == "volumes-1"

        # A container waits for its ConfigMap; volumes show what changed, a subPath what it was when it was mounted.
        await until(lambda: _waits(board, "late", "CreateContainerConfigError"))
        objects.put("late", GREETING="hello")
        objects.put("config", color="blue")
        objects.put_secret("key", {"password": b"second"})
        await until(says("cat /config/color /key/password; ls /config; cat /part", "bluesecondcolor\nred"))
        await until(lambda: container(engine, "late"))
        late = await container(engine, "late")
        assert late is not None
        assert (await kit.exec(late.id, "sh", "-c", "echo $GREETING")).strip() == "hello"
        await until(lambda: is_other(said("cat /all/token"), token))

    # Labels and limits of a Pod that is known by its uid change as it runs; a container joins.
    changed = VOLUMES.replace("tier: one", "tier: two").replace("cpu: 500m", "cpu: 700m") + DEBUG
    (pod,) = parse(changed.replace("IMAGE", images.busybox).encode(), "volumes.yaml").pods
    async with kept(engine, pod, Board()):
        await until(says("cat /all/labels", 'tier="two"'))
        await until(says(QUOTA, "70000"))
        await until(lambda: container(engine, "debug"))
        assert await container(engine, "main") == main

    # Its policy says that another limit of memory takes another start of the container.
    (pod,) = parse(changed.replace("IMAGE", images.busybox).replace("64Mi", "80Mi").encode(), "volumes.yaml").pods
    async with kept(engine, pod, Board()):
        await until(lambda: is_other(id_of(engine, "main"), main.id))
        again = await container(engine, "main")
        assert again is not None
        assert (await kit.exec(again.id, "sh", "-c", LIMIT)).strip() == str(80 << 20)
        assert again.restarts == 1


async def id_of(engine: PodEngine, name: str) -> str:
    found = await container(engine, name)
    return found.id if found is not None else ""


async def is_other(call: Awaitable[str], than: str) -> bool:
    """Whether there is an answer, and another one."""
    return await call not in ("", than)


async def test_an_image_can_be_a_volume(kit: Kit, engine: PodEngine, images: Images) -> None:
    text = PICTURE.replace("IMAGE", images.busybox).replace("OTHER", images.docker)
    (pod,) = parse(text.encode(), "picture.yaml").pods
    await engine.run(pod)
    await engine.keep(pod, owned=lambda view: True)
    (view,) = await engine.find("picture")
    assert [(one.state, one.exit_code) for one in view.containers] == [("exited", 0)]


async def _waits(board: Board, name: str, reason: str) -> bool:
    return name in board.waiting and board.waiting[name].reason == reason
