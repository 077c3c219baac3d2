"""``podyard image``: what can be done with one image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podyard.cli import load, output, spool
from podyard.cli.endpoint import with_client
from podyard.cli.settings import Settings, output_options
from podyard.cli.units import size

if TYPE_CHECKING:
    from podyard.client import Client
    from podyard.cri import admin

SIGNS = {"added": "A", "removed": "D", "changed": "C"}


@click.group()
def command() -> None:
    """Look at one image, name it, save it."""


command.add_command(load.command, "load")


@command.command()
@click.argument("image")
@output_options
@with_client
async def history(client: Client, settings: Settings, image: str) -> None:
    """Show how an image was made: its layers, the newest first, with what made them.

    JSON and YAML: a list of {created, created_by, comment, empty_layer, chain_id, size}.
    """
    steps = _history(await client.admin.inspect_image(image))
    listing = output.Listing(
        columns=("LAYER", "CREATED", "SIZE", "BY"),
        rows=[
            (
                output.short_id(step["chain_id"], settings),
                step["created"][:19],
                size(step["size"]),
                _shortened(step["created_by"], settings),
            )
            for step in steps
        ],
        ids=[step["chain_id"] for step in steps if step["chain_id"]],
        names=[step["chain_id"] for step in steps if step["chain_id"]],
        data=lambda: steps,
    )
    output.show(listing, settings)


@command.command(name="inspect")
@click.argument("image")
@output_options
@with_client
async def inspect_(client: Client, settings: Settings, image: str) -> None:
    """Show all that podyard knows of an image: its documents as they came, and its layers.

    As JSON, or YAML with -o yaml. "podyard inspect" shows what the CRI tells of it, on any runtime.
    """
    found = await client.admin.inspect_image(image)
    if settings.quiet or settings.output == "name":
        print(found.id)
        return
    data = output.as_data(found)
    for layer in data["layers"]:
        del layer["images"]
    data["configuration"] = json.loads(found.configuration)
    data["manifests"] = [{"digest": one.digest, "content": json.loads(one.content)} for one in found.manifests]
    output.show_data(data, settings.output)


@command.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--to", "path", type=click.Path(path_type=Path), required=True, help="A new file; - is standard output.")
@with_client
async def save(client: Client, settings: Settings, images: tuple[str, ...], path: Path) -> None:
    """Write images to an OCI layout in a tar file, for "podyard load" and other tools.

    The daemon writes it, on its host. Layers are written uncompressed: the images keep their ids and get new digests.
    """
    if path == spool.STANDARD:
        async with spool.sending() as archive:
            await client.admin.save_images(images, archive)
        return
    written = await client.admin.save_images(images, path.absolute())
    if not settings.quiet:
        print(f"wrote {path} ({size(written)})")


@command.command()
@click.argument("image")
@click.argument("name")
@with_client
async def tag(client: Client, settings: Settings, image: str, name: str) -> None:
    """Give an image a further name; it may have been another image's."""
    found = await client.admin.tag_image(image, name)
    print(found.id if settings.quiet else f"{output.short_id(found.id, settings)}: {', '.join(found.repo_tags)}")


@command.command()
@click.argument("first")
@click.argument("second")
@output_options
@with_client
async def diff(client: Client, settings: Settings, first: str, second: str) -> None:
    """Show what the root file system of SECOND has otherwise than that of FIRST: A added, C changed, D removed.

    JSON and YAML: a list of {kind, path, before, after}, the last two being sizes in bytes.
    """
    changes = await client.admin.diff_images(first, second)
    paths = [change.path.decode(errors="backslashreplace") for change in changes]
    listing = output.Listing(
        columns=("", "PATH", "BEFORE", "AFTER"),
        rows=[
            (SIGNS[change.kind], path, size(change.before), size(change.after))
            for change, path in zip(changes, paths, strict=True)
        ],
        ids=paths,
        names=paths,
        data=lambda: [{**output.as_data(one), "path": path} for one, path in zip(changes, paths, strict=True)],
    )
    output.show(listing, settings)


def _history(found: admin.InspectImageResponse) -> list[dict[str, Any]]:
    """The entries of the configuration's history, the newest first, each with its layer where it made one."""
    configuration = json.loads(found.configuration)
    layers = iter(found.layers)
    steps = []
    # Nothing but this shows the history: whoever made the image may have written anything there.
    written = configuration.get("history")
    entries = written if isinstance(written, list) and written else [{} for _ in found.layers]
    for entry in [entry if isinstance(entry, dict) else {} for entry in entries]:
        empty = bool(entry.get("empty_layer", False))
        layer = None if empty else next(layers, None)
        steps.append(
            {
                "created": str(entry.get("created") or ""),
                "created_by": str(entry.get("created_by") or ""),
                "comment": str(entry.get("comment") or ""),
                "empty_layer": empty,
                "chain_id": layer.chain_id if layer is not None else "",
                "size": layer.size if layer is not None else 0,
            }
        )
    return steps[::-1]


def _shortened(text: str, settings: Settings) -> str:
    text = " ".join(text.split())
    return text if settings.no_trunc or len(text) <= 60 else f"{text[:59]}…"
