"""update and events."""

from __future__ import annotations

import json

import grpc
import pytest
import yaml
from tests.unit.cli.conftest import Podyard
from tests.unit.cli.fake_runtime import FakeRuntime

from podyard.cri import api


@pytest.fixture
def nginx(runtime: FakeRuntime) -> str:
    return runtime.add_container(runtime.add_sandbox("web"), "nginx")


def test_update_names_only_what_changes(podyard: Podyard, runtime: FakeRuntime, nginx: str) -> None:
    ended = podyard("update", "web/nginx", "--cpu", "500m", "--memory", "64Mi", "--cpuset-cpus", "0-1")
    assert (ended.code, ended.out) == (0, "updated container default/web/nginx\n")
    (request,) = runtime.called("UpdateContainerResources")
    assert request.container_id == nginx
    assert request.linux == api.LinuxContainerResources(
        cpu_period=100_000, cpu_quota=50_000, memory_limit_in_bytes=64 << 20, cpuset_cpus="0-1"
    )


def test_update_takes_limits_away(podyard: Podyard, runtime: FakeRuntime, nginx: str) -> None:
    assert podyard("update", "web", "--cpu", "unlimited", "--memory", "unlimited", "-q").out == f"{nginx}\n"
    (request,) = runtime.called("UpdateContainerResources")
    assert (request.linux.cpu_quota, request.linux.memory_limit_in_bytes) == (-1, -1)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([], "nothing to change"),
        (["--memory", "64x"], "not a quantity"),
        (["--memory", "0"], "not more than 0"),
        (["--oom-score-adj", "0"], "no change"),
        (["--cpu-shares", "1"], "2<=x<=262144"),
    ],
)
def test_update_refuses_what_makes_no_sense(
    podyard: Podyard, runtime: FakeRuntime, nginx: str, options: list[str], text: str
) -> None:
    ended = podyard("update", "web/nginx", *options)
    assert ended.code == 2
    assert text in ended.err
    assert not runtime.called("UpdateContainerResources")


def test_update_of_several_goes_on_after_a_failure(podyard: Podyard, runtime: FakeRuntime, nginx: str) -> None:
    runtime.add_container(runtime.add_sandbox("db"), "main")
    runtime.fail["UpdateContainerResources"] = (grpc.StatusCode.FAILED_PRECONDITION, "it is exited")
    ended = podyard("update", "web/nginx", "db", "--cpu-shares", "5")
    assert (ended.code, ended.err.count("it is exited")) == (5, 2)


@pytest.fixture
def happened(runtime: FakeRuntime, nginx: str) -> str:
    sandbox_id = runtime.owners[nginx]
    status = runtime.containers[nginx]
    status.exit_code, status.reason = 3, "Err\x1bor"
    common = {"created_at": 1_700_000_000_123_456_789, "pod_sandbox_status": runtime.sandboxes[sandbox_id]}
    runtime.events = [
        api.ContainerEventResponse(container_id=sandbox_id, container_event_type=api.CONTAINER_STARTED_EVENT, **common),
        api.ContainerEventResponse(
            container_id=nginx,
            container_event_type=api.CONTAINER_STOPPED_EVENT,
            containers_statuses=[status],
            **common,
        ),
        api.ContainerEventResponse(container_id=nginx, container_event_type=api.CONTAINER_DELETED_EVENT, **common),
    ]
    return sandbox_id


def test_events_are_lines(podyard: Podyard, nginx: str, happened: str) -> None:
    lines = [line.split() for line in podyard("events").out.splitlines()]
    assert [line[1:] for line in lines] == [
        ["started", "Pod", happened[:13], "default/web"],
        ["stopped", "container", nginx[:13], "default/web/nginx", "Err?or", "(3)"],
        ["deleted", "container", nginx[:13], "default/web"],
    ]
    assert lines[0][0].partition(".")[2][:3] == "123"


def test_events_for_programs(podyard: Podyard, nginx: str, happened: str) -> None:
    messages = [json.loads(line) for line in podyard("events", "-o", "json").out.splitlines()]
    assert [message["container_id"] for message in messages] == [happened, nginx, nginx]
    assert messages[1]["containers_statuses"][0]["exit_code"] == 3
    assert list(yaml.safe_load_all(podyard("events", "-o", "yaml").out)) == messages
    assert podyard("events", "-q", "-t", "deleted", "-t", "stopped").out == f"{nginx}\n{nginx}\n"
    assert podyard("events", "-o", "name").out.splitlines()[1] == "default/web/nginx"


def test_events_that_are_lost_are_told(podyard: Podyard, runtime: FakeRuntime) -> None:
    runtime.fail["GetContainerEvents"] = (grpc.StatusCode.RESOURCE_EXHAUSTED, "too slow: subscribe again")
    ended = podyard("events")
    assert (ended.code, ended.out) == (10, "")
    assert "subscribe again" in ended.err
