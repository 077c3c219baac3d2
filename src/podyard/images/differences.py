"""How the root file systems of two images differ, told from their layers' records."""

from __future__ import annotations

import filecmp
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from podyard.errors import ResourceExhausted
from podyard.images.unpack.record import Entry, Record

CHANGES_LIMIT = 50_000
"""Changes that are told."""

_OPAQUE = b"trusted.overlay.opaque="


@dataclass(frozen=True)
class Change:
    """One path. Sizes are of files, 0 where there is none."""

    kind: Literal["added", "removed", "changed"]
    path: bytes
    before: int
    after: int


@dataclass(frozen=True)
class Layer:
    """A layer's tree and the file of its record."""

    tree: Path
    record: Path


@dataclass
class _Node:
    entry: Entry | None = None
    layer: Layer | None = None
    below: dict[bytes, _Node] = field(default_factory=dict)


def compare(first: Sequence[Layer], second: Sequence[Layer]) -> list[Change]:
    """The changes from one stack of layers (the lowest first) to another, in the order of the paths.

    Times count only where a file's content differs too. It reads files: call it in a thread.

    Raises DataLoss for a damaged record, ResourceExhausted for more than CHANGES_LIMIT changes.
    """
    changes: list[Change] = []
    for change in _changes(_merged(first), _merged(second), b""):
        if len(changes) >= CHANGES_LIMIT:
            raise ResourceExhausted(f"the images differ in more than {CHANGES_LIMIT} paths")
        changes.append(change)
    return changes


def _merged(layers: Sequence[Layer]) -> _Node:
    """What an overlay of the layers shows."""
    root = _Node()
    for layer in layers:
        descriptor = os.open(layer.record, os.O_RDONLY | os.O_CLOEXEC)
        try:
            record = Record(descriptor)
            for _ in record.pieces():
                pass
            listing = record.listing()
        finally:
            os.close(descriptor)
        for path in sorted(listing):
            _put(root, path, listing[path], layer)
    return root


def _put(root: _Node, path: bytes, entry: Entry, layer: Layer) -> None:
    if path == b".":
        root.entry, root.layer = entry, layer
        return
    parent, _, name = path.rpartition(b"/")
    node = root
    for part in parent.split(b"/") if parent else ():
        node = node.below.setdefault(part, _Node())
    if stat.S_ISCHR(entry.mode) and entry.device == 0:
        node.below.pop(name, None)
        return
    there = node.below.get(name)
    if there is None or not stat.S_ISDIR(entry.mode) or _is_opaque(entry.xattrs):
        there = node.below[name] = _Node()
    elif there.entry is not None and not stat.S_ISDIR(there.entry.mode):
        there.below.clear()
    there.entry, there.layer = entry._replace(xattrs=_shown(entry.xattrs)), layer


def _is_opaque(xattrs: bytes) -> bool:
    return any(one.startswith(_OPAQUE) for one in xattrs.split(b","))


def _shown(xattrs: bytes) -> bytes:
    """The attributes that are seen in a container: not the overlay's own."""
    return b",".join(one for one in xattrs.split(b",") if not one.startswith(b"trusted.overlay."))


def _changes(before: _Node, after: _Node, path: bytes) -> Iterator[Change]:
    for name in sorted(before.below.keys() | after.below.keys()):
        here = path + b"/" + name
        was, now = before.below.get(name), after.below.get(name)
        if was is None:
            yield Change("added", here, 0, _size(now))
        elif now is None:
            yield Change("removed", here, _size(was), 0)
        elif not _same(was, now, here):
            yield Change("changed", here, _size(was), _size(now))
        yield from _changes(was or _Node(), now or _Node(), here)


def _same(was: _Node, now: _Node, path: bytes) -> bool:
    one, other = was.entry, now.entry
    if one is None or other is None or one is other:
        return one is other
    kept = (one.mode, one.uid, one.gid, one.size, one.device, one.xattrs)
    if kept != (other.mode, other.uid, other.gid, other.size, other.device, other.xattrs):
        return False
    if stat.S_ISLNK(one.mode):
        return one.link == other.link
    if not stat.S_ISREG(one.mode) or was.layer == now.layer:
        return True
    assert was.layer is not None and now.layer is not None
    return filecmp.cmp(_real(was.layer, path), _real(now.layer, path), shallow=False)


def _real(layer: Layer, path: bytes) -> str:
    return os.fsdecode(os.fsencode(layer.tree) + path)


def _size(node: _Node | None) -> int:
    return node.entry.size if node is not None and node.entry is not None else 0
