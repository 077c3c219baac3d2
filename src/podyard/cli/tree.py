"""Layers as a tree: each stands below the one that it was put on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from podyard.cli import output
from podyard.cli.settings import Settings
from podyard.cli.units import size

if TYPE_CHECKING:
    from podyard.cri import admin


def show_layers(layers: Sequence[admin.StoredLayer], settings: Settings) -> None:
    """Print the layers in the format of the settings; as a table, with the images that end at each."""
    if settings.quiet or settings.output == "name":
        for layer in layers:
            print(layer.chain_id)
    elif settings.output in {"json", "yaml"}:
        output.show_data([output.as_data(layer) for layer in layers], settings.output)
    else:
        for line in lines(layers, settings):
            print(line)


def lines(layers: Sequence[admin.StoredLayer], settings: Settings) -> Iterator[str]:
    """The tree as text. Images that only a container holds have no name."""
    below = _below(layers)
    yield from _drawn(below, "", "", settings)


def _below(layers: Sequence[admin.StoredLayer]) -> dict[str, list[admin.StoredLayer]]:
    """The layers that stand on each; "" is the ground. A layer's place is the same in all of its images."""
    by_place = {(user.id, user.position): layer.chain_id for layer in layers for user in layer.images}
    below: dict[str, list[admin.StoredLayer]] = {}
    for layer in layers:
        user = next(iter(layer.images), None)
        parent = by_place.get((user.id, user.position - 1), "") if user is not None else ""
        below.setdefault(parent, []).append(layer)
    return below


def _drawn(below: dict[str, list[admin.StoredLayer]], parent: str, margin: str, settings: Settings) -> Iterator[str]:
    # A layer that is the only one on another stands right below it: only a fork goes to the right.
    children = below.get(parent, [])
    for number, layer in enumerate(children):
        last = number == len(children) - 1
        fork = len(children) > 1 or parent == ""
        yield f"{margin}{('└─ ' if last else '├─ ') if fork else ''}{_text(layer, settings)}"
        further = margin + (("   " if last else "│  ") if fork else "")
        for user in layer.images:
            if user.position == user.layers - 1:
                names = ", ".join(map(output.printable, user.repo_tags)) or output.short_id(user.id, settings)
                yield f"{further}   = {names}{' (in use)' if user.in_use else ''}"
        yield from _drawn(below, layer.chain_id, further, settings)


def _text(layer: admin.StoredLayer, settings: Settings) -> str:
    count = len(layer.images)
    users = "no image" if count == 0 else "1 image" if count == 1 else f"{count} images"
    return f"{output.short_id(layer.chain_id, settings)} {size(layer.size)} ({users})"
