"""Compares what stands on the disk with what it should be, and fetches again what is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from podyard.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound, PodyardError, translate
from podyard.images.catalog import Catalog, Entry
from podyard.images.content import ContentStore
from podyard.images.holds import Holds
from podyard.images.install import Installer
from podyard.images.manifest import chain_ids, parse_configuration
from podyard.images.progress import PullProgress
from podyard.images.pulling import Puller
from podyard.images.records import SnapshotRecord
from podyard.images.snapshots import Snapshots
from podyard.images.unpack import check_layer
from podyard.model.reference import parse

_ROUNDS = 3


@dataclass
class Finding:
    """What is wrong with a document (by its digest) or a layer (by its chain id). A note is nothing wrong."""

    kind: Literal["document", "layer", "image"]
    name: str
    text: str
    note: bool = False
    repaired: bool = False


@dataclass
class Report:
    """What was compared, and what was found."""

    images: int = 0
    layers: int = 0
    documents: int = 0
    findings: list[Finding] = field(default_factory=list)


class Checker:
    """One check at a time. Images can be pulled, removed and used meanwhile."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        content: ContentStore,
        snapshots: Snapshots,
        installer: Installer,
        holds: Holds,
        puller: Puller,
        in_use: Callable[[], set[str]],
    ) -> None:
        self._catalog = catalog
        self._content = content
        self._snapshots = snapshots
        self._installer = installer
        self._holds = holds
        self._puller = puller
        self._in_use = in_use
        self._checking = asyncio.Lock()

    async def check(self, *, repair: bool = False) -> Report:
        """Verify each document against its digest, and each layer against its record and the digest of its archive.

        ``repair``: fetch what is wrong again, from where the image's names with a digest say that it is. Layers of
        images that containers are made of are left alone: they are mounted.

        Raises DeadlineExceeded when the disk does not answer.
        """
        async with self._checking:
            report = await self._compare()
            repaired: list[Finding] = []
            # A damaged configuration hides what is wrong with the layers: once it is back, they are compared too.
            for _ in range(_ROUNDS if repair else 0):
                await self._repair(report)
                done = [finding for finding in report.findings if finding.repaired]
                if not done:
                    break
                repaired += done
                report = await self._compare()
            report.findings = [*repaired, *report.findings]
            return report

    async def _compare(self) -> Report:
        report = Report()
        diff_ids: dict[str, str] = {}
        for image_id in [entry.record.id for entry in self._catalog.entries()]:
            try:
                entry = self._catalog.get(image_id)
            except NotFound:
                continue  # it was removed while those before it were compared
            with self._holds.on(entry.parts):
                report.images += 1
                diff_ids |= await self._check_documents(entry, report)
        for layer in list(self._snapshots.records()):
            if layer.chain_id in self._snapshots:
                with self._holds.on((layer.chain_id,)):
                    await self._check_layer(layer, diff_ids.get(layer.chain_id, ""), report)
        return report

    async def _check_documents(self, entry: Entry, report: Report) -> dict[str, str]:
        """Returns the digest of each layer's archive by its chain id."""
        found = {}
        for digest in (entry.record.id, *entry.record.manifests):
            report.documents += 1
            try:
                found[digest] = await asyncio.to_thread(self._content.read, digest)
            except DataLoss as error:
                report.findings.append(Finding("document", digest, str(error)))
        missing = [chain_id for chain_id in entry.record.layers if chain_id not in self._snapshots]
        report.findings += [Finding("layer", chain_id, "the layer is missing") for chain_id in missing]
        if entry.record.id not in found:
            return {}
        try:
            diff_ids = parse_configuration(found[entry.record.id], entry.record.id).diff_ids
        except InvalidArgument as error:
            report.findings.append(Finding("document", entry.record.id, str(error)))
            return {}
        chain = chain_ids(diff_ids)
        if chain != entry.record.layers:
            text = "the database has other layers for it than its configuration: remove it and pull it again"
            report.findings.append(Finding("image", entry.record.id, text))
        return dict(zip(chain, diff_ids, strict=True))

    async def _check_layer(self, layer: SnapshotRecord, diff_id: str, report: Report) -> None:
        report.layers += 1
        if not layer.record or not diff_id:
            why = self._why_unchecked(layer)
            report.findings.append(Finding("layer", layer.chain_id, f"it cannot be checked: {why}", note=True))
            return
        try:
            record = await asyncio.to_thread(self._snapshots.record_file, layer)
            problems = await check_layer(
                self._snapshots.tree(layer), record, diff_id=diff_id, workers=self._snapshots.workers
            )
        except FailedPrecondition as error:
            report.findings.append(Finding("layer", layer.chain_id, f"it cannot be checked: {error}", note=True))
        except DataLoss as error:
            report.findings.append(Finding("layer", layer.chain_id, str(error)))
        else:
            report.findings += [Finding("layer", layer.chain_id, problem) for problem in problems]

    def _why_unchecked(self, layer: SnapshotRecord) -> str:
        if not layer.record:
            return "an older podyard has unpacked it, without a record: remove its images and pull them again"
        if any(layer.chain_id in entry.record.layers for entry in self._catalog.entries()):
            return "the configurations of its images are damaged, and with them its digest"
        return "no image uses it yet, so its digest is not known"

    async def _repair(self, report: Report) -> None:
        refusals: dict[str, list[str]] = {}
        for entry in list(self._catalog.entries()):
            wrong = [item for item in problems(report.findings) if item.kind != "image" and item.name in entry.parts]
            if not wrong:
                continue
            try:
                with self._holds.on(entry.parts):
                    await self._fetch_again(entry, {item.name for item in wrong})
            except (PodyardError, OSError) as error:
                reason = translate(error, "fetching it again")
                for name in {item.name for item in wrong}:
                    refusals.setdefault(name, []).append(str(reason))
                continue
            for item in wrong:
                item.repaired = True
        # Only now: another image that has it too may have come from elsewhere.
        for item in problems(report.findings):
            if item.name in refusals:
                item.text += f"; not repaired: {'; '.join(refusals[item.name])}"

    async def _fetch_again(self, entry: Entry, wrong: set[str]) -> None:
        if not wrong.isdisjoint(self._mounted()):
            raise FailedPrecondition("containers use the layer: remove them first")
        if not entry.image.repo_digests:
            raise FailedPrecondition("the image has no name with a digest to fetch it by: load it again")
        refusals: list[str] = []
        for name in entry.image.repo_digests:
            try:
                await self._from(name, entry, wrong)
            except (PodyardError, OSError) as error:
                refusals.append(str(error))
            else:
                return
        raise DataLoss("; ".join(refusals))

    async def _from(self, name: str, entry: Entry, wrong: set[str]) -> None:
        reference = parse(name)
        progress = PullProgress(name)
        repository = await self._puller.repository(reference)
        contents = await self._puller.contents(reference, repository, progress)
        if contents.image_id != entry.record.id:
            raise DataLoss(f"{name} is another image for this host: {contents.image_id}")
        documents = {digest: data for digest, data in contents.documents.items() if digest in wrong}
        if documents:
            await self._content.add(documents, again=True)
        layers = wrong.intersection(entry.record.layers)
        with self._snapshots.suspected(layers, self._mounted):
            await self._installer.install(repository, contents, progress.layers)
        await self._snapshots.sync(layers)
        # It may have been removed meanwhile: then it must not come back.
        current = self._catalog.get(entry.record.id)
        self._catalog.save(current.record, current.config, ())
        self._snapshots.used(entry.record.layers)
        left = wrong - set(documents) - layers
        if left:
            raise DataLoss(f"{name} does not lead to {', '.join(sorted(left))}")

    def _mounted(self) -> set[str]:
        """The layers of images that containers are made of."""
        in_use = self._in_use()
        users = [entry for entry in self._catalog.entries() if entry.record.id in in_use]
        return {chain_id for entry in users for chain_id in entry.record.layers}


def problems(findings: Sequence[Finding]) -> list[Finding]:
    """Those that are wrong still."""
    return [finding for finding in findings if not (finding.note or finding.repaired)]
