"""podyard.admin.v1: what podyard offers beyond the CRI, on the same socket."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from podyard.cri import admin
from podyard.errors import InvalidArgument
from podyard.images.records import SnapshotRecord
from podyard.images.store import ImageStore
from podyard.model.image import Image


class AdminService:
    """The calls, named as ``cri/admin.proto`` names them."""

    def __init__(self, images: ImageStore) -> None:
        self._images = images

    async def LoadImages(self, request: admin.LoadImagesRequest) -> admin.LoadImagesResponse:
        """Load the images of an OCI layout or a docker archive that stands on this host."""
        loaded = await self._images.load(_absolute(request.path))
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

    async def CollectGarbage(self, request: admin.CollectGarbageRequest) -> admin.CollectGarbageResponse:
        """Remove what no image is made of, or tell what would go and why the rest stays."""
        garbage = self._images.garbage
        items = garbage.survey(images=request.images) if request.dry_run else await garbage.run(images=request.images)
        return admin.CollectGarbageResponse(
            items=[
                admin.GarbageItem(kind=item.kind, name=item.name, size=item.size, held=item.held, why=item.why)
                for item in items
            ]
        )

    async def CheckImages(self, request: admin.CheckImagesRequest) -> admin.CheckImagesResponse:
        """Compare all images with their digests and records."""
        report = await self._images.check(repair=request.repair)
        return admin.CheckImagesResponse(
            images=report.images,
            layers=report.layers,
            documents=report.documents,
            findings=[
                admin.Finding(kind=one.kind, name=one.name, text=one.text, note=one.note, repaired=one.repaired)
                for one in report.findings
            ],
        )

    async def ListLayers(self, request: admin.ListLayersRequest) -> admin.ListLayersResponse:
        """The unpacked layers, and the images that are made of them."""
        in_use = self._images.used_images()
        return admin.ListLayersResponse(
            layers=[
                _layer(layer, [_user(image, layer.chain_id, in_use) for image in images])
                for layer, images in self._images.layers()
            ]
        )

    async def InspectImage(self, request: admin.InspectImageRequest) -> admin.InspectImageResponse:
        """An image's documents and layers."""
        entry, documents = await self._images.documents(request.image)
        image, record = entry.image, entry.record
        layers = {layer.chain_id: layer for layer, _ in self._images.layers()}
        return admin.InspectImageResponse(
            id=image.id,
            repo_tags=image.repo_tags,
            repo_digests=image.repo_digests,
            size=image.size,
            pinned=image.pinned,
            used_at=record.used_at,
            configuration=documents[image.id],
            manifests=[admin.Document(digest=digest, content=documents[digest]) for digest in record.manifests],
            layers=[_layer(layers[chain_id]) for chain_id in record.layers if chain_id in layers],
        )

    async def SaveImages(self, request: admin.SaveImagesRequest) -> admin.SaveImagesResponse:
        """Write images to a new OCI layout in a tar archive on this host."""
        if not request.images:
            raise InvalidArgument("no image is named: there is nothing to save")
        return admin.SaveImagesResponse(size=await self._images.save(request.images, _absolute(request.path)))

    async def TagImage(self, request: admin.TagImageRequest) -> admin.TagImageResponse:
        """Give an image a further name."""
        image = self._images.tag(request.image, request.name)
        return admin.TagImageResponse(id=image.id, repo_tags=image.repo_tags)

    async def DiffImages(self, request: admin.DiffImagesRequest) -> admin.DiffImagesResponse:
        """How the root file systems of two images differ."""
        changes = await self._images.differences(request.first, request.second)
        return admin.DiffImagesResponse(
            changes=[
                admin.PathChange(kind=change.kind, path=change.path, before=change.before, after=change.after)
                for change in changes
            ]
        )


def _layer(layer: SnapshotRecord, users: Sequence[admin.LayerUser] = ()) -> admin.StoredLayer:
    return admin.StoredLayer(chain_id=layer.chain_id, size=layer.size, inodes=layer.inodes, images=users)


def _user(image: Image, chain_id: str, in_use: Collection[str]) -> admin.LayerUser:
    return admin.LayerUser(
        id=image.id,
        repo_tags=image.repo_tags,
        position=image.layers.index(chain_id),
        layers=len(image.layers),
        in_use=image.id in in_use,
    )


def _absolute(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise InvalidArgument(f"the path {text!r} must be absolute: podyard runs in another directory")
    return path
