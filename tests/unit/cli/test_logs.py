"""podyard logs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Podyard
from tests.unit.cli.fake_runtime import FakeRuntime, FakeServer

from podyard.cli.logs import since_time
from podyard.cri import api
from podyard.errors import InvalidArgument


@pytest.fixture
def web(runtime: FakeRuntime, tmp_path: Path) -> dict[str, str]:
    """Two containers that have written in turns, one of them started again."""
    sandbox = runtime.add_sandbox("web")
    log = tmp_path / "logs"
    ids = {
        "before": runtime.add_container(
            sandbox, "nginx", state=api.CONTAINER_EXITED, exit_code=1, log_path=str(log / "nginx" / "0.log")
        ),
        "nginx": runtime.add_container(sandbox, "nginx", attempt=1, log_path=str(log / "nginx" / "1.log")),
        "clock": runtime.add_container(sandbox, "clock", log_path=str(log / "clock" / "0.log")),
    }
    runtime.write_log(ids["before"], "old")
    runtime.write_log(ids["nginx"], "one")
    runtime.write_log(ids["clock"], "tick")
    runtime.write_log(ids["nginx"], "two", stream="stderr")
    runtime.write_log(ids["clock"], "tock")
    return ids


def test_a_containers_lines_are_as_it_wrote_them(podyard: Podyard, web: dict[str, str]) -> None:
    assert podyard("logs", "web/nginx").out == "one\ntwo\n"
    assert podyard("logs", "web", "-c", "nginx").out == "one\ntwo\n"
    assert podyard("logs", web["before"][:8]).out == "old\n", "an id says which attempt"


def test_a_pods_lines_say_whose_they_are_in_the_order_of_their_times(podyard: Podyard, web: dict[str, str]) -> None:
    assert podyard("logs", "web").out.splitlines() == ["nginx | one", "clock | tick", "nginx | two", "clock | tock"]
    assert podyard("logs", "web", "--no-prefix").out.split() == ["one", "tick", "two", "tock"]
    assert podyard("logs", "web/clock", "--prefix").out.splitlines() == ["clock | tick", "clock | tock"]


def test_tail_since_and_timestamps(podyard: Podyard, web: dict[str, str]) -> None:
    assert podyard("logs", "web", "--no-prefix", "--tail", "1").out.split() == ["two", "tock"]
    stamped = podyard("logs", "clock", "-t").out.splitlines()
    time, text = stamped[1].split(" ", 1)
    assert (time[:20], text) == ("2026-01-02T03:04:05.", "tock")
    assert podyard("logs", "web", "--no-prefix", "--since", time).out.split() == ["tock"]
    assert podyard("logs", "web", "--since", "1s").out == ""


def test_previous_is_the_attempt_before(podyard: Podyard, runtime: FakeRuntime, web: dict[str, str]) -> None:
    assert podyard("logs", "-p", "web/nginx").out == "old\n"
    del runtime.containers[web["before"]], runtime.owners[web["before"]]
    assert podyard("logs", "-p", "web/nginx").out == "old\n", "its log is there, though its container is not"
    ended = podyard("logs", "-p", "web/clock")
    assert ended.code == 3
    assert "not started again" in ended.err
    assert podyard("logs", "-p", "-f", "web/nginx").code == 2


def test_followed_logs_end_when_their_containers_have(
    podyard: Podyard, runtime: FakeRuntime, web: dict[str, str]
) -> None:
    status = runtime.ContainerStatus
    asked: list[str] = []

    def watched(request: api.ContainerStatusRequest) -> api.ContainerStatusResponse:
        """The second question about the container finds it running; right after that it writes, and ends."""
        answer = api.ContainerStatusResponse()
        answer.CopyFrom(status(request))
        asked.append(request.container_id)
        if asked.count(web["clock"]) == 2:
            runtime.write_log(web["clock"], "late")
            runtime.end(web["clock"], 0)
        return answer

    runtime.answers["ContainerStatus"] = watched
    assert podyard("logs", "-f", "web/clock").out == "tick\ntock\nlate\n"
    assert asked.count(web["clock"]) > 2


def test_what_has_no_log_or_is_not_there_is_an_error(
    podyard: Podyard, runtime: FakeRuntime, web: dict[str, str]
) -> None:
    sandbox = runtime.add_sandbox("mute")
    assert podyard("logs", "mute").code == 3
    runtime.add_container(sandbox, "mute")
    ended = podyard("logs", "mute")
    assert (ended.code, "without a log" in ended.err) == (5, True)
    ended = podyard("logs", "web", "-c", "nothing")
    assert ended.code == 3
    assert "nginx" in ended.err
    assert podyard("logs", "nothing").code == 3


def test_since_takes_a_while_ago_or_a_time() -> None:
    now = 1_800_000_000 * 10**9
    assert since_time("90s", now) == now - 90 * 10**9
    assert since_time("2h", now) == now - 7200 * 10**9
    assert since_time("2027-01-15T08:00:00Z", now) == now
    for wrong in ("", "5", "m", "-5m", "yesterday"):
        with pytest.raises(InvalidArgument, match="--since"):
            since_time(wrong, now)


def test_a_reader_who_takes_nothing_does_not_hold_up_ctrl_c(
    runtime: FakeRuntime, server: FakeServer, web: dict[str, str]
) -> None:
    for _ in range(200):
        runtime.write_log(web["nginx"], "x" * 10_000)
    read, write = os.pipe()
    command = [sys.executable, "-m", "podyard", "-r", server.endpoint, "logs", "-f", "web/nginx"]
    with subprocess.Popen(command, stdout=write, stderr=subprocess.PIPE, process_group=0) as process:
        os.close(write)
        try:
            assert os.read(read, 4) == b"one\n"
            # The pipe is full a moment later.
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
        finally:
            process.kill()
            os.close(read)
    assert (process.returncode, err) == (130, b"")


def test_a_reader_who_has_gone_ends_the_following_with_the_next_line(
    runtime: FakeRuntime, server: FakeServer, web: dict[str, str]
) -> None:
    read, write = os.pipe()
    command = [sys.executable, "-m", "podyard", "-r", server.endpoint, "logs", "-f", "web/nginx"]
    with subprocess.Popen(command, stdout=write, stderr=subprocess.PIPE) as process:
        os.close(write)
        try:
            assert os.read(read, 100).startswith(b"one\n")
            os.close(read)
            runtime.write_log(web["nginx"], "three")
            _, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, err) == (141, b"")
