"""The node agent and podyard killed again and again while Pods come and go: what is declared runs once, and goes on.

Every container writes a line to a file of its own when it starts, so that the files tell how often each was started.
PODYARD_TEST_SOAK=100 kills a hundred times, with thirty Pods.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path

from tests.support.host import snapshot
from tests.support.images import Images
from tests.support.node import Node
from tests.support.patience import PATIENCE
from tests.support.servers import Podyard

from podyard.client import Client
from podyard.cri import api
from podyard.errors import PodyardError
from podyard.pods.patience import patiently

KILLS = int(os.environ.get("PODYARD_TEST_SOAK", "6"))
PODS, LULL = (30, 6) if KILLS > 20 else (10, 2)
"""How many Pods there are, and how many seconds at most lie between two kills."""
SETTLE_LIMIT = 90 * PATIENCE
RUNTIME_AWAY = 14
"""The exit code of an agent that was started before its runtime."""
RESTLESS = "restless-1"
"""The life of the Pod whose container ends as soon as it has started."""
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{life: {life}}}}}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{{name: starts, hostPath: {{path: {starts}, type: Directory}}}}]
  initContainers:
  - name: first
    image: {image}
    command: [sh, -c, "echo started >> /starts/{life}.first"]
    volumeMounts: [{{name: starts, mountPath: /starts}}]
  containers:
  - name: main
    image: {image}
    command: [sh, -c, "echo started >> /starts/{life}.main; {then}"]
    volumeMounts: [{{name: starts, mountPath: /starts}}]
"""


class Pods:
    """The Pods that are declared: each declaration of a name is a life of its own."""

    def __init__(self, node: Node, image: str, starts: Path) -> None:
        self.lives: dict[str, str] = {}
        """The life of each name that is declared now."""
        self.starts = starts
        self._node = node
        self._image = image
        self._numbers: Counter[str] = Counter()

    def declare(self, name: str) -> None:
        """Declare a Pod, in place of one that has this name already."""
        self._numbers[name] += 1
        life = self.lives[name] = f"{name}-{self._numbers[name]}"
        then = "exit 3" if life == RESTLESS else f"exec tail -f /starts/{life}.main"
        self._node.write(name, POD.format(name=name, life=life, image=self._image, starts=self.starts, then=then))

    def remove(self, name: str) -> None:
        del self.lives[name]
        self._node.remove(name)

    def started(self, life: str, container: str) -> int:
        """How often a container was started."""
        path = self.starts / f"{life}.{container}"
        return len(path.read_text().splitlines()) if path.exists() else 0


class Witness:
    """Looks at the runtime, whenever it answers, and remembers all sandboxes and containers."""

    def __init__(self, client: Client) -> None:
        self.sandboxes: dict[str, set[str]] = defaultdict(set)
        """The ids of the sandboxes in which a container ran, by life."""
        self.running: dict[str, set[str]] = defaultdict(set)
        """The ids of the main containers that ran, by life."""
        self.ids: set[str] = set()
        self._client = client

    async def look(self) -> tuple[dict[str, api.PodSandbox], list[api.Container]]:
        """The sandboxes by id, and the containers in them."""
        sandboxes = {sandbox.id: sandbox for sandbox in await self._client.runtime.list_pod_sandbox()}
        found = await self._client.runtime.list_containers()
        containers = [container for container in found if container.pod_sandbox_id in sandboxes]
        self.ids |= sandboxes.keys() | {container.id for container in containers}
        self.ids |= {sandbox.metadata.uid for sandbox in sandboxes.values()}
        for container in containers:
            sandbox = sandboxes[container.pod_sandbox_id]
            if container.metadata.name == "main" and container.state == api.CONTAINER_RUNNING:
                life = sandbox.labels["life"]
                self.sandboxes[life].add(sandbox.id)
                self.running[life].add(container.id)
        return sandboxes, containers

    async def watch(self) -> None:
        while True:
            with suppress(PodyardError):  # it has just been killed
                await self.look()
            await asyncio.sleep(0.2)


async def restart_on_failure(node: Node) -> None:
    """What a service manager does with an agent that was started before its runtime."""
    while True:
        if (code := node.poll()) is not None:
            assert code == RUNTIME_AWAY, node.log.read_text()[-5000:]
            node.start()
        await asyncio.sleep(0.1)


async def kill_and_churn(own: Podyard, node: Node, pods: Pods) -> None:
    """SIGKILL of one or both at random instants; half of the Pods come and go."""
    for _ in range(KILLS):
        for name in random.sample([f"fickle-{number}" for number in range(PODS // 2)], 3):
            if name in pods.lives and random.random() < 0.5:
                pods.remove(name)
            else:
                pods.declare(name)
        await asyncio.sleep(random.uniform(0, LULL))
        victims = random.choice(["agent", "runtime", "both"])
        if victims != "runtime" and node.poll() is None:
            node.kill()
        if victims != "agent":
            own.kill()
            own.spawn()
        if victims != "runtime":
            node.start()


async def settled(witness: Witness, pods: Pods) -> dict[str, list[api.Container]]:
    """Wait until what is declared runs, and nothing else is there; the containers of each life, the newest first."""
    deadline = time.monotonic() + SETTLE_LIMIT
    while True:
        sandboxes, containers = await patiently(witness.look)
        lives: dict[str, list[api.Container]] = {}
        for one in containers:
            lives.setdefault(sandboxes[one.pod_sandbox_id].labels["life"], []).append(one)
        declared = sorted(sandbox.labels["life"] for sandbox in sandboxes.values()) == sorted(pods.lives.values())
        if declared and all(is_up(pods, life, lives.get(life, [])) for life in pods.lives.values()):
            return lives
        assert time.monotonic() < deadline, (pods.lives, lives)
        await asyncio.sleep(0.2)


def is_up(pods: Pods, life: str, containers: list[api.Container]) -> bool:
    """Whether a Pod is as it is to be: of the restless one, that each attempt was started once."""
    main = next((one for one in containers if one.metadata.name == "main"), None)
    if main is None or life != RESTLESS:
        return main is not None and main.state == api.CONTAINER_RUNNING
    return main.state == api.CONTAINER_EXITED and pods.started(life, "main") == main.metadata.attempt + 1


def processes(command: str) -> int:
    """How many processes of the host have this command line."""
    found = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += path.read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace") == command
        except OSError:
            continue
    return found


def check(pods: Pods, witness: Witness, lives: dict[str, list[api.Container]]) -> None:
    """Each Pod runs once, and none of the containers that do not end was started more than once."""
    steady = [life for life in pods.lives.values() if life != RESTLESS]
    wanted = [("first", 0, api.CONTAINER_EXITED), ("main", 0, api.CONTAINER_RUNNING)]
    found = {
        life: sorted((one.metadata.name, one.metadata.attempt, one.state) for one in lives[life]) for life in steady
    }
    assert {life: those for life, those in found.items() if those != wanted} == {}
    for life in steady:
        counted = (
            pods.started(life, "first"),
            pods.started(life, "main"),
            processes(f"tail -f /starts/{life}.main"),
            len(witness.sandboxes[life]),
            len(witness.running[life]),
        )
        assert counted == (1, 1, 1, 1, 1), f"{life}: {counted}"
    for path in pods.starts.iterdir():
        # One that was removed may have been killed before it wrote.
        assert path.name == f"{RESTLESS}.main" or path.read_text() in ("", "started\n"), path


async def test_what_is_declared_runs_once_whoever_is_killed(own: Podyard, images: Images, tmp_path: Path) -> None:
    before = snapshot()
    (tmp_path / "starts").mkdir()
    async with await Client.connect(own.endpoint) as client:
        await client.images.pull_image(images.busybox)
        node, witness = Node(own, tmp_path), Witness(client)
        pods = Pods(node, images.busybox, tmp_path / "starts")
        for number in range(PODS // 2):
            pods.declare(f"steady-{number}")
            pods.declare(f"fickle-{number}")
        pods.declare("restless")
        node.start()
        try:
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(witness.watch()), group.create_task(restart_on_failure(node))]
                await kill_and_churn(own, node, pods)
                check(pods, witness, await settled(witness, pods))
                for task in beside:
                    task.cancel()
        except BaseException:
            node.kill()
            raise
        await node.close(client)
    added = snapshot().added_since(before)
    mine = (*witness.ids, str(tmp_path))
    left = {kind: [line for line in lines if any(part in line for part in mine)] for kind, lines in added.items()}
    left["processes"] = [line for line in left.get("processes", []) if "podyard serve" not in line]
    assert not any(left.values()), left
    assert list(Path(f"/sys/class/net/{own.network.bridge}/brif").iterdir()) == []
    for folder in ("bundles", "pins", "sandboxes", "exits"):
        assert list((own.run / folder).iterdir()) == []
    assert list((own.root / "containers").iterdir()) == []
