"""The suite's registry and images, asked over HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from podyard.errors import FailedPrecondition, InvalidArgument
from podyard.validate.images import RECIPES, Images
from podyard.validate.registry import PASSWORD, TOKEN, USER, Registry, serving


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    if shutil.which("busybox") is None:
        pytest.skip("busybox-static is not installed")
    with serving("127.0.0.1:0") as registry:
        yield Images(tmp_path_factory.mktemp("images"), registry)


def get(registry: Registry, path: str, **headers: str) -> tuple[bytes, dict[str, str]]:
    request = urllib.request.Request(f"http://{registry.address}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read(), dict(answer.headers)


def refusal(registry: Registry, path: str, **headers: str) -> tuple[int, dict[str, str]]:
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(registry, path, **headers)
    caught.value.close()
    return caught.value.code, dict(caught.value.headers)


def repository(reference: str) -> str:
    return reference.partition("/")[2].rpartition(":")[0]


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_an_image_is_served_with_all_its_parts(images: Images, name: str) -> None:
    folder = repository(images.named(name))
    data, headers = get(images.registry, f"/v2/{folder}/manifests/1")
    assert headers["Docker-Content-Digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    manifest = json.loads(data)
    assert headers["Content-Type"] == manifest["mediaType"]
    for child in manifest.get("manifests", []):
        assert json.loads(get(images.registry, f"/v2/{folder}/manifests/{child['digest']}")[0])["config"]
    for part in [manifest["config"], *manifest["layers"]] if "layers" in manifest else []:
        blob, _ = get(images.registry, f"/v2/{folder}/blobs/{part['digest']}")
        assert f"sha256:{hashlib.sha256(blob).hexdigest()}" == part["digest"]
        assert len(blob) == part["size"]


def test_a_part_of_a_blob(images: Images) -> None:
    folder = repository(images.unique())
    manifest = json.loads(get(images.registry, f"/v2/{folder}/manifests/1")[0])
    path = f"/v2/{folder}/blobs/{manifest['layers'][0]['digest']}"
    whole, _ = get(images.registry, path)
    rest, headers = get(images.registry, path, Range="bytes=10-")
    assert rest == whole[10:]
    assert headers["Content-Range"] == f"bytes 10-{len(whole) - 1}/{len(whole)}"


def test_what_is_not_there(images: Images) -> None:
    images.named("busybox")
    for path in ("/v2/validate/none/manifests/1", "/v2/validate/busybox/manifests/none", "/other"):
        assert refusal(images.registry, path)[0] == 404
    assert refusal(images.registry, f"/v2/validate/busybox/blobs/sha256:{'0' * 64}")[0] == 404


def test_a_corrupted_layer_has_another_content(images: Images) -> None:
    folder = repository(images.corrupted())
    [layer] = json.loads(get(images.registry, f"/v2/{folder}/manifests/1")[0])["layers"]
    blob, _ = get(images.registry, f"/v2/{folder}/blobs/{layer['digest']}")
    assert f"sha256:{hashlib.sha256(blob).hexdigest()}" != layer["digest"]
    assert len(blob) == layer["size"]


def test_private_repositories_want_a_password_or_a_token(images: Images) -> None:
    for folder in ("private", "token"):
        images.unique(f"{folder}/image")
    code, headers = refusal(images.registry, "/v2/private/image/manifests/1")
    assert (code, headers["WWW-Authenticate"].partition(" ")[0]) == (401, "Basic")
    wrong = base64.b64encode(f"{USER}:wrong".encode()).decode()
    assert refusal(images.registry, "/v2/private/image/manifests/1", Authorization=f"Basic {wrong}")[0] == 401
    right = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    assert get(images.registry, "/v2/private/image/manifests/1", Authorization=f"Basic {right}")[0]
    assert refusal(images.registry, "/v2/token/image/manifests/1")[0] == 401
    assert get(images.registry, "/v2/token/image/manifests/1", Authorization=f"Bearer {TOKEN}")[0]


def test_unique_images_differ(images: Images) -> None:
    first, second = images.unique(), images.unique()
    manifests = [get(images.registry, f"/v2/{repository(name)}/manifests/1")[0] for name in (first, second)]
    assert manifests[0] != manifests[1]


@pytest.mark.parametrize("text", ["", "5000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", ":5000", "a:70000"])
def test_where_to_listen_must_be_host_and_port(text: str) -> None:
    with pytest.raises(InvalidArgument, match="HOST:PORT"):
        Registry.parse(text)


def test_ipv6_is_written_in_brackets() -> None:
    assert Registry.parse("[::1]:5000") == ("::1", 5000)


def test_a_port_in_use_is_told() -> None:
    with serving("127.0.0.1:0") as first, pytest.raises(FailedPrecondition, match=r"cannot listen on 127\.0\.0\.1"):
        Registry(*Registry.parse(first.address))
