"""podyard run."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from tests.unit.cli.conftest import Podyard, wait_until_called
from tests.unit.cli.fake_runtime import FakeRuntime, FakeServer

from podyard.cri import api


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PODYARD_POD_ROOT", str(tmp_path / "pods"))
    monkeypatch.setenv("PODYARD_LOG_ROOT", str(tmp_path / "logs"))
    return tmp_path


def manifest(name: str = "web", *, policy: str = "Never", containers: tuple[str, ...] = ("main",), **spec: Any) -> str:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": policy,
            "containers": [{"name": one, "image": "busybox:1", "command": ["sh"]} for one in containers],
            **spec,
        },
    }
    return json.dumps(pod)


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., str]:
    def write(*pods: str) -> str:
        path = tmp_path / "pods.yaml"
        path.write_text("\n---\n".join(pods))
        return str(path)

    return write


def ends(runtime: FakeRuntime, *codes: int) -> Callable[[api.ContainerStatus], None]:
    """A container that ends at once: with the first code at its first attempt, and so on."""
    return lambda container: runtime.end(container.id, codes[min(container.metadata.attempt, len(codes) - 1)])


def test_each_step_is_shown_and_the_pod_at_the_end(
    podyard: Podyard, runtime: FakeRuntime, written: Callable[..., str]
) -> None:
    ended = podyard("run", written(manifest(policy="Always")))
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    order = [
        next(at for at, line in enumerate(lines) if line.startswith(step))
        for step in ("pulling the image busybox:1", "running the sandbox", "starting the container main", "NAME")
    ]
    assert order == sorted(order)
    assert lines[-1].split()[:4] == ["web", "default", "1/1", "Running"]
    assert "only podyard run -f starts them again" in ended.err
    assert [one.metadata.name for one in runtime.sandboxes.values()] == ["web"]


def test_for_programs_there_is_nothing_but_the_pod(podyard: Podyard, written: Callable[..., str]) -> None:
    ended = podyard("run", "-o", "json", written(manifest(policy="Always")))
    (pod,) = ended.data
    assert (pod["name"], pod["ip"], pod["status"], ended.err) == ("web", "10.0.0.8", "Running", "")
    assert podyard("run", "-q", written(manifest(policy="Always"))).out == f"{pod['id']}\n", "it runs already"


def test_several_pods_run_in_the_order_of_the_file(
    podyard: Podyard, runtime: FakeRuntime, written: Callable[..., str]
) -> None:
    assert podyard("run", "-o", "name", written(manifest("one"), manifest("two"))).out == "default/one\ndefault/two\n"
    assert [request.config.metadata.name for request in runtime.called("RunPodSandbox")] == ["one", "two"]


def test_a_manifest_comes_from_standard_input_too(
    podyard: Podyard, monkeypatch: pytest.MonkeyPatch, written: Callable[..., str]
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(manifest("piped").encode())))
    assert podyard("run", "-o", "name", "-").out == "default/piped\n"


def test_a_wrong_manifest_is_told_before_any_runtime_is_asked(
    bare: Podyard, tmp_path: Path, written: Callable[..., str]
) -> None:
    ended = bare("-r", str(tmp_path / "none.sock"), "run", written(manifest().replace('"image"', '"imagee"')))
    assert ended.code == 2
    assert "imagee" in ended.err
    assert "pods.yaml:1" in ended.err
    assert bare("run", str(tmp_path / "none.yaml")).code == 3


def test_a_step_that_fails_is_shown_and_named_in_the_error(
    podyard: Podyard, runtime: FakeRuntime, written: Callable[..., str]
) -> None:
    runtime.fail["StartContainer"] = (grpc.StatusCode.INTERNAL, "no such program")
    ended = podyard("run", written(manifest()))
    assert ended.code == 13
    assert any(line.startswith("starting the container main") and "failed" in line for line in ended.out.splitlines())
    assert "no such program" in ended.err
    assert "starting the container main" in ended.err


def test_followed_it_prints_the_logs_and_ends_with_the_exit_code_of_what_failed(
    podyard: Podyard, runtime: FakeRuntime, written: Callable[..., str]
) -> None:
    runtime.behaviour = {"good": ends(runtime, 0), "bad": ends(runtime, 42)}
    ended = podyard("run", "-f", written(manifest(containers=("good", "bad"))))
    assert ended.code == 42
    assert "good | good attempt 0 started" in ended.out
    assert "bad  | bad attempt 0 started" in ended.out
    assert "exit code 42" in ended.err
    assert runtime.sandboxes, "without --rm it stays for inspection"


def test_a_container_whose_own_policy_is_never_has_failed_for_good_whatever_the_pods(
    podyard: Podyard, runtime: FakeRuntime, written: Callable[..., str]
) -> None:
    runtime.behaviour = {"main": ends(runtime, 7)}
    pod = json.loads(manifest(policy="Always"))
    pod["spec"]["containers"][0]["restartPolicy"] = "Never"
    assert podyard("run", "-f", written(json.dumps(pod))).code == 7


def test_followed_containers_are_started_again_and_followed_on(
    podyard: Podyard, runtime: FakeRuntime, written: Callable[..., str]
) -> None:
    runtime.behaviour = {"main": ends(runtime, 1, 0)}
    ended = podyard("run", "-f", written(manifest(policy="OnFailure")))
    assert ended.code == 0, ended.err
    first, second = ended.out.index("main attempt 0 started"), ended.out.index("main attempt 1 started")
    assert first < second
    assert "starting again main" in ended.err


def test_several_pods_are_followed_together(
    podyard: Podyard, runtime: FakeRuntime, written: Callable[..., str]
) -> None:
    runtime.behaviour = {"main": ends(runtime, 0)}
    ended = podyard("run", "-f", written(manifest("one"), manifest("two")))
    assert ended.code == 0, ended.err
    assert {"one/main | main attempt 0 started", "two/main | main attempt 0 started"} <= set(ended.out.splitlines())


def test_rm_removes_the_pod_at_the_end(
    podyard: Podyard, runtime: FakeRuntime, written: Callable[..., str], folders: Path
) -> None:
    runtime.behaviour = {"main": ends(runtime, 3)}
    assert podyard("run", "--rm", written(manifest())).code == 2
    assert not runtime.called("RunPodSandbox")
    assert podyard("run", "-f", "--rm", written(manifest())).code == 3
    assert runtime.sandboxes == {}
    assert not any((folders / "logs").iterdir())


def test_an_init_container_that_failed_for_good_gives_its_exit_code_when_followed(
    podyard: Podyard, runtime: FakeRuntime, written: Callable[..., str]
) -> None:
    runtime.behaviour = {"prepare": ends(runtime, 9)}
    init = [{"name": "prepare", "image": "busybox:1"}]
    ended = podyard("run", "-f", written(manifest(initContainers=init)))
    assert ended.code == 9
    assert "'prepare'" in ended.err
    assert podyard("run", written(manifest(initContainers=init))).code == 5
    assert podyard("pods").table[0]["STATUS"] == "Init:Error (9)"


def interrupted(process: subprocess.Popen[str]) -> str:
    """Ctrl-C; what the command says of it."""
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
    return err


@contextmanager
def running(server: FakeServer, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own."""
    command = [sys.executable, "-c", "from podyard.cli import main; main()", "-r", server.endpoint, "run", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("remove", [False, True])
def test_ctrl_c_detaches_unless_the_pod_was_to_be_removed(
    server: FakeServer, runtime: FakeRuntime, written: Callable[..., str], remove: bool
) -> None:
    with running(server, "-f", *(["--rm"] if remove else []), written(manifest(policy="Always"))) as process:
        assert process.stdout is not None
        while "main attempt 0 started" not in (line := process.stdout.readline()):
            assert line, "it ended before it followed"
        err = interrupted(process)
    assert bool(runtime.sandboxes) is not remove
    assert ("detached: Pod default/web goes on" in err) is not remove


@pytest.fixture
def hearing() -> Iterator[None]:
    """What is started hears SIGHUP, also where the tests do not (nohup)."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hearing")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_pod_that_was_to_be_removed_is_when_a_signal_ends_the_command(
    server: FakeServer, runtime: FakeRuntime, written: Callable[..., str], number: signal.Signals
) -> None:
    with running(server, "-f", "--rm", written(manifest(policy="Always"))) as process:
        assert process.stdout is not None
        while "main attempt 0 started" not in (line := process.stdout.readline()):
            assert line, "it ended before it followed"
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, "Traceback" in err) == (128 + number, False)
    assert runtime.sandboxes == {}


def test_ctrl_c_while_the_pod_is_started_says_how_to_remove_it(
    server: FakeServer, runtime: FakeRuntime, written: Callable[..., str]
) -> None:
    runtime.pull_gate.clear()
    with running(server, written(manifest())) as process:
        wait_until_called(runtime, "PullImage", process)
        err = interrupted(process)
    runtime.pull_gate.set()
    assert "podyard rm default/web" in err


def test_rm_removes_what_never_came_up_but_no_other_pod(
    podyard: Podyard, runtime: FakeRuntime, written: Callable[..., str]
) -> None:
    runtime.behaviour = {"prepare": ends(runtime, 9)}
    init = [{"name": "prepare", "image": "busybox:1"}]
    assert podyard("run", "-f", "--rm", written(manifest(initContainers=init))).code == 9
    assert runtime.sandboxes == {}
    assert podyard("run", written(manifest(policy="Always"))).code == 0
    assert podyard("run", "-f", "--rm", written(manifest(policy="Never"))).code != 0
    assert len(runtime.sandboxes) == 1


def test_rm_removes_what_ctrl_c_leaves_of_a_start(
    server: FakeServer, runtime: FakeRuntime, written: Callable[..., str]
) -> None:
    runtime.pull_gate.clear()
    with running(server, "-f", "--rm", written(manifest())) as process:
        wait_until_called(runtime, "PullImage", process)
        err = interrupted(process)
    runtime.pull_gate.set()
    assert runtime.sandboxes == {}
    assert "podyard rm" not in err


def test_documents_beside_the_pod_are_there_for_it(
    podyard: Podyard, runtime: FakeRuntime, written: Callable[..., str], folders: Path
) -> None:
    config = json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}, "data": {"color": "red"}}
    )
    volumes = [{"name": "v", "configMap": {"name": "web"}}]
    ended = podyard("run", written(config, manifest(policy="Always", volumes=volumes)))
    assert ended.code == 0, ended.err
    (found,) = (folders / "pods").glob("*/volumes/v/color")
    assert found.read_text() == "red"
    ended = podyard("run", written(manifest("other", volumes=volumes).replace('"name": "web"', '"name": "none"')))
    assert ended.code == 3
    assert "configmap 'none' not found" in ended.err
