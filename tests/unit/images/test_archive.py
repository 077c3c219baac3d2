"""Loading OCI layouts and docker archives."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.images.conftest import left

from podyard.errors import DataLoss, InvalidArgument, NotFound, PodyardError, Unimplemented
from podyard.images.layout import LayoutWriter, WrittenManifest, directory, file
from podyard.images.manifest import OCI_CONFIG, OCI_MANIFEST
from podyard.images.store import ImageStore
from podyard.images.tarball import HEADER_LIMIT

TAG = "docker.io/example/app:1"


@pytest.fixture
def app(layout: LayoutWriter) -> WrittenManifest:
    """An image of two layers."""
    return layout.add_image([{"etc": directory(), "etc/a": file("a")}, {"b": file("b" * 5000)}], tags=[TAG])


def _as_is(layout: LayoutWriter, target: Path) -> Path:
    return layout.folder


def _as_tar(layout: LayoutWriter, target: Path) -> Path:
    layout.pack(target)
    return target


def _as_gzip(layout: LayoutWriter, target: Path) -> Path:
    target.write_bytes(gzip.compress(_as_tar(layout, target).read_bytes()))
    return target


def _as_zstd(layout: LayoutWriter, target: Path) -> Path:
    layout.pack(target)
    subprocess.run(["zstd", "-q", "--rm", str(target), "-o", f"{target}.zst"], check=True)
    return Path(f"{target}.zst")


def _as_docker(layout: LayoutWriter, target: Path) -> Path:
    command = ["skopeo", "copy", "--quiet", f"oci:{layout.folder}:{TAG}", f"docker-archive:{target}:{TAG}"]
    subprocess.run(command, check=True, timeout=60)
    return target


@pytest.mark.parametrize("form", [_as_is, _as_tar, _as_gzip, _as_zstd, _as_docker])
async def test_an_image_is_loaded_from_every_form(
    tmp_path: Path,
    layout: LayoutWriter,
    app: WrittenManifest,
    store: ImageStore,
    form: Callable[[LayoutWriter, Path], Path],
) -> None:
    (image,) = await store.load(form(layout, tmp_path / "archive"))
    assert image.repo_tags == (TAG,)
    if form is not _as_docker:
        # Docker's form is made by another tool, which writes a configuration and a manifest of its own.
        assert (image.id, image.repo_digests) == (app.image_id, (f"docker.io/example/app@{app.digest}",))
    top, bottom = store.lower_dirs(image)
    assert ((top / "b").read_text(), (bottom / "etc/a").read_text()) == ("b" * 5000, "a")
    assert list((store.folder / "tmp").iterdir()) == []


async def test_a_layout_gives_the_images_for_this_host(layout: LayoutWriter, store: ImageStore) -> None:
    mine = layout.add_image([], config={"User": "1"}, listed=False)
    other = layout.add_image([], architecture="vax", listed=False)
    index = layout.add_index([other, mine], tags=["a.test/multi:1"])
    layout.add_image([], architecture="pdp11", tags=["a.test/old:1"])
    bare = layout.add_image([], config={"User": "2"})
    images = await store.load(layout.folder)
    assert [image.id for image in images] == [mine.image_id, bare.image_id]
    assert images[0].repo_digests == (f"a.test/multi@{index.digest}",)
    assert images[1].repo_tags == ()


async def test_a_layout_without_an_image_for_this_host_is_not_found(layout: LayoutWriter, store: ImageStore) -> None:
    layout.add_image([], architecture="pdp11", tags=["a.test/old:1"])
    with pytest.raises(NotFound, match="is for linux/pdp11"):
        await store.load(layout.folder)


def _beside(layout: LayoutWriter, media_type: str, document: Mapping[str, Any]) -> None:
    """List a document that is no image in a layout."""
    data = json.dumps(document).encode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    layout.path(digest).write_bytes(data)
    index = json.loads((layout.folder / "index.json").read_bytes())
    index["manifests"].append({"mediaType": media_type, "digest": digest, "size": len(data)})
    (layout.folder / "index.json").write_text(json.dumps(index))


async def test_what_stands_beside_images_is_passed_over(layout: LayoutWriter, store: ImageStore) -> None:
    mine = layout.add_image([{"a": file("")}], tags=["a.test/mine:1"])
    payload = layout.add_archive(b"{}", "none")
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": payload.digest, "size": payload.size}
    signature = {**empty, "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json"}
    config = layout.add_archive(json.dumps({"rootfs": {"diff_ids": [payload.diff_id]}}).encode(), "none")
    image = {"mediaType": OCI_CONFIG, "digest": config.digest, "size": config.size}
    _beside(layout, OCI_MANIFEST, {"schemaVersion": 2, "config": empty, "layers": [empty]})
    _beside(layout, OCI_MANIFEST, {"schemaVersion": 2, "config": image, "layers": [signature]})
    _beside(layout, "application/x-is-no-manifest", {})
    assert [image.id for image in await store.load(layout.folder)] == [mine.image_id]


async def test_a_layout_of_something_else_is_told(layout: LayoutWriter, store: ImageStore) -> None:
    _beside(layout, "application/x-is-no-manifest", {})
    with pytest.raises(Unimplemented, match="which is no image but 'application/x-is-no-manifest'"):
        await store.load(layout.folder)


@pytest.mark.parametrize(
    ("annotations", "tags"),
    [
        ({"org.opencontainers.image.ref.name": "latest"}, ()),
        ({"org.opencontainers.image.ref.name": "app:2"}, ("docker.io/library/app:2",)),
        ({"org.opencontainers.image.ref.name": "App/One+two:1"}, ()),
        ({"org.opencontainers.image.ref.name": "1.0", "io.containerd.image.name": "a.test/b:1.0"}, ("a.test/b:1.0",)),
        ({}, ()),
    ],
)
async def test_names_come_from_annotations(
    layout: LayoutWriter, store: ImageStore, annotations: dict[str, str], tags: tuple[str, ...]
) -> None:
    layout.add_image([])
    index = json.loads((layout.folder / "index.json").read_bytes())
    index["manifests"][0]["annotations"] = annotations
    (layout.folder / "index.json").write_text(json.dumps(index))
    (image,) = await store.load(layout.folder)
    assert image.repo_tags == tags


async def test_an_archive_can_name_an_image_by_no_digest_but_its_own(layout: LayoutWriter, store: ImageStore) -> None:
    made = layout.add_image([])
    index = json.loads((layout.folder / "index.json").read_bytes())

    def call(key: str, name: str) -> None:
        index["manifests"][0]["annotations"] = {key: name}
        (layout.folder / "index.json").write_text(json.dumps(index))

    other = f"docker.io/library/app:1@sha256:{'a' * 64}"
    call("io.containerd.image.name", other)
    with pytest.raises(InvalidArgument, match="has not that digest"):
        await store.load(layout.folder)
    call("org.opencontainers.image.ref.name", other)
    (image,) = await store.load(layout.folder)
    assert (image.repo_tags, image.repo_digests) == ((), ())
    call("io.containerd.image.name", f"docker.io/library/app:1@{made.digest}")
    (image,) = await store.load(layout.folder)
    assert image.repo_digests == (f"docker.io/library/app@{made.digest}",)


async def test_a_name_that_moves_within_an_archive_is_the_last_one_s(layout: LayoutWriter, store: ImageStore) -> None:
    layout.add_image([], config={"User": "1"}, tags=[TAG])
    layout.add_image([], config={"User": "2"}, tags=[TAG])
    first, second = await store.load(layout.folder)
    assert (first.repo_tags, second.repo_tags) == ((), (TAG,))


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda path: None, NotFound, "no file or directory"),
        (lambda path: path.mkdir(), InvalidArgument, "neither an index.json nor a manifest.json"),
        (lambda path: path.write_bytes(b""), InvalidArgument, "no whole tar archive"),
        (lambda path: path.write_bytes(b"x" * 5000), InvalidArgument, "no whole tar archive"),
        (lambda path: path.write_bytes(gzip.compress(os.urandom(5000))[:3000]), DataLoss, "damaged or cut short"),
        (lambda path: path.write_bytes(b"\x28\xb5\x2f\xfd" + b"\xff" * 500), DataLoss, "damaged or cut short"),
        (os.mkfifo, NotFound, "no file or directory"),
    ],
    ids=["absent", "empty folder", "empty", "text", "half gzip", "bad zstd", "fifo"],
)
async def test_what_is_no_archive_is_refused(
    tmp_path: Path, store: ImageStore, make: Callable[[Path], object], kind: type[PodyardError], text: str
) -> None:
    make(tmp_path / "archive")
    with pytest.raises(kind, match=text):
        await store.load(tmp_path / "archive")
    assert left(store.folder) == set()


def _tar(members: dict[str, bytes | tuple[bytes, str]], path: Path) -> Path:
    """A tar archive of files (bytes) and links (type, target)."""
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                info.type, info.linkname = content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def _layer() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("only"))
    return buffer.getvalue()


def _docker(**changes: Any) -> dict[str, bytes | tuple[bytes, str]]:
    layer = _layer()
    config = {"rootfs": {"diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}}
    entry = {"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["1/layer.tar"], **changes}
    return {"c.json": json.dumps(config).encode(), "1/layer.tar": layer, "manifest.json": json.dumps([entry]).encode()}


async def test_links_in_a_docker_archive_are_followed_within_it(tmp_path: Path, store: ImageStore) -> None:
    members = _docker()
    members["real.tar"] = members["1/layer.tar"]
    members["1/layer.tar"] = (tarfile.SYMTYPE, "../../../real.tar")
    (image,) = await store.load(_tar(members, tmp_path / "archive"))
    assert image.repo_tags == ("docker.io/library/app:1",)
    assert image.repo_digests == ()
    members["1/layer.tar"] = (tarfile.LNKTYPE, "./real.tar")
    assert await store.load(_tar(members, tmp_path / "archive")) == [image]


@pytest.mark.parametrize("compressed", [True, False])
async def test_a_docker_archive_s_layer_is_verified(tmp_path: Path, store: ImageStore, compressed: bool) -> None:
    members = _docker()
    if compressed:
        members["1/layer.tar"] = gzip.compress(_layer())
        await store.load(_tar(members, tmp_path / "archive"))
        await store.remove("app:1")
    damaged = bytearray(_layer())
    damaged[-1] ^= 1
    members["1/layer.tar"] = gzip.compress(damaged) if compressed else bytes(damaged)
    with pytest.raises(DataLoss, match=r"sha256:.*sha256:"):
        await store.load(_tar(members, tmp_path / "archive"))
    assert left(store.folder) == set()


@pytest.mark.parametrize(
    ("members", "kind", "text"),
    [
        (_docker(Layers=["/etc/passwd"]), NotFound, "has no file '/etc/passwd'"),
        (_docker(Config="../../etc/passwd"), NotFound, "has no file"),
        (_docker(Layers=[]), InvalidArgument, "has 1 layers, the archive 0"),
        (_docker(RepoTags=["A B"]), InvalidArgument, "no image's name"),
        (_docker(RepoTags=[f"app@sha256:{'a' * 64}"]), InvalidArgument, "has not that digest"),
        (_docker(Config=3), InvalidArgument, "cannot be read"),
        ({**_docker(), "1/layer.tar": (tarfile.SYMTYPE, "/etc/passwd")}, NotFound, "has no file"),
        ({**_docker(), "1/layer.tar": (tarfile.SYMTYPE, "layer.tar")}, NotFound, "has no file"),
        ({**_docker(), "1/layer.tar": (tarfile.FIFOTYPE, "")}, NotFound, "has no file"),
        ({**_docker(), "c.json": b" " * (5 << 20)}, InvalidArgument, "larger than"),
        ({"manifest.json": b"[" * 10_000}, InvalidArgument, "cannot be read"),
        ({"index.json": b'{"schemaVersion":2,"config":1,"layers":[]}'}, InvalidArgument, "cannot be read"),
        ({"other": b""}, InvalidArgument, "neither an index.json"),
    ],
)
async def test_hostile_archives_are_refused(
    tmp_path: Path,
    store: ImageStore,
    members: dict[str, bytes | tuple[bytes, str]],
    kind: type[PodyardError],
    text: str,
) -> None:
    with pytest.raises(kind, match=text):
        await store.load(_tar(members, tmp_path / "archive"))
    assert left(store.folder) == set()


@pytest.mark.parametrize("config", ["../secret.json", "{secret}", "link.json", "x\0y"])
async def test_a_directory_cannot_make_the_daemon_read_what_stands_outside(
    tmp_path: Path, store: ImageStore, config: str
) -> None:
    secret, folder = tmp_path / "secret.json", tmp_path / "archive"
    secret.write_text('{"auths": {}}')
    folder.mkdir()
    (folder / "link.json").symlink_to(secret)
    entry = {"Config": config.format(secret=secret), "RepoTags": ["app:1"], "Layers": []}
    (folder / "manifest.json").write_text(json.dumps([entry]))
    with pytest.raises(NotFound, match="has no readable file"):
        await store.load(folder)
    assert store.images() == []


async def test_an_archive_cannot_make_the_daemon_read_large_headers(tmp_path: Path, store: ImageStore) -> None:
    info = tarfile.TarInfo("x")
    info.pax_headers = {"comment": "y" * (HEADER_LIMIT + 1)}
    with tarfile.open(tmp_path / "archive", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info)
    with pytest.raises(InvalidArgument, match="headers of more than"):
        await store.load(tmp_path / "archive")


@pytest.mark.parametrize("members", [3, 100])
async def test_an_archive_of_too_many_members_is_refused(
    tmp_path: Path, store: ImageStore, members: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podyard.images.tarball.MEMBERS_LIMIT", 50)
    path = _tar({str(number): b"" for number in range(members)}, tmp_path / "archive")
    with pytest.raises(InvalidArgument, match="more than 50 members" if members > 50 else "neither an index"):
        await store.load(path)


async def test_a_cut_archive_is_refused_wherever_it_is_cut(
    tmp_path: Path, layout: LayoutWriter, app: WrittenManifest, store: ImageStore
) -> None:
    whole = _as_tar(layout, tmp_path / "archive").read_bytes()
    # The last blocks of zeros say nothing.
    end = len(whole.rstrip(b"\0"))
    for length in range(100, end, 1500):
        (tmp_path / "archive").write_bytes(whole[:length])
        with pytest.raises((InvalidArgument, NotFound)):
            await store.load(tmp_path / "archive")
        assert left(store.folder) == set(), length


async def test_a_layout_with_a_damaged_blob_is_refused(
    layout: LayoutWriter, app: WrittenManifest, store: ImageStore
) -> None:
    blobs = list((layout.folder / "blobs/sha256").iterdir())
    assert len(blobs) == 4
    for path in blobs:
        good = path.read_bytes()
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(DataLoss, match=f"sha256:{path.name}"):
            await store.load(layout.folder)
        path.unlink()
        with pytest.raises(NotFound, match=path.name):
            await store.load(layout.folder)
        path.write_bytes(good)
        assert left(store.folder) == set()
    await store.load(layout.folder)
