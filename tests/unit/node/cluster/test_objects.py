"""ConfigMaps, Secrets and tokens of the API server."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from tests.support.kube import ApiServer

from podyard.errors import DataLoss, NotFound, PermissionDenied, PodyardError, Unavailable
from podyard.node.cluster.objects import ApiObjects
from podyard.node.kube import Access, Conflict, KubeClient
from podyard.node.objects import FirstOf
from podyard.pods.objects import ConfigMap, ManifestObjects, Secret, Service, ServicePort


@pytest.fixture
async def objects(server: ApiServer) -> AsyncIterator[ApiObjects]:
    async with KubeClient(Access(server=server.url)) as kube:
        yield ApiObjects(kube)


async def test_config_maps_and_secrets_are_decoded(server: ApiServer, objects: ApiObjects) -> None:
    server.add("configmaps", "c", "default", data={"a": "b"}, binaryData={"raw": "AP8="})
    server.add("secrets", "s", "default", data={"k": "dmFsdWU="}, type="example.com/x")
    server.add("configmaps", "empty", "default")
    assert await objects.config_map("default", "c") == ConfigMap(data={"a": "b"}, binary_data={"raw": b"\x00\xff"})
    assert await objects.secret("default", "s") == Secret(data={"k": b"value"}, type="example.com/x")
    assert await objects.config_map("default", "empty") == ConfigMap()
    assert await objects.config_map("default", "none") is None
    assert await objects.secret("default", "none") is None


@pytest.mark.parametrize(
    ("code", "reason", "kind"), [(503, "ServiceUnavailable", Unavailable), (403, "Forbidden", PermissionDenied)]
)
async def test_what_cannot_be_told_is_not_taken_for_absent(
    server: ApiServer, objects: ApiObjects, code: int, reason: str, kind: type[PodyardError]
) -> None:
    server.refuse("GET secrets", code, reason)
    with pytest.raises(kind):
        await objects.secret("default", "s")


async def test_answers_are_kept_until_they_are_forgotten(server: ApiServer, objects: ApiObjects) -> None:
    assert await objects.config_map("default", "c") is None
    server.add("configmaps", "c", "default", data={"a": "1"})
    assert await objects.config_map("default", "c") == ConfigMap(data={"a": "1"})
    server.edit("configmaps", "c", "default", data={"a": "2"})
    assert await objects.config_map("default", "c") == ConfigMap(data={"a": "1"})
    objects.forget()
    assert await objects.config_map("default", "c") == ConfigMap(data={"a": "2"})
    assert server.requests["GET configmaps"] == 3
    objects._kept = 0.0
    server.edit("configmaps", "c", "default", data={"a": "3"})
    assert await objects.config_map("default", "c") == ConfigMap(data={"a": "3"})


async def test_what_is_not_base64_is_an_error(server: ApiServer, objects: ApiObjects) -> None:
    server.add("secrets", "s", "default", data={"k": "%"})
    with pytest.raises(DataLoss, match="Secret default/s: not base64"):
        await objects.secret("default", "s")


async def test_a_token_is_asked_for_a_pod(server: ApiServer, objects: ApiObjects) -> None:
    server.add("serviceaccounts", "builder", "default")
    pod = server.add("pods", "web", "default", spec={"nodeName": "n", "containers": []})
    uid = pod["metadata"]["uid"]

    async def ask(account: str, uid: str) -> float:
        token = await objects.token(
            "default", account, audiences=["vault"], expiration_seconds=3600, pod_name="web", pod_uid=uid
        )
        assert token.token.startswith("header.")
        return token.expires_at

    before = time.time()
    assert before + 3590 < await ask("builder", uid) < time.time() + 3601
    (asked,) = server.tokens_asked
    assert asked["spec"]["audiences"] == ["vault"]
    assert asked["spec"]["boundObjectRef"]["uid"] == uid
    with pytest.raises(NotFound):
        await ask("nobody", uid)
    with pytest.raises(Conflict):
        await ask("builder", "another")


async def test_a_runtime_class_has_a_handler(server: ApiServer, objects: ApiObjects) -> None:
    server.add("runtimeclasses", "secure", handler="kata")
    both = FirstOf([ManifestObjects(), objects])
    assert await both.runtime_handler("secure") == "kata"
    with pytest.raises(NotFound, match="none"):
        await both.runtime_handler("none")
    server.add("runtimeclasses", "broken")
    with pytest.raises(DataLoss, match="runtimeclasses/broken: the API server's answer names no handler"):
        await both.runtime_handler("broken")


async def test_services_with_an_address_are_told(server: ApiServer, objects: ApiObjects) -> None:
    server.add("namespaces", "shop")
    master = Service(name="kubernetes", ip="10.96.0.1", ports=(ServicePort(port=443, name="https"),))
    assert await objects.services("shop", False) == ()
    spec = {"clusterIP": "10.96.0.1", "ports": [{"port": 443, "name": "https", "protocol": "TCP"}]}
    server.add("services", "kubernetes", "default", spec=spec)
    server.add("services", "web", "shop", spec={"clusterIP": "10.96.0.2", "ports": [{"port": 53, "protocol": "UDP"}]})
    server.add("services", "headless", "shop", spec={"clusterIP": "None"})
    server.add("services", "outside", "shop", spec={"externalName": "example.com"})
    both = FirstOf([ManifestObjects(), objects])
    assert await both.services("shop", False) == (master,)
    web = Service(name="web", ip="10.96.0.2", ports=(ServicePort(port=53, protocol="UDP"),))
    assert await both.services("shop", True) == (web, master)
    assert await both.services("default", True) == (master,)


async def test_the_nodes_own_come_first(server: ApiServer, objects: ApiObjects) -> None:
    server.add("configmaps", "c", "default", data={"from": "server"})
    server.add("configmaps", "d", "default", data={"from": "server"})
    own = ManifestObjects({("default", "c"): ConfigMap(data={"from": "manifest"})})
    both = FirstOf([own, objects])
    found = [await both.config_map("default", name) for name in ("c", "d", "e")]
    assert [one and one.data["from"] for one in found] == ["manifest", "server", None]
    assert await both.secret("default", "c") is None
    server.add("serviceaccounts", "a", "default")
    server.add("pods", "web", "default", spec={"containers": []})
    uid = server.get("pods", "web", "default")["metadata"]["uid"]
    asked = {"audiences": (), "expiration_seconds": 600, "pod_name": "web", "pod_uid": uid}
    assert (await both.token("default", "a", **asked)).token  # type: ignore[arg-type]
