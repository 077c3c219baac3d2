"""Layers of images unpacked by a worker process, as overlayfs layers. Layers are hostile input.

layer.py     the daemon's side: unpacks a layer, checks an unpacked one, packs it again
stack.py     layers on top of each other, unpacked by one worker
running.py   runs a worker: follows its progress, kills it
workers.py   starts workers through the nursery
nursery.py   the main program that forks workers, since starting an interpreter for each layer takes too long
worker.py    the worker's main program: confines itself, unpacks, reports
record.py    what is kept of an archive, so that its layer can be verified and packed again
packer.py    the main program that does that
limits.py    what a layer may ask for, and what is told about an unpacked one
stream.py    the blob decompressed and hashed, in pieces
header.py    one tar header block: numbers, checksum, names
pax.py       the records of extended headers
sparse.py    maps of sparse files
reader.py    the archive's members, with all headers that belong to one taken together
tree.py      members written into the root
entries.py   what one member's file gets, and what a refusal means
paths.py     where a member's name leads inside the root, whatever links say
below.py     the directories of the layers below
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podyard.images.unpack.limits import Limits, UnpackResult

if TYPE_CHECKING:
    from podyard.images.unpack.layer import check_layer, pack_layer, unpack_layer
    from podyard.images.unpack.stack import Stack
    from podyard.images.unpack.workers import Workers

__all__ = ["Limits", "Stack", "UnpackResult", "Workers", "check_layer", "pack_layer", "unpack_layer"]


def __getattr__(name: str) -> Any:
    # The worker's program is a module of this package: with asyncio imported here it would start three times slower.
    if name in {"check_layer", "pack_layer", "unpack_layer"}:
        from podyard.images.unpack import layer

        return getattr(layer, name)
    if name == "Stack":
        from podyard.images.unpack.stack import Stack

        return Stack
    if name == "Workers":
        from podyard.images.unpack.workers import Workers

        return Workers
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
