"""Root file systems of pods with a user namespace: by idmapped layers, or by a change of every owner."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from podyard.linux import mounts, namespaces, userns
from podyard.linux.userns import IdMap, Range
from podyard.runtime import rootfs
from podyard.runtime.rootfs import Owners

pytestmark = pytest.mark.host

FIRST = 400_000
MAP = IdMap((Range(0, FIRST, 65536),), (Range(0, FIRST, 65536),))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with userns.held(MAP) as pid:
        namespaces.pin_of_process(tmp_path, "user", pid)
    (tmp_path / "layer" / "sub").mkdir(parents=True)
    (tmp_path / "layer" / "file").touch()
    os.chown(tmp_path / "layer" / "file", 12, 34)
    yield tmp_path
    mounts.unmount_below(tmp_path)


def owner(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid


def test_the_hosts_owners_without_a_user_namespace(folder: Path) -> None:
    rootfs.mount([folder / "layer"], folder / "writable", folder / "root", None)
    assert owner(folder / "root" / "file") == (12, 34)


def test_a_directory_with_set_group_id_above_leaves_no_mark(folder: Path) -> None:
    holder = folder / "holder"
    holder.mkdir()
    os.chown(holder, 0, 50)
    holder.chmod(0o2755)
    rootfs.mount([folder / "layer"], holder / "writable", folder / "root", None)
    (folder / "root" / "new").mkdir()
    (folder / "root" / "sub" / "new").touch()
    for name in ("", "new", "sub", "sub/new"):
        assert owner(folder / "root" / name) == (0, 0), name
    assert (folder / "root" / "new").stat().st_mode & 0o7000 == 0


def test_the_layers_are_mapped_and_nothing_is_copied(folder: Path) -> None:
    owners = Owners(MAP, folder / "user")
    rootfs.mount([folder / "layer"], folder / "writable", folder / "root", owners)
    assert owner(folder / "root" / "file") == (FIRST + 12, FIRST + 34)
    assert owner(folder / "root") == owner(folder / "root" / "sub") == (FIRST, FIRST)
    assert list((folder / "writable" / "upper").iterdir()) == []
    assert [str(point.relative_to(folder)) for point in mounts.mounted_below(folder)] == ["user", "root"]


def test_layers_on_a_file_system_without_idmapped_mounts_are_copied(folder: Path) -> None:
    for name in ("upper", "work", "merged"):
        (folder / name).mkdir()
    mounts.mount_overlay([folder / "layer"], folder / "upper", folder / "work", folder / "merged")
    owners = Owners(MAP, folder / "user")
    rootfs.mount([folder / "merged"], folder / "writable", folder / "root", owners)
    assert owner(folder / "root" / "file") == (FIRST + 12, FIRST + 34)
    assert owner(folder / "root") == owner(folder / "root" / "sub") == (FIRST, FIRST)
    assert owner(folder / "layer" / "file") == owner(folder / "merged" / "file") == (12, 34)
