"""What a Node tells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from podyard.cri import api
from podyard.errors import InvalidArgument
from podyard.manifest.translate import ClusterDns
from podyard.node.cluster import flags
from podyard.node.cluster.node_object import NodeFacts, Settings, Taint, conditions, node_object, node_status
from podyard.node.machine import Machine

MACHINE = Machine(
    ips=("192.0.2.1", "192.0.2.2"),
    cpus=4,
    memory=4 << 30,
    huge_pages={2 << 20: 1 << 30, 1 << 30: 0},
    architecture="amd64",
)


def facts(trouble: str = "", **pressures: str) -> NodeFacts:
    return NodeFacts(machine=MACHINE, disk=100 << 30, runtime="r://1", trouble=trouble, pressures=pressures)


def test_amounts_are_those_of_the_machine_less_what_it_needs_itself() -> None:
    status = node_status(Settings(name="n"), facts(), {}, 0.0)
    assert status["capacity"] == {
        "cpu": "4",
        "pods": "110",
        "memory": f"{4 << 20}Ki",
        "ephemeral-storage": f"{100 << 20}Ki",
        "hugepages-2Mi": f"{1 << 20}Ki",
        "hugepages-1Gi": "0Ki",
    }
    assert status["allocatable"]["memory"] == f"{(3 << 20) - (100 << 10)}Ki"
    assert status["allocatable"]["ephemeral-storage"] == f"{90 << 20}Ki"
    assert status["allocatable"]["hugepages-2Mi"] == f"{1 << 20}Ki"
    assert [one["address"] for one in status["addresses"]] == ["192.0.2.1", "192.0.2.2", "n"]


def test_what_its_runtime_has_and_can() -> None:
    images = [
        api.Image(id="1", size=10, repo_tags=["small:1"]),
        api.Image(id="2", size=30, repo_tags=["large:1", "large:2"], repo_digests=["large@sha256:1"] * 4),
        api.Image(id="3", size=20),
        *(api.Image(id=f"n{number}", size=1, repo_tags=[f"n:{number}"]) for number in range(100)),
    ]
    handler = api.RuntimeHandler(name="a", features=api.RuntimeHandlerFeatures(user_namespaces=True))
    known = replace(
        facts(), images=images, handlers=[handler], features=api.RuntimeFeatures(supplemental_groups_policy=True)
    )
    told = node_status(Settings(name="n"), known, {}, 0.0)
    assert told["images"][:2] == [
        {"names": [*["large@sha256:1"] * 4, "large:1"], "sizeBytes": 30},
        {"names": ["small:1"], "sizeBytes": 10},
    ]
    assert len(told["images"]) == 50
    assert told["runtimeHandlers"] == [
        {"name": "a", "features": {"recursiveReadOnlyMounts": False, "userNamespaces": True}}
    ]
    assert told["features"] == {"supplementalGroupsPolicy": True}
    assert node_status(Settings(name="n"), facts(), {}, 0.0)["features"] == {}


def test_the_port_of_its_api_is_told_where_it_is_served() -> None:
    told = node_status(Settings(name="n", port=10250), facts(), {}, 0.0)
    assert told["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 10250}}
    assert "daemonEndpoints" not in node_status(Settings(name="n"), facts(), {}, 0.0)


def test_conditions_keep_the_time_of_their_change() -> None:
    first = conditions(facts("away", DiskPressure="full"), {}, 60.0)
    assert {one["type"]: one["status"] for one in first} == {
        "MemoryPressure": "False",
        "DiskPressure": "True",
        "PIDPressure": "False",
        "Ready": "False",
    }
    assert (first[-1]["reason"], first[-1]["message"]) == ("KubeletNotReady", "away")
    second = {one["type"]: one for one in conditions(facts(), {"conditions": first}, 120.0)}
    times: dict[str, Any] = {kind: one["lastTransitionTime"] for kind, one in second.items()}
    assert times["MemoryPressure"] == times["PIDPressure"] == "1970-01-01T00:01:00Z"
    assert times["DiskPressure"] == times["Ready"] == "1970-01-01T00:02:00Z"
    assert {one["lastHeartbeatTime"] for one in second.values()} == {"1970-01-01T00:02:00Z"}


def test_labels_and_taints_of_the_command_line() -> None:
    labels = flags.parse_labels("a=b, example.com/zone=z,empty=")
    taints = flags.parse_taints("a=b:NoSchedule,example.com/x:NoExecute")
    assert labels == {"a": "b", "example.com/zone": "z", "empty": ""}
    assert taints == [
        Taint(key="a", value="b", effect="NoSchedule"),
        Taint(key="example.com/x", effect="NoExecute"),
    ]
    made = node_object(Settings(name="n", labels=labels, taints=taints), MACHINE)
    assert made["spec"]["taints"][1] == {"key": "example.com/x", "effect": "NoExecute"}
    assert made["metadata"]["labels"]["kubernetes.io/arch"] == "amd64"


@pytest.mark.parametrize("text", ["a", "=b", "a=b c", "-a=b", "a/b/c=d"])
def test_labels_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgument, match="--node-labels"):
        flags.parse_labels(text)


@pytest.mark.parametrize("text", ["a", "a=b", "a=b:Never", ":NoSchedule", "a b:NoSchedule"])
def test_taints_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgument, match="--register-with-taints"):
        flags.parse_taints(text)


def test_the_clusters_name_servers() -> None:
    assert flags.parse_dns("10.96.0.10, fd00::a", "cluster.local") == ClusterDns(
        servers=("10.96.0.10", "fd00::a"), domain="cluster.local"
    )
    for servers, domain in (("x", ""), ("10.96.0.10", "_x")):
        with pytest.raises(InvalidArgument, match="--cluster-d"):
            flags.parse_dns(servers, domain)


def test_names_and_headers() -> None:
    assert flags.node_name("node-1.example") == "node-1.example"
    with pytest.raises(InvalidArgument, match="--node-name"):
        flags.node_name("Node_1")
    assert flags.parse_header("Authorization: Bearer a:b") == ("Authorization", "Bearer a:b")
    for text in ("no", ": a", "a: b\nc: d"):
        with pytest.raises(InvalidArgument, match="--manifest-url-header"):
            flags.parse_header(text)
