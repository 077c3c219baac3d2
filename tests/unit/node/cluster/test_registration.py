"""A node registers, lives, and says how it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.support.kube import ApiServer

from podyard.cri import api
from podyard.node.cluster import registration


def ready(server: ApiServer) -> str:
    """The status of the node's Ready condition; "" without one."""
    if not server.has("nodes", "n"):
        return ""
    return conditions(server).get("Ready", {}).get("status", "")


def conditions(server: ApiServer) -> dict[str, dict[str, Any]]:
    return {one["type"]: one for one in server.get("nodes", "n").get("status", {}).get("conditions", [])}


async def test_a_node_is_registered_with_all_that_it_is(server: ApiServer, nodes: Any, until: Any) -> None:
    nodes.start(max_pods=7)
    await until(lambda: ready(server) == "True")
    node = server.get("nodes", "n")
    labels = node["metadata"]["labels"]
    assert labels.items() >= {"kubernetes.io/hostname": "n", "kubernetes.io/os": "linux", "disk": "fast"}.items()
    assert node["spec"]["taints"] == [{"key": "a", "value": "b", "effect": "NoSchedule"}]
    status = node["status"]
    assert (status["capacity"]["cpu"], status["capacity"]["pods"]) == (str(os.cpu_count()), "7")
    for name in ("memory", "ephemeral-storage"):
        assert 0 < kibi(status["allocatable"][name]) < kibi(status["capacity"][name])
    assert {"type": "Hostname", "address": "n"} in status["addresses"]
    info = status["nodeInfo"]
    assert (info["containerRuntimeVersion"], info["kernelVersion"]) == ("memory://1", os.uname().release)
    assert info["bootID"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert {kind: one["status"] for kind, one in conditions(server).items()} == {
        "MemoryPressure": "False",
        "DiskPressure": "False",
        "PIDPressure": "False",
        "Ready": "True",
    }


def kibi(text: str) -> int:
    assert text.endswith("Ki")
    return int(text.removesuffix("Ki"))


async def test_a_node_that_is_there_keeps_what_others_gave_it(server: ApiServer, nodes: Any, until: Any) -> None:
    server.add(
        "nodes",
        "n",
        metadata={"labels": {"zone": "z", "disk": "slow"}},
        spec={"podCIDR": "10.0.0.0/24"},
        status={
            "conditions": [{"type": "Ready", "status": "Unknown"}, {"type": "NetworkUnavailable", "status": "False"}]
        },
    )
    nodes.start()
    await until(lambda: ready(server) == "True")
    node = server.get("nodes", "n")
    assert node["metadata"]["labels"].items() >= {"zone": "z", "disk": "fast"}.items()
    assert node["spec"] == {"podCIDR": "10.0.0.0/24"}
    assert conditions(server)["NetworkUnavailable"]["status"] == "False"


async def test_a_node_that_somebody_removes_is_registered_again(server: ApiServer, nodes: Any, until: Any) -> None:
    nodes.start()
    await until(lambda: ready(server) == "True")
    uid = server.get("nodes", "n")["metadata"]["uid"]
    server.delete("nodes", "n")
    await until(lambda: ready(server) == "True")
    assert server.get("nodes", "n")["metadata"]["uid"] != uid


async def test_a_list_from_before_the_registration_may_come_after_it(
    server: ApiServer, nodes: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = registration.Registration._facts
    lists = ["without the node"]

    async def facts(self: registration.Registration, machine: Any) -> Any:
        found = await measure(self, machine)
        if lists:
            lists.pop()
            self.forget()
        return found

    monkeypatch.setattr(registration.Registration, "_facts", facts)
    nodes.start()
    await until(lambda: ready(server) == "True")
    server.delete("nodes", "n")
    await until(lambda: ready(server) == "True")


async def test_the_lease_is_renewed_through_conflicts_and_made_again(server: ApiServer, nodes: Any, until: Any) -> None:
    def renewed() -> str:
        if not server.has("leases", "n", "kube-node-lease"):
            return ""
        return str(server.get("leases", "n", "kube-node-lease")["spec"]["renewTime"])

    nodes.start()
    await until(renewed)
    lease = server.get("leases", "n", "kube-node-lease")
    assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseDurationSeconds"]) == ("n", 40)
    assert lease["metadata"]["ownerReferences"][0]["uid"] == server.get("nodes", "n")["metadata"]["uid"]
    server.edit("leases", "n", "kube-node-lease", metadata={"labels": {"touched": "yes"}})
    server.refuse("PUT leases", 409, "Conflict")
    server.refuse("PUT leases", 429, "TooManyRequests", headers={"Retry-After": "0"})
    before = renewed()
    await until(lambda: renewed() > before and not server.faults)
    server.delete("leases", "n", "kube-node-lease")
    await until(renewed)


async def test_a_runtime_that_goes_away_makes_the_node_not_ready_until_it_is_back(
    server: ApiServer, daemon: Any, runtime: Any, nodes: Any, until: Any
) -> None:
    async def no_network(request: api.StatusRequest) -> api.StatusResponse:
        bad = api.RuntimeCondition(type="NetworkReady", status=False, reason="NoConfig", message="nothing in /etc/cni")
        fine = api.RuntimeCondition(type="RuntimeReady", status=True)
        return api.StatusResponse(status=api.RuntimeStatus(conditions=[fine, bad]))

    nodes.start()
    await until(lambda: ready(server) == "True")
    await daemon.stop()
    await until(lambda: ready(server) == "False")
    assert conditions(server)["Ready"]["reason"] == "KubeletNotReady"
    assert "cri.sock" in conditions(server)["Ready"]["message"]
    await daemon.start()
    await until(lambda: ready(server) == "True")
    assert conditions(server)["Ready"]["message"] == "the runtime is ready"

    await daemon.stop()
    runtime.Status = no_network  # what a daemon serves is bound when it starts
    await daemon.start()
    await until(lambda: "NetworkReady: NoConfig nothing in /etc/cni" in conditions(server)["Ready"]["message"])


async def test_a_status_without_news_is_told_from_time_to_time_only(
    server: ApiServer, nodes: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.start()
    await until(lambda: ready(server) == "True")
    count = server.requests["PATCH nodes/status"]
    renewals = server.requests["PUT leases"]
    await until(lambda: server.requests["PUT leases"] > renewals + 3)
    assert server.requests["PATCH nodes/status"] == count
    monkeypatch.setattr(registration, "REPORT", 0.0)
    await until(lambda: server.requests["PATCH nodes/status"] > count + 1)


async def test_an_api_server_that_is_away_at_first_keeps_nothing_from_running(
    server: ApiServer, runtime: Any, nodes: Any, directory: Any, until: Any
) -> None:
    directory.pod("own")
    server.refuse("POST nodes", 503, "ServiceUnavailable", times=3)
    server.refuse("LIST pods", 503, "ServiceUnavailable", times=3)
    nodes.start()
    await until(lambda: "StartContainer main" in runtime.calls)
    await until(lambda: ready(server) == "True" and not server.faults)
