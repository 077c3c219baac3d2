"""Writes OCI image layouts out of file trees that are described in memory: for examples and tests, without a daemon.

    from podyard.images.layout import LayoutWriter, file, hardlink

    layout = LayoutWriter(Path("web"))
    layout.add_image(
        [{"bin/busybox": file(Path("/bin/busybox"), mode=0o755), "bin/sh": hardlink("bin/busybox")}],
        tags=["docker.io/example/web:1"],
        config={"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
    )

Source of the format: the OCI image specification, image-layout.md. The same input gives the same digests.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from podyard.images import manifest as types
from podyard.images.platforms import Host

Compression = Literal["gzip", "zstd", "none"]
Family = Literal["oci", "docker"]


@dataclass(frozen=True)
class Entry:
    """One name in a layer; made by the functions below."""

    kind: bytes
    mode: int
    uid: int = 0
    gid: int = 0
    content: bytes | Path = b""
    target: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    mtime: int = 0
    """Seconds since 1970."""


Tree = Mapping[str, Entry]
"""A layer: paths without a leading slash, in the order in which they are written."""


def file(
    content: bytes | str | Path,
    *,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    xattrs: Mapping[str, bytes] | None = None,
) -> Entry:
    """A regular file; a Path is read from this host."""
    data = content.encode() if isinstance(content, str) else content
    return Entry(tarfile.REGTYPE, mode, uid, gid, content=data, xattrs=xattrs or {})


def directory(*, mode: int = 0o755, uid: int = 0, gid: int = 0, xattrs: Mapping[str, bytes] | None = None) -> Entry:
    """A directory."""
    return Entry(tarfile.DIRTYPE, mode, uid, gid, xattrs=xattrs or {})


def symlink(target: str, *, uid: int = 0, gid: int = 0) -> Entry:
    """A symbolic link."""
    return Entry(tarfile.SYMTYPE, 0o777, uid, gid, target=target)


def hardlink(target: str) -> Entry:
    """A further name of a file that the same layer has before it."""
    return Entry(tarfile.LNKTYPE, 0o644, target=target)


def device(kind: Literal["c", "b"], major: int, minor: int, *, mode: int = 0o600) -> Entry:
    """A character or block device."""
    return Entry(tarfile.CHRTYPE if kind == "c" else tarfile.BLKTYPE, mode, device=(major, minor))


def fifo(*, mode: int = 0o644) -> Entry:
    """A named pipe."""
    return Entry(tarfile.FIFOTYPE, mode)


def whiteout(path: str) -> dict[str, Entry]:
    """Removes what lower layers have at ``path``: an entry to put into a tree (OCI layer.md, Whiteouts)."""
    pure = PurePosixPath(path)
    return {str(pure.with_name(f".wh.{pure.name}")): file(b"", mode=0)}


def opaque(folder: str) -> dict[str, Entry]:
    """Hides all that lower layers have in a directory: an entry to put into a tree (OCI layer.md, Opaque Whiteout)."""
    return {f"{folder}/.wh..wh..opq": file(b"", mode=0)}


@dataclass(frozen=True)
class WrittenLayer:
    """A layer in the layout: may be used by several images."""

    diff_id: str
    digest: str
    size: int
    compression: Compression


@dataclass(frozen=True)
class WrittenManifest:
    """A manifest or an index in the layout."""

    digest: str
    size: int
    media_type: str
    image_id: str = ""
    """The configuration's digest; "" for an index."""
    platform: Mapping[str, str] = field(default_factory=dict)


class LayoutWriter:
    """An OCI layout in a directory, which is made if need be. It is complete after each call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._index: list[dict[str, Any]] = []
        (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self._write_index()

    def add_layer(self, tree: Tree, compression: Compression = "gzip") -> WrittenLayer:
        """Write a layer without using it yet."""
        return self.add_archive(_pack(tree), compression)

    def add_archive(self, archive: bytes, compression: Compression = "gzip") -> WrittenLayer:
        """Write a layer out of a ready tar archive, whatever that holds."""
        blob = _compress(archive, compression)
        return WrittenLayer(_digest(archive), self._blob(blob), len(blob), compression)

    def add_image(
        self,
        layers: Sequence[Tree | WrittenLayer],
        *,
        tags: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
        architecture: str = "",
        variant: str = "",
        family: Family = "oci",
        compression: Compression = "gzip",
        listed: bool = True,
    ) -> WrittenManifest:
        """Write an image: its layers (the lowest first), its configuration and its manifest.

        ``tags``: whole names ("docker.io/example/web:1"). ``config``: as in config.md ("Cmd", "Env", "User" ...).
        ``architecture``: "" is this host's. ``family``: whose media types. ``listed``: whether index.json has it;
        images that only an index names need not be there.
        """
        written = [self.add_layer(entry, compression) if isinstance(entry, Mapping) else entry for entry in layers]
        platform = {"architecture": architecture or Host.this().architecture, "os": "linux"}
        if variant:
            platform["variant"] = variant
        configuration = _json(
            {
                **platform,
                "config": dict(config or {}),
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in written]},
            }
        )
        docker = family == "docker"
        image_id = self._blob(configuration)
        document = {
            "schemaVersion": 2,
            "mediaType": types.DOCKER_MANIFEST if docker else types.OCI_MANIFEST,
            "config": {
                "mediaType": types.DOCKER_CONFIG if docker else types.OCI_CONFIG,
                "digest": image_id,
                "size": len(configuration),
            },
            "layers": [
                {"mediaType": _layer_type(family, layer.compression), "digest": layer.digest, "size": layer.size}
                for layer in written
            ],
        }
        data = _json(document)
        media_type = types.DOCKER_MANIFEST if docker else types.OCI_MANIFEST
        made = WrittenManifest(self._blob(data), len(data), media_type, image_id, platform)
        if listed or tags:
            self._list(made, tags)
        return made

    def add_index(
        self, manifests: Sequence[WrittenManifest], *, tags: Sequence[str] = (), family: Family = "oci"
    ) -> WrittenManifest:
        """Write an index of images for several platforms."""
        media_type = types.DOCKER_INDEX if family == "docker" else types.OCI_INDEX
        data = _json(
            {
                "schemaVersion": 2,
                "mediaType": media_type,
                "manifests": [{**_descriptor(entry), **_platform(entry)} for entry in manifests],
            }
        )
        made = WrittenManifest(self._blob(data), len(data), media_type)
        self._list(made, tags)
        return made

    def pack(self, archive: Path) -> None:
        """The whole layout as one tar archive."""
        with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(self.folder.rglob("*")):
                tar.add(path, str(path.relative_to(self.folder)), recursive=False, filter=_anonymous)

    def path(self, digest: str) -> Path:
        """Where a blob stands."""
        return self.folder / "blobs" / digest.replace(":", "/")

    def _list(self, made: WrittenManifest, tags: Sequence[str]) -> None:
        for tag in tags or [""]:
            annotations = {"io.containerd.image.name": tag, "org.opencontainers.image.ref.name": tag}
            named = {"annotations": annotations} if tag else {}
            self._index.append({**_descriptor(made), **_platform(made), **named})
        self._write_index()

    def _write_index(self) -> None:
        index = {"schemaVersion": 2, "mediaType": types.OCI_INDEX, "manifests": self._index}
        (self.folder / "index.json").write_bytes(_json(index))

    def _blob(self, data: bytes) -> str:
        digest = _digest(data)
        path = self.path(digest)
        # In one piece: somebody may be reading the same blob, of another image.
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(data)
        Path(file.name).chmod(0o644)
        Path(file.name).replace(path)
        return digest


def _pack(tree: Tree) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, entry in tree.items():
            # A hard link repeats its file's attributes, as tar has it: some runtimes set them once more.
            owner = tree.get(entry.target, entry) if entry.kind == tarfile.LNKTYPE else entry
            info = tarfile.TarInfo(path)
            info.type, info.linkname = entry.kind, entry.target
            info.mode, info.mtime, info.uid, info.gid = owner.mode, owner.mtime, owner.uid, owner.gid
            info.devmajor, info.devminor = entry.device
            info.pax_headers = {
                f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape") for name, value in entry.xattrs.items()
            }
            content = entry.content.read_bytes() if isinstance(entry.content, Path) else entry.content
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _compress(data: bytes, compression: Compression) -> bytes:
    if compression == "none":
        return data
    if compression == "gzip":
        return gzip.compress(data, compresslevel=6, mtime=0)
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    compressed: bytes = zstd.compress(data)
    return compressed


def _layer_type(family: Family, compression: Compression) -> str:
    if family == "docker":
        return types.DOCKER_LAYER + {"gzip": ".gzip", "zstd": ".zstd", "none": ""}[compression]
    return types.OCI_LAYER + {"gzip": "+gzip", "zstd": "+zstd", "none": ""}[compression]


def _descriptor(made: WrittenManifest) -> dict[str, Any]:
    return {"mediaType": made.media_type, "digest": made.digest, "size": made.size}


def _platform(made: WrittenManifest) -> dict[str, Any]:
    return {"platform": dict(made.platform)} if made.platform else {}


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
