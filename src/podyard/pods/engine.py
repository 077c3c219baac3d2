"""PodEngine: Pods carried out over a CRI endpoint."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import ExitStack, aclosing, suppress
from pathlib import Path

from msgspec.structs import replace

from podyard.client import Client
from podyard.errors import (
    AlreadyExists,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from podyard.manifest.model import Pod
from podyard.manifest.translate import ClusterDns, pod_hash
from podyard.manifest.translate.labels import MANIFEST_HASH
from podyard.pods import removal
from podyard.pods.board import Board
from podyard.pods.deadline import until_deadline
from podyard.pods.folders import Folders, PodFolder
from podyard.pods.host import read_host
from podyard.pods.inventory import Inventory
from podyard.pods.keep import has_ended, is_of, occupies
from podyard.pods.launch import Launcher
from podyard.pods.loglines import LogLine
from podyard.pods.logs import follow, log_of
from podyard.pods.objects import ManifestObjects, Objects
from podyard.pods.patience import in_thread, patiently
from podyard.pods.projections import REFRESH
from podyard.pods.restarts import BackOffPolicy
from podyard.pods.start import Start
from podyard.pods.steps import Steps
from podyard.pods.supervise import POLL, Pause, Supervisor, just_wait
from podyard.pods.takeover import Found, Takeover
from podyard.pods.users import first_id
from podyard.pods.verdict import Verdict, write_verdict
from podyard.pods.views import OnEvent, PodView, RunningPod, ignore

ROOT = Path("/var/lib/podyard/pods")
LOG_ROOT = Path("/var/log/pods")


class PodEngine:
    """Runs Pods on one endpoint, whose containers run on this host.

    ``root`` holds a directory for each Pod, ``log_root`` one for its logs. ``objects``: where their ConfigMaps, Secrets
    and tokens come from; by default there are none. ``dns``: the cluster's name servers. ``poll``: seconds between two
    looks of ``supervise``, ``refresh`` between two looks at what volumes show. ``folders`` finds a Pod's directories.
    """

    def __init__(
        self,
        client: Client,
        root: Path = ROOT,
        *,
        log_root: Path = LOG_ROOT,
        objects: Objects | None = None,
        dns: ClusterDns | None = None,
        back_off: BackOffPolicy | None = None,
        poll: float = POLL,
        refresh: float = REFRESH,
    ) -> None:
        self._client = client
        self.folders = Folders(root, log_root)
        self._inventory = Inventory(client, self.folders)
        self._takeover = Takeover(client, self.folders, self._inventory)
        self._back_off = back_off or BackOffPolicy()
        self._poll = poll
        self._refresh = refresh
        self._objects = objects or ManifestObjects()
        self._dns = dns or ClusterDns()

    async def run(self, pod: Pod, *, on_event: OnEvent = ignore) -> RunningPod:
        """Start a Pod and return it when all its containers have been started.

        One that runs unchanged is returned as it is; what is left of one that ended or never came up is removed first.
        Raises AlreadyExists when a different Pod of that name runs, FailedPrecondition when an init container failed
        for good or somebody else is starting this Pod, else the error of the step that failed, which it names.
        """
        name, namespace, steps = pod.metadata.name, pod.metadata.namespace, Steps(on_event)
        with self.folders.exclusive(namespace, name) as mine:
            for found in await self.find(name, namespace):
                if occupies(found, pod):
                    if found.annotations.get(MANIFEST_HASH) == pod_hash(pod):
                        steps.tell("already running", pod.full_name, detail=found.sandbox_id[:12])
                        return found
                    raise AlreadyExists(
                        f"a different pod {pod.full_name} runs already (sandbox {found.sandbox_id[:12]}): remove it "
                        f"with podyard rm {name}, or name this one otherwise"
                    )
            if not mine:
                raise FailedPrecondition(
                    f"another podyard starts or supervises the pod {pod.full_name}: see podyard ps"
                )
            await self._remove(name, namespace, None, steps)
            launcher = await self._launcher(pod, pod.metadata.uid or str(uuid.uuid4()), steps)
            start = Start(self._client, launcher, steps, self._back_off)
            await launcher.fetch_images()
            await start.sandbox()
            await self._supervisor(launcher, steps, just_wait).beside(start.init_containers(), start.sidecars)
            await start.containers()
        return await self._view(name, namespace, launcher.sandbox_id)

    async def supervise(self, pod: Pod, running: RunningPod, on_event: OnEvent = ignore) -> None:
        """While the Pod runs, start containers again that end, as its restart policy says.

        Returns when all have ended and none is to be started again (sidecars are stopped then), or when the Pod is
        stopped or removed. Raises FailedPrecondition when somebody else supervises it.
        """
        steps = Steps(on_event)
        with self.folders.exclusive(running.namespace, running.name) as mine:
            if not mine:
                raise FailedPrecondition(f"another podyard starts or supervises the pod {pod.full_name}")
            launcher = await self._launcher(pod, running.uid, steps)
            try:
                await patiently(lambda: launcher.adopt(running.sandbox_id))
            except NotFound:
                return  # removed in the meantime
            await until_deadline(launcher, steps, self._supervisor(launcher, steps, just_wait).watch)
            for view in await self.find(running.name, running.namespace):
                if view.verdict and (failures := await removal.stop_pod(self._client, view, None, steps)):
                    raise removal.combined(failures)

    async def keep(
        self,
        pod: Pod,
        *,
        owned: Callable[[PodView], bool],
        on_event: OnEvent = ignore,
        board: Board | None = None,
        pause: Pause = just_wait,
    ) -> bool:
        """Have a Pod run, and look after it as ``supervise`` does: what is there of this manifest goes on unchanged.

        A Pod that comes with a uid keeps it, and is what runs with that uid; one without is what was made from the
        same manifest. ``owned``: which other Pods of that name may be removed, since they are earlier ones. ``board``
        is kept up to date. Returns True when the Pod has ended for good, and its sandbox was stopped; False when the
        sandbox is gone or was stopped by somebody. Raises AlreadyExists when a Pod of that name runs that is not
        owned, FailedPrecondition when somebody else looks after it, else the error of the step that failed.
        """
        name, namespace, steps = pod.metadata.name, pod.metadata.namespace, Steps(on_event)
        with self.folders.exclusive(namespace, name) as mine:
            if not mine:
                raise FailedPrecondition(f"another podyard starts or supervises the pod {pod.full_name}")
            found = await self._takeover.find(pod, owned, steps)
            if found.usable is None or not has_ended(found.usable, pod):
                uid = pod.metadata.uid or (found.view.uid if found.view else str(uuid.uuid4()))
                launcher = await self._launcher(pod, uid, steps, board, found)
                start = Start(self._client, launcher, steps, self._back_off, patience=self._back_off.first)
                if found.usable is None:
                    await start.sandbox()
                    await self._takeover.discard_twins(pod, owned, uid, steps)
                else:
                    await launcher.adopt(found.usable.sandbox_id)

                async def work() -> None:
                    supervisor = self._supervisor(launcher, steps, pause)
                    await supervisor.beside(start.init_containers(), start.sidecars)
                    await supervisor.watch()

                await until_deadline(launcher, steps, work)
            views = [view for view in await self.find(name, namespace) if is_of(view, pod)]
            ended = any(has_ended(view, pod) for view in views)
            for view in views if ended else []:
                if view.ready and (failures := await removal.stop_pod(self._client, view, None, steps)):
                    raise removal.combined(failures)
            return ended

    async def halt(self, view: PodView, grace: int | None = None, *, on_event: OnEvent = ignore) -> None:
        """Stop this very Pod and leave it there to be looked at. ``grace``: seconds, instead of what the Pod says.

        Raises what failed, all of it in one error.
        """
        await self._takeover.announce_stop(view)
        if failures := await removal.stop_pod(self._client, view, grace, Steps(on_event)):
            raise removal.combined(failures)

    async def end(self, view: PodView, verdict: Verdict, *, on_event: OnEvent = ignore) -> None:
        """Stop this very Pod for good: nobody starts it again, and its status says why.

        Raises what failed, all of it in one error.
        """
        steps = Steps(on_event)
        with steps.step("ending", view.full_name):
            await in_thread(write_verdict, self.folder(view), verdict)
        if failures := await removal.stop_pod(self._client, view, verdict.grace, steps):
            raise removal.combined(failures)

    def folder(self, view: PodView) -> PodFolder:
        """A Pod's directories. Raises InvalidArgument for one that podyard cannot have made."""
        return self.folders.of(view.namespace, view.name, view.uid)

    async def discard(self, view: PodView, *, on_event: OnEvent = ignore) -> None:
        """Stop this very Pod and remove it with its directories. Raises what failed, all of it in one error."""
        # Whoever supervises it goes on doing so until it is stopped; a lock that a killed one left goes away here.
        with ExitStack() as stack:
            with suppress(ResourceExhausted):  # a full disk keeps nothing from being removed
                stack.enter_context(self.folders.exclusive(view.namespace, view.name))
            await self._takeover.discard(view, Steps(on_event))

    async def find(self, name: str, namespace: str | None = None) -> list[PodView]:
        """The Pods of that name, of all namespaces or of one, whoever made them."""
        return await self._inventory.pods(name, namespace)

    async def list(self) -> list[PodView]:
        """All Pods of the endpoint, whoever made them."""
        return await self._inventory.pods()

    async def stop(self, name: str, namespace: str, grace: int | None = None, *, on_event: OnEvent = ignore) -> None:
        """Stop a Pod: its containers, then its sandbox. ``grace``: seconds, instead of what the Pod says.

        Raises NotFound when there is none, else what failed, all of it in one error.
        """
        found = await self.find(name, namespace)
        if not found:
            raise NotFound(f"there is no pod {namespace}/{name}: podyard pods lists them")
        steps = Steps(on_event)
        failures = []
        for pod in found:
            await self._takeover.announce_stop(pod)
            failures += await removal.stop_pod(self._client, pod, grace, steps)
        if failures:
            raise removal.combined(failures)

    async def remove(self, name: str, namespace: str, on_event: OnEvent = ignore, *, grace: int | None = None) -> None:
        """Stop a Pod and remove all of it: sandboxes, containers, volumes, logs. One that is not there is fine.

        Raises what failed, all of it in one error; then its directories stay, since something may still use them.
        """
        await self._remove(name, namespace, grace, Steps(on_event))

    async def logs(
        self,
        pod: PodView,
        containers: Sequence[str] = (),
        *,
        following: bool = False,
        before: bool = False,
        tail: int | None = None,
        since: int | None = None,
    ) -> AsyncGenerator[LogLine, None]:
        """The log lines of a Pod's containers (all, or those named), ``source`` being the container's name.

        ``following``: until the containers have ended or the Pod is stopped; of one that is started again, go on with
        ``logs`` of the new view. ``before``: of the attempts before the newest ones. Raises what ``log_of`` raises.
        """
        if following and before:
            raise InvalidArgument("an attempt before the last one has ended: there is nothing to follow")
        names = containers or [view.name for view in pod.containers]
        paths = {name: log_of(pod, name, before=before) for name in names}
        ids = {view.name: view.id for view in pod.containers}

        async def ended(name: str) -> bool:
            return await self._inventory.has_ended(ids[name])

        async with aclosing(follow(paths, ended=ended if following else None, tail=tail, since=since)) as lines:
            async for line in lines:
                yield line

    async def _remove(self, name: str, namespace: str, grace: int | None, steps: Steps) -> None:
        failures = []
        for pod in await self.find(name, namespace):
            await self._takeover.announce_stop(pod)
            failures += await removal.remove_pod(self._client, pod, grace, steps)
        if not failures:
            failures = await removal.remove_folders(self._client, self.folders, namespace, name, steps)
        if failures:
            raise removal.combined(failures)

    async def _launcher(
        self, pod: Pod, uid: str, steps: Steps, board: Board | None = None, found: Found | None = None
    ) -> Launcher:
        host = dataclasses.replace(await in_thread(read_host, self.folders.root), cluster_dns=self._dns)
        pod = replace(pod, metadata=replace(pod.metadata, uid=uid))
        folder = self.folders.of(pod.metadata.namespace, pod.metadata.name, uid)
        users = None if pod.spec.host_users else await asyncio.to_thread(first_id, self.folders.root, folder)
        return Launcher(
            self._client, pod, folder, host, steps, objects=self._objects, users=users, board=board, found=found
        )

    def _supervisor(self, launcher: Launcher, steps: Steps, pause: Pause) -> Supervisor:
        return Supervisor(
            self._client, launcher, steps, self._back_off, poll=self._poll, refresh=self._refresh, pause=pause
        )

    async def _view(self, name: str, namespace: str, sandbox_id: str) -> RunningPod:
        for view in await self.find(name, namespace):
            if view.sandbox_id == sandbox_id:
                return view
        raise Internal(f"the sandbox {sandbox_id[:12]} of pod {namespace}/{name} was removed while it was started")
