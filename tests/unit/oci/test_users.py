"""Which user a container runs as, out of files that the image wrote."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument
from podyard.oci import users
from podyard.oci.users import User, resolve_user

PASSWD = """
root:x:0:0:root:/root:/bin/sh
# a comment
daemon:x:1:1::/usr/sbin
www:x:33:34:web:/var/www:/bin/false
1000:x:0:0:a name made of digits:/trap:/bin/sh
short:x:7:8
broken
negative:x:-5:0::/:
huge:x:99999999999999999999:0::/:
"""
GROUP = "root:x:0:\nwww-data:x:34:\nvideo:x:44:root,www\naudio:x:45:www\nbad\nworse:x:y:www\n"


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    rootfs = tmp_path / "rootfs"
    (rootfs / "etc").mkdir(parents=True)
    (rootfs / "etc" / "passwd").write_text(PASSWD)
    (rootfs / "etc" / "group").write_text(GROUP)
    return rootfs


def asked(
    user: int | str | None = None, group: int | None = None, **others: object
) -> api.LinuxContainerSecurityContext:
    security = api.LinuxContainerSecurityContext(**others)  # type: ignore[arg-type]
    if isinstance(user, str):
        security.run_as_username = user
    elif user is not None:
        security.run_as_user.value = user
    if group is not None:
        security.run_as_group.value = group
    return security


@pytest.mark.parametrize(
    ("image_user", "expected"),
    [
        ("", User(0, 0, (0, 44), "/root")),
        ("root", User(0, 0, (0, 44), "/root")),
        ("www", User(33, 34, (34, 44, 45), "/var/www")),
        ("33", User(33, 34, (34, 44, 45), "/var/www")),
        ("www:root", User(33, 0, (0, 44, 45), "/var/www")),
        ("33:77", User(33, 77, (77, 44, 45), "/var/www")),
        (":34", User(0, 34, (34, 44), "/root")),
        ("daemon", User(1, 1, (1,), "/usr/sbin")),
        ("short", User(7, 8, (8,), "/")),
        ("1000", User(1000, 0, (0,), "/")),
        ("2147483647", User(2147483647, 0, (0,), "/")),
    ],
)
def test_the_images_user(rootfs: Path, image_user: str, expected: User) -> None:
    assert resolve_user(asked(), image_user, rootfs) == expected


@pytest.mark.parametrize(
    ("security", "expected"),
    [
        (asked(33), User(33, 34, (34, 44, 45), "/var/www")),
        (asked(33, 5), User(33, 5, (5, 44, 45), "/var/www")),
        (asked("www", 5), User(33, 5, (5, 44, 45), "/var/www")),
        (asked("www", supplemental_groups=[44, 9]), User(33, 34, (34, 44, 45, 9), "/var/www")),
        (asked(33, supplemental_groups=[9], supplemental_groups_policy=api.Strict), User(33, 34, (34, 9), "/var/www")),
        (asked(0, 0), User(0, 0, (0, 44), "/root")),
    ],
)
def test_the_requests_user_stands_before_the_images(
    rootfs: Path, security: api.LinuxContainerSecurityContext, expected: User
) -> None:
    assert resolve_user(security, "daemon", rootfs) == expected


@pytest.mark.parametrize(
    ("security", "image_user", "text"),
    [
        (asked(group=5), "", "run_as_group is set without"),
        (asked(-1), "", "run_as_user -1 is outside"),
        (asked(2**31), "", "is outside"),
        (asked(1, 2**31), "", "run_as_group"),
        (asked(1, supplemental_groups=[-7]), "", "supplemental_groups -7"),
        (asked(1, supplemental_groups_policy=9), "", "supplemental_groups_policy 9"),
        (asked("a:b"), "", "holds a colon"),
        (asked("nobody"), "", "'nobody' is not in /etc/passwd"),
        (asked(), "www:nosuch", "'nosuch' is not in /etc/group"),
        (asked(), "9" * 5000, "is outside"),
        (asked(), "negative", "not in /etc/passwd"),
        (asked(), "huge", "not in /etc/passwd"),
        (asked(), "\u0663", "not in /etc/passwd"),
    ],
)
def test_a_user_that_cannot_be_is_refused(
    rootfs: Path, security: api.LinuxContainerSecurityContext, image_user: str, text: str
) -> None:
    with pytest.raises(InvalidArgument, match=text):
        resolve_user(security, image_user, rootfs)


def test_an_image_without_the_files_still_has_numbers(tmp_path: Path) -> None:
    assert resolve_user(asked(5, 6), "", tmp_path) == User(5, 6, (6,), "/")
    (tmp_path / "etc").write_text("a file, not a directory")
    assert resolve_user(asked(5, 6), "", tmp_path) == User(5, 6, (6,), "/")


@pytest.mark.parametrize("target", ["/passwd", "../passwd", "../../../passwd"])
def test_a_link_out_of_the_root_is_followed_inside_it(rootfs: Path, target: str) -> None:
    (rootfs.parent / "passwd").write_text("www:x:666:666::/:\n")
    (rootfs / "etc" / "passwd").rename(rootfs / "passwd")
    (rootfs / "etc" / "passwd").symlink_to(target)
    assert resolve_user(asked("www"), "", rootfs).uid == 33


def test_a_directory_that_is_a_link_to_the_hosts_is_not_followed_there(tmp_path: Path) -> None:
    (tmp_path / "etc").symlink_to("/etc")
    with pytest.raises(FailedPrecondition, match="its links lead nowhere"):
        resolve_user(asked(0), "", tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "directory"])
def test_what_is_no_plain_file_is_refused_and_never_waited_for(rootfs: Path, kind: str) -> None:
    (rootfs / "etc" / "passwd").unlink()
    if kind == "pipe":
        os.mkfifo(rootfs / "etc" / "passwd")
    else:
        (rootfs / "etc" / "passwd").mkdir()
    with pytest.raises(FailedPrecondition, match="/etc/passwd of the image is not a plain file"):
        resolve_user(asked(0), "", rootfs)


def test_a_huge_file_is_refused(rootfs: Path) -> None:
    with (rootfs / "etc" / "group").open("ab") as file:
        file.truncate(users.FILE_LIMIT + 1)
    with pytest.raises(FailedPrecondition, match="/etc/group of the image has more than"):
        resolve_user(asked(0), "", rootfs)


def test_garbage_is_skipped(rootfs: Path) -> None:
    line = b"good:x:12:13::/home/good:\n"
    (rootfs / "etc" / "passwd").write_bytes(b"\xff\xfe:::\0\n\x0cevil:x:0:0::/:\x0c\n:x:0:0::/:\n" + line)
    assert resolve_user(asked("good"), "", rootfs) == User(12, 13, (13,), "/home/good")


def test_only_a_line_feed_ends_a_line(rootfs: Path) -> None:
    (rootfs / "etc" / "passwd").write_text("a:x:5:5:gecos\x0cwww:x:0:0::/:\nwww:x:33:34::/:\n")
    assert resolve_user(asked("www"), "", rootfs).uid == 33
