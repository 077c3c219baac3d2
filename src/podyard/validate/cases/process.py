"""What runs in a container: command, environment, working directory, terminal, and the file systems it finds."""

from __future__ import annotations

from typing import Any

from podyard.cri import api
from podyard.errors import InvalidArgument, PodyardError
from podyard.validate.case import case, table
from podyard.validate.expect import contains, equal, matches, one_of
from podyard.validate.kit import Kit

COMMANDS: dict[str, tuple[dict[str, Any], str]] = {
    "neither command nor args: the image's entrypoint and command": ({}, "entry cmd \n"),
    "args alone: the image's entrypoint with them": ({"args": ["one", "two words"]}, "entry one two words\n"),
    "command alone: without the image's command": ({"command": ["echo", "only"]}, "only\n"),
    "command and args": ({"command": ["echo"], "args": ["one", "two words", ""]}, "one two words \n"),
}


@table("command", COMMANDS)
async def _(kit: Kit, fields: dict[str, Any], expected: str) -> None:
    fields = {"command": [], **fields}
    command = fields.pop("command")
    status = await kit.ended(await kit.start(command, image=await kit.image("configured"), **fields))
    equal(kit.output(status)[: len(expected)], expected, "the first line")


@case("command", "no shell reads it")
async def _(kit: Kit) -> None:
    status = await kit.ended(await kit.start(["echo", "$HOME", "*", "a  b", "'"]))
    equal(kit.output(status), "$HOME * a  b '\n", "output")


@case("command", "neither the request nor the image has one: refused")
async def _(kit: Kit) -> None:
    await kit.refused(kit.create([], image=await kit.image("no-command")), InvalidArgument, says="command")


@case("command", "a program that does not exist is named, at create or at start")
async def _(kit: Kit) -> None:
    await kit.refused(kit.start(["/no/such/program"]), PodyardError, says="no/such/program")


@case("command", "a program that is not executable is named, at create or at start")
async def _(kit: Kit) -> None:
    await kit.refused(kit.start(["/etc/passwd"]), PodyardError, says="/etc/passwd")


ENVIRONMENT = {
    "a variable of the request": ([("A", "1 2")], "A", "1 2"),
    "an empty variable is set": ([("A", "")], "A", ""),
    "a variable of the request wins over the image's": ([("VALUE", "of the request")], "VALUE", "of the request"),
    "a variable of the image": ([], "VALUE", "of the image"),
    "the last of one name counts": ([("A", "1"), ("A", "2")], "A", "2"),
    "nothing is expanded": ([("A", "$B $(B)"), ("B", "x")], "A", "$B $(B)"),
    "letters beyond ASCII": ([("A", "ü✓")], "A", "ü✓"),
    "a newline": ([("A", "one\ntwo")], "A", "one\ntwo"),
    "PATH is the image's": ([], "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
}


@table("environment", ENVIRONMENT)
async def _(kit: Kit, variables: list[tuple[str, str]], name: str, expected: str) -> None:
    envs = [api.KeyValue(key=key, value=text.encode()) for key, text in variables]
    output = await kit.shell(f'printf %s "${{{name}-unset}}"', image=await kit.image("configured"), envs=envs)
    equal(output, expected, name)


@case("environment", "HOSTNAME is the sandbox's host name")
async def _(kit: Kit) -> None:
    equal(await kit.look('echo "$HOSTNAME"'), "shared\n", "HOSTNAME")


@table(
    "working directory",
    {
        "the request's": ("/tmp", "busybox", "/tmp"),
        "the image's, where the request has none": ("", "configured", "/work"),
        "the root, where neither has one": ("", "busybox", "/"),
        "one that does not exist is made": ("/made/on/the/way", "busybox", "/made/on/the/way"),
    },
)
async def _(kit: Kit, working_dir: str, image: str, expected: str) -> None:
    output = await kit.shell("pwd", working_dir=working_dir, image=await kit.image(image))
    equal(output.strip(), expected, "working directory")


@table(
    "terminal",
    {
        "standard input, output and error are one": ("test -t 0 && test -t 1 && test -t 2 && echo yes", "yes"),
        "TERM is set": ('echo "${TERM-unset}"', "xterm"),
        "its name is in /dev/pts": ("tty", "/dev/pts/0"),
        "/dev/console is there": ("test -c /dev/console && echo yes", "yes"),
    },
)
async def _(kit: Kit, script: str, expected: str) -> None:
    equal((await kit.shell(script, tty=True, stdin=True)).strip(), expected, "output")


@case("terminal", "without one, TERM is not set and no stream is a terminal")
async def _(kit: Kit) -> None:
    output = await kit.shell('echo "${TERM-unset}"; test -t 0 || test -t 1 || test -t 2 || echo none')
    equal(output, "unset\nnone\n", "output")


@case("terminal", "standard input is at its end where the request does not ask for it")
async def _(kit: Kit) -> None:
    equal(await kit.shell("cat; echo end"), "end\n", "output")


@case("terminal", "standard input stays open where the request asks for it")
async def _(kit: Kit) -> None:
    container_id = await kit.start(["sh", "-c", "echo waits; read line; echo ended"], stdin=True, stdin_once=True)
    status = await kit.says(container_id, "waits")
    equal((await kit.status(container_id)).state, api.CONTAINER_RUNNING, "state")
    equal(kit.output(status), "waits\n", "output")


MOUNTS = {
    "/proc": ("proc", "rw", {"nosuid", "nodev", "noexec"}),
    "/dev": ("tmpfs", "rw", {"nosuid"}),
    "/dev/pts": ("devpts", "rw", {"nosuid", "noexec"}),
    "/dev/mqueue": ("mqueue", "rw", {"nosuid", "nodev", "noexec"}),
    "/dev/shm": ("tmpfs", "rw", {"nosuid", "nodev", "noexec"}),
    "/sys": ("sysfs", "ro", {"nosuid", "nodev", "noexec"}),
}


@table("file systems", {f"{path} is a {row[0]}, {row[1]}": (path, *row) for path, row in MOUNTS.items()})
async def _(kit: Kit, path: str, kind: str, access: str, options: set[str]) -> None:
    line = await kit.look(f"awk '$2 == \"{path}\" {{print $3, $4}}' /proc/self/mounts")
    came_kind, _, came = line.strip().partition(" ")
    equal(came_kind, kind, f"file system of {path}")
    equal({*came.split(",")} & {"rw", "ro", *options}, {access, *options}, f"options of {path} ({came})")


@case("file systems", "the cgroup tree is there, read-only")
async def _(kit: Kit) -> None:
    lines = (await kit.look("grep ' /sys/fs/cgroup' /proc/self/mounts")).splitlines()
    contains([line.split(" ")[1] for line in lines][:1], "/sys/fs/cgroup", "mounts")
    equal({line.split(" ")[3].split(",")[0] for line in lines if " cgroup" in line}, {"ro"}, "access")


@case("file systems", "the root is writable")
async def _(kit: Kit) -> None:
    equal(await kit.shell("echo x > /file; cat /file"), "x\n", "the file")


@case("file systems", "/dev has the standard links")
async def _(kit: Kit) -> None:
    output = await kit.look("for name in fd stdin stdout stderr; do readlink /dev/$name; done")
    equal(output.split(), ["/proc/self/fd", *(f"/proc/self/fd/{number}" for number in range(3))], "links")


@case("file systems", "nothing of the host's disks is mounted but the Pod's files")
async def _(kit: Kit) -> None:
    lines = (await kit.look("grep '^/dev/' /proc/self/mounts || true")).splitlines()
    paths = {line.split(" ")[1] for line in lines}
    one_of(bool(paths - {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}), (False,), f"other mounts ({paths})")


@case("file systems", "the image's layers are laid over each other: links, whiteouts, modes, owners")
async def _(kit: Kit) -> None:
    script = (
        "ls /a; cat /a/replaced /hard; stat -c '%a %u %g' /a/mode; readlink /a/link; "
        "ls /opaque; test ! -e /gone && echo no gone"
    )
    expected = "link\nmode\nreplaced\nnew\nshared\n4755 12 34\n/etc/passwd\nnew\nno gone\n"
    equal(await kit.shell(script, image=await kit.image("layered")), expected, "output")


@case("file systems", "a volume of the image has its content, its owner, and is not the image's own layer")
async def _(kit: Kit) -> None:
    script = "cat /volume/file; stat -c '%u %g' /volume; grep -c ' /volume ' /proc/self/mounts; echo x > /volume/new"
    image = await kit.image("configured")
    equal(await kit.shell(script, image=image), "in the volume\n1000 1000\n1\n", "output")
    equal(await kit.shell("ls /volume", image=image), "file\n", "the next container's volume")


@case("file systems", "/proc/sys of the network belongs to the sandbox")
async def _(kit: Kit) -> None:
    matches((await kit.look("cat /proc/sys/net/core/somaxconn")).strip(), "[0-9]+", "net.core.somaxconn")
