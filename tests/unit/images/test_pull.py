"""Pulling from a real registry."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support import registry
from tests.support.faulty import Proxy, status
from tests.unit.images.conftest import MakeStore, Pushed, left

from podyard.errors import InvalidArgument, NotFound, RegistryUnavailable, Unavailable
from podyard.images.layout import (
    Compression,
    Family,
    LayoutWriter,
    WrittenManifest,
    directory,
    file,
    opaque,
    symlink,
    whiteout,
)
from podyard.images.store import ImageStore


@pytest.mark.parametrize("family", ["oci", "docker"])
@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
async def test_an_image_is_unpacked_layer_by_layer(
    upstream: str, layout: LayoutWriter, store: ImageStore, family: Family, compression: Compression
) -> None:
    lower = {"etc": directory(mode=0o750, uid=5), "etc/a": file("1"), "etc/b": file("2"), "s": symlink("/etc/a")}
    upper = {"etc/a": file("3", mode=0o4755, uid=70000), **whiteout("etc/b"), "new": directory(), **opaque("new")}
    made = layout.add_image([lower, upper], family=family, compression=compression, config={"Env": ["A=b"]})
    registry.push(upstream, layout, made, f"pull/{family}-{compression}", "1")
    image = await store.pull(f"{upstream}/pull/{family}-{compression}:1")
    assert image.id == made.image_id
    assert image.repo_tags == (f"{upstream}/pull/{family}-{compression}:1",)
    assert image.repo_digests == (f"{upstream}/pull/{family}-{compression}@{made.digest}",)
    assert image.size > 0
    top, bottom = store.lower_dirs(image)
    assert (bottom / "etc/a").read_text() == "1"
    assert str((bottom / "s").readlink()) == "/etc/a"
    assert (top / "etc/a").read_text() == "3"
    assert ((top / "etc/a").stat().st_mode & 0o7777, (top / "etc/a").stat().st_uid) == (0o4755, 70000)
    assert (top / "etc/b").is_char_device()
    assert os.getxattr(top / "new", "trusted.overlay.opaque") == b"y"
    # The upper layer leaves the directory out: it looks as the lower one has it.
    assert ((top / "etc").stat().st_mode & 0o777, (top / "etc").stat().st_uid) == (0o750, 5)
    assert store.image_config(image).env == ("A=b",)


async def test_a_digest_names_one_image_for_ever(upstream: str, pushed: Pushed, store: ImageStore) -> None:
    name = f"{upstream}/{pushed.repository}"
    image = await store.pull(f"{name}:1@{pushed.manifest.digest}")
    assert (image.repo_tags, image.repo_digests) == ((), (f"{name}@{pushed.manifest.digest}",))
    assert store.find(f"{name}@{pushed.manifest.digest}") == image
    assert store.find(f"{name}:1") is None


async def test_an_index_gives_the_image_for_this_host(upstream: str, layout: LayoutWriter, store: ImageStore) -> None:
    mine = layout.add_image([{"mine": file("")}], listed=False)
    other = layout.add_image([{"other": file("")}], architecture="s390x-not-here", listed=False)
    index = layout.add_index([other, mine], family="docker")
    registry.push(upstream, layout, index, "pull/index", "1")
    image = await store.pull(f"{upstream}/pull/index:1")
    assert image.id == mine.image_id
    assert image.repo_digests == (f"{upstream}/pull/index@{index.digest}",)
    assert store.find(index.digest) == store.find(mine.digest) == image


def _silent(layout: LayoutWriter, manifests: Sequence[WrittenManifest]) -> WrittenManifest:
    """An index that says nothing of the platforms."""
    return layout.add_index([replace(manifest, platform={}) for manifest in manifests])


async def test_what_an_index_says_nothing_of_is_looked_at(
    upstream: str, layout: LayoutWriter, store: ImageStore
) -> None:
    mine = layout.add_image([{"mine": file("")}], listed=False)
    other = layout.add_image([{"other": file("")}], architecture="vax", listed=False)
    index = _silent(layout, [_silent(layout, [other]), layout.add_index([other]), _silent(layout, [other, mine])])
    registry.push(upstream, layout, index, "pull/silent", "1")
    assert (await store.pull(f"{upstream}/pull/silent:1")).id == mine.image_id


async def test_an_index_knows_a_platform_better_than_the_configuration(
    upstream: str, layout: LayoutWriter, store: ImageStore
) -> None:
    mine = layout.add_image([{"mine": file("")}], listed=False)
    wrong = layout.add_image([{"wrong": file("")}], architecture="vax", listed=False)
    index = layout.add_index([replace(wrong, platform=mine.platform)])
    registry.push(upstream, layout, index, "pull/wrong", "1")
    assert (await store.pull(f"{upstream}/pull/wrong:1")).id == wrong.image_id


async def test_an_image_for_other_hosts_only_is_not_found(
    upstream: str, layout: LayoutWriter, store: ImageStore
) -> None:
    other = layout.add_image([{"other": file("")}], architecture="vax", variant="v1", listed=False)
    registry.push(upstream, layout, layout.add_index([other]), "pull/vax", "index")
    registry.push(upstream, layout, other, "pull/vax", "image")
    with pytest.raises(NotFound, match=r"no image for linux/.*: it has linux/vax/v1"):
        await store.pull(f"{upstream}/pull/vax:index")
    with pytest.raises(NotFound, match="is for linux/vax, this host is linux/"):
        await store.pull(f"{upstream}/pull/vax:image")
    assert left(store.folder) == set()


async def test_a_tag_that_moves_leaves_the_old_image_without_it(
    upstream: str, layout: LayoutWriter, store: ImageStore
) -> None:
    first, second = (layout.add_image([{"n": file(text)}]) for text in ("1", "2"))
    name = f"{upstream}/pull/moving"
    registry.push(upstream, layout, first, "pull/moving", "latest")
    old = await store.pull(name)
    registry.push(upstream, layout, second, "pull/moving", "latest")
    new = await store.pull(name)
    assert store.find(name) == new
    assert (new.id, new.repo_tags) == (second.image_id, (f"{name}:latest",))
    assert store.find(old.id) == store.find(f"{name}@{first.digest}")
    kept = store.find(old.id)
    assert kept is not None
    assert kept.repo_tags == ()


async def test_an_image_gathers_its_names(
    upstream: str, pushed: Pushed, layout: LayoutWriter, store: ImageStore
) -> None:
    registry.push(upstream, layout, pushed.manifest, pushed.repository, "2")
    registry.push(upstream, layout, pushed.manifest, "pull/elsewhere", "x")
    for name in (f"{pushed.repository}:1", f"{pushed.repository}:2", "pull/elsewhere:x"):
        image = await store.pull(f"{upstream}/{name}")
    assert len(store.images()) == 1
    assert image.repo_tags == tuple(
        sorted(
            f"{upstream}/{name}" for name in (f"{pushed.repository}:1", f"{pushed.repository}:2", "pull/elsewhere:x")
        )
    )
    assert len(image.repo_digests) == 2


async def test_concurrent_pulls_fetch_each_blob_once(
    proxy: Proxy, upstream: str, pushed: Pushed, layout: LayoutWriter, store: ImageStore
) -> None:
    more = layout.add_layer({"more": file("more")})
    base = pushed.layers
    shared = layout.add_image([*pushed.written, more])
    registry.push(upstream, layout, shared, "pull/sharing", "1")
    names = [f"{proxy.address}/{pushed.repository}:1"] * 8 + [f"{proxy.address}/pull/sharing:1"] * 2
    images = await asyncio.gather(*(store.pull(name) for name in names))
    assert {image.id for image in images} == {pushed.manifest.image_id, shared.image_id}
    fetched = {path.rpartition("/")[2]: count for path, count in proxy.count("/blobs/").items()}
    assert {digest: fetched[digest] for digest in (*base, more.digest)} == dict.fromkeys((*base, more.digest), 1)
    assert proxy.count(f"/{pushed.repository}/manifests/")[f"/v2/{pushed.repository}/manifests/1"] == 1
    assert len(left(store.folder / "l") & {str(n) for n in range(1, 20)}) == 3


async def test_what_is_here_is_not_fetched_again(proxy: Proxy, pushed: Pushed, store: ImageStore) -> None:
    name = f"{proxy.address}/{pushed.repository}:1"
    first = await store.pull(name)
    proxy.asked.clear()
    assert await store.pull(name) == first
    assert not set(pushed.layers) & {path.rpartition("/")[2] for path in proxy.asked}


async def test_a_pull_goes_on_when_its_caller_has_gone(proxy: Proxy, pushed: Pushed, store: ImageStore) -> None:
    name = f"{proxy.address}/{pushed.repository}:1"
    caller = asyncio.create_task(store.pull(name))
    while not store.pulls():
        await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert [progress.reference for progress in store.pulls()] == [name]
    assert (await store.pull(name)).id == pushed.manifest.image_id
    assert sum(proxy.count("/manifests/1").values()) == 1
    assert store.pulls() == []


async def test_progress_tells_of_each_layer(upstream: str, pushed: Pushed, store: ImageStore) -> None:
    task = asyncio.create_task(store.pull(f"{upstream}/{pushed.repository}:1"))
    states: dict[str, set[str]] = {digest: set() for digest in pushed.layers}
    digests = set()
    while not task.done():
        for progress in store.pulls():
            digests.add(progress.image_digest)
            for layer in progress.layers:
                states[layer.digest].add(layer.state)
                final = progress
        await asyncio.sleep(0)
    await task
    assert digests == {"", pushed.manifest.digest}
    assert [layer.state for layer in final.layers] == ["done", "done"]
    assert [layer.done for layer in final.layers] == [layer.total for layer in final.layers]
    assert all({"downloading", "unpacking"} <= seen for seen in states.values())
    assert final.started_at > 1_600_000_000 * 10**9


async def test_the_stop_of_the_store_leaves_nothing_of_a_pull(
    proxy: Proxy, pushed: Pushed, make_store: MakeStore
) -> None:
    store = await make_store()

    async def hang(request: object, answer: object) -> None:
        await asyncio.sleep(30)

    proxy.fault(pushed.layers[1], hang)  # type: ignore[arg-type]
    task = asyncio.create_task(store.pull(f"{proxy.address}/{pushed.repository}:1"))
    while not proxy.count(pushed.layers[1]):
        await asyncio.sleep(0.001)
    await store.close()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left(store.folder) == set()
    with pytest.raises(Unavailable, match="stopping"):
        await store.pull("busybox")


async def test_a_pull_that_gets_nothing_holds_up_no_other(
    proxy: Proxy, upstream: str, pushed: Pushed, layout: LayoutWriter, make_store: MakeStore
) -> None:
    store = await make_store(parallel_layers=1)
    other = layout.add_image([{"other": file("")}, {"more": file("")}])
    registry.push(upstream, layout, other, "pull/other", "1")

    async def hang(request: object, answer: object) -> None:
        await asyncio.sleep(30)

    for digest in pushed.layers:
        proxy.fault(digest, hang)  # type: ignore[arg-type]
    stuck = asyncio.create_task(store.pull(f"{proxy.address}/{pushed.repository}:1"))
    while not any(proxy.count(digest) for digest in pushed.layers):
        await asyncio.sleep(0.001)
    assert (await store.pull(f"{proxy.address}/pull/other:1")).id == other.image_id
    assert not stuck.done()
    # One layer at a time it is all the same.
    assert sum(proxy.count(digest).total() for digest in pushed.layers) == 1
    await store.close()
    with pytest.raises(asyncio.CancelledError):
        await stuck


async def test_a_missing_image_names_the_registry(upstream: str, pushed: Pushed, store: ImageStore) -> None:
    for name in (f"{upstream}/{pushed.repository}:none", f"{upstream}/no/such:1"):
        with pytest.raises(NotFound) as caught:
            await store.pull(name)
        assert name in str(caught.value)
        assert f"{upstream} does not have it (404 Not Found: " in str(caught.value)
    assert left(store.folder) == set()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_a_registry_that_is_not_there_is_unavailable(store: ImageStore, host: str) -> None:
    address = f"{host}:{registry.free_port()}"
    text = f"^RegistryUnavailable: .*cannot connect to {re.escape(address)}: Connection"
    with pytest.raises(RegistryUnavailable, match=text):
        await store.pull(f"{address}/a:1")


@pytest.mark.parametrize("name", ["", "Upper", "a b", "x@sha256:1", "a" * 64])
async def test_a_wrong_name_is_refused(store: ImageStore, name: str) -> None:
    with pytest.raises(InvalidArgument):
        await store.pull(name)


async def test_plain_http_is_spoken_only_where_it_is_configured(
    upstream: str, pushed: Pushed, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podyard.images.transport.is_loopback", lambda host: False)
    store = await make_store()
    with pytest.raises(RegistryUnavailable, match=f"cannot connect to {upstream}"):
        await store.pull(f"{upstream}/{pushed.repository}:1")
    allowed = await make_store(Path(f"{store.folder}-insecure"), insecure_registries=[upstream])
    assert (await allowed.pull(f"{upstream}/{pushed.repository}:1")).id == pushed.manifest.image_id


async def test_https_needs_a_trusted_certificate(tmp_path: Path, layout: LayoutWriter, make_store: MakeStore) -> None:
    certificate, key = _certificate(tmp_path)
    made = layout.add_image([{"secure": file("")}])
    with registry.serve(tmp_path / "plain") as address:
        registry.push(address, layout, made, "a/b", "1")
    (tmp_path / "secure").mkdir()
    (tmp_path / "plain/data").rename(tmp_path / "secure/data")
    with registry.serve(tmp_path / "secure", (certificate, key)) as address:
        store = await make_store()
        with pytest.raises(RegistryUnavailable, match=f"the certificate of {address} is not trusted"):
            await store.pull(f"{address}/a/b:1")
        trusting = await make_store(tmp_path / "trusting", ca_file=certificate)
        assert (await trusting.pull(f"{address}/a/b:1")).id == made.image_id


async def test_a_registry_that_got_a_certificate_since_the_last_pull_is_spoken_to_in_https(
    tmp_path: Path, layout: LayoutWriter, make_store: MakeStore
) -> None:
    certificate = _certificate(tmp_path)
    made = layout.add_image([{"secure": file("")}])
    store = await make_store(ca_file=certificate[0])
    with registry.serve(tmp_path / "r") as address:
        registry.push(address, layout, made, "a/b", "1")
        await store.pull(f"{address}/a/b:1")
    with registry.serve(tmp_path / "r", certificate, address=address):
        assert (await store.pull(f"{address}/a/b:1")).id == made.image_id


async def test_a_registry_that_wants_a_client_certificate_is_not_asked_in_plain_http(
    tmp_path: Path, make_store: MakeStore
) -> None:
    certificate = _certificate(tmp_path)
    store = await make_store(ca_file=certificate[0], attempts=1)
    # In plain HTTP it would answer 400, which hides what is wrong.
    with (
        registry.serve(tmp_path / "r", certificate, clients=certificate[0]) as address,
        pytest.raises(RegistryUnavailable, match=f"the connection to {address} was cut"),
    ):
        await store.pull(f"{address}/a/b:1")


async def test_mirrors_are_asked_first_and_without_credentials(
    proxy: Proxy, upstream: str, pushed: Pushed, make_store: MakeStore
) -> None:
    gone = f"127.0.0.1:{registry.free_port()}"
    store = await make_store(mirrors={"docker.io": [f"http://{gone}/cache", f"http://{proxy.address}"]})
    image = await store.pull(f"docker.io/{pushed.repository}:1")
    assert image.repo_tags == (f"docker.io/{pushed.repository}:1",)
    path, headers = proxy.seen[0]
    assert path == f"/v2/{pushed.repository}/manifests/1?ns=docker.io"
    assert "Authorization" not in headers


async def test_what_no_mirror_has_is_asked_of_the_registry(
    proxy: Proxy, upstream: str, pushed: Pushed, layout: LayoutWriter, make_store: MakeStore
) -> None:
    registry.push(upstream, layout, pushed.manifest, "only/here", "1")
    async with Proxy(upstream).serving() as mirror:
        mirror.fault("/manifests/", status(404))
        store = await make_store(mirrors={proxy.address: [mirror.address]})
        image = await store.pull(f"{proxy.address}/only/here:1")
        # What had the manifest is asked for the layers.
        assert len(mirror.asked) == 1
        assert image.repo_tags == (f"{proxy.address}/only/here:1",)
        with pytest.raises(NotFound, match=f"{proxy.address} does not have it.*; before that, {mirror.address} does"):
            await store.pull(f"{proxy.address}/only/here:2")


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, private
