"""States of a container, and what a restart does with it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument
from podyard.lifecycle import containers, recovery, requests, signals
from podyard.model.records import Container, ContainerState

CREATED = Container(
    id="c" * 64,
    sandbox_id="s" * 64,
    config=b"",
    runtime="runc",
    image_id="sha256:0",
    image_ref="image@sha256:0",
    created_at=1,
    boot_id="boot",
    stop_signal="SIGTERM",
)


@pytest.mark.parametrize(
    ("code", "oom_killed", "reason"),
    [(0, False, "Completed"), (1, False, "Error"), (137, False, "Error"), (137, True, "OOMKilled"), (1, True, "Error")],
)
def test_reason_of_an_exit(code: int, oom_killed: bool, reason: str) -> None:
    ended = containers.exited(CREATED, code, 5, oom_killed=oom_killed)
    assert (ended.state, ended.exit_code, ended.finished_at, ended.reason) == ("exited", code, 5, reason)


def test_a_recorded_end_stays() -> None:
    ended = containers.exited(CREATED, 3, 5, oom_killed=False)
    assert containers.exited(ended, 0, 9, oom_killed=False) == ended
    assert containers.lost(ended, 9, "why") == ended


def test_a_start_after_the_end_keeps_the_end() -> None:
    ended = containers.exited(CREATED, 3, 5, oom_killed=False)
    started = containers.started(ended, 4)
    assert (started.state, started.started_at, started.exit_code) == ("exited", 4, 3)


def test_a_failed_start_is_exit_128() -> None:
    failed = containers.start_failed(CREATED, FailedPrecondition("no such program"), 7)
    assert (failed.state, failed.exit_code, failed.reason, failed.message, failed.started_at, failed.finished_at) == (
        "exited",
        128,
        "StartError",
        "no such program",
        0,
        7,
    )


@pytest.mark.parametrize("state", ["running", "exited", "unknown"])
def test_only_a_created_container_may_start(state: ContainerState) -> None:
    with pytest.raises(FailedPrecondition, match=f"is {state}"):
        containers.check_may_start(replace(CREATED, state=state))


@pytest.mark.parametrize(
    ("state", "same_boot", "monitor", "process", "written", "action"),
    [
        ("exited", True, False, False, True, "nothing"),
        ("running", True, False, False, True, "record exit"),
        ("running", True, True, True, False, "watch monitor"),
        ("created", True, True, True, False, "watch monitor"),
        ("running", True, False, True, False, "watch process"),
        ("running", True, False, False, False, "lost"),
        ("running", False, False, False, True, "lost"),
        # A pid of before the reboot may be anybody's now.
        ("running", False, True, True, False, "lost"),
    ],
)
def test_what_a_restart_does(
    state: ContainerState, same_boot: bool, monitor: bool, process: bool, written: bool, action: str
) -> None:
    found = recovery.Found(same_boot, monitor, process, written)
    assert recovery.decide(replace(CREATED, state=state), found)[0] == action


@pytest.mark.parametrize(
    ("same_boot", "written", "action"),
    [(True, False, "nothing"), (True, True, "record exit"), (False, False, "lost")],
)
def test_a_container_that_is_to_be_restored_goes_on_waiting(same_boot: bool, written: bool, action: str) -> None:
    waiting = replace(CREATED, restored_from="/checkpoint")
    assert recovery.decide(waiting, recovery.Found(same_boot, False, False, written))[0] == action
    with pytest.raises(FailedPrecondition, match="start it first"):
        containers.check_may_change(waiting)


@pytest.mark.parametrize(
    ("text", "name", "number"),
    [
        ("SIGTERM", "SIGTERM", 15),
        ("quit", "SIGQUIT", 3),
        ("9", "SIGKILL", 9),
        ("SIGRTMIN+3", "SIGRTMINPLUS3", 37),
        ("37", "SIGRTMINPLUS3", 37),
        ("RTMAX-14", "SIGRTMAXMINUS14", 50),
        ("62", "SIGRTMAXMINUS2", 62),
        ("SIGRTMIN+20", "SIGRTMAXMINUS10", 54),
        ("SIGRTMAX-20", "SIGRTMINPLUS10", 44),
        ("SIGRTMIN+03", "SIGRTMINPLUS3", 37),
        ("RTMIN+0", "SIGRTMIN", 34),
        ("SIGRTMAX", "SIGRTMAX", 64),
        ("SIGIOT", "SIGIOT", 6),
    ],
)
def test_signals(text: str, name: str, number: int) -> None:
    assert signals.canonical(text) == name
    assert signals.number(name) == number


@pytest.mark.parametrize("offset", range(31))
def test_every_realtime_signal_has_a_name_in_the_protocol(offset: int) -> None:
    known = set(api.Signal.keys())
    for text in (f"SIGRTMIN+{offset}", f"SIGRTMAX-{offset}", str(34 + offset)):
        name = signals.canonical(text)
        assert f"SIGNAL_{name}" in known
        assert signals.canonical(name) == name


@pytest.mark.parametrize("text", ["", "SIGNOTHING", "0", "65", "SIGRTMIN+99", "SIG_IGN", "99999"])
def test_what_is_no_signal_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        signals.canonical(text)


def test_names_labels_and_paths_are_checked() -> None:
    with pytest.raises(InvalidArgument, match="is empty"):
        requests.check_name("", "the name")
    with pytest.raises(InvalidArgument, match="printable"):
        requests.check_name("a/b", "the name")
    with pytest.raises(InvalidArgument, match="4096 bytes"):
        requests.check_labels({"key": "v" * 4094})
    requests.check_labels({"key": "v" * 4093})
    with pytest.raises(InvalidArgument, match="leaves"):
        requests.check_log_path("/logs", "../other.log")
    for directory, path in (("/logs", "c:1.log"), ("/a:b", "c.log"), ("/logs", "c\0.log"), ("logs", "c.log")):
        with pytest.raises(InvalidArgument, match="log_"):
            requests.check_log_path(directory, path)
    requests.check_log_path("logs", "")
    with pytest.raises(InvalidArgument, match="64 bytes"):
        requests.check_hostname("h" * 65)


@pytest.mark.parametrize(
    ("name", "host_network", "host_ipc", "fine"),
    [
        ("net.core.somaxconn", False, False, True),
        ("net/core/somaxconn", False, False, True),
        ("net.core.somaxconn", True, False, False),
        ("kernel.shmmax", False, False, True),
        ("kernel.shmmax", False, True, False),
        ("fs.mqueue.msg_max", False, False, True),
        ("kernel.panic", False, False, False),
        ("vm.swappiness", False, False, False),
        ("net..core", False, False, False),
        ("net/../kernel/panic", False, False, False),
        ("/etc/passwd", False, False, False),
        ("net.ipv4.conf.eth0/1.forwarding", False, False, True),
    ],
)
def test_only_sysctls_of_the_pods_own_namespaces_are_taken(
    name: str, host_network: bool, host_ipc: bool, fine: bool
) -> None:
    def check() -> None:
        requests.check_sysctls({name: "1"}, host_network=host_network, host_ipc=host_ipc)

    if fine:
        check()
    else:
        with pytest.raises(InvalidArgument, match="sysctl"):
            check()
