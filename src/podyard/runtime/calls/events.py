"""GetContainerEvents."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from podyard.cri import api
from podyard.runtime.calls.base import Calls


class EventCalls(Calls):
    """What happens, as it happens."""

    def GetContainerEvents(self, request: api.GetEventsRequest) -> AsyncGenerator[api.ContainerEventResponse, None]:
        """All events from now on: the subscription is there when this returns."""
        return self._context.events.subscribe()
