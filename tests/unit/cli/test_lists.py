"""What the commands print that only look: for people, for programs, for scripts."""

from __future__ import annotations

import grpc
import pytest
import yaml
from tests.unit.cli.conftest import Podyard
from tests.unit.cli.fake_runtime import FakeRuntime

from podyard import __version__
from podyard.cri import api


def test_pods_are_a_table(podyard: Podyard, runtime: FakeRuntime) -> None:
    web = runtime.add_sandbox("web")
    runtime.add_container(web, "nginx", attempt=2)
    runtime.add_container(web, "log", state=api.CONTAINER_EXITED, exit_code=3)
    runtime.add_sandbox("old", "other", ready=False)
    rows = {row["NAME"]: row for row in podyard("pods").table}
    assert rows["web"] == {
        "NAME": "web",
        "NAMESPACE": "default",
        "READY": "1/2",
        "STATUS": "Running",
        "RESTARTS": "2",
        "AGE": rows["web"]["AGE"],
        "IP": "10.0.0.7",
        "POD ID": web[:13],
    }
    assert rows["web"]["AGE"].startswith("3m")
    assert (rows["old"]["STATUS"], rows["old"]["READY"]) == ("Stopped", "0/0")
    assert podyard("pods", "--no-trunc").table[-1]["POD ID"] == web
    assert {row["NAME"] for row in podyard("pods", "-n", "other").table} == {"old"}


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([0, 0], "Completed"),
        ([0, 3], "Error (3)"),
        ([137, None], "Running"),
        ([None, None], "Running"),
    ],
)
def test_a_pods_status_tells_how_its_containers_ended(
    podyard: Podyard, runtime: FakeRuntime, ends: list[int | None], expected: str
) -> None:
    sandbox = runtime.add_sandbox("web")
    for number, code in enumerate(ends):
        container = runtime.add_container(sandbox, f"c{number}")
        if code is not None:
            runtime.end(container, code)
    assert podyard("pods").table[0]["STATUS"] == expected


def test_a_stopped_pods_status_tells_whether_it_was_killed(podyard: Podyard, runtime: FakeRuntime) -> None:
    for name, code in (("killed", 137), ("failed", 3), ("done", 0)):
        runtime.end(runtime.add_container(runtime.add_sandbox(name, ready=False), "c"), code)
    shown = {row["NAME"]: row["STATUS"] for row in podyard("pods").table}
    assert shown == {"killed": "Stopped", "failed": "Error (3)", "done": "Completed"}


def test_pods_for_programs_have_their_addresses_and_containers(podyard: Podyard, runtime: FakeRuntime) -> None:
    sandbox = runtime.add_sandbox("web")
    container = runtime.add_container(sandbox, "nginx")
    (pod,) = podyard("pods", "-o", "json").data
    assert (pod["name"], pod["namespace"], pod["id"]) == ("web", "default", sandbox)
    assert (pod["ip"], pod["ips"], pod["ready"], pod["status"]) == ("10.0.0.7", ["10.0.0.7"], True, "Running")
    (inside,) = pod["containers"]
    assert (inside["name"], inside["id"], inside["state"]) == ("nginx", container, "running")
    assert yaml.safe_load(podyard("pods", "-o", "yaml").out) == [pod]


def test_scripts_get_ids_or_names(podyard: Podyard, runtime: FakeRuntime) -> None:
    sandbox = runtime.add_sandbox("web")
    container = runtime.add_container(sandbox, "nginx")
    image = runtime.add_image("docker.io/library/busybox:1")
    assert podyard("pods", "-q").out == f"{sandbox}\n"
    assert podyard("pods", "-o", "name").out == "default/web\n"
    assert podyard("ps", "-q").out == f"{container}\n"
    assert podyard("ps", "-o", "name").out == "default/web/nginx\n"
    assert podyard("images", "-q").out == f"{image}\n"
    assert podyard("images", "-o", "name").out == "docker.io/library/busybox:1\n"


def test_nothing_is_an_empty_table_and_an_empty_list(podyard: Podyard) -> None:
    for command in ("pods", "ps", "images"):
        assert len(podyard(command).out.splitlines()) == 1
        assert podyard(command, "-o", "json").data == []
        assert podyard(command, "-q").out == ""


def test_ps_shows_what_runs_and_with_a_how_the_others_ended(podyard: Podyard, runtime: FakeRuntime) -> None:
    sandbox = runtime.add_sandbox("web")
    runtime.add_container(sandbox, "up")
    runtime.add_container(sandbox, "down", state=api.CONTAINER_EXITED, exit_code=137, reason="OOMKilled")
    runtime.add_container(sandbox, "done", state=api.CONTAINER_EXITED)
    runtime.add_container(sandbox, "new", state=api.CONTAINER_CREATED)
    runtime.add_container(runtime.add_sandbox("db"), "db")
    assert {row["CONTAINER"] for row in podyard("ps").table} == {"up", "db"}
    shown = {row["CONTAINER"]: row["STATUS"] for row in podyard("ps", "-a", "-p", "web").table}
    assert shown == {"up": "Running", "down": "OOMKilled (137)", "done": "Completed", "new": "Created"}
    (row,) = podyard("ps", "-p", "web").table
    assert (row["POD"], row["NAMESPACE"], row["IMAGE"]) == ("web", "default", "busybox:latest")
    assert {one["metadata"]["name"] for one in podyard("ps", "-o", "json").data} == {"up", "db"}


def test_ps_names_an_image_that_the_runtime_knows_by_its_id_alone(podyard: Podyard, runtime: FakeRuntime) -> None:
    sandbox = runtime.add_sandbox("web")
    for name, image in (("a", runtime.add_image("busybox:7")), ("b", "sha256:" + "9" * 64)):
        runtime.containers[runtime.add_container(sandbox, name)].image.image = image
    shown = {row["CONTAINER"]: row["IMAGE"] for row in podyard("ps").table}
    assert shown == {"a": "busybox:7", "b": "sha256:" + "9" * 64}


def test_images_have_a_line_for_each_tag(podyard: Podyard, runtime: FakeRuntime) -> None:
    runtime.add_image("registry:5000/a/b:1", "registry:5000/a/b:2")
    runtime.add_image(digit="3")
    rows = podyard("images").table
    assert [(row["IMAGE"], row["TAG"]) for row in rows] == [
        ("docker.io/library/busybox", "<none>"),
        ("registry:5000/a/b", "1"),
        ("registry:5000/a/b", "2"),
    ]
    assert rows[1]["SIZE"] == "12.3 MB"
    assert rows[1]["IMAGE ID"] == "1" * 13
    assert podyard("images", "-o", "wide").table[0]["DIGESTS"] == "sha256:" + "2" * 64
    assert [one["size"] for one in podyard("images", "-o", "json").data] == ["12345678"] * 2


def test_version_tells_both_ends(podyard: Podyard) -> None:
    rows = {row["PART"]: row for row in podyard("version").table}
    assert rows["client"]["VERSION"] == __version__
    assert (rows["runtime"]["NAME"], rows["runtime"]["VERSION"], rows["runtime"]["CRI"]) == ("fake", "7.8.9", "v1")
    assert podyard("version", "-o", "json").data["client"] == {"version": __version__}


def test_info_tells_conditions_configuration_and_file_systems(podyard: Podyard) -> None:
    ended = podyard("info")
    assert ended.code == 0, ended.err
    assert "cgroupfs" in ended.out
    assert "NetworkPluginNotReady" in ended.out
    assert "recursive_read_only_mounts" in ended.out
    assert "45.6 MB" in ended.out
    data = podyard("info", "-o", "json").data
    assert data["status"]["info"] == {"config": {"answer": 42}, "plain": "not json"}
    assert data["runtime_config"]["linux"]["cgroup_driver"] == "CGROUPFS"


def test_info_does_without_runtime_config_where_the_runtime_lacks_it(podyard: Podyard, runtime: FakeRuntime) -> None:
    runtime.fail["RuntimeConfig"] = (grpc.StatusCode.UNIMPLEMENTED, "unknown method")
    assert podyard("info").table[0]["CGROUP DRIVER"] == "unknown"
    assert podyard("info", "-o", "json").data["runtime_config"] is None


def test_inspect_finds_pods_containers_and_images_by_any_name(podyard: Podyard, runtime: FakeRuntime) -> None:
    sandbox = runtime.add_sandbox("web")
    container = runtime.add_container(sandbox, "nginx")
    image = runtime.add_image("busybox:1")
    pod = podyard("inspect", "web").data
    assert (pod["kind"], pod["status"]["id"], pod["info"]) == ("Pod", sandbox, {"info": {"pid": 4711}})
    assert [one["id"] for one in pod["containers"]] == [container]
    found = podyard("inspect", "web/nginx").data
    assert (found["kind"], found["status"]["id"], found["info"]["info"]["pid"]) == ("Container", container, 4712)
    found = podyard("inspect", "busybox:1").data
    assert (found["kind"], found["status"]["id"]) == ("Image", image)
    assert [one["kind"] for one in podyard("inspect", "web", container[:6]).data] == ["Pod", "Container"]
    assert yaml.safe_load(podyard("inspect", "web", "-o", "yaml").out) == pod
    assert podyard("inspect", "web", "-q").out == f"{sandbox}\n"


def test_inspect_takes_only_the_kind_that_is_asked_for(podyard: Podyard, runtime: FakeRuntime) -> None:
    runtime.add_container(runtime.add_sandbox("db"), "db")
    runtime.add_image("db")
    kinds = {kind: podyard("inspect", "db", "--type", kind).data["kind"] for kind in ("pod", "container", "image")}
    assert kinds == {"pod": "Pod", "container": "Container", "image": "Image"}
    ended = podyard("inspect", "nothing")
    assert (ended.code, ended.out) == (3, "")
    assert "podyard images" in ended.err
