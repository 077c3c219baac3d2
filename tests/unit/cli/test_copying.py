"""What cp packs, unpacks and refuses."""

from __future__ import annotations

import io
import os
import random
import tarfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from podyard.cli.pack import pack
from podyard.cli.places import Remote, parse_place
from podyard.cli.unpack import unpack
from podyard.errors import DataLoss, FailedPrecondition, InvalidArgument, PodyardError


@pytest.mark.parametrize(
    ("text", "name", "folder", "last", "contents"),
    [
        ("pod/c:/a/b", "pod/c", "/a", "b", False),
        ("c:/a", "c", "/", "a", False),
        ("c:a//b///", "c", "a/", "b", False),
        ("c:a", "c", ".", "a", False),
        ("c:/", "c", "/", "", True),
        ("c:.", "c", ".", ".", True),
        ("c:/a/.", "c", "/a/.", ".", True),
        ("c:/a:b", "c", "/", "a:b", False),
    ],
)
def test_a_place_in_a_container(text: str, name: str, folder: str, last: str, contents: bool) -> None:
    place = parse_place(text)
    assert isinstance(place, Remote)
    assert (place.name, place.folder, place.last, place.contents) == (name, folder, last, contents)


@pytest.mark.parametrize("text", ["a", "./a:b", "/a:b", "../c:d", "."])
def test_a_place_here(text: str) -> None:
    assert parse_place(text) == Path(text)


@pytest.mark.parametrize("text", ["", "c:", ":/a", "c:..", "c:/a/../"])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_place(text)


def member(name: str, type_: bytes = tarfile.REGTYPE, link: str = "", size: int = 0, **more: object) -> bytes:
    """One header, with as many bytes of content as it says up to 10,000."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = type_, link, size, 0o755
    for key, value in more.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT) + b"x" * min(size, 10_000) + bytes(-min(size, 10_000) % 512)


def put(folder: Path, *members: bytes, place: Callable[[list[str]], list[str]] = lambda parts: parts) -> list[str]:
    """Unpack an archive of these members; what was left out."""
    read, write = os.pipe()
    content = b"".join(members) + bytes(1024)

    def feed() -> None:
        with os.fdopen(write, "wb") as file:
            try:
                file.write(content)
                file.flush()
            except BrokenPipeError:
                return  # it was refused before its end

    feeding = threading.Thread(target=_quietly, args=(feed,))
    feeding.start()
    try:
        return unpack(read, folder, place)
    finally:
        feeding.join()


def _quietly(function: Callable[[], None]) -> None:
    try:
        function()
    except BrokenPipeError:
        return  # closing writes what is left


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "in" / "folder"
    found.mkdir(parents=True)
    return found


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory and a file next to the one that is written to: they stay as they are."""
    found = tmp_path / "in" / "outside"
    found.mkdir(parents=True, exist_ok=True)
    (found / "file").write_text("untouched")
    return found


LINK = tarfile.SYMTYPE
HARD = tarfile.LNKTYPE


@pytest.mark.parametrize(
    "members",
    [
        [member("../outside/new", size=1)],
        [member("/outside", size=1)],
        [member("a/../../outside/new", size=1)],
        [member("way", LINK, "../outside"), member("way/new", size=1)],
        [member("way", LINK, "../outside"), member("way", tarfile.DIRTYPE), member("way/new", size=1)],
        [member("way", LINK, "../outside"), member("way/below", tarfile.DIRTYPE)],
        [member("way", LINK, "../outside"), member("way/link", LINK, "x")],
        [member("way", LINK, "../outside"), member("way/hard", HARD, "way/file")],
        [member("way", LINK, "../outside"), member("hard", HARD, "way/file"), member("hard", size=1)],
        [member("hard", HARD, "../outside/file")],
        [member("hard", HARD, "/etc/passwd")],
        [member("a", tarfile.DIRTYPE), member("a/way", LINK, "../../outside"), member("a/way/x/y", size=1)],
    ],
)
def test_nothing_gets_out(folder: Path, outside: Path, members: Sequence[bytes]) -> None:
    with pytest.raises((DataLoss, FailedPrecondition)):
        put(folder, *members)
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert (outside / "file").read_text() == "untouched"
    assert (outside / "file").stat().st_nlink == 1


def test_a_file_replaces_a_link_and_what_it_leads_to_stays(folder: Path, outside: Path) -> None:
    (folder / "there").symlink_to(outside / "file")
    put(folder, member("there", size=3), member("new", LINK, str(outside / "file")), member("new", size=2))
    assert (folder / "there").read_text() == "xxx"
    assert (folder / "new").read_text() == "xx"
    assert (outside / "file").read_text() == "untouched"


def test_links_are_made_as_they_are_and_special_modes_and_devices_are_not(folder: Path) -> None:
    left_out = put(
        folder,
        member("link", LINK, "/etc/shadow"),
        member("run", size=5, mode=0o6755, uid=12, gid=34, mtime=1_500_000_000),
        member("hard", HARD, "run"),
        member("device", tarfile.CHRTYPE),
        member("pipe", tarfile.FIFOTYPE),
        member("closed", tarfile.DIRTYPE, mode=0o500),
        member("closed/in", size=1),
    )
    assert (folder / "link").readlink() == Path("/etc/shadow")
    status = (folder / "run").stat()
    assert (oct(status.st_mode), status.st_uid, int(status.st_mtime)) == ("0o100755", os.getuid(), 1_500_000_000)
    assert (folder / "hard").samefile(folder / "run")
    assert (folder / "closed").stat().st_mode & 0o777 == 0o500
    assert (folder / "closed" / "in").read_text() == "x"
    assert [note.split()[0] for note in left_out] == ["device", "pipe"]


def test_a_name_that_was_not_asked_for_is_refused(folder: Path) -> None:
    def place(parts: list[str]) -> list[str]:
        if parts[:1] != ["wanted"]:
            raise DataLoss("not asked for")
        return ["as", *parts[1:]]

    put(folder, member("./wanted", tarfile.DIRTYPE), member("./wanted/in", size=1), place=place)
    assert (folder / "as" / "in").read_text() == "x"
    for other in (member("other", size=1), member("wanted/x", HARD, "other")):
        with pytest.raises(DataLoss, match="not asked for"):
            put(folder, other, place=place)


@pytest.mark.parametrize(
    "members",
    [
        [],
        [b"nonsense" * 64],
        [member("a", size=100_000)],
        [member("x", tarfile.GNUTYPE_LONGNAME, size=5_000_000)],
        [member("x", tarfile.XHDTYPE, size=1 << 40)],
        [member(".", size=1)],
    ],
)
def test_a_damaged_archive_is_told(folder: Path, members: list[bytes]) -> None:
    if not members:
        read, write = os.pipe()
        os.close(write)
        with pytest.raises(DataLoss, match="damaged"):
            unpack(read, folder, lambda parts: parts)
        return
    with pytest.raises(DataLoss):
        put(folder, *members)


@pytest.mark.parametrize("there", ["file", "directory"])
def test_what_is_in_the_way_is_told(folder: Path, there: str) -> None:
    if there == "file":
        (folder / "a").write_text("x")
        members = member("a/b", size=1)
    else:
        (folder / "a").mkdir()
        members = member("a", size=1)
    with pytest.raises(FailedPrecondition, match="in the way"):
        put(folder, members)


def test_any_change_of_an_archive_is_survived(tmp_path: Path, outside: Path) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, type_ in (("d", tarfile.DIRTYPE), ("d/" + "n" * 200, tarfile.REGTYPE), ("d/l", LINK), ("h", HARD)):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = type_, 700 if type_ == tarfile.REGTYPE else 0, "d/" + "n" * 200
            info.pax_headers = {"mtime": "1.5", "comment": "x"}
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    content = made.getvalue()
    chance = random.Random(4711)
    refused = 0
    for number in range(300):
        changed = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(content) - 2000)] = chance.randrange(256)
        folder = tmp_path / "in" / str(number)
        folder.mkdir()
        try:
            put(folder, bytes(changed))
        except (PodyardError, OSError):
            refused += 1
    assert 0 < refused < 300
    assert [path.name for path in outside.iterdir()] == ["file"]


def test_what_is_packed_has_no_owner_follows_no_link_and_leaves_out_what_is_no_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "file").write_text("content")
    (source / "sub" / ("n" * 150)).write_text("long")
    (source / "link").symlink_to("/etc")
    os.mkfifo(source / "pipe")
    read, write = os.pipe()
    left_out = pack(source, "new", write)
    with os.fdopen(read, "rb") as file:
        archive = tarfile.open(fileobj=io.BytesIO(file.read()))  # noqa: SIM115
    assert archive.getnames() == ["new", "new/file", "new/link", "new/sub", "new/sub/" + "n" * 150]
    assert {(info.uid, info.gid, info.uname, info.gname) for info in archive} == {(0, 0, "", "")}
    assert archive.getmember("new/link").linkname == "/etc"
    assert len(left_out) == 1
    assert "pipe" in left_out[0]
