"""User namespaces and mounts with other owners, by the kernel itself."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from podyard.errors import FailedPrecondition, InvalidArgument
from podyard.linux import idmap, libc, mounts, namespaces, userns
from podyard.linux.userns import IdMap, Range

pytestmark = pytest.mark.host

FIRST = 300_000
MAP = IdMap((Range(0, FIRST, 65536),), (Range(0, FIRST + 5, 65536),))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    mounts.unmount_below(tmp_path)


def owner(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_a_namespace_is_held_as_long_as_it_is_wanted() -> None:
    before = children()
    with userns.held(MAP, {"network"}) as pid:
        assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", str(FIRST), "65536"]
        assert Path(f"/proc/{pid}/gid_map").read_text().split() == ["0", str(FIRST + 5), "65536"]
        assert Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
        assert Path(f"/proc/{pid}/ns/ipc").readlink() == Path("/proc/self/ns/ipc").readlink()
    assert children() == before


def test_a_map_that_the_kernel_refuses_leaves_nothing_behind() -> None:
    before = children()
    overlapping = IdMap((Range(0, 1, 5), Range(3, 10, 5)), MAP.gids)
    with pytest.raises(InvalidArgument, match="uid_map"), userns.held(overlapping):
        pass
    assert children() == before


def test_pinned_namespaces_belong_to_the_user_namespace(folder: Path) -> None:
    sysctls = {"net.core.somaxconn": "77", "kernel.shm_rmid_forced": "1", "kernel/msgmax": "4096"}
    wanted = namespaces.NewNamespaces(frozenset({"network", "ipc", "uts"}), "inside", sysctls, MAP)
    pins = folder / "pins"
    namespaces.pin(pins, wanted)
    assert {path.name: namespaces.is_pinned(path) for path in pins.iterdir()} == dict.fromkeys(
        ("user", "network", "ipc", "uts"), True
    )
    script = (
        "cd /proc/sys; cat net/core/somaxconn kernel/shm_rmid_forced kernel/msgmax; hostname; "
        "ip link add type veth && ip link show lo | grep -c UP"
    )
    enter = [f"--{option}={pins / kind}" for option, kind in (("net", "network"), ("ipc", "ipc"), ("uts", "uts"))]
    done = subprocess.run(
        ["nsenter", f"--user={pins / 'user'}", *enter, "sh", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["77", "1", "4096", "inside", "1"]
    namespaces.unpin(pins)
    assert not pins.exists()


def test_a_refused_sysctl_is_named(folder: Path) -> None:
    wanted = namespaces.NewNamespaces(frozenset({"ipc"}), "", {"kernel.msgmax": "x"}, MAP)
    with pytest.raises(InvalidArgument, match=r"kernel\.msgmax=x: Invalid argument"):
        namespaces.pin(folder / "pins", wanted)
    namespaces.unpin(folder / "pins")


def test_a_mount_has_the_owners_of_the_namespace(folder: Path) -> None:
    (folder / "source").mkdir()
    (folder / "source" / "file").touch()
    os.chown(folder / "source" / "file", 7, 9)
    with userns.opened(MAP) as descriptor:
        idmap.private_bind(str(folder / "source"), folder / "mapped", userns=descriptor)
        idmap.private_bind(str(folder / "source" / "file"), folder / "one", userns=descriptor)
    assert owner(folder / "mapped" / "file") == owner(folder / "one") == (FIRST + 7, FIRST + 14)
    assert owner(folder / "source" / "file") == (7, 9)


def test_read_only_at_all_depths(folder: Path) -> None:
    (folder / "source" / "below").mkdir(parents=True)
    mounts.mount_tmpfs(folder / "source" / "below", "")
    idmap.private_bind(str(folder / "source"), folder / "copy", read_only=True)
    for place in ("copy", "copy/below"):
        with pytest.raises(OSError, match="Read-only"):
            (folder / place / "file").touch()
    (folder / "source" / "below" / "file").touch()
    assert (folder / "copy" / "below" / "file").exists()


def test_what_cannot_be_idmapped_is_named(folder: Path) -> None:
    (folder / "source" / "proc").mkdir(parents=True)
    libc.mount("proc", str(folder / "source" / "proc"), "proc", 0, "")
    with userns.opened(MAP) as descriptor, pytest.raises(FailedPrecondition, match=r"source.*idmapped"):
        idmap.private_bind(str(folder / "source"), folder / "mapped", userns=descriptor)
    assert mounts.mounted_below(folder / "mapped") == []


def test_an_overlay_of_mapped_layers(folder: Path) -> None:
    for name in ("top", "bottom", "upper", "work", "root"):
        (folder / name).mkdir()
    (folder / "top" / "a").write_text("a")
    (folder / "bottom" / "b").write_text("b")
    os.chown(folder / "bottom" / "b", 70_000, 0)
    with (
        userns.opened(MAP) as descriptor,
        idmap.mapped_layers([folder / "top", folder / "bottom"], folder / "layers", descriptor) as layers,
    ):
        mounts.mount_overlay(layers, folder / "upper", folder / "work", folder / "root")
    assert not (folder / "layers").exists()
    assert owner(folder / "root" / "a") == (FIRST, FIRST + 5)
    assert owner(folder / "root" / "b")[0] == 65534  # what the map has not is nobody's
    (folder / "root" / "a").write_text("changed")
    assert owner(folder / "upper" / "a") == (FIRST, FIRST + 5)
    assert (folder / "top" / "a").read_text() == "a"


def test_owners_changed_one_by_one_keep_modes_and_capabilities(folder: Path) -> None:
    root = folder / "root"
    (root / "sub").mkdir(parents=True)
    for name in ("setuid", "capable", "foreign"):
        (root / "sub" / name).touch()
    (root / "link").symlink_to("/etc/passwd")
    (root / "sub" / "setuid").chmod(0o4755)
    os.chown(root / "sub" / "foreign", 70_000, 3)
    permitted = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    os.setxattr(root / "sub" / "capable", idmap.CAPABILITY, permitted)
    outside = owner(Path("/etc/passwd"))
    idmap.change_owners(root, MAP)
    for path in (root, root / "sub", root / "link", root / "sub" / "setuid", root / "sub" / "capable"):
        assert owner(path) == (FIRST, FIRST + 5), path
    assert owner(root / "sub" / "foreign") == (FIRST, FIRST + 8)
    assert stat.S_IMODE((root / "sub" / "setuid").stat().st_mode) == 0o4755
    assert os.getxattr(root / "sub" / "capable", idmap.CAPABILITY) == struct.pack(
        "<IIIIII", 0x03000001, 1 << 10, 0, 0, 0, FIRST
    )
    assert owner(Path("/etc/passwd")) == outside
