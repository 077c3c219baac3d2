"""What the API server has bound to the node runs there, and the server is told what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.kube import ApiServer

from podyard.cri import api


def status(server: ApiServer, name: str = "web") -> dict[str, Any]:
    """A Pod's status; {} when it is gone."""
    return dict(server.get("pods", name, "default").get("status", {})) if server.has("pods", name, "default") else {}


def condition(server: ApiServer, kind: str, name: str = "web") -> str:
    found = [one["status"] for one in status(server, name).get("conditions") or () if one["type"] == kind]
    return str(found[0]) if found else ""


def is_ready(server: ApiServer, name: str = "web") -> bool:
    return condition(server, "Ready", name) == "True"


def sandboxes(runtime: Any) -> dict[str, str]:
    """The Pods that have one: their uids by name."""
    return {one.metadata.name: one.metadata.uid for one in runtime.sandboxes.values()}


async def test_a_bound_pod_runs_with_its_uid_and_its_status_is_told(
    server: ApiServer, runtime: Any, nodes: Any, bind: Any, until: Any
) -> None:
    made = bind("web")
    server.add("pods", "other", "default", spec={"nodeName": "m", "containers": [{"name": "c", "image": "x"}]})
    nodes.start()
    await until(lambda: is_ready(server))
    assert sandboxes(runtime) == {"web": made["metadata"]["uid"]}
    told = status(server)
    assert (told["phase"], told["podIP"], told["hostIP"]) == ("Running", "10.0.0.2", "192.0.2.1")
    assert told["podIPs"] == [{"ip": "10.0.0.2"}, {"ip": "fd00::2"}]
    (container,) = told["containerStatuses"]
    assert (container["name"], container["ready"], list(container["state"])) == ("main", True, ["running"])
    assert container["containerID"].startswith("memory://")
    # A Pod that is bound later is noticed by the watch.
    bind("late")
    await until(lambda: is_ready(server, "late"))
    patches = server.requests["PATCH pods/status"]
    renewals = server.requests["PUT leases"]
    await until(lambda: server.requests["PUT leases"] > renewals + 3)
    assert server.requests["PATCH pods/status"] == patches


async def test_conditions_that_others_set_stay(server: ApiServer, nodes: Any, bind: Any, until: Any) -> None:
    bind("web")
    gate = {"type": "example.com/gate", "status": "True"}
    conditions = [*status(server)["conditions"], gate]
    server.edit("pods", "web", "default", status={"conditions": conditions})
    nodes.start()
    await until(lambda: is_ready(server))
    assert gate in status(server)["conditions"]


async def test_a_pod_is_ready_when_its_gates_are_open(server: ApiServer, nodes: Any, bind: Any, until: Any) -> None:
    bind("web", readinessGates=[{"conditionType": "example.com/a"}, {"conditionType": "example.com/b"}])
    nodes.start()
    await until(lambda: condition(server, "ContainersReady") == "True")

    def ready() -> dict[str, Any]:
        (found,) = [one for one in status(server)["conditions"] if one["type"] == "Ready"]
        return dict(found)

    def open_gates(*names: str) -> None:
        others = [one for one in status(server)["conditions"] if "/" not in one["type"]]
        gates = [{"type": f"example.com/{name}", "status": "True"} for name in names]
        server.edit("pods", "web", "default", status={"conditions": [*others, *gates]})

    assert (ready()["status"], ready()["reason"]) == ("False", "ReadinessGatesNotReady")
    open_gates("a")
    await until(lambda: "example.com/a" not in ready()["message"])
    assert "'example.com/b' is not there" in ready()["message"]
    open_gates("a", "b")
    await until(lambda: is_ready(server))
    assert not ready().get("reason")
    open_gates("b")
    await until(lambda: not is_ready(server))


async def test_a_deleted_pod_ends_in_its_time_and_is_confirmed_with_its_last_status(
    server: ApiServer, runtime: Any, nodes: Any, bind: Any, until: Any
) -> None:
    bind("web")
    nodes.start()
    await until(lambda: is_ready(server))
    before = server.store.version
    server.delete("pods", "web", "default", grace=7)
    await until(lambda: not server.has("pods", "web", "default"))
    assert (runtime.stop_timeouts["main"], sandboxes(runtime)) == (7, {})
    *_, last = [change for change in server.store.since(before) if change.key[0] == "pods"]
    assert last.kind == "DELETED"
    told = last.found["status"]
    assert (told["phase"], told["containerStatuses"][0]["state"]["terminated"]["exitCode"]) == ("Failed", 143)


async def test_a_shorter_time_counts_while_a_pod_is_being_stopped(
    server: ApiServer, runtime: Any, nodes: Any, bind: Any, until: Any
) -> None:
    bind("web")
    nodes.start()
    await until(lambda: is_ready(server))
    asked = []

    async def hang(request: api.StopContainerRequest) -> None:
        asked.append(request.timeout)
        if len(asked) == 1:
            server.delete("pods", "web", "default", grace=2)
            await until(lambda: len(asked) > 1)

    runtime.on_stop = hang
    server.delete("pods", "web", "default", grace=30)
    await until(lambda: not server.has("pods", "web", "default"))
    assert asked[:2] == [30, 2]


async def test_a_pod_that_vanishes_is_removed(
    server: ApiServer, runtime: Any, nodes: Any, bind: Any, until: Any
) -> None:
    bind("web", terminationGracePeriodSeconds=3)
    nodes.start()
    await until(lambda: is_ready(server))
    server.delete("pods", "web", "default", grace=0)
    await until(lambda: sandboxes(runtime) == {})
    assert runtime.stop_timeouts["main"] == 3


async def test_another_pod_of_the_name_comes_after_the_first(
    server: ApiServer, runtime: Any, nodes: Any, bind: Any, until: Any
) -> None:
    first = bind("web")["metadata"]["uid"]
    nodes.start()
    await until(lambda: is_ready(server))
    server.delete("pods", "web", "default", grace=0)
    second = bind("web")["metadata"]["uid"]
    await until(lambda: is_ready(server))
    assert first != second
    assert sandboxes(runtime) == {"web": second}


async def test_a_pod_whose_labels_change_goes_on_and_stays_ready(
    server: ApiServer, runtime: Any, nodes: Any, bind: Any, until: Any
) -> None:
    bind("web")
    nodes.start()
    await until(lambda: is_ready(server))
    before = server.store.version
    server.edit("pods", "web", "default", metadata={"labels": {"a": "b"}})
    bind("mark")
    await until(lambda: is_ready(server, "mark"))
    assert runtime.calls.count("RunPodSandbox web") == 1
    told = [change.found for change in server.store.since(before) if change.key == ("pods", "default", "web")]
    ready = [one["status"] for found in told for one in found["status"]["conditions"] if one["type"] == "Ready"]
    assert set(ready) == {"True"}


async def test_a_container_whose_image_changes_is_replaced_in_its_pod(
    server: ApiServer, runtime: Any, nodes: Any, bind: Any, until: Any
) -> None:
    bind("web")
    nodes.start()
    await until(lambda: is_ready(server))
    (container,) = server.get("pods", "web", "default")["spec"]["containers"]
    server.edit("pods", "web", "default", spec={"containers": [{**container, "image": "other:1"}]})

    def told() -> dict[str, Any]:
        (one,) = status(server)["containerStatuses"]
        return dict(one)

    await until(lambda: is_ready(server) and (told()["image"], told()["restartCount"]) == ("other:1", 1))
    assert runtime.calls.count("RunPodSandbox web") == 1


async def test_a_new_pod_gets_objects_as_they_are_now(
    server: ApiServer, runtime: Any, nodes: Any, bind: Any, until: Any
) -> None:
    wanted = {"name": "SEEN", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "a"}}}

    def container(name: str) -> dict[str, Any]:
        return {"name": name, "image": "busybox:1", "env": [wanted]}

    def seen(name: str) -> str:
        values: dict[str, bytes] = {env.key: env.value for env in runtime.config(name).envs}
        return values["SEEN"].decode()

    bind("first", containers=[container("first")])
    nodes.start()
    await until(lambda: "CreateContainerConfigError" in str(status(server, "first")))
    server.add("configmaps", "c", "default", data={"a": "1"})
    await until(lambda: is_ready(server, "first"))
    server.edit("configmaps", "c", "default", data={"a": "2"})
    bind("second", containers=[container("second")])
    await until(lambda: is_ready(server, "second"))
    assert (seen("first"), seen("second")) == ("1", "2")


async def test_the_next_agent_adopts_what_runs(
    server: ApiServer, runtime: Any, nodes: Any, bind: Any, until: Any
) -> None:
    bind("web")
    bind("old")
    bind("vanished")
    nodes.start()
    await until(lambda: all(is_ready(server, name) for name in ("web", "old", "vanished")))
    changed = status(server)["conditions"]
    await nodes.kill()
    server.delete("pods", "old", "default")
    server.delete("pods", "vanished", "default", grace=0)
    nodes.start()
    await until(lambda: not server.has("pods", "old", "default") and list(sandboxes(runtime)) == ["web"])
    bind("late")
    await until(lambda: is_ready(server, "late"))
    assert runtime.calls.count("RunPodSandbox web") == 1
    assert status(server)["conditions"] == changed


async def test_a_pod_that_has_ended_is_not_run_again_by_the_next_agent(
    server: ApiServer, runtime: Any, nodes: Any, bind: Any, until: Any
) -> None:
    runtime.exits["main"] = [0]
    bind("job", restartPolicy="Never")
    nodes.start()
    await until(lambda: status(server, "job")["phase"] == "Succeeded")
    assert "job" in sandboxes(runtime)  # its logs can be read until it is deleted
    await nodes.kill()
    runtime.sandboxes.clear()
    runtime.containers.clear()
    nodes.start()
    bind("late")
    await until(lambda: is_ready(server, "late"))
    assert (runtime.calls.count("RunPodSandbox job"), status(server, "job")["phase"]) == (1, "Succeeded")
    server.delete("pods", "job", "default")
    await until(lambda: not server.has("pods", "job", "default"))


@pytest.mark.parametrize(
    ("spec", "reason", "said"),
    [
        ({"nodeSelector": {"disk": "none"}}, "NodeAffinity", "node affinity or selector"),
        ({"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "9999"}}}]}, "OutOfcpu", "9999"),
        ({"volumes": [{"name": "v", "nfs": {"path": "/", "server": "s"}}]}, "PodSpecNotSupported", "spec.volumes[0]"),
    ],
)
async def test_what_the_node_cannot_run_is_rejected(
    server: ApiServer, runtime: Any, nodes: Any, bind: Any, until: Any, spec: dict[str, Any], reason: str, said: str
) -> None:
    bind("bad", **spec)
    bind("good")
    nodes.start()
    await until(lambda: is_ready(server, "good") and status(server, "bad")["phase"] == "Failed")
    told = status(server, "bad")
    assert (told["reason"], said in told["message"]) == (reason, True), told
    assert list(sandboxes(runtime)) == ["good"]
    server.delete("pods", "bad", "default")
    await until(lambda: not server.has("pods", "bad", "default"))


async def test_cuts_conflicts_throttling_and_forgotten_versions_are_survived(
    server: ApiServer, runtime: Any, nodes: Any, bind: Any, until: Any
) -> None:
    bind("a")
    server.refuse("PATCH pods/status", 409, "Conflict")
    server.refuse("PATCH pods/status", 429, "TooManyRequests", headers={"Retry-After": "0"})
    server.refuse("PATCH pods/status", 500, "InternalError")
    nodes.start()
    await until(lambda: is_ready(server, "a") and not server.faults)
    server.bookmarks = 60
    server.cut()
    bind("b")
    server.delete("pods", "a", "default")
    server.store.compact()
    server.refuse("DELETE pods", 409, "Conflict")
    server.refuse("DELETE pods", 429, "TooManyRequests", headers={"Retry-After": "0"})
    await until(lambda: is_ready(server, "b") and not server.has("pods", "a", "default"))
    assert list(sandboxes(runtime)) == ["b"]


async def test_a_status_that_the_server_refuses_keeps_no_other_from_being_told(
    server: ApiServer, nodes: Any, bind: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bind("a")
    server.refuse("PATCH pods/status", 422, "Invalid")
    nodes.start()
    await until(lambda: not server.faults)
    server.refuse("PATCH pods/status", 403, "Forbidden", times=2)
    bind("b")
    await until(lambda: is_ready(server, "b") and not server.faults)
    assert caplog.text.count("injected Invalid") == 1
    # What is invalid is not sent again as it is, but when something has changed.
    server.edit("pods", "a", "default", metadata={"labels": {"a": "b"}})
    await until(lambda: is_ready(server, "a"))


async def test_a_change_that_cannot_be_read_ends_no_pod_that_runs(
    server: ApiServer, runtime: Any, nodes: Any, bind: Any, until: Any
) -> None:
    bind("web")
    nodes.start()
    await until(lambda: is_ready(server))
    before = set(runtime.containers)
    unknown = {"name": "debug", "image": "busybox:1", "noSuchField": 1}
    server.edit("pods", "web", "default", spec={"ephemeralContainers": [unknown]})
    for name in ("z1", "z2"):  # what is told of them is told after what would be told of the other
        bind(name)
        await until(lambda name=name: is_ready(server, name))
        assert (status(server)["phase"], before <= runtime.containers.keys()) == ("Running", True)
        await nodes.kill()
        nodes.start()
    server.edit("pods", "web", "default", spec={"ephemeralContainers": []}, metadata={"labels": {"a": "b"}})
    server.delete("pods", "web", "default", grace=0)
    await until(lambda: "web" not in sandboxes(runtime))
