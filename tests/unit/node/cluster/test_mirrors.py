"""The API server has a picture of each Pod that the node has from elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.kube import ApiServer

MIRROR = "kubernetes.io/config.mirror"


def mirror(server: ApiServer, name: str = "own-n") -> dict[str, Any]:
    """The picture; {} when there is none."""
    return server.get("pods", name, "default") if server.has("pods", name, "default") else {}


def phase(server: ApiServer, name: str = "own-n") -> str:
    return str(mirror(server, name).get("status", {}).get("phase", ""))


async def test_a_static_pod_has_a_mirror_with_its_status(
    server: ApiServer, nodes: Any, directory: Any, until: Any
) -> None:
    directory.pod("own")
    nodes.start()
    await until(lambda: phase(server) == "Running")
    found = mirror(server)
    annotations = found["metadata"]["annotations"]
    assert annotations["kubernetes.io/config.source"] == "file"
    assert annotations[MIRROR] == annotations["kubernetes.io/config.hash"]
    assert found["spec"]["nodeName"] == "n"
    assert found["spec"]["containers"][0]["image"] == "busybox:1"
    (owner,) = found["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Node", server.get("nodes", "n")["metadata"]["uid"])


async def test_a_mirror_follows_its_pod(
    server: ApiServer, runtime: Any, nodes: Any, directory: Any, until: Any
) -> None:
    directory.pod("own", "a")
    nodes.start()
    await until(lambda: phase(server) == "Running")
    first = mirror(server)["metadata"]
    directory.pod("own", "b")
    await until(lambda: phase(server) == "Running" and mirror(server)["metadata"]["uid"] != first["uid"])
    assert mirror(server)["spec"]["containers"][0]["workingDir"] == "/b"
    (directory.path / "own.yaml").unlink()
    await until(lambda: not mirror(server))
    assert runtime.sandboxes == {}


async def test_a_mirror_that_somebody_deletes_is_made_again_and_its_pod_goes_on(
    server: ApiServer, runtime: Any, nodes: Any, directory: Any, until: Any
) -> None:
    directory.pod("own")
    nodes.start()
    await until(lambda: phase(server) == "Running")
    uid = mirror(server)["metadata"]["uid"]
    server.delete("pods", "own-n", "default")
    await until(lambda: phase(server) == "Running" and mirror(server)["metadata"]["uid"] != uid)
    assert runtime.calls.count("RunPodSandbox own-n") == 1


async def test_mirrors_whose_pods_went_while_nobody_looked_are_deleted(
    server: ApiServer, nodes: Any, directory: Any, until: Any
) -> None:
    directory.pod("own")
    directory.pod("broken")
    nodes.start()
    await until(lambda: phase(server) == phase(server, "broken-n") == "Running")
    await nodes.kill()
    (directory.path / "own.yaml").unlink()
    # Of this one nobody knows whether it is wanted.
    directory.write("broken.yaml", "apiVersion: v1\nkind: Pod\n")
    nodes.start()
    await until(lambda: not mirror(server))
    assert phase(server, "broken-n") == "Running"


async def test_a_namespace_that_is_not_there_is_told_and_waited_for(
    server: ApiServer, nodes: Any, directory: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: own, namespace: late}\nspec:\n"
    directory.write("own.yaml", text + "  containers: [{name: main, image: 'busybox:1'}]\n")
    nodes.start()
    await until(lambda: 'namespaces "late" not found' in caplog.text)
    server.add("namespaces", "late")
    await until(lambda: server.has("pods", "own-n", "late"))
    assert caplog.text.count('namespaces "late" not found') == 1
