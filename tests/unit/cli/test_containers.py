"""exec, stop, rm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from tests.unit.cli.conftest import Podyard
from tests.unit.cli.fake_runtime import FakeRuntime

from podyard.cri import api


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PODYARD_POD_ROOT", str(tmp_path / "pods"))
    monkeypatch.setenv("PODYARD_LOG_ROOT", str(tmp_path / "logs"))
    return tmp_path


@pytest.fixture
def web(runtime: FakeRuntime) -> str:
    sandbox = runtime.add_sandbox("web")
    runtime.add_container(sandbox, "nginx")
    runtime.add_container(sandbox, "log")
    return sandbox


def answers(code: int, out: bytes = b"", err: bytes = b"") -> Callable[[api.ExecSyncRequest], api.ExecSyncResponse]:
    return lambda request: api.ExecSyncResponse(exit_code=code, stdout=out, stderr=err)


def test_exec_passes_output_and_exit_code_on(podyard: Podyard, runtime: FakeRuntime, web: str) -> None:
    runtime.exec = answers(7, b"out\n", b"err\n")
    ended = podyard("exec", "--timeout", "5", "web/nginx", "--", "ls", "-l", "--timeout", "3")
    assert (ended.code, ended.out, ended.err) == (7, "out\n", "err\n")
    (request,) = runtime.called("ExecSync")
    assert (list(request.cmd), request.timeout) == (["ls", "-l", "--timeout", "3"], 5)
    assert runtime.containers[request.container_id].metadata.name == "nginx"


def test_exec_needs_no_dashes_takes_a_timeout_and_chooses_in_a_pod(
    podyard: Podyard, runtime: FakeRuntime, web: str
) -> None:
    assert podyard("exec", "--timeout", "3", "-c", "log", "web", "echo", "--", "-x").code == 0
    (request,) = runtime.called("ExecSync")
    assert (list(request.cmd), request.timeout) == (["echo", "--", "-x"], 3)
    assert runtime.containers[request.container_id].metadata.name == "log"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("-i", "--timeout", "3", "web/nginx", "sh"), "without -i"),
        (("-it", "web/nginx", "sh"), "needs a terminal"),
        (("--detach-keys", "alt-x", "web/nginx", "sh"), "alt-x"),
        (("web/nginx",), "no command"),
        (("web", "ls"), "--container (log, nginx)"),
    ],
)
def test_exec_refuses_what_it_cannot_do(
    podyard: Podyard, runtime: FakeRuntime, web: str, arguments: tuple[str, ...], text: str
) -> None:
    ended = podyard("exec", *arguments)
    assert ended.code == 2
    assert text in ended.err
    assert not runtime.called("ExecSync")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("cp", "here", "there"), 2, "CONTAINER:PATH"),
        (("cp", "web/nginx:/a", "web/nginx:/b"), 2, "CONTAINER:PATH"),
        (("cp", "web/nginx:/a/..", "x"), 2, "name the directory"),
        (("cp", "no-file", "web/nginx:/a"), 3, "no-file is not there"),
        (("port-forward", "web", "x:80"), 2, "x:80"),
        (("port-forward", "web", "80:65536"), 2, "65536"),
        (("port-forward", "nothing", "80"), 3, "nothing"),
        (("attach", "ended"), 5, "podyard logs"),
    ],
)
def test_sessions_that_cannot_be(
    podyard: Podyard, runtime: FakeRuntime, web: str, arguments: tuple[str, ...], code: int, text: str
) -> None:
    runtime.add_container(web, "ended", state=api.CONTAINER_EXITED)
    ended = podyard(*arguments)
    assert ended.code == code
    assert text in ended.err


def test_exec_past_its_time_has_the_exit_code_of_a_deadline(podyard: Podyard, runtime: FakeRuntime, web: str) -> None:
    runtime.fail["ExecSync"] = (grpc.StatusCode.DEADLINE_EXCEEDED, "killed after 1 s")
    assert podyard("exec", "--timeout", "1", "nginx", "sleep", "9").code == 7


def test_stop_stops_a_container(podyard: Podyard, runtime: FakeRuntime, web: str) -> None:
    assert podyard("stop", "web/log").out == "stopped container default/web/log\n"
    assert podyard("stop", "-t", "3", "web/nginx").code == 0
    assert [request.timeout for request in runtime.called("StopContainer")] == [30, 3]
    assert runtime.sandboxes[web].state == api.SANDBOX_READY


def test_stop_stops_a_pod_but_leaves_it_there(podyard: Podyard, runtime: FakeRuntime, web: str) -> None:
    ended = podyard("stop", "web")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[-1] == "stopped Pod default/web"
    assert runtime.sandboxes[web].state == api.SANDBOX_NOTREADY
    assert podyard("pods").table[0]["READY"] == "0/2"
    assert podyard("stop", "-q", "web").out == f"{web}\n"


def test_a_wrong_name_among_several_changes_nothing(podyard: Podyard, runtime: FakeRuntime, web: str) -> None:
    for command in ("stop", "rm"):
        ended = podyard(command, "web", "nothing")
        assert ended.code == 3
        assert "podyard pods" in ended.err
    assert runtime.sandboxes[web].state == api.SANDBOX_READY


def test_a_failure_does_not_spare_the_others_and_all_failures_are_told(
    podyard: Podyard, runtime: FakeRuntime, web: str
) -> None:
    other = runtime.add_sandbox("other")
    runtime.fail["StopContainer"] = (grpc.StatusCode.INTERNAL, "cannot stop")
    ended = podyard("stop", "web", "web/nginx", "other")
    assert ended.code == 13
    assert ended.err.count("cannot stop") >= 2
    assert runtime.sandboxes[other].state == api.SANDBOX_NOTREADY


def test_rm_stops_and_removes_a_pod_with_all_its_sandboxes(
    podyard: Podyard, runtime: FakeRuntime, web: str, folders: Path
) -> None:
    runtime.add_sandbox("web", ready=False)
    keep = runtime.add_sandbox("keep")
    volume = folders / "pods" / "default_web_uid-web" / "volumes" / "data"
    volume.mkdir(parents=True)
    ended = podyard("rm", "web")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[-1] == "removed Pod default/web"
    assert list(runtime.sandboxes) == [keep]
    assert not volume.exists()


def test_rm_all_removes_every_pod_and_needs_none(podyard: Podyard, runtime: FakeRuntime, web: str) -> None:
    runtime.add_sandbox("other", "elsewhere")
    assert podyard("rm", "--all").code == 0
    assert runtime.sandboxes == {}
    ended = podyard("rm", "--all")
    assert (ended.code, ended.out) == (0, "")


def test_rm_removes_a_container_that_runs_only_by_force(podyard: Podyard, runtime: FakeRuntime, web: str) -> None:
    ended = podyard("rm", "web/nginx")
    assert ended.code == 5
    assert "--force" in ended.err
    assert not runtime.called("RemoveContainer")
    assert podyard("rm", "-f", "web/nginx").out == "removed container default/web/nginx\n"
    assert {one.metadata.name for one in runtime.containers.values()} == {"log"}


def test_rm_by_force_gives_a_pod_no_time_and_takes_what_an_unknown_one_left(
    podyard: Podyard, runtime: FakeRuntime, web: str, folders: Path
) -> None:
    left = folders / "logs" / "default_gone_uid-1" / "c"
    left.mkdir(parents=True)
    assert podyard("rm", "gone").code == 3
    assert left.exists()
    ended = podyard("rm", "-f", "gone", "web")
    assert ended.code == 0, ended.err
    assert not left.exists()
    assert {request.timeout for request in runtime.called("StopContainer")} == {0}


@pytest.mark.parametrize("arguments", [(), ("--all", "web")])
def test_rm_wants_names_or_all(podyard: Podyard, runtime: FakeRuntime, web: str, arguments: tuple[str, ...]) -> None:
    assert podyard("rm", *arguments).code == 2
    assert web in runtime.sandboxes
