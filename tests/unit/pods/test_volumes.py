"""The host side of volumes, with real mounts."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from podyard.errors import FailedPrecondition, InvalidArgument
from podyard.manifest.model import Pod
from podyard.pods import host_mounts, volumes
from podyard.pods.folders import PodFolder

MakePod = Callable[..., Pod]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[PodFolder]:
    """A Pod's directories, removed with their mounts."""
    folder = PodFolder(tmp_path / "pods" / "default_web_1", tmp_path / "logs")
    yield folder
    host_mounts.remove_tree(folder.path)
    assert host_mounts.mounts_below(tmp_path) == []


def container(mount: str) -> str:
    return f"- {{name: main, image: 'busybox:1', volumeMounts: [{{name: v, mountPath: /v, {mount}}}]}}"


def source(pod: Pod, folder: PodFolder, variables: dict[str, str] | None = None, attempt: int = 0) -> Path:
    main = pod.spec.containers[0]
    return volumes.source(pod, folder, main, attempt=attempt, index=0, variables=variables or {})


@pytest.mark.parametrize(
    ("kind", "made"),
    [("DirectoryOrCreate", "dir"), ("FileOrCreate", "file")],
)
def test_a_missing_host_path_is_made_where_its_type_says_so(
    make_pod: MakePod, folder: PodFolder, tmp_path: Path, kind: str, made: str
) -> None:
    path = tmp_path / "made"
    volumes.prepare(make_pod(f"volumes: [{{name: v, hostPath: {{path: {path}, type: {kind}}}}}]"), folder)
    assert path.is_dir() if made == "dir" else path.is_file()


@pytest.mark.parametrize("kind", ["Directory", "File", "Socket", "CharDevice", "BlockDevice", "FileOrCreate"])
def test_a_missing_or_wrong_host_path_is_refused(
    make_pod: MakePod, folder: PodFolder, tmp_path: Path, kind: str
) -> None:
    missing = tmp_path / "none" / "none"
    with pytest.raises(FailedPrecondition, match=f"{missing} must be .*type {kind}.*not exist"):
        volumes.prepare(make_pod(f"volumes: [{{name: v, hostPath: {{path: {missing}, type: {kind}}}}}]"), folder)
    host_mounts.remove_tree(folder.path)
    wrong = tmp_path / "file" if kind == "Directory" else tmp_path
    (tmp_path / "file").touch()
    with pytest.raises(FailedPrecondition, match="but it is something else"):
        volumes.prepare(make_pod(f"volumes: [{{name: v, hostPath: {{path: {wrong}, type: {kind}}}}}]"), folder)


def test_right_host_paths_pass(make_pod: MakePod, folder: PodFolder, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        lines = [
            f"- {{name: a, hostPath: {{path: {tmp_path}, type: Directory}}}}",
            f"- {{name: b, hostPath: {{path: {tmp_path}/file, type: File}}}}",
            f"- {{name: c, hostPath: {{path: {tmp_path}/socket, type: Socket}}}}",
            "- {name: d, hostPath: {path: /dev/null, type: CharDevice}}",
            f"- {{name: e, hostPath: {{path: {tmp_path}/none}}}}",
        ]
        volumes.prepare(make_pod("volumes:\n" + "\n".join(lines)), folder)
    assert not (tmp_path / "none").exists()


def test_a_whole_volume_is_used_as_it_is(make_pod: MakePod, folder: PodFolder) -> None:
    pod = make_pod("volumes: [{name: v, hostPath: {path: /srv}}]", container("readOnly: true"))
    assert source(pod, folder) == Path("/srv")


@pytest.mark.host
def test_an_empty_dir_belongs_to_the_pods_group(make_pod: MakePod, folder: PodFolder) -> None:
    volumes.prepare(make_pod("securityContext: {fsGroup: 2000}\nvolumes: [{name: v, emptyDir: {}}]"), folder)
    found = folder.volume("v").stat()
    assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (2000, 0o2777)


@pytest.mark.host
def test_volumes_that_are_there_keep_what_they_hold_and_memory_is_mounted_again_after_a_reboot(
    make_pod: MakePod, folder: PodFolder
) -> None:
    memory, secret = "{name: m, emptyDir: {medium: Memory}}", "{name: t, secret: {secretName: s}}"
    pod = make_pod(f"volumes: [{{name: v, emptyDir: {{}}}}, {memory}, {secret}]\nsecurityContext: {{fsGroup: 1234}}")
    volumes.prepare(pod, folder)
    (folder.volume("v") / "file").touch()
    (folder.volume("m") / "file").touch()
    folder.volume("v").chmod(0o700)
    volumes.prepare(pod, folder)
    assert (folder.volume("v") / "file").exists()
    assert (folder.volume("m") / "file").exists()
    assert len(host_mounts.mounts_below(folder.path)) == 2
    for mounted in ("m", "t"):
        subprocess.run(["umount", folder.volume(mounted)], check=True)
    volumes.prepare(pod, folder)
    assert list(folder.volume("m").iterdir()) == []
    assert len(host_mounts.mounts_below(folder.path)) == 2
    found = [(stat.S_IMODE(one.st_mode), one.st_gid) for one in (folder.volume(name).stat() for name in "vm")]
    assert found == [(0o700, 1234), (0o2777, 1234)]


@pytest.mark.host
@pytest.mark.parametrize(
    ("limit", "size"), [("", 64 << 20), (", sizeLimit: 1Mi", 1 << 20), (", sizeLimit: 1Gi", 64 << 20)]
)
def test_memory_is_mounted_with_the_smaller_limit(make_pod: MakePod, folder: PodFolder, limit: str, size: int) -> None:
    main = "- {name: main, image: 'busybox:1', resources: {limits: {memory: 64Mi}}}"
    volumes.prepare(make_pod(f"volumes: [{{name: v, emptyDir: {{medium: Memory{limit}}}}}]", main), folder)
    path = folder.volume("v")
    assert host_mounts.mounts_below(path) == [path]
    found = os.statvfs(path)
    assert found.f_blocks * found.f_frsize == size
    assert stat.S_IMODE(path.stat().st_mode) == 0o777


@pytest.mark.host
@pytest.mark.parametrize("medium", ["HugePages", "HugePages-2Mi"])
def test_huge_pages_are_mounted_in_the_size_that_the_pod_uses(
    make_pod: MakePod, folder: PodFolder, medium: str
) -> None:
    main = "- {name: main, image: 'busybox:1', resources: {limits: {cpu: 1, hugepages-2Mi: 4Mi}}}"
    volumes.prepare(make_pod(f"volumes: [{{name: v, emptyDir: {{medium: {medium}, sizeLimit: 4Mi}}}}]", main), folder)
    path = folder.volume("v")
    found = os.statvfs(path)
    assert (found.f_frsize, found.f_blocks) == (2 << 20, 2)
    assert stat.S_IMODE(path.stat().st_mode) == 0o777
    host_mounts.remove_tree(folder.path)


@pytest.mark.host
def test_a_part_of_a_volume_is_made_and_mounted(make_pod: MakePod, folder: PodFolder) -> None:
    pod = make_pod("volumes: [{name: v, emptyDir: {}}]", container("subPath: a/./b"))
    volumes.prepare(pod, folder)
    part = source(pod, folder)
    (part / "seen").touch()
    made = folder.volume("v") / "a" / "b"
    assert (made / "seen").exists()
    assert stat.S_IMODE(made.stat().st_mode) == 0o777
    (made / "seen").unlink()


@pytest.mark.host
def test_a_part_may_be_a_file_and_named_by_variables(make_pod: MakePod, folder: PodFolder, tmp_path: Path) -> None:
    (tmp_path / "conf-x").write_text("hello")
    spec = f"volumes: [{{name: v, hostPath: {{path: {tmp_path}}}}}]"
    main = container("subPathExpr: conf-$(NAME)").replace("main,", "main, env: [{name: NAME, value: x}],")
    pod = make_pod(spec, main)
    folder.path.mkdir(parents=True)
    assert source(pod, folder, {"NAME": "x"}).read_text() == "hello"
    with pytest.raises(InvalidArgument, match="must not hold"):
        source(pod, folder, {"NAME": "/../../etc"}, attempt=1)


@pytest.mark.host
@pytest.mark.parametrize("target", ["/etc", "inside", "."])
def test_a_link_in_a_volume_is_not_followed(make_pod: MakePod, folder: PodFolder, target: str) -> None:
    for part in ("evil", "evil/below"):
        pod = make_pod("volumes: [{name: v, emptyDir: {}}]", container(f"subPath: {part}"))
        volumes.prepare(pod, folder)
        (folder.volume("v") / "evil").symlink_to(target)
        with pytest.raises(InvalidArgument, match="'evil' is a link"):
            source(pod, folder)
        assert host_mounts.mounts_below(folder.path) == []
        host_mounts.remove_tree(folder.path)


@pytest.mark.host
def test_what_was_mounted_stays_when_its_name_is_exchanged(make_pod: MakePod, folder: PodFolder) -> None:
    pod = make_pod("volumes: [{name: v, emptyDir: {}}]", container("subPath: a"))
    volumes.prepare(pod, folder)
    part = source(pod, folder)
    (folder.volume("v") / "a").rename(folder.volume("v") / "b")
    (folder.volume("v") / "a").symlink_to("/etc")
    assert list(part.iterdir()) == []
    (part / "new").touch()
    assert (folder.volume("v") / "b" / "new").exists()


@pytest.mark.host
def test_removing_a_tree_takes_mounts_away_and_spares_what_is_in_them(tmp_path: Path) -> None:
    precious, tree = tmp_path / "precious", tmp_path / "a tree"
    precious.mkdir()
    (precious / "kept").touch()
    (tree / "bound").mkdir(parents=True)
    for _ in range(2):
        subprocess.run(["mount", "--bind", precious, tree / "bound"], check=True)
    host_mounts.mount_tmpfs(tree / "bound", 4096, 0o700)
    host_mounts.remove_tree(tree)
    assert not tree.exists()
    assert (precious / "kept").exists()
    assert host_mounts.mounts_below(tmp_path) == []
