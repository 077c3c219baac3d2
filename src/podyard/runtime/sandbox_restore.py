"""RestorePod."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from podyard.cri import api
from podyard.model.records import Sandbox
from podyard.operations import Operation, Step
from podyard.runtime import pod_checkpoint
from podyard.runtime.container_restore import COPY_LIMIT, RestoreContainer
from podyard.runtime.context import Context
from podyard.runtime.pod_checkpoint import SavedPod
from podyard.runtime.sandbox_run import RunPodSandbox
from podyard.runtime.sandbox_stop import RemovePodSandbox
from podyard.runtime.store import sandbox_name


class RestorePod(Operation[str]):
    """Make a sandbox and its containers out of a checkpoint, all or nothing; their starts restore the processes.

    ``saved``: the manifest of the checkpoint in the directory ``source``. The result is the sandbox' id.
    """

    kind = "RestorePod"
    policy = "undo"

    def __init__(
        self,
        context: Context,
        sandbox: Sandbox,
        source: Path,
        saved: SavedPod | None,
        containers: Sequence[api.ContainerConfig],
    ) -> None:
        self.context = context
        self.sandbox = sandbox
        self.subject = sandbox.id
        self.source = source
        self.saved = saved
        self.containers = containers

    @classmethod
    def from_journal(cls, context: Context, data: bytes) -> RestorePod:
        """The operation again, after a crash: only ever to be undone."""
        return cls(context, msgspec.json.decode(data, type=Sandbox), Path(), None, ())

    @property
    def key(self) -> str:
        return restoring(api.PodSandboxConfig.FromString(self.sandbox.config))

    @property
    def fingerprint(self) -> bytes:
        wanted = [config.SerializeToString(deterministic=True) for config in self.containers]
        return b"\0".join((str(self.source).encode(), self.sandbox.handler.encode(), self.sandbox.config, *wanted))

    def journal_input(self) -> bytes:
        return msgspec.json.encode(self.sandbox)

    def steps(self) -> Sequence[Step]:
        each = COPY_LIMIT + 300
        return [
            Step("running the sandbox", self.run, undo=self.remove, limit=300),
            Step("filling the pod's /dev/shm", self.fill_shm, limit=COPY_LIMIT + 60),
            Step("making the containers", self.make_containers, limit=each * max(len(self.containers), 1)),
        ]

    def result(self) -> str:
        return self.subject

    async def run(self) -> None:
        """A sandbox like any other: its network and its namespaces are new."""
        await self.context.engine.run(RunPodSandbox(self.context, self.sandbox), parent=self)

    async def remove(self) -> None:
        """The sandbox, with the containers that were made."""
        await self.context.engine.run(RemovePodSandbox(self.context, self.subject), parent=self)

    async def fill_shm(self) -> None:
        """What the processes have mapped from there has to be there."""
        assert self.saved is not None
        saved, shm = self.source / self.saved.id / "shm", self.context.paths.sandbox(self.subject) / "shm"
        if saved.exists() and shm.exists():
            await pod_checkpoint.copy(saved, shm, limit=COPY_LIMIT)

    async def make_containers(self) -> None:
        """In the order of the request."""
        assert self.saved is not None
        folders = {one.name: self.source / self.saved.id / one.id for one in self.saved.containers}
        sandbox = self.context.store.sandbox(self.subject)
        for config in self.containers:
            made = RestoreContainer.planned(
                self.context, sandbox, config, restored_from=str(folders[config.metadata.name])
            )
            await self.context.engine.run(made, parent=self)


def restoring(config: api.PodSandboxConfig) -> str:
    """The key of what restores a pod."""
    name, namespace, uid, attempt = sandbox_name(config)
    return f"restoring sandbox {namespace}/{name} (uid {uid}, attempt {attempt})"
