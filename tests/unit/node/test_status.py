"""A Pod's status, compared with what Kubernetes' documents say kubectl shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest

from podyard.manifest import parse
from podyard.manifest.model import Pod, Resources
from podyard.manifest.quantity import Quantity
from podyard.node.status import Record, pod_status
from podyard.pods import Board, ContainerView, PodView, Waiting
from podyard.pods.verdict import Verdict

SECOND = 10**9
CRASH = Waiting("CrashLoopBackOff", "wait")


def make_pod(policy: str = "Always", init: str = "", more: str = "") -> Pod:
    text = f"""\
apiVersion: v1
kind: Pod
metadata: {{name: web}}
spec:
  restartPolicy: {policy}
  initContainers: [{init}]
  containers:
  - {{name: a, image: 'x:1'{more}}}
  - {{name: b, image: 'x:1'}}
"""
    (pod,) = parse(text.encode(), "web.yaml").pods
    return pod


def container(
    name: str, state: Literal["created", "running", "exited"] = "running", code: int = 0, **more: Any
) -> ContainerView:
    given: dict[str, Any] = {"reason": "", "restarts": 0, "init": False, "started_at": SECOND, "image_ref": "sha256:x"}
    if state == "exited":
        given |= {"reason": "Error" if code else "Completed", "finished_at": 61 * SECOND}
    return ContainerView(name=name, id=f"id-{name}", state=state, exit_code=code, log_path=None, **{**given, **more})


VIEW = PodView(
    name="web",
    namespace="default",
    uid="u",
    sandbox_id="s",
    ips=("10.0.0.2", "fd00::2"),
    containers=(),
    ready=True,
    created_at=SECOND,
)


def status_of(
    pod: Pod, *containers: ContainerView, earlier: tuple[ContainerView, ...] = (), ready: bool = True, **more: Any
) -> dict[str, Any]:
    view = replace(VIEW, containers=containers, earlier=earlier, ready=ready)
    return pod_status(Record(pod=pod, since=0.0, view=view, **more), 100.0)


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {one["type"]: one["status"] for one in status["conditions"]}


def states(status: dict[str, Any]) -> list[str]:
    """The word of each container that kubectl shows."""
    found = []
    for one in status["containerStatuses"]:
        ((state, more),) = one["state"].items()
        found.append(more.get("reason", state))
    return found


RUN_A, RUN_B = container("a"), container("b")
OK_A, OK_B = container("a", "exited"), container("b", "exited")
BAD_A = container("a", "exited", 1)


@pytest.mark.parametrize(
    ("policy", "containers", "waiting", "phase", "words", "ready"),
    [
        ("Always", (), {}, "Pending", ["ContainerCreating"] * 2, "False"),
        ("Always", (RUN_A,), {}, "Pending", ["running", "ContainerCreating"], "False"),
        ("Always", (RUN_A, RUN_B), {}, "Running", ["running"] * 2, "True"),
        ("Always", (BAD_A, RUN_B), {}, "Running", ["Error", "running"], "False"),
        ("Always", (BAD_A, RUN_B), {"a": CRASH}, "Running", ["CrashLoopBackOff", "running"], "False"),
        ("Always", (OK_A, OK_B), {"a": CRASH, "b": CRASH}, "Running", ["CrashLoopBackOff"] * 2, "False"),
        (
            "Always",
            (RUN_B,),
            {"a": Waiting("ImagePullBackOff", "no")},
            "Pending",
            ["ImagePullBackOff", "running"],
            "False",
        ),
        ("OnFailure", (OK_A, OK_B), {}, "Succeeded", ["Completed"] * 2, "False"),
        ("OnFailure", (OK_A, RUN_B), {}, "Running", ["Completed", "running"], "False"),
        ("OnFailure", (BAD_A, OK_B), {"a": CRASH}, "Running", ["CrashLoopBackOff", "Completed"], "False"),
        ("Never", (BAD_A, OK_B), {}, "Failed", ["Error", "Completed"], "False"),
        ("Never", (BAD_A, RUN_B), {}, "Running", ["Error", "running"], "False"),
        ("Never", (OK_A, OK_B), {}, "Succeeded", ["Completed"] * 2, "False"),
        (
            "Never",
            (container("a", "exited", 137, reason="OOMKilled"), OK_B),
            {},
            "Failed",
            ["OOMKilled", "Completed"],
            "False",
        ),
    ],
)
def test_phase_states_and_readiness(
    policy: str,
    containers: tuple[ContainerView, ...],
    waiting: dict[str, Waiting],
    phase: str,
    words: list[str],
    ready: str,
) -> None:
    status = status_of(make_pod(policy), *containers, board=Board(waiting=waiting))
    assert (status["phase"], states(status), conditions(status)["Ready"]) == (phase, words, ready)
    assert conditions(status)["PodScheduled"] == "True"


@pytest.mark.parametrize(
    ("policy", "own", "a", "phase"),
    [
        ("Always", "Never", BAD_A, "Running"),
        ("Never", "Always", BAD_A, "Running"),
        ("Never", "OnFailure", BAD_A, "Running"),
        ("Never", "OnFailure", OK_A, "Succeeded"),
    ],
)
def test_a_containers_own_policy_says_whether_it_has_ended_for_good(
    policy: str, own: str, a: ContainerView, phase: str
) -> None:
    pod = make_pod(policy, more=f", restartPolicy: {own}")
    assert status_of(pod, a, OK_B)["phase"] == phase


def test_an_init_container_that_somebody_removed_has_ended_well_once_the_containers_are_there() -> None:
    pod = make_pod(init="{name: i, image: 'x:1'}")
    (init,) = status_of(pod, container("a"))["initContainerStatuses"]
    assert (init["state"]["terminated"]["reason"], init["ready"]) == ("Completed", True)
    (init,) = status_of(pod)["initContainerStatuses"]
    assert (list(init["state"]), init["ready"]) == (["waiting"], False)


def test_an_init_container_that_is_never_started_again_fails_the_pod() -> None:
    pod = make_pod("Always", "{name: i, image: 'x:1', restartPolicy: Never}")
    assert status_of(pod, container("i", "exited", 1))["phase"] == "Failed"
    assert status_of(pod, container("i", "exited"))["phase"] == "Pending"


def test_a_container_that_waits_after_its_end_shows_it_as_its_last_state() -> None:
    earlier = (container("a", "exited", 5, finished_at=31 * SECOND, restarts=2),)
    bad = container("a", "exited", 7, restarts=3, message="bye")
    running = status_of(make_pod(), container("a", restarts=3), RUN_B, earlier=earlier)["containerStatuses"][0]
    assert running["lastState"]["terminated"]["exitCode"] == 5
    status = status_of(make_pod(), bad, RUN_B, earlier=earlier, board=Board(waiting={"a": CRASH}))
    assert status["containerStatuses"][0] == {
        "name": "a",
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "wait"}},
        "lastState": {
            "terminated": {
                "exitCode": 7,
                "reason": "Error",
                "message": "bye",
                "startedAt": "1970-01-01T00:00:01Z",
                "finishedAt": "1970-01-01T00:01:01Z",
                "containerID": "id-a",
            }
        },
        "ready": False,
        "started": False,
        "restartCount": 3,
        "image": "x:1",
        "imageID": "sha256:x",
        "containerID": "id-a",
    }


@pytest.mark.parametrize(
    ("started", "ready", "shown"),
    [(set(), set(), (False, False)), ({"id-a"}, set(), (True, False)), ({"id-a"}, {"id-a"}, (True, True))],
)
def test_probes_decide_what_is_started_and_ready(started: set[str], ready: set[str], shown: tuple[bool, bool]) -> None:
    probe = "{exec: {command: [a]}}"
    pod = make_pod(more=f", startupProbe: {probe}, readinessProbe: {probe}")
    status = status_of(pod, RUN_A, RUN_B, board=Board(started=started, ready=ready))
    first = status["containerStatuses"][0]
    assert (first["started"], first["ready"]) == shown
    found = next(one for one in status["conditions"] if one["type"] == "ContainersReady")
    assert found.get("message", "") == ("" if shown[1] else "containers with unready status: [a]")
    assert status["phase"] == "Running"


INIT = "{name: i, image: 'x:1'}, {name: s, image: 'x:1', restartPolicy: Always}"


@pytest.mark.parametrize(
    ("policy", "containers", "phase", "initialized", "message"),
    [
        ("Always", (), "Pending", "False", "containers with incomplete status: [i s]"),
        ("Always", (container("i"),), "Pending", "False", "containers with incomplete status: [i s]"),
        ("Always", (container("i", "exited"),), "Pending", "False", "containers with incomplete status: [s]"),
        ("Always", (container("i", "exited"), container("s")), "Pending", "True", ""),
        ("Always", (container("i", "exited"), container("s"), RUN_A, RUN_B), "Running", "True", ""),
        ("Never", (container("i", "exited", 1),), "Failed", "False", "containers with incomplete status: [i s]"),
        ("Always", (container("i", "exited", 1),), "Pending", "False", "containers with incomplete status: [i s]"),
    ],
)
def test_init_containers_come_first(
    policy: str, containers: tuple[ContainerView, ...], phase: str, initialized: str, message: str
) -> None:
    status = status_of(make_pod(policy, INIT), *containers)
    found = next(one for one in status["conditions"] if one["type"] == "Initialized")
    assert (status["phase"], found["status"], found.get("message", "")) == (phase, initialized, message)
    assert [one["name"] for one in status["initContainerStatuses"]] == ["i", "s"]
    if phase == "Pending":
        assert states(status) == ["PodInitializing"] * 2


def test_a_condition_keeps_the_time_of_its_change() -> None:
    pod = make_pod()
    first = status_of(pod, RUN_A)
    later = pod_status(Record(pod=pod, since=0.0, before=first), 200.0)
    times = {one["type"]: one["lastTransitionTime"] for one in later["conditions"]}
    assert times["Ready"] == "1970-01-01T00:01:40Z"
    assert times["PodReadyToStartContainers"] == "1970-01-01T00:03:20Z"


def test_a_pod_that_has_no_sandbox_yet_says_why() -> None:
    record = Record(pod=make_pod(), since=5.0, failure=Waiting("FailedToStart", "no room"), host_ips=["192.0.2.1"])
    status = pod_status(record, 6.0)
    assert (status["phase"], status["reason"], status["message"]) == ("Pending", "FailedToStart", "no room")
    assert (status["hostIP"], "podIP" in status, status["startTime"]) == ("192.0.2.1", False, "1970-01-01T00:00:05Z")
    assert status["qosClass"] == "BestEffort"


def test_an_evicted_pod_has_failed_and_says_why() -> None:
    view = replace(VIEW, containers=(RUN_A, OK_B), verdict=Verdict("Evicted", "too much"))
    status = pod_status(Record(pod=make_pod(), since=0.0, view=view), 100.0)
    assert (status["phase"], status["reason"], status["message"]) == ("Running", "Evicted", "too much")
    view = replace(view, containers=(OK_A, OK_B))
    status = pod_status(Record(pod=make_pod(), since=0.0, view=view), 100.0)
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "Evicted", "too much")
    assert "DisruptionTarget" not in [one["type"] for one in status["conditions"]]


def test_a_pod_that_was_ended_for_others_sake_says_so_even_when_its_containers_are_gone() -> None:
    view = replace(VIEW, containers=(OK_A,), verdict=Verdict("Evicted", "low", disruption=True))
    status = pod_status(Record(pod=make_pod(), since=0.0, view=view), 100.0)
    assert status["phase"] == "Failed"
    last = status["conditions"][-1]
    assert (last["type"], last["status"], last["reason"], last["message"]) == (
        "DisruptionTarget",
        "True",
        "TerminationByKubelet",
        "low",
    )
    ended = status["containerStatuses"][1]["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("ContainerStatusUnknown", 137)


def test_what_containers_have_been_given_and_what_they_are_to_have() -> None:
    text = b"""
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - {name: a, image: 'x:1', resources: {requests: {cpu: 100m}, limits: {memory: 2Mi}}}
  - {name: b, image: 'x:1'}
"""
    (pod,) = parse(text, "web.yaml").pods
    earlier = Resources(limits={"memory": Quantity.parse("1Mi")})
    board = Board(resources={"a": earlier, "b": Resources()}, resizing={"a": ""})
    status = status_of(pod, RUN_A, RUN_B, board=board)
    first, second = status["containerStatuses"]
    assert first["allocatedResources"] == {"cpu": "100m", "memory": str(2 << 20)}
    assert first["resources"] == {"limits": {"memory": str(1 << 20)}}
    assert not {"allocatedResources", "resources"} & second.keys()
    assert conditions(status)["PodResizeInProgress"] == "True"
    board.resizing["a"] = "too much"
    last = status_of(pod, RUN_A, RUN_B, board=board)["conditions"][-1]
    assert (last["reason"], last["message"]) == ("Error", "a: too much")
    board.resizing.clear()
    assert "PodResizeInProgress" not in conditions(status_of(pod, RUN_A, RUN_B, board=board))
    after = status_of(pod, RUN_A, RUN_B, board=board, before=status)
    assert conditions(after)["PodResizeInProgress"] == "False"


def test_addresses_are_those_of_a_sandbox_that_lives() -> None:
    status = status_of(make_pod(), RUN_A, RUN_B)
    assert (status["podIP"], status["podIPs"]) == ("10.0.0.2", [{"ip": "10.0.0.2"}, {"ip": "fd00::2"}])
    assert "podIP" not in status_of(make_pod("Never"), OK_A, OK_B, ready=False)
