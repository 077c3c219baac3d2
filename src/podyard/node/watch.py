"""The runtime as the node sees it: whether it can be used, and what happens in it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing

from podyard.client import Client
from podyard.cri import api
from podyard.errors import EndpointError, PodyardError, Unimplemented
from podyard.node.wake import until_set

logger = logging.getLogger(__name__)

HEALTH_POLL = 5.0
"""Seconds between two questions for the runtime's status: a kubelet's."""
SUBSCRIBE_AGAIN = 2.0
"""Seconds before events are asked for again after the stream ended."""


class RuntimeWatch:
    """Asks the runtime how it is, follows its events and wakes those who wait for a sandbox."""

    def __init__(self, client: Client) -> None:
        self.trouble = "the runtime was not asked yet"
        """Why the node is not ready; "" when it is."""
        self.on_trouble: Callable[[], None] = lambda: None
        """Called when that changes."""
        self.on_event: Callable[[], None] = lambda: None
        """Called with each of the runtime's events."""
        self._client = client
        self._waiting: dict[str, asyncio.Event] = {}

    async def pause(self, sandbox_id: str, seconds: float) -> None:
        """Wait until something happens in a sandbox, ``seconds`` at most."""
        event = self._waiting.setdefault(sandbox_id, asyncio.Event())
        try:
            await until_set(event, seconds)
        except asyncio.CancelledError:
            self._waiting.pop(sandbox_id, None)
            raise
        # What happens from here on, while nobody waits, ends the next wait at once.
        event.clear()

    async def health(self) -> None:
        """Ask for the runtime's status for ever; log when its usability changes."""
        while True:
            trouble = await self._trouble()
            if trouble != self.trouble:
                if trouble:
                    logger.error("the node is not ready: %s", trouble)
                else:
                    logger.info("the node is ready")
                self.trouble = trouble
                self.on_trouble()
            await asyncio.sleep(HEALTH_POLL)

    async def events(self) -> None:
        """Follow the runtime's events for ever; return at once where it has none: polling finds everything too."""
        while True:
            try:
                async with aclosing(self._client.runtime.get_container_events()) as events:
                    async for event in events:
                        self._wake(event)
            except Unimplemented as error:
                logger.info("containers are looked at every second, since events cannot be followed: %s", error)
                return
            except PodyardError as error:
                logger.debug("the events ended: %s", error)
            await asyncio.sleep(SUBSCRIBE_AGAIN)

    def _wake(self, event: api.ContainerEventResponse) -> None:
        self.on_event()
        sandbox_id = event.pod_sandbox_status.id
        waiting = self._waiting.get(sandbox_id)
        if waiting is not None:
            waiting.set()
        if event.container_id == sandbox_id and event.container_event_type == api.CONTAINER_DELETED_EVENT:
            self._waiting.pop(sandbox_id, None)

    async def _trouble(self) -> str:
        try:
            status = (await self._client.runtime.status()).status
        except PodyardError as error:
            return str(error)
        # The image service negotiated for itself, and may lose its version by itself. Whatever else troubles it is told
        # by the pulls that fail: containers go on without it.
        try:
            await self._client.images.image_fs_info()
        except EndpointError as error:
            return str(error)
        except PodyardError as error:
            logger.debug("the image service: %s", error)
        bad = [f"{one.type}: {one.reason} {one.message}".strip() for one in status.conditions if not one.status]
        return "; ".join(bad)
