"""Pulls in flight: each name is pulled once at a time, however many ask for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from podyard.errors import NotFound, PermissionDenied, PodyardError, RegistryUnavailable, Unavailable, translate
from podyard.images.auth import Credentials
from podyard.images.config import ImagesConfig
from podyard.images.counts import Counts
from podyard.images.platforms import Host
from podyard.images.progress import PullProgress, doing
from podyard.images.registries import places
from podyard.images.registry import Repository
from podyard.images.sources import Contents, Source, resolve
from podyard.images.transport import Transport
from podyard.images.trust import policy, sigstore
from podyard.model.image import Image
from podyard.model.reference import DEFAULT_REGISTRY, Reference, candidates, parse

logger = logging.getLogger(__name__)

Key = tuple[Reference, Credentials | None]
Add = Callable[[Source, Contents, Sequence[str], PullProgress], Awaitable[Image]]


class Puller:
    """``add`` brings what was resolved to the disk and into the catalog."""

    def __init__(self, config: ImagesConfig, host: Host, counts: Counts, add: Add) -> None:
        self._config = config
        self._host = host
        self._counts = counts
        self._add = add
        self._transport = Transport(config)
        self._pulls: dict[Key, tuple[asyncio.Task[Image], PullProgress]] = {}
        self._closed = False

    async def close(self) -> None:
        """Stop the pulls in flight; close all connections."""
        self._closed = True
        tasks = [task for task, _ in self._pulls.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._transport.close()

    def progress(self) -> list[PullProgress]:
        """The pulls in flight."""
        return [progress for _, progress in self._pulls.values()]

    async def pull(self, name: str, credentials: Credentials | None, search: Sequence[str]) -> Image:
        """Bring an image here, or join the pull of the same name that is going on. It goes on when the caller has gone.

        ``search``: where a name without a registry is looked for, in order.
        """
        if self._closed:
            raise Unavailable("podyard is stopping: pull the image once it runs again")
        refusals: list[PodyardError] = []
        for reference in candidates(name, search):
            try:
                return await self._joined(reference.pinned, _for(credentials, reference, parse(name)))
            except (NotFound, PermissionDenied, RegistryUnavailable) as error:
                refusals.append(error)
        last = refusals[-1]
        others = "".join(f"; before that, {error.args[0]}" for error in refusals[:-1])
        raise type(last)(f"{last.args[0]}{others}") from last

    async def repository(self, reference: Reference, credentials: Credentials | None = None) -> Repository:
        """The place that a reference names, as the host's configuration has it."""
        endpoints = await places.endpoints(self._config, reference, credentials)
        return Repository(self._transport, self._config, reference, endpoints)

    async def contents(self, reference: Reference, repository: Repository, progress: PullProgress) -> Contents:
        """What a reference names, resolved for this host and found to be trusted."""
        wanted = await policy.requirements(self._config.signature_policy, reference)
        with doing(progress, "asking the registry"):
            top, data = await repository.manifest()
            progress.image_digest = top.digest
            contents = await resolve(repository, top, data, self._host, str(reference))
        with doing(progress, "verifying signatures"):
            await sigstore.verify(wanted, reference, contents.manifests, repository)
        return contents

    async def _joined(self, reference: Reference, credentials: Credentials | None) -> Image:
        key = (reference, credentials)
        if key not in self._pulls:
            progress = PullProgress(str(reference))
            task = asyncio.create_task(self._pull(reference, credentials, progress))
            self._pulls[key] = (task, progress)
            task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(self._pulls[key][0])

    async def _pull(self, reference: Reference, credentials: Credentials | None, progress: PullProgress) -> Image:
        async with self._counts.pull(progress):
            try:
                repository = await self.repository(reference, credentials)
                contents = await self.contents(reference, repository, progress)
                names = [reference.with_digest(progress.image_digest)]
                if reference.tag:
                    names.append(str(reference))
                return await self._add(repository, contents, names, progress)
            except OSError as error:
                raise translate(error, f"pulling {reference}") from error

    def _ended(self, key: Key, task: asyncio.Task[Image]) -> None:
        del self._pulls[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its callers may all have gone.
            level = logging.INFO if isinstance(error, PodyardError) else logging.ERROR
            logger.log(level, "the pull of %s failed: %s", key[0], error)


def _for(credentials: Credentials | None, reference: Reference, named: Reference) -> Credentials | None:
    """What a pull brings along for a name without a registry is meant for docker.io, not for whatever is searched."""
    if credentials is None or credentials.server or reference == named:
        return credentials
    return replace(credentials, server=DEFAULT_REGISTRY)
