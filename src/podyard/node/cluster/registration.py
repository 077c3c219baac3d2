"""The Node object of this machine, kept up to date."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from podyard.client import Client
from podyard.cri import api
from podyard.errors import AlreadyExists, NotFound, PodyardError, translate
from podyard.node.cluster import node_object
from podyard.node.cluster.events import News
from podyard.node.cluster.news import of_node
from podyard.node.cluster.node_object import NodeFacts, Settings
from podyard.node.filesystem import file_system
from podyard.node.kube import Conflict, KubeClient, for_ever, paths
from podyard.node.machine import Machine, read_machine
from podyard.node.wake import until_set

logger = logging.getLogger(__name__)

LOOK = 10.0
"""Seconds between two looks at what the status tells."""
REPORT = 300.0
"""Seconds after which a status is told that has no news: the conditions' heartbeat."""


class Registration:
    """Makes the Node, and tells its status when there is news.

    ``trouble`` says why the node is not ready, ``pressures`` what the machine runs out of;
    ``tell`` is given the events of it.
    """

    def __init__(
        self,
        kube: KubeClient,
        client: Client,
        settings: Settings,
        pod_root: Path,
        *,
        trouble: Callable[[], str],
        pressures: Callable[[], Mapping[str, str]],
        tell: Callable[[News], None],
    ) -> None:
        self.node: dict[str, Any] = {}
        """The Node as the server has it; empty before it is registered."""
        self.registered = asyncio.Event()
        self._kube = kube
        self._client = client
        self._settings = settings
        self._pod_root = pod_root
        self._trouble = trouble
        self._pressures = pressures
        self._tell = tell
        self._news = asyncio.Event()
        self._told: dict[str, Any] = {}
        self._told_at = 0.0
        self._runtime = ""
        self._status = api.StatusResponse()
        self._images: list[api.Image] = []

    def news(self) -> None:
        """Look at the status at once."""
        self._news.set()

    def forget(self) -> None:
        """Somebody removed the Node: it is registered again."""
        self.node = {}
        self.registered.clear()
        self._news.set()

    async def run(self) -> None:
        """For ever, until cancelled."""
        await for_ever(self.tell, self._rest, "tell the node's status")

    async def _rest(self) -> None:
        await until_set(self._news, LOOK)
        self._news.clear()

    async def tell(self) -> None:
        """Register the node, if it is not there, and tell its status, if there is news.

        Raises what the server answers.
        """
        machine = await asyncio.to_thread(read_machine)
        # A copy of the nodes that is older than the registration has it forgotten again, at any time.
        node = self.node or await self._register(machine)
        status = node_object.node_status(self._settings, await self._facts(machine), self._told, time.time())
        quiet = node_object.without_heartbeats(status) == node_object.without_heartbeats(self._told)
        if quiet and time.monotonic() - self._told_at < REPORT:
            return
        # Addresses are told as a whole: a node may have several of one type, by which the server would merge them.
        addresses = [{"$patch": "replace"}, *status["addresses"]]
        patch = {"metadata": {"uid": node["metadata"]["uid"]}, "status": {**status, "addresses": addresses}}
        try:
            await self._kube.patch(paths.node(self._settings.name, "status"), patch)
        except (NotFound, Conflict):
            self.forget()
            raise
        for news in of_node(self._settings.name, self._told, status):
            self._tell(news)
        self._told, self._told_at = status, time.monotonic()

    async def _register(self, machine: Machine) -> dict[str, Any]:
        """The Node that stands at the server now."""
        name = self._settings.name
        wanted = node_object.node_object(self._settings, machine)
        try:
            node = await self._kube.create(paths.NODES, wanted)
            logger.info("node %s is registered at %s", name, self._kube.server)
        except AlreadyExists:
            node = await self._kube.get(paths.node(name))
            labels = wanted["metadata"]["labels"]
            known = node["metadata"].get("labels", {})
            if {**known, **labels} != known:
                node = await self._kube.patch(paths.node(name), {"metadata": {"labels": labels}})
            logger.info("node %s stands at %s already", name, self._kube.server)
        self.node = node
        self._told, self._told_at = node.get("status", {}), float("-inf")
        self.registered.set()
        return node

    async def _facts(self, machine: Machine) -> NodeFacts:
        with suppress(PodyardError):  # else what was known last; the trouble says that the runtime is away
            version = await self._client.runtime.version()
            self._runtime = f"{version.runtime_name}://{version.runtime_version}"
            self._status = await self._client.runtime.status()
            self._images = await self._client.images.list_images()
        try:
            disk = await asyncio.to_thread(file_system, self._pod_root)
        except OSError as error:
            raise translate(error, "reading what the machine has left") from error
        return NodeFacts(
            machine=machine,
            disk=disk.capacity,
            runtime=self._runtime,
            trouble=self._trouble(),
            pressures=self._pressures(),
            images=self._images,
            handlers=sorted(self._status.runtime_handlers, key=lambda one: one.name),
            features=self._status.features if self._status.HasField("features") else None,
        )
