"""/etc/resolv.conf, /etc/hosts, /etc/hostname and the host name."""

from __future__ import annotations

import os
from pathlib import Path

from podyard.cri import api
from podyard.errors import InvalidArgument
from podyard.validate.case import case, table
from podyard.validate.expect import equal, skip
from podyard.validate.kit import Kit
from podyard.validate.requests import bind, namespaces, pod_security, security

DNS = {
    "one server": ({"servers": ["10.9.8.7"]}, ["nameserver 10.9.8.7"]),
    "several servers": ({"servers": ["10.9.8.7", "fd00::1"]}, ["nameserver 10.9.8.7", "nameserver fd00::1"]),
    "search domains": (
        {"servers": ["10.9.8.7"], "searches": ["a.test", "b.test"]},
        ["nameserver 10.9.8.7", "search a.test b.test"],
    ),
    "options": (
        {"servers": ["10.9.8.7"], "options": ["ndots:5", "edns0"]},
        ["nameserver 10.9.8.7", "options ndots:5 edns0"],
    ),
    "search domains and options alone": (
        {"searches": ["a.test"], "options": ["ndots:1"]},
        ["options ndots:1", "search a.test"],
    ),
}


@table("dns", {f"resolv.conf has {name}": row for name, row in DNS.items()})
async def _(kit: Kit, fields: dict[str, list[str]], expected: list[str]) -> None:
    sandbox_id = await kit.sandbox(dns_config=api.DNSConfig(**fields))
    lines = (await kit.shell("cat /etc/resolv.conf", sandbox_id)).split("\n")
    equal(sorted(filter(None, lines)), expected, "lines of /etc/resolv.conf")


@case("dns", "without settings resolv.conf is the host's")
async def _(kit: Kit) -> None:
    equal(await kit.look("cat /etc/resolv.conf"), Path("/etc/resolv.conf").read_text(), "/etc/resolv.conf")


@table(
    "dns",
    {
        f"a container's own mount at {path} wins": (path,)
        for path in ("/etc/resolv.conf", "/etc/hosts", "/etc/hostname")
    },
)
async def _(kit: Kit, path: str) -> None:
    own = kit.folder / "own"
    own.write_text("of the request\n")
    output = await kit.shell(f"cat {path}", mounts=[bind(path, own, readonly=True)])
    equal(output, "of the request\n", path)


@case("dns", "localhost is in /etc/hosts")
async def _(kit: Kit) -> None:
    if "localhost" not in Path("/etc/hosts").read_text():
        skip("the host's own /etc/hosts has no localhost")
    equal(await kit.look("grep -c localhost /etc/hosts >/dev/null && echo yes"), "yes\n", "localhost in /etc/hosts")


@table(
    "hostname",
    {
        "a short host name": ("web-0",),
        "a host name with dots": ("web-0.web.test",),
        "a host name of 64 characters": ("h" * 64,),
    },
)
async def _(kit: Kit, name: str) -> None:
    sandbox_id = await kit.sandbox(hostname=name)
    output = await kit.shell('hostname; cat /etc/hostname; echo "$HOSTNAME"', sandbox_id)
    equal(output.split("\n")[:3], [name] * 3, "host name, /etc/hostname and HOSTNAME")


@case("hostname", "a host name of more than 64 characters is refused")
async def _(kit: Kit) -> None:
    await kit.refused(kit.sandbox(hostname="h" * 65), InvalidArgument)


@case("hostname", "a Pod on the host's network has the host's name")
async def _(kit: Kit) -> None:
    options = namespaces(network=api.NODE)
    sandbox_id = await kit.sandbox(linux=pod_security(namespace_options=options), hostname="")
    output = await kit.shell("hostname", sandbox_id, linux=security(namespace_options=options))
    equal(output.strip(), os.uname().nodename, "host name")


@case("hostname", "all containers of a sandbox have its name")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(hostname="together")
    outputs = [await kit.shell("hostname", sandbox_id) for _ in range(2)]
    equal(outputs, ["together\n"] * 2, "host names")
