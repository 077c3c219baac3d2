"""``podyard validate``, before and after the cases: its options, its reports, how it ends."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tests.unit.cli.conftest import Podyard
from tests.unit.cli.fake_runtime import FakeRuntime, FakeServer


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """The command silences the client's log for its process, which here is that of all tests."""
    logger = logging.getLogger("podyard.client")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.mark.parametrize("patterns", [("no-such-case",), ("version: ", "no-such-case")])
def test_a_text_that_no_case_has_is_told(podyard: Podyard, runtime: FakeRuntime, patterns: tuple[str, ...]) -> None:
    ended = podyard("validate", *(word for pattern in patterns for word in ("-k", pattern)))
    assert ended.code == 2
    assert ended.err == "podyard: error: no case has 'no-such-case' in its name: --list prints them\n"
    assert runtime.calls == []


@pytest.mark.parametrize("option", ["--junit", "--json"])
def test_a_report_that_cannot_be_written_is_told_before_anything_is_run(
    podyard: Podyard, runtime: FakeRuntime, tmp_path: Path, option: str
) -> None:
    missing = tmp_path / "missing" / "report"
    ended = podyard("validate", "-k", "the runtime has a name", option, str(missing))
    assert ended.code == 2
    assert ended.err == f"podyard: error: the report {missing} cannot be written: No such file or directory\n"
    assert runtime.calls == []


def test_looking_whether_a_report_can_be_written_leaves_what_is_there(podyard: Podyard, tmp_path: Path) -> None:
    there, new = tmp_path / "there.xml", tmp_path / "new.json"
    there.write_text("of the run before")
    ended = podyard(
        "-r", str(tmp_path / "none.sock"), "validate", "-k", "version: ", "--junit", str(there), "--json", str(new)
    )
    assert ended.code == 14
    assert there.read_text() == "of the run before"
    assert not new.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_what_it_has_made_is_removed(
    server: FakeServer, runtime: FakeRuntime, number: signal.Signals
) -> None:
    assert signalled(server, runtime, number) == (128 + number, "")
    assert runtime.sandboxes == {}


def test_what_a_run_that_was_ended_could_not_remove_is_told(server: FakeServer, runtime: FakeRuntime) -> None:
    runtime.fail["RemovePodSandbox"] = (grpc.StatusCode.FAILED_PRECONDITION, "it is busy")
    code, err = signalled(server, runtime, signal.SIGTERM)
    [sandbox_id] = runtime.sandboxes
    assert code == 143
    assert err == f"left behind: sandbox {sandbox_id[:12]}: FAILED_PRECONDITION: it is busy"


def signalled(server: FakeServer, runtime: FakeRuntime, number: signal.Signals) -> tuple[int, str]:
    """The exit code and the errors of a run that a signal ended when it had a sandbox."""
    runtime.pull_gate.clear()
    command = [sys.executable, "-c", "from podyard.cli import main; main()", "-r", server.endpoint]
    command += ["validate", "-k", "container: an id has 64 hexadecimal digits"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while not (runtime.called("PullImage") and runtime.sandboxes):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.send_signal(number)
        runtime.pull_gate.set()
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    return process.returncode, err.strip()
