"""podyard.admin.v1: what podyard offers beyond the CRI, on the same socket."""

from __future__ import annotations

from pathlib import Path

from podyard.cri import admin
from podyard.errors import InvalidArgument
from podyard.images.store import ImageStore


class AdminService:
    """The calls, named as ``cri/admin.proto`` names them."""

    def __init__(self, images: ImageStore) -> None:
        self._images = images

    async def LoadImages(self, request: admin.LoadImagesRequest) -> admin.LoadImagesResponse:
        """Load the images of an OCI layout or a docker archive that stands on this host."""
        path = Path(request.path)
        if not path.is_absolute():
            raise InvalidArgument(f"the path {request.path!r} must be absolute: podyard runs in another directory")
        loaded = await self._images.load(path)
        return admin.LoadImagesResponse(
            images=[admin.LoadedImage(id=image.id, repo_tags=image.repo_tags, size=image.size) for image in loaded]
        )

    async def ListPulls(self, request: admin.ListPullsRequest) -> admin.ListPullsResponse:
        """The pulls in flight, with the progress of each layer."""
        return admin.ListPullsResponse(
            pulls=[
                admin.Pull(
                    reference=pull.reference,
                    image_digest=pull.image_digest,
                    stage=pull.stage,
                    started_at=pull.started_at,
                    layers=[
                        admin.PullLayer(digest=layer.digest, state=layer.state, done=layer.done, total=layer.total)
                        for layer in pull.layers
                    ],
                )
                for pull in self._images.pulls()
            ]
        )
