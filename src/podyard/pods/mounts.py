"""A container's volume mounts: for each, what is mounted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from podyard.client import Client
from podyard.errors import Unimplemented
from podyard.manifest.model import Container, Pod, VolumeMount
from podyard.manifest.translate import ResolvedMount
from podyard.pods import volumes
from podyard.pods.folders import PodFolder
from podyard.pods.images import Images
from podyard.pods.patience import in_thread


class Mounts:
    """Finds the sources of the mounts of one Pod's containers."""

    def __init__(
        self, client: Client, pod: Pod, folder: PodFolder, images: Images, handler: Callable[[], Awaitable[str]]
    ) -> None:
        self._client = client
        self._pod = pod
        self._folder = folder
        self._images = images
        self._handler = handler
        self._recursive_read_only: bool | None = None

    async def resolve(self, container: Container, attempt: int, variables: Mapping[str, str]) -> list[ResolvedMount]:
        """All of a container's mounts, in the manifest's order. Images that are volumes have been fetched.

        Raises Unimplemented for what the endpoint cannot do, InvalidArgument for a subPath with a link in its way.
        """
        return [
            await self._resolve(container, attempt, index, mount, variables=variables)
            for index, mount in enumerate(container.volume_mounts)
        ]

    async def _resolve(
        self, container: Container, attempt: int, index: int, mount: VolumeMount, *, variables: Mapping[str, str]
    ) -> ResolvedMount:
        recursive = await self._is_recursive(mount)
        volume = next(volume for volume in self._pod.spec.volumes if volume.name == mount.name)
        if volume.image is not None:
            return ResolvedMount(
                mount=mount,
                image=self._images[volume.image.reference].id,
                sub_path=volumes.part_of(mount, variables),
                read_only=True,
                recursive_read_only=recursive,
            )
        host_path = await in_thread(
            volumes.source, self._pod, self._folder, container, attempt=attempt, index=index, variables=variables
        )
        return ResolvedMount(
            mount=mount,
            host_path=str(host_path),
            read_only=volume.projection is not None,
            recursive_read_only=recursive,
        )

    async def _is_recursive(self, mount: VolumeMount) -> bool:
        """Whether the mount is to be recursively read-only. Raises Unimplemented where it must be and cannot."""
        if mount.recursive_read_only == "Disabled":
            return False
        if self._recursive_read_only is None:
            name, handlers = await self._handler(), (await self._client.runtime.status()).runtime_handlers
            mine = [handler for handler in handlers if handler.name == name]
            self._recursive_read_only = any(handler.features.recursive_read_only_mounts for handler in mine)
        if not self._recursive_read_only and mount.recursive_read_only == "Enabled":
            text = "the endpoint cannot mount recursively read-only; use IfPossible or Disabled"
            raise Unimplemented(f"the volume {mount.name!r} has recursiveReadOnly Enabled, but {text}")
        return self._recursive_read_only
