"""The images of one Pod: those of its containers and those that are volumes."""

from __future__ import annotations

import asyncio
from typing import Literal

from podyard.client import Client
from podyard.cri import api
from podyard.errors import NotFound, PodyardError
from podyard.manifest.model import Pod, default_pull_policy
from podyard.manifest.translate import ImageFacts
from podyard.pods.credentials import credentials_for
from podyard.pods.objects import Objects, held
from podyard.pods.steps import Steps

PullPolicy = Literal["Always", "IfNotPresent", "Never"]


class Images:
    """Sees that images are there, and remembers which: a start takes one that was fetched before."""

    def __init__(self, client: Client, pod: Pod, objects: Objects, steps: Steps, sandbox: api.PodSandboxConfig) -> None:
        self._client = client
        self._pod = pod
        self._objects = objects
        self._steps = steps
        self._sandbox = sandbox
        self._known: dict[str, ImageFacts] = {}

    def __contains__(self, image: str) -> bool:
        return image in self._known

    def __getitem__(self, image: str) -> ImageFacts:
        return self._known[image]

    def volume_policy(self, volume: str) -> tuple[str, PullPolicy] | None:
        """The image that a volume is, and when it is pulled; None for other volumes."""
        image = next(known.image for known in self._pod.spec.volumes if known.name == volume)
        if image is None:
            return None
        return image.reference, image.pull_policy or default_pull_policy(image.reference)

    def forget(self, image: str) -> None:
        """Look at the image again before it is used the next time, as its pull policy says."""
        self._known.pop(image, None)

    async def fetch_all(self) -> None:
        """See that all images are there, side by side. Raises as ``fetch`` does."""
        wanted = {container.image: container.pull_policy for container in self._pod.all_containers()}
        volumes = [self.volume_policy(volume.name) for volume in self._pod.spec.volumes]
        wanted |= dict(volume for volume in volumes if volume is not None)
        # Of two policies for one image the one that asks the registry wins.
        wanted |= {one.image: "Always" for one in self._pod.all_containers() if one.pull_policy == "Always"}
        calls = (self.fetch(image, policy) for image, policy in wanted.items())
        for result in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def fetch(self, image: str, policy: PullPolicy) -> None:
        """See that an image is there.

        Raises NotFound where it is not and must not be pulled, and what pulling raises.
        """
        if policy != "Always":
            found = (await self._client.images.image_status(image)).image
            if found.id:
                self._known[image] = _facts(found)
                self._steps.tell("finding the image", image, detail=found.id)
                return
            if policy == "Never":
                raise NotFound(
                    f"the image {image} is not there and imagePullPolicy is Never: load it, or let it be pulled"
                )
        with self._steps.step("pulling the image", image) as note:
            pulled = await self._pull(image)
            found = (await self._client.images.image_status(pulled)).image
            if not found.id:
                raise NotFound(f"the endpoint pulled {image} as {pulled}, but does not know that image")
            note.detail = found.id
        self._known[image] = _facts(found)

    async def _pull(self, image: str) -> str:
        """Pull with the Pod's secrets, one after the other. A secret that is missing is no reason not to try."""
        names = [reference.name for reference in self._pod.spec.image_pull_secrets]
        secrets = (await held(self._objects, self._pod.metadata.namespace, (), names)).secrets
        fitting = credentials_for(image, [secrets[name] for name in names if name in secrets])
        spec = api.ImageSpec(image=image)
        for auth in fitting[:-1]:
            try:
                return await self._client.images.pull_image(spec, auth, sandbox_config=self._sandbox)
            except PodyardError:
                continue  # the last one's error is told
        last = fitting[-1] if fitting else None
        return await self._client.images.pull_image(spec, last, sandbox_config=self._sandbox)


def _facts(image: api.Image) -> ImageFacts:
    return ImageFacts(id=image.id, uid=image.uid.value if image.HasField("uid") else None, username=image.username)
