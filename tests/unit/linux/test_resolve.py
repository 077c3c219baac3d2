"""Paths that others wrote, opened inside a directory."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from podyard.linux.resolve import open_in_root


def content(root: Path | int, path: str) -> bytes:
    descriptor = open_in_root(root, path, os.O_RDONLY)
    with open(descriptor, "rb") as file:
        return file.read()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("outside")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "file").write_text("inside")
    (root / "secret").write_text("inside too")
    return root


@pytest.mark.parametrize("path", ["etc/file", "/etc/file", "../etc/file", "/../../etc/./file", "etc/../etc/file"])
def test_a_path_starts_and_stops_at_the_root(root: Path, path: str) -> None:
    assert content(root, path) == b"inside"


@pytest.mark.parametrize("target", ["/secret", "../secret", "../../../secret", "/etc/../../secret"])
def test_a_link_is_followed_inside_the_root(root: Path, target: str) -> None:
    (root / "etc" / "link").symlink_to(target)
    assert content(root, "etc/link") == b"inside too"


def test_a_directory_that_is_a_link_out_of_the_root_leads_nowhere(root: Path) -> None:
    (root / "out").symlink_to(root.parent)
    with pytest.raises(FileNotFoundError):
        open_in_root(root, "out/secret", os.O_RDONLY)


def test_a_descriptor_stands_for_the_root(root: Path) -> None:
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        assert content(directory, "etc/file") == b"inside"
        assert os.fstat(directory)
    finally:
        os.close(directory)


def test_a_file_is_made_inside_the_root(root: Path) -> None:
    os.close(open_in_root(root, "/../new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    assert (root / "new").stat().st_mode & 0o777 == 0o600
    assert not (root.parent / "new").exists()


def test_descriptors_are_not_inherited_and_the_roots_own_is_closed(root: Path) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    descriptor = open_in_root(root, "etc", os.O_PATH)
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)
    assert set(Path("/proc/self/fd").iterdir()) == before


@pytest.mark.parametrize(
    ("path", "number"),
    [("etc/none", errno.ENOENT), ("etc/file/x", errno.ENOTDIR), ("loop", errno.ELOOP), ("a\0b", errno.EINVAL)],
)
def test_what_cannot_be_opened_says_why(root: Path, path: str, number: int) -> None:
    (root / "loop").symlink_to("loop")
    with pytest.raises(OSError) as caught:
        open_in_root(root, path, os.O_RDONLY)
    assert caught.value.errno == number


def test_the_kernels_own_links_are_not_followed() -> None:
    with pytest.raises(OSError) as caught:
        open_in_root(Path("/proc"), "self/cwd", os.O_PATH)
    assert caught.value.errno == errno.ELOOP
