"""How commands fail: what they say, and their exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from tests.unit.cli.conftest import Podyard, wait_until_called
from tests.unit.cli.fake_runtime import FakeRuntime, FakeServer

from podyard import errors

COMMAND = [sys.executable, "-c", "from podyard.cli import main; main()"]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 2),
        (grpc.StatusCode.NOT_FOUND, 3),
        (grpc.StatusCode.FAILED_PRECONDITION, 5),
        (grpc.StatusCode.UNIMPLEMENTED, 6),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 10),
        (grpc.StatusCode.INTERNAL, 13),
    ],
)
def test_what_the_runtime_answers_is_one_line_and_the_classes_exit_code(
    podyard: Podyard, runtime: FakeRuntime, status: grpc.StatusCode, code: int
) -> None:
    runtime.fail["ListImages"] = (status, "the reason")
    ended = podyard("images")
    assert ended.code == code
    assert ended.out == ""
    assert ended.err.startswith("podyard: error: ")
    assert "the reason" in ended.err
    assert len(ended.err.splitlines()) == 1


def test_an_absent_runtime_is_an_error_that_says_how_to_start_one(bare: Podyard, tmp_path: Path) -> None:
    ended = bare("-r", f"unix://{tmp_path}/none.sock", "pods")
    assert ended.code == 14
    assert f"{tmp_path}/none.sock" in ended.err
    assert "podyard serve" in ended.err
    assert "--runtime-endpoint" in ended.err


def test_an_unusable_endpoint_has_an_exit_code_of_its_own() -> None:
    others = [vars(errors)[name] for name in errors.__all__ if isinstance(vars(errors)[name], type)]
    others.remove(errors.EndpointError)
    assert errors.EndpointError.exit_code not in {other.exit_code for other in others}


def test_an_endpoint_that_cannot_be_one_is_an_invalid_argument(bare: Podyard) -> None:
    assert bare("-r", "tcp://localhost:1", "pods").code == 2


def test_an_argument_that_is_not_utf_8_is_an_invalid_argument(podyard: Podyard) -> None:
    ended = podyard("rmi", os.fsdecode(b"caf\xe9"))
    assert (ended.code, ended.out) == (2, "")
    assert r"b'caf\xe9' is not UTF-8" in ended.err


@pytest.mark.parametrize(
    "arguments",
    [("nothing",), ("pods", "--no-such-option"), ("rmi",), ("pods", "-o", "xml"), ("--timeout", "0", "pods")],
)
def test_a_wrong_use_ends_with_2_and_the_usage(bare: Podyard, arguments: tuple[str, ...]) -> None:
    ended = bare(*arguments)
    assert ended.code == 2
    assert "Usage: podyard" in ended.err


def test_debug_shows_where_an_error_comes_from(podyard: Podyard, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Traceback" not in podyard("inspect", "nothing").err
    monkeypatch.setenv("PODYARD_DEBUG", "1")
    assert "Traceback" in podyard("inspect", "nothing").err


def test_an_unforeseen_error_is_internal_and_has_no_traceback(
    podyard: Podyard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("podyard.cli.output.show", broken)
    ended = podyard("version")
    assert (ended.code, len(ended.err.splitlines())) == (13, 1)
    assert "oops" in ended.err


def test_ctrl_c_ends_with_130_and_says_nothing(server: FakeServer, runtime: FakeRuntime) -> None:
    runtime.pull_gate.clear()
    process = subprocess.Popen(
        [*COMMAND, "-r", server.endpoint, "pull", "busybox"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until_called(runtime, "PullImage", process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    finally:
        runtime.pull_gate.set()
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "Traceback" not in err


@pytest.mark.parametrize("count", [1, 3000])
def test_a_reader_that_goes_away_is_no_error_to_speak_of(server: FakeServer, runtime: FakeRuntime, count: int) -> None:
    runtime.add_image(*(f"busybox:{number}" for number in range(count)))
    read, write = os.pipe()
    os.close(read)
    arguments = [*COMMAND, "-r", server.endpoint, "images"]
    process = subprocess.Popen(arguments, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (141, "")


def test_the_help_and_the_completion_import_neither_grpc_nor_protobuf_nor_rich() -> None:
    script = (
        "import sys\n"
        "from podyard.cli.main import podyard\n"
        "try: podyard.main(['--help'], standalone_mode=False)\n"
        "finally: print([m for m in ('grpc', 'google.protobuf', 'rich', 'yaml', 'msgspec') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "_PODYARD_COMPLETE" in done.stdout


def test_commands_are_completed() -> None:
    variables = {**os.environ, "_PODYARD_COMPLETE": "bash_complete", "COMP_WORDS": "podyard r", "COMP_CWORD": "1"}
    done = subprocess.run(COMMAND, env=variables, capture_output=True, text=True, check=True)
    assert {line.rpartition(",")[2] for line in done.stdout.splitlines()} == {"run", "rm", "rmi", "reset"}
