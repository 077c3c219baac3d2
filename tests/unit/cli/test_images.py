"""pull, load, rmi."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import grpc
import pytest
from tests.support.commands import LIMIT, PODYARD, terminal
from tests.unit.cli.conftest import Podyard
from tests.unit.cli.fake_runtime import FakeRuntime, FakeServer

from podyard.cli.steps import LiveSteps, PlainSteps, picture_of_pull
from podyard.cli.transfer import pull_showing
from podyard.client import Client
from podyard.cri import admin


def pull_state(*layers: tuple[str, str, int, int], reference: str = "docker.io/library/busybox:latest") -> admin.Pull:
    return admin.Pull(
        reference=reference,
        layers=[
            admin.PullLayer(digest=f"sha256:{name * 64}", state=state, done=done, total=total)
            for name, state, done, total in layers
        ],
    )


def test_a_pull_tells_of_each_layer_that_has_arrived(podyard: Podyard, runtime: FakeRuntime) -> None:
    runtime.pull_gate.clear()
    runtime.pulls = [
        [],
        [pull_state(("a", "downloading", 1, 2_000_000), ("b", "shared", 0, 5))],
        [
            pull_state(("a", "done", 2_000_000, 2_000_000), ("b", "shared", 0, 5)),
            pull_state(("c", "done", 1, 1), reference="docker.io/library/other:latest"),
        ],
        [pull_state(("a", "done", 2_000_000, 2_000_000))],
    ]
    ended = podyard("pull", "busybox")
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert "layer bbbbbbbbbbbb is here already" in lines[0]
    assert "layer aaaaaaaaaaaa 2.0 MB done" in lines[1]
    assert lines[2].startswith("pulling the image busybox")
    assert lines[2].endswith("sha256:" + "1" * 64)
    assert len(lines) == 3, "another image's layers are not this pull's"


def test_a_pull_by_tag_and_digest_tells_of_its_layers_too(podyard: Podyard, runtime: FakeRuntime) -> None:
    # The runtime leaves the tag out: the digest says all.
    digest = "sha256:" + "d" * 64
    state = pull_state(("a", "done", 1, 1), reference=f"docker.io/library/busybox@{digest}")
    runtime.pull_gate.clear()
    runtime.pulls = [[state], [state]]
    assert "layer aaaaaaaaaaaa" in podyard("pull", f"busybox:1@{digest}").out


def test_a_runtime_without_podyards_service_is_pulled_from_all_the_same(bare: Podyard, tmp_path: Path) -> None:
    server = FakeServer(tmp_path / "other.sock", FakeRuntime(), with_admin=False)
    try:
        assert bare("-r", server.endpoint, "pull", "busybox").code == 0
        ended = bare("-r", server.endpoint, "load", "x.tar")
        assert ended.code == 6
    finally:
        server.stop()


def test_a_quiet_pull_prints_the_id_alone(podyard: Podyard) -> None:
    assert podyard("pull", "-q", "busybox", "other").out == ("sha256:" + "1" * 64 + "\n") * 2


def test_a_pull_that_fails_is_shown_as_failed(podyard: Podyard, runtime: FakeRuntime) -> None:
    runtime.fail["PullImage"] = (grpc.StatusCode.UNAVAILABLE, "the registry is away")
    ended = podyard("pull", "busybox")
    assert ended.code == 8
    assert "failed" in ended.out
    assert "the registry is away" in ended.err


def test_a_pull_that_fails_does_not_spare_the_rest(podyard: Podyard, runtime: FakeRuntime) -> None:
    runtime.fail["PullImage"] = (grpc.StatusCode.UNAVAILABLE, "the registry is away")
    ended = podyard("pull", "one", "two")
    assert ended.code == 8
    assert [line.split()[3] for line in ended.out.splitlines() if "failed" in line] == ["one", "two"]
    assert ended.err.count("the registry is away") == 2


def test_trouble_with_the_progress_does_not_end_the_pull(podyard: Podyard, runtime: FakeRuntime) -> None:
    runtime.fail["ListPulls"] = (grpc.StatusCode.INTERNAL, "no progress")
    ended = podyard("pull", "busybox")
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_a_signal_that_ends_a_pull_leaves_the_terminal_its_cursor(
    server: FakeServer, runtime: FakeRuntime, number: signal.Signals
) -> None:
    runtime.pull_gate.clear()
    try:
        environment = {**os.environ, "TERM": "xterm"}
        with terminal(environment, "-r", server.endpoint, "pull", "busybox") as command:
            assert b"\x1b[?25l" in command.until(b"pulling the image")
            command.signal(number)
            assert command.code() == (130 if number is signal.SIGINT else -number)
            command.until(rb"\x1b\[\?25h")
    finally:
        runtime.pull_gate.set()


async def test_on_a_terminal_a_pull_leaves_one_line(
    server: FakeServer, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    runtime.pull_gate.clear()
    runtime.pulls = [[pull_state(("a", "downloading", 1_500_000, 3_000_000))]] * 3
    async with await Client.connect(server.endpoint) as client:
        await pull_showing(client, "busybox")
    out = capsys.readouterr().out
    assert "1.5 MB / 3.0 MB" in out
    assert out.count("sha256:" + "1" * 64) == 1


def test_the_picture_of_a_pull_has_a_bar_for_each_layer() -> None:
    from rich.console import Console

    console = Console(width=100)
    state = pull_state(("a", "downloading", 1_000_000, 4_000_000), ("b", "done", 5, 5), ("c", "waiting", 0, 0))
    with console.capture() as capture:
        console.print(picture_of_pull(state))
    lines = capture.get().splitlines()
    assert [line.split()[0] for line in lines] == ["a" * 12, "b" * 12, "c" * 12]
    assert "1.0 MB / 4.0 MB" in lines[0]
    assert lines[1].rstrip().endswith("done")


def test_what_is_going_on_stays_until_it_has_ended() -> None:
    from rich.console import Console

    from podyard.pods import PodEvent

    display = LiveSteps()
    display.event(PodEvent(step="pulling the image", subject="a", state="begun"))
    display.event(PodEvent(step="starting the container", subject="b", state="begun"))
    display.event(PodEvent(step="starting the container", subject="b", state="done", seconds=1.0))
    console = Console(width=100)
    with console.capture() as capture:
        console.print(display.picture())
    assert "pulling the image a" in capture.get()
    assert "starting" not in capture.get()


def test_plain_steps_tell_of_ends_only(capsys: pytest.CaptureFixture[str]) -> None:
    from podyard.pods import PodEvent

    display = PlainSteps()
    display.event(PodEvent(step="starting the container", subject="b", state="begun"))
    assert capsys.readouterr().out == ""
    display.event(PodEvent(step="starting the container", subject="b", state="done", seconds=1.25))
    assert capsys.readouterr().out.split() == ["starting", "the", "container", "b", "1.2s"]
    display.event(PodEvent(step="starting the container", subject="b", state="failed", seconds=0.5, detail="no\nway"))
    assert capsys.readouterr().out.endswith("0.50s  failed: no?way\n")


def test_load_hands_the_runtime_an_absolute_path(
    podyard: Podyard, runtime: FakeRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (row,) = podyard("load", "image.tar").table
    assert (row["IMAGE"], row["SIZE"]) == ("example:1", "4.2 MB")
    assert runtime.called("LoadImages")[0].path == str(tmp_path / "image.tar")
    assert podyard("load", "image.tar", "-q").out == "sha256:" + "5" * 64 + "\n"
    assert podyard("load", "image.tar", "-o", "json").data[0]["repo_tags"] == ["example:1"]


def test_load_takes_an_archive_from_standard_input(server: FakeServer, runtime: FakeRuntime) -> None:
    content, found = os.urandom(300_000), []

    def load(request: admin.LoadImagesRequest) -> admin.LoadImagesResponse:
        found.append((Path(request.path).read_bytes(), Path(request.path).stat().st_mode & 0o777))
        return admin.LoadImagesResponse()

    runtime.answers["LoadImages"] = load
    command = [*PODYARD, "-r", server.endpoint, "load", "-"]
    subprocess.run(command, input=content, timeout=LIMIT, check=True)
    assert found == [(content, 0o600)]
    assert not Path(runtime.called("LoadImages")[0].path).exists()
    with terminal(dict(os.environ), "-r", server.endpoint, "load", "-") as on_terminal:
        on_terminal.until(b"standard input is a terminal")
        assert on_terminal.code() == 2


def test_rmi_removes_what_is_there_and_names_what_is_not(podyard: Podyard, runtime: FakeRuntime) -> None:
    runtime.add_image("busybox:1")
    runtime.add_image("other:1", digit="4")
    ended = podyard("rmi", "nothing:1", "busybox:1")
    assert ended.code == 3
    assert "'nothing:1'" in ended.err
    assert ended.out == "removed busybox:1\n", "a wrong name does not spare the rest"
    assert list(runtime.images) == ["sha256:" + "4" * 64]
    assert podyard("rmi", "-f", "nothing:1", "other:1").code == 0
    assert runtime.images == {}


def test_rmi_takes_several_names_of_one_image(podyard: Podyard, runtime: FakeRuntime) -> None:
    runtime.add_image("busybox:1", "busybox:2")
    ended = podyard("rmi", "busybox:1", "busybox:2")
    assert (ended.code, ended.out, ended.err) == (0, "removed busybox:1\nremoved busybox:2\n", "")
