"""A client of the tests' own API server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support.kube import ApiServer, serving

from podyard.node.kube import Access, KubeClient


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    """An API server over HTTP."""
    async with serving(ApiServer()) as server:
        yield server


@pytest.fixture
async def kube(server: ApiServer) -> AsyncIterator[KubeClient]:
    """A client of it."""
    async with KubeClient(Access(server=server.url), timeout=10) as client:
        yield client
