"""podyard cp: trees and files, both ways."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.support.commands import Run, terminal
from tests.support.pods import Kit


async def running(kit: Kit, *command: str, **fields: object) -> str:
    return await kit.start(await kit.sandbox(), command or ("sleep", "1000"), **fields)


def tree(folder: Path) -> dict[str, object]:
    """What a folder holds, as far as copies keep it."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_dir():
            found[name] = oct(path.stat().st_mode)
        else:
            found[name] = (oct(path.stat().st_mode), int(path.stat().st_mtime), path.read_bytes())
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "below" / "empty").mkdir(parents=True)
    (folder / "file").write_bytes(os.urandom(3_000_000))
    (folder / "below" / "run").write_text("#!/bin/sh\n")
    (folder / "below" / "run").chmod(0o755)
    (folder / "below" / ("long" * 40)).write_text("a long name")
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "hard").hardlink_to(folder / "file")
    (folder / "below" / "empty").chmod(0o500)
    os.utime(folder / "file", (1_500_000_000, 1_500_000_000))
    return folder


async def test_a_tree_goes_into_a_container_and_comes_back_the_same(
    kit: Kit, run: Run, source: Path, tmp_path: Path
) -> None:
    container_id = await running(kit)
    (tmp_path / "here").mkdir()
    for arguments in (
        ("source", f"{container_id}:/tmp"),
        (f"{container_id}:/tmp/source", "again"),
        (f"{container_id}:/tmp/source", "here"),
        (f"{container_id}:/tmp/source/.", "contents"),
        ("source/.", f"{container_id}:/tmp/new"),
        (f"{container_id}:/tmp/new", "new"),
    ):
        done = await asyncio.to_thread(run, "cp", *arguments)
        assert (done.returncode, done.stderr, done.stdout) == (0, b"", b""), arguments
    for name in ("again", "here/source", "contents", "new"):
        assert tree(tmp_path / name) == tree(source), name
    assert (tmp_path / "again" / "hard").samefile(tmp_path / "again" / "file")


async def test_a_file_gets_the_name_that_it_is_given_and_replaces_what_was_there(
    kit: Kit, run: Run, tmp_path: Path
) -> None:
    container_id = await running(kit)
    (tmp_path / "a").write_text("content\n")
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / "copy").symlink_to(victim)
    for arguments in (("a", f"{container_id}:/tmp/b"), (f"{container_id}:/tmp/b", "copy")):
        done = await asyncio.to_thread(run, "cp", *arguments)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "copy").read_text() == "content\n"
    assert victim.read_text() == "untouched"
    assert await kit.exec(container_id, "stat", "-c", "%u:%g %a", "/tmp/b") == "0:0 644\n"


async def test_a_terminal_shows_how_much_was_copied(kit: Kit, environment: dict[str, str], source: Path) -> None:
    container_id = await running(kit)

    def talk(*arguments: str) -> None:
        with terminal(environment, "cp", *arguments) as session:
            session.until(rb"copied 3\.\d MB, [\d.]+ [kMG]?B/s\r\n")
            assert session.code() == 0

    await asyncio.to_thread(talk, str(source / "file"), f"{container_id}:/tmp/file")
    await asyncio.to_thread(talk, f"{container_id}:/tmp/file", str(source / "again"))
    assert (source / "again").read_bytes() == (source / "file").read_bytes()


COPIES_THAT_CANNOT_BE = [
    (("C:/nothing", "x"), 3, "No such file"),
    (("there", "C:/no/folder/x"), 3, "No such file"),
    (("nothing", "C:/tmp"), 3, "not there"),
    (("there", "C:/etc/passwd/"), 3, "no directory"),
    (("C:/etc", "there"), 5, "in the way"),
    (("C:/etc/passwd", "no/folder/x"), 3, "no directory"),
]


async def test_copies_that_cannot_be(kit: Kit, run: Run, tmp_path: Path) -> None:
    container_id = await running(kit)
    (tmp_path / "there").write_text("x")

    async def one(arguments: tuple[str, str]) -> tuple[int, str]:
        named = (argument.replace("C:", f"{container_id}:") for argument in arguments)
        done = await asyncio.to_thread(run, "cp", *named)
        return done.returncode, done.stderr.decode()

    found = await asyncio.gather(*(one(arguments) for arguments, _, _ in COPIES_THAT_CANNOT_BE))
    for (arguments, code, text), (got, said) in zip(COPIES_THAT_CANNOT_BE, found, strict=True):
        assert (got, text in said) == (code, True), f"{arguments}: {got} {said}"
    assert (tmp_path / "there").read_text() == "x"


async def test_a_hostile_tar_in_a_container_gets_nothing_out(kit: Kit, run: Run, tmp_path: Path) -> None:
    container_id = await running(kit)
    script = """
cd /tmp; mkdir d; ln -s ../../outside d/way; tar cf /tmp/evil.tar d
rm d/way; mkdir d/way; echo x > d/way/in; tar cf /tmp/more.tar d/way/in
cat > /bin/evil <<'END'
#!/bin/sh
head -c 1024 /tmp/evil.tar; cat /tmp/more.tar
END
chmod +x /bin/evil; rm /bin/tar; mv /bin/evil /bin/tar"""
    await kit.exec(container_id, "sh", "-c", script)
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "a").mkdir()
    done = await asyncio.to_thread(run, "cp", f"{container_id}:/tmp/d", "a/d")
    assert (done.returncode, b"in the way" in done.stderr) == (5, True), done.stderr
    assert (tmp_path / "a" / "d" / "way").is_symlink()
    assert list(outside.iterdir()) == []


async def test_a_container_without_tar(kit: Kit, run: Run) -> None:
    container_id = await running(kit)
    await kit.exec(container_id, "rm", "/bin/tar")
    done = await asyncio.to_thread(run, "cp", f"{container_id}:/etc/passwd", "x")
    assert done.returncode == 5
    assert b"needs the programs tar" in done.stderr
