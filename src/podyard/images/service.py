"""The CRI's ImageService."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator

from podyard.cri import api
from podyard.cri.parts import parts
from podyard.errors import InvalidArgument
from podyard.images.auth import Credentials
from podyard.images.manifest import chain_ids, parse_configuration
from podyard.images.store import ImageStore
from podyard.model.image import Image


class ImageService:
    """The calls, named as the protocol names them."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        # Building a message costs much more than sending it.
        self._messages: dict[str, tuple[Image, api.Image]] = {}

    async def PullImage(self, request: api.PullImageRequest) -> api.PullImageResponse:
        """Pull an image; the answer is its id."""
        credentials = Credentials.of(request.auth) if request.HasField("auth") else None
        image = await self._store.pull(_name(request.image), credentials)
        return api.PullImageResponse(image_ref=image.id)

    async def ListImages(self, request: api.ListImagesRequest) -> api.ListImagesResponse:
        """All images, or the one that the filter names."""
        if request.filter.image.image:
            found = self._store.find(request.filter.image.image)
            images = [found] if found else []
        else:
            images = self._store.images()
            self._messages = {image.id: (image, self._message(image)) for image in images}
        return api.ListImagesResponse(images=[self._message(image) for image in images])

    async def StreamImages(self, request: api.StreamImagesRequest) -> AsyncGenerator[api.StreamImagesResponse, None]:
        """All images, or the one that the filter names, in parts."""
        answer = await self.ListImages(api.ListImagesRequest(filter=request.filter))
        for part in parts(answer.images):
            yield api.StreamImagesResponse(images=part)

    async def ImageStatus(self, request: api.ImageStatusRequest) -> api.ImageStatusResponse:
        """One image; an empty answer when it is not here."""
        image = self._store.find(_name(request.image))
        if image is None:
            return api.ImageStatusResponse()
        info = {"info": await self._info(image)} if request.verbose else {}
        return api.ImageStatusResponse(image=self._message(image), info=info)

    async def RemoveImage(self, request: api.RemoveImageRequest) -> api.RemoveImageResponse:
        """Remove an image with all its names; one that is not here is fine."""
        await self._store.remove(_name(request.image))
        return api.RemoveImageResponse()

    async def ImageFsInfo(self, request: api.ImageFsInfoRequest) -> api.ImageFsInfoResponse:
        """What images take on the disk. Containers' writable layers stand on the same file system."""
        used = self._store.usage()
        usage = api.FilesystemUsage(
            timestamp=time.time_ns(),
            fs_id=api.FilesystemIdentifier(mountpoint=str(self._store.folder)),
            used_bytes=api.UInt64Value(value=used.size),
            inodes_used=api.UInt64Value(value=used.inodes),
        )
        return api.ImageFsInfoResponse(image_filesystems=[usage], container_filesystems=[usage])

    def _message(self, image: Image) -> api.Image:
        known = self._messages.get(image.id)
        if known is not None and known[0] is image:
            return known[1]
        user = image.user.partition(":")[0]
        message = api.Image(
            id=image.id,
            repo_tags=image.repo_tags,
            repo_digests=image.repo_digests,
            size=image.size,
            uid=api.Int64Value(value=int(user)) if _is_uid(user) else None,
            username="" if _is_uid(user) else user,
            pinned=image.pinned,
        )
        self._messages[image.id] = (image, message)
        return message

    async def _info(self, image: Image) -> str:
        data = await self._store.configuration(image)
        chain = chain_ids(parse_configuration(data, image.id).diff_ids)
        return json.dumps({"chainID": chain[-1] if chain else "", "imageSpec": json.loads(data)})


def _name(spec: api.ImageSpec) -> str:
    if not spec.image:
        raise InvalidArgument("the image's name is empty")
    return spec.image


def _is_uid(user: str) -> bool:
    return user.isascii() and user.isdigit() and len(user) <= 10
