"""The ImageService."""

from __future__ import annotations

from podyard.client.service import ServiceClient
from podyard.cri import api

__all__ = ["ImageClient"]


class ImageClient(ServiceClient):
    """The calls, with what they return unpacked. An image is named by text or by a whole ImageSpec.

    All raise as ``ServiceClient.call`` does.
    """

    SERVICE = "ImageService"

    async def pull_image(
        self,
        image: str | api.ImageSpec,
        auth: api.AuthConfig | None = None,
        sandbox_config: api.PodSandboxConfig | None = None,
    ) -> str:
        """Fetch an image unless it is here; its id. There is no time limit: the runtime watches the progress."""
        request = api.PullImageRequest(image=_spec(image), auth=auth, sandbox_config=sandbox_config)
        answer: api.PullImageResponse = await self.call("PullImage", request)
        return answer.image_ref

    async def list_images(self, filter: api.ImageFilter | None = None) -> list[api.Image]:
        """The images that fit a filter, or all."""
        found = await self._streamed("StreamImages", api.StreamImagesRequest(filter=filter))
        if found is not None:
            return [image for part in found for image in part.images]
        answer: api.ListImagesResponse = await self.call("ListImages", api.ListImagesRequest(filter=filter))
        return list(answer.images)

    async def image_status(self, image: str | api.ImageSpec, verbose: bool = False) -> api.ImageStatusResponse:
        """One image; the answer has no ``image`` when it is not here."""
        request = api.ImageStatusRequest(image=_spec(image), verbose=verbose)
        answer: api.ImageStatusResponse = await self.call("ImageStatus", request)
        return answer

    async def remove_image(self, image: str | api.ImageSpec) -> None:
        """Remove an image; one that is gone counts as removed."""
        await self.call("RemoveImage", api.RemoveImageRequest(image=_spec(image)))

    async def image_fs_info(self) -> api.ImageFsInfoResponse:
        """How full the file systems of images and containers are."""
        answer: api.ImageFsInfoResponse = await self.call("ImageFsInfo", api.ImageFsInfoRequest())
        return answer


def _spec(image: str | api.ImageSpec) -> api.ImageSpec:
    return api.ImageSpec(image=image) if isinstance(image, str) else image
