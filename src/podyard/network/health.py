"""Whether a network's plugins are ready, without making a status call wait for them."""

from __future__ import annotations

import asyncio
import time

from podyard.errors import PodyardError
from podyard.network.attachments import execution_config
from podyard.network.configuration import NetworkConfiguration
from podyard.network.plugins import Invocation, Plugins

FRESH = 2.0
"""Seconds that an answer holds."""

LIMIT = 10.0
"""Seconds that the plugins of a network may take to answer STATUS."""


class Health:
    """The last answer of the plugins of the network in use. Asking goes on beside the call that wants to know."""

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins
        self._asked: NetworkConfiguration | None = None
        self._answered = 0.0
        self._problem = ""
        self._asking: asyncio.Task[None] | None = None

    def problem(self, configuration: NetworkConfiguration) -> str:
        """Why the network is not ready, "" if it is, as of the last answer; an old one is renewed meanwhile."""
        fresh = self._asked is configuration and time.monotonic() - self._answered < FRESH
        if not fresh and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self.ask(configuration), name="CNI STATUS")
        if self._asked is configuration:
            return self._problem
        # Plugins without STATUS (CNI before 1.1.0) count as ready when they are there.
        return "its CNI plugins are being asked for their status" if "1.1.0" in configuration.versions else ""

    async def ask(self, configuration: NetworkConfiguration) -> None:
        """Ask the plugins for the versions that they speak and, from CNI 1.1.0 on, for their status."""
        try:
            version = await self._plugins.version_for(configuration)
            if version == "1.1.0":
                deadline = asyncio.get_running_loop().time() + LIMIT
                for plugin in configuration.plugins:
                    config = execution_config(configuration.name, version, plugin)
                    await self._plugins.run(Invocation("STATUS"), config, deadline)
            problem = ""
        except (PodyardError, OSError) as error:
            problem = str(error)
        self._asked, self._problem, self._answered = configuration, problem, time.monotonic()

    async def close(self) -> None:
        """Stop asking."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])
