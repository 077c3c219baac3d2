"""What there is of a Pod that is to run: it is gone on with, followed by a new sandbox, or removed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from podyard.client import Client
from podyard.errors import AlreadyExists
from podyard.manifest.model import Pod
from podyard.pods import removal
from podyard.pods.folders import Folders, PodFolder
from podyard.pods.inventory import Inventory
from podyard.pods.keep import can_go_on, has_ended, is_of
from podyard.pods.steps import Steps
from podyard.pods.views import PodView

Owned = Callable[[PodView], bool]
"""Whether a Pod of the name is an earlier one, which may be removed."""


@dataclass(frozen=True)
class Found:
    """At most one of both: a Pod that can be used, or has ended for good, and one whose sandbox is lost."""

    usable: PodView | None = None
    lost: PodView | None = None
    """Stopped. Its next sandbox takes over its uid, its volumes and its logs."""

    @property
    def view(self) -> PodView | None:
        """The one that is there."""
        return self.usable or self.lost

    def sandbox_attempt(self) -> int:
        """The number of the sandbox that the Pod is to run in."""
        if self.lost is not None:
            return self.lost.attempt + 1
        return self.usable.attempt if self.usable is not None else 0

    def next_attempts(self) -> dict[str, int]:
        """By container, the number of an attempt that comes after all that are there, in whatever sandbox."""
        if self.view is None:
            return {}
        attempts: dict[str, int] = {}
        for one in (*self.view.containers, *self.view.earlier):
            attempts[one.name] = max(attempts.get(one.name, 0), one.restarts + 1)
        return attempts


class Takeover:
    """Decides that for the Pods of one endpoint."""

    def __init__(self, client: Client, folders: Folders, inventory: Inventory) -> None:
        self._client = client
        self._folders = folders
        self._inventory = inventory

    async def find(self, pod: Pod, owned: Owned, steps: Steps) -> Found:
        """What is there of a Pod. Other owned Pods of its name are removed.

        Raises AlreadyExists when a Pod of that name runs that is not owned, else what could not be stopped or removed.
        """
        name, namespace = pod.metadata.name, pod.metadata.namespace
        usable: PodView | None = None
        lost: PodView | None = None
        others = False
        for view in await self._inventory.pods(name, namespace):
            if not owned(view):
                others = True
                if view.ready:
                    raise AlreadyExists(
                        f"another pod {view.full_name} runs already (sandbox {view.sandbox_id[:12]}), which is not of "
                        f"this manifest: remove it with podyard rm {view.full_name}, or name this one otherwise"
                    )
                continue
            mine = usable is None and is_of(view, pod)
            if mine and (has_ended(view, pod) or can_go_on(view, self._folder(view))):
                usable = view
            elif mine and lost is None:
                lost = view
            else:
                await self.discard(view, steps)
        if usable is not None and lost is not None:
            await self.discard(lost, steps)
        elif lost is not None:
            await self._halt(lost, steps)
        elif usable is None and not others:
            await self._remove_leftovers(namespace, name, steps)
        return Found(usable) if usable is not None else Found(None, lost)

    async def discard_twins(self, pod: Pod, owned: Owned, mine: str, steps: Steps) -> None:
        """Remove the Pod of a start that was given up while the endpoint still worked on it. ``mine``: the uid of the
        one that is to stay."""
        for view in await self._inventory.pods(pod.metadata.name, pod.metadata.namespace):
            if owned(view) and view.uid != mine:
                await self.discard(view, steps)

    async def discard(self, view: PodView, steps: Steps) -> None:
        """Stop this very Pod and remove it with its directories. Raises what failed, all of it in one error."""
        await self.announce_stop(view)
        failures = await removal.stop_pod(self._client, view, None, steps)
        if not failures:
            # The files go before the sandbox: whoever goes on after a crash finds them by it.
            await self._remove_folder(view, steps)
        if removed := await removal.remove_stopped(self._client, view, steps):
            raise removal.combined(failures + removed)
        if failures:
            await self._remove_folder(view, steps)

    async def announce_stop(self, view: PodView) -> None:
        """Tell whoever supervises the Pod that it is stopped."""
        await asyncio.to_thread(self._folders.announce_stop, view.namespace, view.name, view.uid)

    async def _halt(self, lost: PodView, steps: Steps) -> None:
        """Stop what is left of a Pod whose sandbox is lost. Its sandboxes stay for now: by them its files are found."""
        await self.announce_stop(lost)
        if failures := await removal.stop_pod(self._client, lost, None, steps):
            raise removal.combined(failures)
        await asyncio.to_thread(self._folder(lost).stopping.unlink, missing_ok=True)

    async def _remove_leftovers(self, namespace: str, name: str, steps: Steps) -> None:
        """Remove what a start left that did not get as far as the sandbox."""
        if failures := await removal.remove_folders(self._client, self._folders, namespace, name, steps):
            raise removal.combined(failures)

    async def _remove_folder(self, view: PodView, steps: Steps) -> None:
        with steps.step("removing the files of", view.full_name):
            await removal.remove_folder(self._folder(view))

    def _folder(self, view: PodView) -> PodFolder:
        return self._folders.of(view.namespace, view.name, view.uid)
