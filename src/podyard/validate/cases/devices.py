"""Devices: what every container has, what a request adds, and the Container Device Interface."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from podyard.cri import api
from podyard.errors import InvalidArgument, PodyardError
from podyard.validate.case import case, table
from podyard.validate.expect import contains, equal, holds, lacks, skip
from podyard.validate.kit import Kit
from podyard.validate.requests import security, value

STANDARD = ("null", "zero", "full", "random", "urandom", "tty", "ptmx")


@case("devices", "the standard ones are there, for everybody")
async def _(kit: Kit) -> None:
    names = " ".join(f"/dev/{name}" for name in STANDARD)
    output = await kit.shell(f"ls -L {names}", linux=security(run_as_user=value(1234)))
    equal(output.split(), [f"/dev/{name}" for name in sorted(STANDARD)], "devices")


@table(
    "devices",
    {
        "/dev/null takes and gives nothing": ("echo x > /dev/null; cat /dev/null; echo end", "end\n"),
        "/dev/zero gives zeros": ("head -c 3 /dev/zero | od -An -tx1 | tr -d ' '", "000000\n"),
        "/dev/full takes nothing": ("(echo x > /dev/full) 2>/dev/null || echo full", "full\n"),
        "/dev/urandom gives bytes": ("head -c 3 /dev/urandom | wc -c", "3\n"),
    },
)
async def _(kit: Kit, script: str, expected: str) -> None:
    equal(await kit.look(script), expected, "output")


@case("devices", "those of the host are not there")
async def _(kit: Kit) -> None:
    lacks((await kit.look("ls /dev")).split(), "kmsg", "names in /dev")


@case("devices", "a disk cannot be opened, even when its node is made")
async def _(kit: Kit) -> None:
    output = await kit.look("mknod /tmp/kmsg c 1 11; cat /tmp/kmsg 2>&1 | head -c 200; rm /tmp/kmsg")
    contains(output, "not permitted", "the error inside")


@case("devices", "one of the request stands under its name")
async def _(kit: Kit) -> None:
    device = api.Device(container_path="/dev/my-zero", host_path="/dev/zero", permissions="rw")
    output = await kit.shell("test -c /dev/my-zero && head -c 3 /dev/my-zero | wc -c", devices=[device])
    equal(output, "3\n", "bytes read")


@case("devices", "one of the request has the host's permissions and owner")
async def _(kit: Kit) -> None:
    stat = Path("/dev/full").stat()
    device = api.Device(container_path="/dev/my-full", host_path="/dev/full", permissions="rwm")
    output = await kit.shell("stat -c '%a %u %g' /dev/my-full", devices=[device])
    equal(output.strip(), f"{stat.st_mode & 0o777:o} {stat.st_uid} {stat.st_gid}", "mode, user and group")


@case("devices", "permission to read alone does not let it be written")
async def _(kit: Kit) -> None:
    if not Path("/dev/fuse").exists():
        skip("the host has no /dev/fuse")
    device = api.Device(container_path="/dev/fuse", host_path="/dev/fuse", permissions="r")
    script = "(true > /dev/fuse) 2>&1 || true; true < /dev/fuse && echo readable"
    output = await kit.shell(script, devices=[device])
    contains(output, "not permitted", "the error of writing")
    contains(output, "readable", "output of reading")


@case("devices", "a link of the host leads to its device")
async def _(kit: Kit) -> None:
    (kit.folder / "link").symlink_to("/dev/zero")
    device = api.Device(container_path="/dev/linked", host_path=str(kit.folder / "link"), permissions="r")
    equal(await kit.shell("head -c 3 /dev/linked | wc -c", devices=[device]), "3\n", "bytes read")


@case("devices", "a directory stands for all devices in it")
async def _(kit: Kit) -> None:
    if not Path("/dev/net/tun").exists():
        skip("the host has no /dev/net/tun")
    device = api.Device(container_path="/dev/network", host_path="/dev/net", permissions="rwm")
    equal(await kit.shell("test -c /dev/network/tun && echo there", devices=[device]), "there\n", "output")


WRONG = {
    "one that the host does not have is refused by its name": (
        {"host_path": "/dev/no-such-device", "container_path": "/dev/x", "permissions": "r"},
        "no-such-device",
    ),
    "a file that is no device is refused": (
        {"host_path": "/etc/passwd", "container_path": "/dev/x", "permissions": "r"},
        "/etc/passwd",
    ),
    "permissions other than r, w and m are refused": (
        {"host_path": "/dev/zero", "container_path": "/dev/x", "permissions": "rx"},
        "",
    ),
}


@table("devices", WRONG)
async def _(kit: Kit, fields: dict[str, str], says: str) -> None:
    call = kit.create(["true"], devices=[api.Device(**fields)])
    await kit.refused(call, InvalidArgument, says=says)


@contextmanager
def _cdi(kit: Kit, edits: dict[str, Any]) -> Iterator[str]:
    """A device of the Container Device Interface for as long as the context is open; its name."""
    kind = f"validate.podyard.dev/run-{kit.session.id}-{next(kit.session.numbers)}"
    folder = Path("/var/run/cdi")
    path = folder / f"{kind.replace('/', '-')}.json"
    document = {"cdiVersion": "0.5.0", "kind": kind, "devices": [{"name": "one", "containerEdits": edits}]}
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
    except OSError as error:
        skip(f"cannot write {path}: {error.strerror}")
    try:
        yield f"{kind}=one"
    finally:
        path.unlink()
        if not existed:
            folder.rmdir()


EDITS: dict[str, tuple[dict[str, Any], str, str]] = {
    "environment": ({"env": ["OF_THE_DEVICE=yes"]}, 'echo "$OF_THE_DEVICE"', "yes\n"),
    "device nodes": (
        {"deviceNodes": [{"path": "/dev/cdi-zero", "hostPath": "/dev/zero"}]},
        "head -c 3 /dev/cdi-zero | wc -c",
        "3\n",
    ),
    "mounts": (
        {"mounts": [{"hostPath": "/etc/passwd", "containerPath": "/cdi/file", "options": ["ro", "bind"]}]},
        "test -s /cdi/file && echo there",
        "there\n",
    ),
}


@table(
    "CDI",
    {f"a device by its name brings its {name}": row for name, row in EDITS.items()},
    needs="CDI devices",
    alone=True,
)
async def _(kit: Kit, edits: dict[str, Any], script: str, expected: str) -> None:
    with _cdi(kit, edits) as name:
        equal(await kit.shell(script, CDI_devices=[api.CDIDevice(name=name)]), expected, "output")


@case("CDI", "an annotation asks for a device as well", needs="CDI devices", alone=True)
async def _(kit: Kit) -> None:
    with _cdi(kit, {"env": ["OF_THE_DEVICE=yes"]}) as name:
        output = await kit.shell('echo "$OF_THE_DEVICE"', annotations={"cdi.k8s.io/validate": name})
    equal(output, "yes\n", "output")


@case("CDI", "a device that nobody describes is refused by its name", needs="CDI devices")
async def _(kit: Kit) -> None:
    device = api.CDIDevice(name="validate.podyard.dev/none=one")
    error = await kit.refused(kit.create(["true"], CDI_devices=[device]), PodyardError)
    holds("validate.podyard.dev/none" in str(error), "an error that names the device", error)
