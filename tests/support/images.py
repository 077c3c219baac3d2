"""The images of the tests: made on the spot from the host's static busybox, pushed to a registry of the tests' own."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import registry

from podyard.images import busybox
from podyard.images.layout import (
    Entry,
    LayoutWriter,
    Tree,
    WrittenLayer,
    WrittenManifest,
    directory,
    file,
    hardlink,
    opaque,
    symlink,
    whiteout,
)


@dataclass(frozen=True)
class Images:
    """References, by what they are for."""

    registry: str
    busybox: str
    """All applets, users root, member (also in group 50000) and nobody."""
    small: str
    """busybox as sh, cat and sleep, and /kind, in one plain layer."""
    large: str
    """12 MB that do not compress."""
    configured: str
    """Entrypoint, Cmd, Env, User, WorkingDir and a volume with content."""
    layered: str
    """Two layers with whiteouts, links, modes and owners."""
    zstd: str
    docker: str
    index: str
    pause: str
    """For runtimes that need one."""


def push_images(address: str, folder: Path) -> Images:
    """Make all images and push them to a registry ("host:port", plain HTTP)."""
    layout = LayoutWriter(folder)
    base = layout.add_layer(busybox.tree(busybox.find()))
    plain = {"Cmd": ["sh"], "Env": [busybox.PATH]}

    def push(name: str, made: WrittenManifest) -> str:
        registry.push(address, layout, made, f"test/{name}", "1")
        return f"{address}/test/{name}:1"

    def image(layers: Sequence[Tree | WrittenLayer], config: Mapping[str, Any] = plain, **more: Any) -> WrittenManifest:
        return layout.add_image(layers, config=config, **more)

    def kind(name: str) -> Tree:
        return {"kind": file(f"{name}\n")}

    ours = image([base, kind("index")])
    other = image([kind("other")], architecture="s390x")
    return Images(
        registry=address,
        busybox=push("busybox", image([base])),
        small=push("small", image([_small()])),
        large=push("large", image([_large()])),
        configured=push("configured", image([base, _volume()], _CONFIGURED)),
        layered=push("layered", image([base, *_layers()])),
        zstd=push("zstd", image([base, layout.add_layer(kind("zstd"), "zstd")])),
        docker=push("docker", image([base, kind("docker")], family="docker")),
        index=push("index", layout.add_index([other, ours])),
        pause=push("pause", image([_pause()], {"Entrypoint": ["/catatonit", "-P"]})),
    )


_CONFIGURED = {
    "Entrypoint": ["sh", "-c", 'echo entry "$0"; echo "$PWD" "${HOME#/}" "$VALUE"; id -u'],
    "Cmd": ["cmd"],
    "Env": [busybox.PATH, "VALUE=image-value"],
    "User": "member",
    "WorkingDir": "/work",
    "Volumes": {"/volume": {}},
    "StopSignal": "SIGQUIT",
}


def _small() -> Tree:
    tree = {"bin": directory(), "bin/busybox": file(busybox.find(), mode=0o755), "kind": file("small\n")}
    tree.update({f"bin/{name}": hardlink("bin/busybox") for name in ("sh", "cat", "sleep", "true", "ls")})
    return tree


def _large() -> Tree:
    with open("/dev/urandom", "rb") as random:
        return {"noise": file(random.read(12_000_000))}


def _volume() -> Tree:
    return {"volume": directory(uid=1000, gid=1000), "volume/file": file("in the volume\n", uid=1000, gid=1000)}


def _pause() -> Tree:
    found = shutil.which("catatonit")
    assert found, "catatonit is not installed"
    return {"catatonit": file(Path(found), mode=0o755)}


def _layers() -> list[Tree]:
    first: dict[str, Entry] = {
        "a": directory(),
        "a/replaced": file("old\n"),
        "gone": directory(),
        "gone/with": file("content\n"),
        "opaque": directory(),
        "opaque/old": file("old\n"),
        "shared": file("shared\n"),
        "hard": hardlink("shared"),
    }
    second: dict[str, Entry] = {
        "a": directory(),
        "a/replaced": file("new\n"),
        "a/mode": file("x", mode=0o4755, uid=12, gid=34),
        "a/big": file("x", uid=3_000_000_000),
        "a/link": symlink("/etc/passwd"),
        **whiteout("gone"),
        "opaque": directory(),
        **opaque("opaque"),
        "opaque/new": file("new\n"),
    }
    return [first, second]
