"""The volumes of a Pod whose files come from elsewhere: made before it runs, kept up to date while it does."""

from __future__ import annotations

import time
from dataclasses import dataclass

from podyard.errors import FailedPrecondition, PodyardError, translate
from podyard.manifest.model import Pod, Projected, TokenProjection, Volume
from podyard.manifest.objects import Held
from podyard.manifest.translate import HostFacts, projected_files
from podyard.manifest.translate.files import config_maps_of, secrets_of, tokens_of
from podyard.pods.atomic import write_files
from podyard.pods.folders import PodFolder
from podyard.pods.objects import Objects, Token, held
from podyard.pods.patience import in_thread
from podyard.pods.steps import Steps

REFRESH = 10.0
"""Seconds between two looks at what volumes show."""
RENEW = 0.8
"""The part of a token's life after which a new one is asked for."""


@dataclass(frozen=True)
class _Lent:
    token: Token
    since: float

    def is_fresh(self, now: float) -> bool:
        return now < self.since + RENEW * (self.token.expires_at - self.since)


class Projections:
    """Those of one Pod, which has its uid. Their directories are there (``volumes.prepare``)."""

    def __init__(self, pod: Pod, folder: PodFolder, host: HostFacts, objects: Objects) -> None:
        self._pod = pod
        self._folder = folder
        self._host = host
        self._objects = objects
        self._tokens: dict[TokenProjection, _Lent] = {}
        self._failures: dict[str, str] = {}

    async def write(self) -> None:
        """Write them all.

        Raises NotFound for an object or key that is missing and must not be, and what ``Objects`` raises.
        """
        for volume, projected in self._volumes():
            await self._write(volume, projected)

    async def refresh(self, steps: Steps) -> None:
        """Write again what has changed. A failure leaves a volume as it is, and is told once."""
        for volume, projected in self._volumes():
            if self._folder.stopping.exists():
                return
            failure = ""
            try:
                if await self._write(volume, projected):
                    steps.tell("refreshing the volume", volume.name)
            except PodyardError as error:
                failure = str(error)
            if failure and self._failures.get(volume.name) != failure:
                steps.tell("refreshing the volume", volume.name, "failed", detail=failure)
            self._failures[volume.name] = failure

    def _volumes(self) -> list[tuple[Volume, Projected]]:
        found = [(volume, volume.projection) for volume in self._pod.spec.volumes]
        return [(volume, projected) for volume, projected in found if projected is not None]

    async def _write(self, volume: Volume, projected: Projected) -> bool:
        """Whether anything changed."""
        try:
            found = await held(
                self._objects, self._pod.metadata.namespace, config_maps_of(projected), secrets_of(projected)
            )
            return await self._write_files(volume, projected, found)
        except (PodyardError, OSError) as error:
            raise translate(error, f"writing the volume {volume.name}") from error

    async def _write_files(self, volume: Volume, projected: Projected, found: Held) -> bool:
        tokens = {token: await self._token(token) for token in tokens_of(projected)}
        files = projected_files(self._pod, projected, self._host, found, tokens)
        group = self._pod.spec.security_context.fs_group
        return await in_thread(write_files, self._folder.volume(volume.name), files, group)

    async def _token(self, wanted: TokenProjection) -> str:
        """One that is fresh; where none can be had, the old one for as long as it lives."""
        lent, now = self._tokens.get(wanted), time.time()
        if lent is not None and lent.is_fresh(now):
            return lent.token.token
        metadata = self._pod.metadata
        try:
            token = await self._objects.token(
                metadata.namespace,
                self._pod.spec.service_account_name,
                audiences=[wanted.audience] if wanted.audience else [],
                expiration_seconds=wanted.expiration_seconds,
                pod_name=metadata.name,
                pod_uid=metadata.uid,
            )
        except PodyardError:
            if lent is None or lent.token.expires_at <= now:
                raise
            return lent.token.token
        if token.expires_at <= now:
            raise FailedPrecondition("the token that was made has expired already: compare the clocks")
        self._tokens[wanted] = _Lent(token, now)
        return token.token
