"""Images written into archives. The layers' blobs were not kept: each is packed again out of its tree and record."""

from __future__ import annotations

import asyncio
import io
import json
import secrets
import tarfile
from collections.abc import Sequence
from pathlib import Path

from podyard.errors import AlreadyExists, FailedPrecondition, NotFound
from podyard.images import manifest as types
from podyard.images.archive import CONTAINERD_NAME, OCI_NAME
from podyard.images.catalog import Entry
from podyard.images.content import ContentStore, digest_of
from podyard.images.manifest import parse_configuration
from podyard.images.snapshots import Snapshots
from podyard.images.unpack import pack_layer


class Exporter:
    """Writes OCI layouts as tar archives; older docker versions can load them too.

    The layers are uncompressed, so their digests are those of the image's configuration. The configuration is the
    same, and with it the image's id; the manifest is new, and so are the names with a digest.
    """

    def __init__(self, content: ContentStore, snapshots: Snapshots) -> None:
        self._content = content
        self._snapshots = snapshots

    async def save(self, entries: Sequence[Entry], path: Path) -> int:
        """Write images to a new file; its size in bytes.

        Raises AlreadyExists when there is one, NotFound without its directory, DataLoss for a damaged layer,
        FailedPrecondition for a layer that has no record, ResourceExhausted or OSError when the disk is full. Then no
        file is left.
        """
        if path.exists():
            raise AlreadyExists(f"{path} is there already: remove it, or name another file")
        if not path.parent.is_dir():
            raise NotFound(f"there is no directory {path.parent}")
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with tarfile.open(partial, "x", format=tarfile.PAX_FORMAT) as archive:
                partial.chmod(0o600)
                await self._write(archive, entries, partial)
            await asyncio.to_thread(partial.rename, path)
        finally:
            partial.unlink(missing_ok=True)
        return path.stat().st_size

    async def _write(self, archive: tarfile.TarFile, entries: Sequence[Entry], partial: Path) -> None:
        written: set[str] = set()
        listed: list[dict[str, object]] = []
        docker: list[dict[str, object]] = []
        for entry in entries:
            configuration = await asyncio.to_thread(self._content.read, entry.record.id)
            diff_ids = parse_configuration(configuration, entry.record.id).diff_ids
            layers = []
            for chain_id, diff_id in zip(entry.record.layers, diff_ids, strict=True):
                size = await self._layer(archive, chain_id, diff_id, written, partial)
                layers.append({"mediaType": types.OCI_LAYER, "digest": diff_id, "size": size})
            data = _json(
                {
                    "schemaVersion": 2,
                    "mediaType": types.OCI_MANIFEST,
                    "config": {"mediaType": types.OCI_CONFIG, "digest": entry.record.id, "size": len(configuration)},
                    "layers": layers,
                }
            )
            for digest, content in ((entry.record.id, configuration), (digest_of(data), data)):
                if digest not in written:
                    written.add(digest)
                    _add(archive, _blob(digest), content)
            descriptor = {"mediaType": types.OCI_MANIFEST, "digest": digest_of(data), "size": len(data)}
            # containerd reads the first of these, skopeo the second.
            names = [{CONTAINERD_NAME: tag, OCI_NAME: tag} for tag in entry.image.repo_tags]
            listed += [{**descriptor, "annotations": name} for name in names] or [descriptor]
            docker.append(
                {
                    "Config": _blob(entry.record.id),
                    "RepoTags": list(entry.image.repo_tags),
                    "Layers": [_blob(diff_id) for diff_id in diff_ids],
                }
            )
        _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(archive, "index.json", _json({"schemaVersion": 2, "mediaType": types.OCI_INDEX, "manifests": listed}))
        _add(archive, "manifest.json", _json(docker))

    async def _layer(
        self, archive: tarfile.TarFile, chain_id: str, diff_id: str, written: set[str], partial: Path
    ) -> int:
        name = _blob(diff_id)
        if diff_id in written:
            return archive.getmember(name).size
        written.add(diff_id)
        layer = self._snapshots.record(chain_id)
        if not layer.record:
            raise FailedPrecondition(f"the layer {chain_id} has no record: pull the image again with this podyard")
        record = await asyncio.to_thread(self._snapshots.record_file, layer)
        blob = partial.with_name(f"{partial.name}.layer")
        try:
            await pack_layer(
                self._snapshots.tree(layer), record, blob, diff_id=diff_id, workers=self._snapshots.workers
            )
            await asyncio.to_thread(_add_file, archive, name, blob)
        finally:
            blob.unlink(missing_ok=True)
        return archive.getmember(name).size


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def _add_file(archive: tarfile.TarFile, name: str, path: Path) -> None:
    info = tarfile.TarInfo(name)
    info.size = path.stat().st_size
    with open(path, "rb") as file:
        archive.addfile(info, file)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
