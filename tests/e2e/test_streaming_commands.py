"""exec, attach, port-forward and cp as a person calls them: with pipes, and in a terminal."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.e2e.test_streaming import WEB, listening
from tests.support.patience import PATIENCE
from tests.support.pods import Kit
from tests.support.servers import Server

LIMIT = 30.0 * PATIENCE
PODYARD = [sys.executable, "-m", "podyard"]


@pytest.fixture
def environment(server: Server) -> dict[str, str]:
    return {**os.environ, "PODYARD_RUNTIME_ENDPOINT": server.endpoint}


Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    """A command with pipes, in a folder of its own."""

    def call(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        argv = [*PODYARD, *arguments]
        return subprocess.run(argv, input=stdin, capture_output=True, env=environment, timeout=2 * LIMIT, cwd=tmp_path)

    return call


class Terminal:
    """A command in a pseudo-terminal. ``slave`` stays open here, so that its mode can be looked at afterwards."""

    def __init__(self, environment: dict[str, str], *arguments: str, rows: int = 40, columns: int = 120) -> None:
        self.master, self.slave = os.openpty()
        self.size(rows, columns)
        self.mode = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            [*PODYARD, *arguments],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env=environment,
            start_new_session=True,
        )

    def size(self, rows: int, columns: int) -> None:
        """Give the window another size."""
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: bytes) -> None:
        """Press keys."""
        os.write(self.master, text)

    def signal(self, number: signal.Signals) -> None:
        """Send one to the command."""
        self.process.send_signal(number)

    def until(self, pattern: bytes) -> bytes:
        """What appears, up to something that matches."""
        found, deadline = b"", time.monotonic() + LIMIT
        while not re.search(pattern, found):
            readable, _, _ = select.select([self.master], [], [], deadline - time.monotonic())
            assert readable, f"{pattern!r} did not appear after {found!r}"
            found += os.read(self.master, 4096)
        return found

    def code(self) -> int:
        """Wait for the end; the exit code."""
        return self.process.wait(timeout=LIMIT)

    @property
    def restored(self) -> bool:
        """Whether the terminal is as it was."""
        return termios.tcgetattr(self.slave) == self.mode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@contextmanager
def terminal(environment: dict[str, str], *arguments: str) -> Iterator[Terminal]:
    found = Terminal(environment, *arguments)
    try:
        yield found
    finally:
        found.close()


async def running(kit: Kit, *command: str, **fields: object) -> str:
    return await kit.start(await kit.sandbox(), command or ("sleep", "1000"), **fields)


async def test_exec_passes_a_pipe_through_and_gives_the_exit_code(kit: Kit, run: Run) -> None:
    container_id = await running(kit)
    done = await asyncio.to_thread(run, "exec", "-i", container_id, "--", "cat", stdin=b"x\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"x\n", b"")
    done = await asyncio.to_thread(run, "exec", container_id, "sh", "-c", "echo out; echo err >&2; exit 9")
    assert (done.returncode, done.stdout, done.stderr) == (9, b"out\n", b"err\n")


async def test_exec_passes_fifty_megabytes_from_file_to_file(
    kit: Kit, environment: dict[str, str], tmp_path: Path
) -> None:
    container_id = await running(kit)
    content = os.urandom(50_000_000)
    (tmp_path / "in").write_bytes(content)
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as target:
        process = await asyncio.create_subprocess_exec(
            *PODYARD, "exec", "-i", container_id, "cat", stdin=source, stdout=target, env=environment
        )
        async with asyncio.timeout(2 * LIMIT):
            assert await process.wait() == 0
    assert hashlib.sha256((tmp_path / "out").read_bytes()).digest() == hashlib.sha256(content).digest()


async def test_a_reader_who_has_enough_ends_exec_quietly(kit: Kit, environment: dict[str, str]) -> None:
    container_id = await running(kit)
    read, write = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *PODYARD, "exec", container_id, "yes", stdout=write, stderr=subprocess.PIPE, env=environment
    )
    os.close(write)
    assert await asyncio.to_thread(os.read, read, 2) == b"y\n"
    os.close(read)
    async with asyncio.timeout(LIMIT):
        _, err = await process.communicate()
    assert (process.returncode, err) == (141, b"")


async def test_a_terminal_without_one_is_refused(kit: Kit, run: Run) -> None:
    container_id = await running(kit)
    done = await asyncio.to_thread(run, "exec", "-it", container_id, "sh")
    assert done.returncode == 2
    assert b"needs a terminal" in done.stderr


async def test_a_shell_in_a_terminal(kit: Kit, environment: dict[str, str]) -> None:
    container_id = await running(kit)

    def talk() -> None:
        with terminal(environment, "exec", "-it", container_id, "--", "sh") as shell:
            shell.until(rb"# ")
            shell.type(b"until stty size | grep '40 120'; do sleep 0.1; done\r")
            shell.until(rb"\n40 120\r\n")
            shell.size(30, 90)
            shell.process.send_signal(signal.SIGWINCH)
            shell.type(b"while ! stty size | grep '30 90'; do sleep 0.1; done\r")
            shell.until(rb"\n30 90\r\n")
            shell.type(b"sh -c 'trap \"exit 3\" INT; echo up; while true; do sleep 0.1; done'; echo code $?\r")
            shell.until(rb"\nup\r\n")
            assert not shell.restored
            shell.type(b"\x03")
            shell.until(rb"code 3\r\n")
            shell.type(b"exit 5\r")
            assert shell.code() == 5
            assert shell.restored

    await asyncio.to_thread(talk)


async def test_signals_and_detach_keys_leave_the_terminal_as_it_was(kit: Kit, environment: dict[str, str]) -> None:
    container_id = await running(kit)

    def talk(options: Sequence[str], leave: Callable[[Terminal], None], code: int) -> None:
        with terminal(environment, "exec", "-it", *options, container_id, "--", "cat") as session:
            session.type(b"a\r")
            session.until(rb"a\r\na\r\n")
            assert not session.restored
            leave(session)
            assert (session.code(), session.restored) == (code, True)

    async with asyncio.TaskGroup() as group:
        for options, keys in (((), b"\x10\x11"), (("--detach-keys", "ctrl-a,d"), b"\x10\x01d")):
            group.create_task(asyncio.to_thread(talk, options, partial(Terminal.type, text=keys), 0))
        for number in (signal.SIGTERM, signal.SIGHUP):
            leave = partial(Terminal.signal, number=number)
            group.create_task(asyncio.to_thread(talk, (), leave, 128 + number))


async def test_without_a_terminal_ctrl_c_ends_the_session(kit: Kit, environment: dict[str, str]) -> None:
    container_id = await running(kit)
    process = await asyncio.create_subprocess_exec(
        *PODYARD, "exec", container_id, "sh", "-c", "echo up; sleep 600", stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT):
        assert await process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130


async def test_attach_in_a_terminal_and_detach(kit: Kit, environment: dict[str, str]) -> None:
    container_id = await running(kit, "sh", stdin=True, tty=True)

    def talk() -> None:
        for _ in range(2):
            with terminal(environment, "attach", "-it", container_id) as session:
                session.type(b"until stty size | grep '40 120'; do sleep 0.1; done; echo $((6 * 7))\r")
                session.until(rb"\n40 120\r\n42\r\n")
                session.type(b"\x10\x11")
                session.until(rb"goes on")
                assert session.code() == 0
                assert session.restored

    await asyncio.to_thread(talk)


async def test_attach_has_the_containers_exit_code(kit: Kit, run: Run) -> None:
    script = "read line; echo got $line; exit 6"
    container_id = await running(kit, "sh", "-c", script, stdin=True, stdin_once=True)
    done = await asyncio.to_thread(run, "attach", "-i", container_id, stdin=b"it\n")
    assert (done.returncode, done.stdout) == (6, b"got it\n")
    done = await asyncio.to_thread(run, "attach", container_id)
    assert done.returncode == 5
    assert b"podyard logs" in done.stderr


async def test_the_end_of_input_leaves_the_output_of_attach_alone(kit: Kit, run: Run) -> None:
    container_id = await running(kit, "sh", "-c", "read line; echo got $line; exit 6", stdin=True)
    done = await asyncio.to_thread(run, "attach", "-i", container_id, stdin=b"it\n")
    assert (done.returncode, done.stdout) == (6, b"got it\n")


async def test_port_forward_carries_many_connections_and_survives_a_bad_one(
    kit: Kit, environment: dict[str, str]
) -> None:
    sandbox_id = await kit.sandbox()
    server = await kit.start(sandbox_id, ["sh", "-c", WEB])
    await listening(kit, server, 7000)
    digest = (await kit.exec(server, "sha256sum", "/www/file")).split()[0]
    process = await asyncio.create_subprocess_exec(
        *PODYARD,
        *("port-forward", sandbox_id, ":7000", ":7001"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(LIMIT):
            ports: dict[int, int] = {}
            while len(ports) < 2:
                line = (await process.stdout.readline()).decode()
                found = re.fullmatch(r"Forwarding from (?:127\.0\.0\.1|\[::1\]):(\d+) -> (\d+)\n", line)
                assert found, line
                ports[int(found[2])] = int(found[1])

            async def one() -> str:
                reader, writer = await asyncio.open_connection("127.0.0.1", ports[7000])
                writer.write(b"GET /file HTTP/1.0\r\n\r\n")
                head, _, content = (await reader.read()).partition(b"\r\n\r\n")
                writer.close()
                await writer.wait_closed()
                assert b" 200 " in head
                return hashlib.sha256(content).hexdigest()

            reader, writer = await asyncio.open_connection("127.0.0.1", ports[7001])
            assert await reader.read() == b""
            writer.close()
            assert b"7001" in await process.stderr.readline()
            assert set(await asyncio.gather(*(one() for _ in range(20)))) == {digest}
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_port_forward_says_what_is_wrong_with_a_port(kit: Kit, run: Run) -> None:
    sandbox_id = await kit.sandbox()
    assert (await asyncio.to_thread(run, "port-forward", sandbox_id, "x:80")).returncode == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = await asyncio.to_thread(run, "port-forward", sandbox_id, f"{port}:80")
    assert done.returncode == 5
    assert f"port {port} of 127.0.0.1".encode() in done.stderr


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
