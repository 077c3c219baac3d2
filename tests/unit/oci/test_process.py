"""The process of a container, and of a command in one."""

from __future__ import annotations

import pytest

from podyard.cri import api
from podyard.errors import InvalidArgument
from podyard.model.image import ImageConfig
from podyard.oci import process
from podyard.oci.users import User

IMAGE = ImageConfig(
    entrypoint=("/entry",), cmd=("one", "two"), env=("PATH=/image", "A=image", "odd"), working_dir="srv"
)
USER = User(5, 6, (6, 7), "/home/five")


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        ([], [], ["/entry", "one", "two"]),
        ([], ["x"], ["/entry", "x"]),
        (["/c"], [], ["/c"]),
        (["/c"], ["x"], ["/c", "x"]),
    ],
)
def test_command_and_args_stand_for_entrypoint_and_cmd(
    command: list[str], args: list[str], expected: list[str]
) -> None:
    assert process.command(api.ContainerConfig(command=command, args=args), IMAGE) == expected


@pytest.mark.parametrize("config", [api.ContainerConfig(), api.ContainerConfig(command=[""])])
def test_no_command_at_all_is_refused(config: api.ContainerConfig) -> None:
    with pytest.raises(InvalidArgument, match="no command specified"):
        process.command(config, ImageConfig())


def test_a_nul_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="NUL"):
        process.command(api.ContainerConfig(command=["a\0b"]), IMAGE)
    config = api.ContainerConfig(envs=[api.KeyValue(key="A", value=b"\0")])
    with pytest.raises(InvalidArgument, match="NUL"):
        process.environment(config, IMAGE, "pod", "/")


def test_the_environment_in_its_order() -> None:
    config = api.ContainerConfig(
        tty=True, envs=[api.KeyValue(key="A", value=b"request"), api.KeyValue(key="B", value=b"x=y")]
    )
    made = process.environment(config, IMAGE, "pod-1", "/home/five")
    assert made == ["PATH=/image", "HOSTNAME=pod-1", "TERM=xterm", "A=request", "B=x=y", "HOME=/home/five"]
    plain = process.environment(api.ContainerConfig(), ImageConfig(env=("HOME=/mine",)), "pod-1", "/x")
    assert plain == [f"PATH={process.DEFAULT_PATH}", "HOSTNAME=pod-1", "HOME=/mine"]


@pytest.mark.parametrize(("key", "value"), [("", b"x"), ("A=B", b"x"), ("A", b"\xff")])
def test_a_variable_that_cannot_be_is_refused(key: str, value: bytes) -> None:
    with pytest.raises(InvalidArgument, match="envs"):
        process.environment(api.ContainerConfig(envs=[api.KeyValue(key=key, value=value)]), IMAGE, "pod", "/")


@pytest.mark.parametrize(("wanted", "image", "expected"), [("/a", "/b", "/a"), ("", "b/c", "/b/c"), ("", "", "/")])
def test_the_working_directory(wanted: str, image: str, expected: str) -> None:
    found = process.working_dir(api.ContainerConfig(working_dir=wanted), ImageConfig(working_dir=image))
    assert found == expected


def test_a_relative_working_directory_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="'a' is not an absolute path"):
        process.working_dir(api.ContainerConfig(working_dir="a"), IMAGE)


@pytest.mark.parametrize(("wanted", "floor", "expected"), [(-998, -1000, -998), (-998, 0, 0), (1000, 0, 1000)])
def test_oom_score_adj_is_not_below_the_daemons(wanted: int, floor: int, expected: int) -> None:
    assert process.oom_score_adj(wanted, floor) == expected


@pytest.mark.parametrize("wanted", [-1001, 1001])
def test_oom_score_adj_out_of_range_is_refused(wanted: int) -> None:
    with pytest.raises(InvalidArgument, match="oom_score_adj"):
        process.oom_score_adj(wanted, 0)


def test_a_command_in_a_container_has_all_but_its_arguments() -> None:
    spec = {"process": {"args": ["a"], "terminal": True, "env": ["A=b"], "user": {"uid": 5}, "cwd": "/x"}}
    made = process.exec_process(spec, ["ls", "-l"], tty=False)
    assert made == {"args": ["ls", "-l"], "terminal": False, "env": ["A=b"], "user": {"uid": 5}, "cwd": "/x"}
    assert process.exec_process(spec, ["ls"], tty=True)["env"] == ["A=b", "TERM=xterm"]
    assert spec["process"]["env"] == ["A=b"]
    with pytest.raises(InvalidArgument, match="cmd is empty"):
        process.exec_process(spec, [], tty=False)


def test_the_infra_process_has_the_sandboxs_user() -> None:
    security = api.LinuxSandboxSecurityContext(run_as_user=api.Int64Value(value=5), supplemental_groups=[9])
    assert process.infra_user(security) == {"uid": 5, "gid": 0, "additionalGids": [9]}
    with pytest.raises(InvalidArgument, match="run_as_user"):
        process.infra_user(api.LinuxSandboxSecurityContext(run_as_user=api.Int64Value(value=-1)))
