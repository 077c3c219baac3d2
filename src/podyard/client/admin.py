"""What podyard has beyond the CRI. Other runtimes lack it: every call raises Unimplemented there."""

from __future__ import annotations

import os

from podyard.client.service import ServiceClient
from podyard.cri import admin

__all__ = ["AdminClient"]


class AdminClient(ServiceClient):
    """The calls of podyard.admin.v1, on the runtime's endpoint. All raise as ``ServiceClient.call`` does."""

    SERVICE = "Admin"

    async def load_images(self, path: str | os.PathLike[str]) -> list[admin.LoadedImage]:
        """Load the images of an OCI layout or a docker archive. ``path``: absolute, on the runtime's host."""
        answer: admin.LoadImagesResponse = await self.call("LoadImages", admin.LoadImagesRequest(path=os.fspath(path)))
        return list(answer.images)

    async def list_pulls(self) -> list[admin.Pull]:
        """The pulls in flight, each with what it has fetched so far."""
        answer: admin.ListPullsResponse = await self.call("ListPulls", admin.ListPullsRequest())
        return list(answer.pulls)
