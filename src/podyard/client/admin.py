"""What podyard has beyond the CRI. Other runtimes lack it: every call raises Unimplemented there."""

from __future__ import annotations

import os
from collections.abc import Sequence

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

    async def collect_garbage(self, *, dry_run: bool = False, images: bool = False) -> list[admin.GarbageItem]:
        """Remove what no image is made of, and with ``images`` those that no container uses; what went.

        ``dry_run``: remove nothing; all that is there, with why it stays or would go.
        """
        request = admin.CollectGarbageRequest(dry_run=dry_run, images=images)
        answer: admin.CollectGarbageResponse = await self.call("CollectGarbage", request)
        return list(answer.items)

    async def check_images(self, *, repair: bool = False) -> admin.CheckImagesResponse:
        """Compare all images with their digests and records; with ``repair``, fetch again what is wrong."""
        request = admin.CheckImagesRequest(repair=repair)
        answer: admin.CheckImagesResponse = await self.call("CheckImages", request)
        return answer

    async def list_layers(self) -> list[admin.StoredLayer]:
        """The unpacked layers, each with the images that are made of it."""
        answer: admin.ListLayersResponse = await self.call("ListLayers", admin.ListLayersRequest())
        return list(answer.layers)

    async def inspect_image(self, image: str) -> admin.InspectImageResponse:
        """An image's documents and layers."""
        answer: admin.InspectImageResponse = await self.call("InspectImage", admin.InspectImageRequest(image=image))
        return answer

    async def save_images(self, images: Sequence[str], path: str | os.PathLike[str]) -> int:
        """Write images to a new OCI layout (tar); its size in bytes. ``path``: absolute, on the runtime's host."""
        request = admin.SaveImagesRequest(images=images, path=os.fspath(path))
        answer: admin.SaveImagesResponse = await self.call("SaveImages", request)
        return answer.size

    async def tag_image(self, image: str, name: str) -> admin.TagImageResponse:
        """Give an image a further name."""
        answer: admin.TagImageResponse = await self.call("TagImage", admin.TagImageRequest(image=image, name=name))
        return answer

    async def diff_images(self, first: str, second: str) -> list[admin.PathChange]:
        """How the root file systems of two images differ."""
        request = admin.DiffImagesRequest(first=first, second=second)
        answer: admin.DiffImagesResponse = await self.call("DiffImages", request)
        return list(answer.changes)
