"""A repository of a registry (OCI distribution specification), with its mirrors and retries."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import takewhile
from typing import TYPE_CHECKING, TypeVar

from podyard.errors import DataLoss, NotFound, PermissionDenied, PodyardError, RegistryUnavailable
from podyard.images.answers import Passing, RangeRefused, read_limited
from podyard.images.config import ImagesConfig
from podyard.images.content import BlobWriter, check_content, digest_of
from podyard.images.manifest import ACCEPTED, DOCUMENT_LIMIT, Descriptor
from podyard.images.registries.endpoint import Endpoint
from podyard.images.sources import Layer, OnBytes
from podyard.images.transport import Transport
from podyard.model.reference import Reference, is_digest

if TYPE_CHECKING:
    import aiohttp

_RANGE = re.compile(r"bytes (\d+)-\d+/")

Result = TypeVar("Result")


class Repository:
    """One repository, for one pull. The endpoints are asked in order, those last that failed earlier."""

    def __init__(
        self, transport: Transport, config: ImagesConfig, reference: Reference, endpoints: Sequence[Endpoint]
    ) -> None:
        self._transport = transport
        self._config = config
        self._reference = reference
        self._endpoints = list(endpoints)

    async def manifest(self) -> tuple[Descriptor, bytes]:
        """The manifest or index that the reference names, verified against its digest where it has one.

        Raises NotFound, PermissionDenied, RegistryUnavailable, DataLoss.
        """
        wanted = self._reference.digest
        path = f"manifests/{wanted or self._reference.tag}"

        async def ask(endpoint: Endpoint) -> tuple[Endpoint, Descriptor, bytes]:
            headers = {"Accept": ", ".join(ACCEPTED)}
            async with self._get(endpoint, path, headers) as response:
                data = await read_limited(response, DOCUMENT_LIMIT, "a manifest")
                media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
                claimed = response.headers.get("Docker-Content-Digest", "")
            if media_type == "text/html":
                raise RegistryUnavailable(f"{endpoint.host} answers with a web page: is it a registry, at this path?")
            expected = wanted or (claimed if is_digest(claimed) else "")
            if expected:
                check_content(data, expected, f"the manifest of {self._reference} from {endpoint.host}")
            return endpoint, Descriptor(expected or digest_of(data), len(data), media_type), data

        def may(endpoint: Endpoint) -> bool:
            return endpoint.pulls if wanted else endpoint.resolves

        endpoint, descriptor, data = await self._anywhere(str(self._reference), ask, may=may)
        # One that may not be asked for tags has not failed: it may have the content.
        asked = [other for other in self._endpoints if may(other)]
        for other in takewhile(lambda other: other is not endpoint, asked):
            self._postpone(other)
        return descriptor, data

    async def document(self, descriptor: Descriptor) -> bytes:
        """A manifest of an index, or a configuration."""
        if descriptor.size > DOCUMENT_LIMIT:
            raise RegistryUnavailable(f"{descriptor.digest} has {descriptor.size} bytes, {DOCUMENT_LIMIT} are allowed")
        kind = "manifests" if descriptor.media_type in ACCEPTED else "blobs"

        async def ask(endpoint: Endpoint) -> bytes:
            headers = {"Accept": ", ".join(ACCEPTED)} if kind == "manifests" else {}
            async with self._get(endpoint, f"{kind}/{descriptor.digest}", headers) as response:
                data = await read_limited(response, DOCUMENT_LIMIT, "a document")
            check_content(data, descriptor.digest, f"a document of {self._reference} from {endpoint.host}")
            return data

        return await self._anywhere(f"{self._reference.name}@{descriptor.digest}", ask)

    async def tagged(self, tag: str) -> bytes:
        """The manifest of another tag of the repository; it is verified only against what the registry says of it."""
        reference = Reference(self._reference.registry, self._reference.repository, tag)
        return (await Repository(self._transport, self._config, reference, self._endpoints).manifest())[1]

    async def layer(self, layer: Layer, writer: BlobWriter, on_bytes: OnBytes) -> None:
        """A layer's blob. A cut connection is resumed where it broke off."""

        async def ask(endpoint: Endpoint) -> None:
            try:
                await self._continue(endpoint, layer, writer, on_bytes)
                await writer.finish()
            except RangeRefused:
                await writer.restart()
                raise
            except DataLoss as error:
                earlier = writer.resumed
                await writer.restart()
                if earlier:
                    # What an earlier pull left may have been damaged since: only all of it says who is to blame.
                    raise Passing(error.args[0]) from error
                raise

        await self._anywhere(f"layer {layer.digest} of {self._reference}", ask, lambda: writer.offset)

    async def _continue(self, endpoint: Endpoint, layer: Layer, writer: BlobWriter, on_bytes: OnBytes) -> None:
        """Fetch what is missing of a layer. Raises Passing when it breaks off again, RangeRefused to start anew."""
        if layer.size and writer.offset == layer.size:
            return
        headers = {"Range": f"bytes={writer.offset}-"} if writer.offset else {}
        async with self._get(endpoint, f"blobs/{layer.digest}", headers) as response:
            if writer.offset and not _continues(response.status, response.headers.get("Content-Range"), writer.offset):
                if response.status == 206:
                    raise RangeRefused(f"{endpoint.host} sends another range of {layer.digest} than it was asked for")
                await writer.restart()
            length = response.content_length
            if length is not None and writer.offset + length > layer.size:
                raise DataLoss(
                    f"{endpoint.host} sends {writer.offset + length} bytes for the layer {layer.digest}, "
                    f"its manifest says {layer.size}"
                )
            async for chunk in response.content.iter_any():
                await writer.write(chunk)
                on_bytes(writer.offset)
        if writer.offset < layer.size:
            raise Passing(f"{endpoint.host} sent {writer.offset} of {layer.size} bytes of the layer {layer.digest}")

    async def _anywhere(
        self,
        what: str,
        ask: Callable[[Endpoint], Awaitable[Result]],
        progress: Callable[[], int] = lambda: 0,
        may: Callable[[Endpoint], bool] = lambda endpoint: endpoint.pulls,
    ) -> Result:
        """Ask the endpoints in order until one has it; the last one's refusal counts, the others' are told with it."""
        refusals: list[PodyardError] = []
        for endpoint in [endpoint for endpoint in self._endpoints if may(endpoint)]:
            try:
                return await self._patiently(endpoint, ask, progress)
            except (NotFound, PermissionDenied, RegistryUnavailable, DataLoss) as error:
                refusals.append(error)
                if isinstance(error, RegistryUnavailable):
                    self._postpone(endpoint)
        if not refusals:
            raise PermissionDenied(f"cannot get {what}: the registry configuration allows no endpoint to give it")
        last = refusals[-1]
        others = "".join(f"; before that, {error.args[0]}" for error in refusals[:-1])
        raise type(last)(f"cannot get {what}: {last.args[0]}{others}") from last

    def _postpone(self, endpoint: Endpoint) -> None:
        self._endpoints.sort(key=lambda other: other is endpoint)

    async def _patiently(
        self, endpoint: Endpoint, ask: Callable[[Endpoint], Awaitable[Result]], progress: Callable[[], int]
    ) -> Result:
        """Ask one endpoint again when what failed may pass. Only progress gives new attempts."""
        reached, failures = progress(), 0
        while True:
            try:
                return await ask(endpoint)
            except Passing as error:
                if progress() > reached:
                    reached, failures = progress(), 0
                failures += 1
                if failures >= self._config.attempts:
                    raise RegistryUnavailable(f"{error.args[0]} ({failures} attempts)") from error
                wait = max(error.delay, self._config.retry_delay * 2 ** (failures - 1))
                await asyncio.sleep(min(wait, self._config.retry_delay_limit))

    def _get(
        self, endpoint: Endpoint, path: str, headers: dict[str, str]
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        # Mirrors that serve several registries tell them apart by "ns".
        params = {"ns": self._reference.registry} if endpoint.mirror or endpoint.shared else {}
        return self._transport.get(endpoint, f"{endpoint.repository}/{path}", headers, params)


def _continues(status: int, content_range: str | None, offset: int) -> bool:
    """Whether an answer goes on at ``offset`` (RFC 9110, 14.4)."""
    match = _RANGE.match(content_range or "")
    return status == 206 and match is not None and int(match[1]) == offset
