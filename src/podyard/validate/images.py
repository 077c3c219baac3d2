"""The suite's images: made on the spot from the host's static busybox, served by its own registry.

An image is written when a case first asks for it.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
from podyard.validate.registry import Registry

__all__ = ["Images"]

RUN_LABEL = "podyard.validate"
"""Of every image with something to run: the registry of the run that made it."""

CONFIGURED = {
    "Entrypoint": ["sh", "-c", 'echo "entry $0 $*"; pwd; echo "$VALUE"; id -u'],
    "Cmd": ["cmd"],
    "Env": [busybox.PATH, "VALUE=of the image"],
    "User": "member",
    "WorkingDir": "/work",
    "Volumes": {"/volume": {}},
    "StopSignal": "SIGUSR1",
    "Labels": {"made-by": "validate"},
}


class Images:
    """``folder`` takes the layout. Raises FailedPrecondition where busybox is not there or not static."""

    def __init__(self, folder: Path, registry: Registry) -> None:
        self.registry = registry
        self._layout = LayoutWriter(folder)
        self.busybox = busybox.find()
        self._base: WrittenLayer | None = None
        self._lock = threading.Lock()
        self._made: dict[str, str] = {}
        self._numbers = itertools.count(1)

    def named(self, name: str) -> str:
        """The reference of an image that all cases share: one of the names in ``RECIPES``."""
        if name not in self._made:
            self._made[name] = self.publish(f"validate/{name}", "1", RECIPES[name](self))
        return self._made[name]

    def runnable(
        self,
        layers: Sequence[Tree | WrittenLayer] = (),
        config: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> WrittenManifest:
        """An image on top of busybox; ``more`` as LayoutWriter.add_image takes it."""
        given = {"Cmd": ["sh"], "Env": [busybox.PATH], **(config or {})}
        # No other image of the runtime is the same: this one is removed at the end of the run, with all its names.
        given["Labels"] = {**given.get("Labels", {}), RUN_LABEL: self.registry.address}
        with self._lock:
            self._base = self._base or self._layout.add_layer(busybox.tree(self.busybox))
        return self._layout.add_image([self._base, *layers], config=given, listed=False, **more)

    def unique(self, repository: str = "", config: Mapping[str, Any] | None = None, **more: Any) -> str:
        """The reference of a small image that nobody else has: a file with a number, nothing to run."""
        number = next(self._numbers)
        made = self._layout.add_image(
            [{"number": file(f"{number} {self.registry.address}\n")}], config=config or {}, listed=False, **more
        )
        return self.publish(repository or f"validate/unique-{number}", "1", made)

    def publish(self, repository: str, tag: str, made: WrittenManifest) -> str:
        """Put an image into the registry; its reference. A tag that is there moves."""
        for digest in self._blobs(made.digest):
            self.registry.add_blob(self._layout.path(digest), digest)
        self.registry.add_manifest(repository, tag, self._layout.path(made.digest), made.digest, made.media_type)
        return f"{self.registry.address}/{repository}:{tag}"

    def index(self) -> WrittenManifest:
        """An index of one image for this host's platform and one for another."""
        ours = self.runnable([{"kind": file("index\n")}])
        other = self._layout.add_image([{"kind": file("other\n")}], architecture="s390x", listed=False)
        for made in (ours, other):
            for digest in self._blobs(made.digest):
                self.registry.add_blob(self._layout.path(digest), digest)
            self.registry.add_manifest(
                "validate/index", made.digest, self._layout.path(made.digest), made.digest, made.media_type
            )
        return self._layout.add_index([other, ours])

    def layer(self, tree: Tree, compression: Any = "gzip") -> WrittenLayer:
        """A layer, to be used in images."""
        return self._layout.add_layer(tree, compression)

    def corrupted(self) -> str:
        """The reference of an image whose layer in the registry does not have the digest that the manifest names."""
        number = next(self._numbers)
        layer = self._layout.add_layer({"number": file(f"{number} broken\n")})
        repository = f"validate/corrupted-{number}"
        reference = self.publish(repository, "1", self._layout.add_image([layer], config={}, listed=False))
        wrong = self._layout.path(layer.digest).with_name(f"wrong-{number}")
        data = bytearray(self._layout.path(layer.digest).read_bytes())
        data[-1] ^= 1
        wrong.write_bytes(data)
        self.registry.add_blob(wrong, layer.digest)
        return reference

    def _blobs(self, digest: str) -> list[str]:
        document = json.loads(self._layout.path(digest).read_bytes())
        if "manifests" in document:
            return []
        return [document["config"]["digest"], *(layer["digest"] for layer in document["layers"])]


def _kind(name: str) -> Tree:
    return {"kind": file(f"{name}\n")}


def _setuid(images: Images) -> WrittenManifest:
    """busybox's su, setuid root; it says so when it does not run as root."""
    return images.runnable([{"bin/su": file(images.busybox, mode=0o4755)}])


def _layered(images: Images) -> WrittenManifest:
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
        "a/link": symlink("/etc/passwd"),
        **whiteout("gone"),
        "opaque": directory(),
        **opaque("opaque"),
        "opaque/new": file("new\n"),
    }
    return images.runnable([first, second])


def _configured(images: Images) -> WrittenManifest:
    volume: Tree = {"volume": directory(uid=1000, gid=1000), "volume/file": file("in the volume\n", uid=1000, gid=1000)}
    return images.runnable([volume], CONFIGURED)


def _content(images: Images) -> WrittenManifest:
    tree: Tree = {
        "data": directory(),
        "data/file": file("of the image\n"),
        "data/deep": directory(),
        "data/deep/file": file("deeper\n"),
        "data/out": symlink("/etc"),
    }
    return images.runnable([tree])


RECIPES: Mapping[str, Callable[[Images], WrittenManifest]] = {
    "busybox": lambda images: images.runnable(),
    "configured": _configured,
    "layered": _layered,
    "content": _content,
    "gzip": lambda images: images.runnable([images.layer(_kind("gzip"), "gzip")]),
    "zstd": lambda images: images.runnable([images.layer(_kind("zstd"), "zstd")]),
    "uncompressed": lambda images: images.runnable([images.layer(_kind("uncompressed"), "none")]),
    "docker": lambda images: images.runnable([_kind("docker")], family="docker"),
    "index": lambda images: images.index(),
    "user-number": lambda images: images.runnable(config={"User": "1002"}),
    "user-name": lambda images: images.runnable(config={"User": "nobody"}),
    "user-and-group": lambda images: images.runnable(config={"User": "1003:1004"}),
    "user-with-groups": lambda images: images.runnable(config={"User": "member"}),
    "setuid": _setuid,
    "no-command": lambda images: images.runnable(config={"Cmd": []}),
}
"""The shared images. Users: see busybox.PASSWD; "configured" sets all that an image can set."""
