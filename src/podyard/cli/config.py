"""``podyard config``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from podyard.cli import output
from podyard.cli.serve import configuration, daemon_options


@click.command()
@daemon_options
@click.option("--output", "-o", "format_", type=click.Choice(("toml", "json", "yaml")), default="toml", help="Format.")
def command(format_: str, **options: Any) -> None:
    """Print the daemon's configuration, defaults included.

    It is what "podyard serve" would use with the same options.
    """
    config = configuration(**options)
    import msgspec

    values = msgspec.to_builtins(config, enc_hook=str)
    if format_ == "toml":
        print("\n".join(toml(values)))
    else:
        output.show_data(values, format_)


def toml(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The lines of a TOML table: a value that is not set becomes a comment, since TOML has no null."""
    tables = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    for key, value in values.items():
        if value is None:
            yield f"# {_key(key)} is not set"
        elif key not in tables:
            # The texts of JSON strings, numbers, booleans and arrays are TOML too.
            yield f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}"
    for key, table in tables.items():
        path = f"{prefix}{_key(key)}"
        yield ""
        yield f"[{path}]"
        yield from toml(table, f"{path}.")


def _key(key: str) -> str:
    bare = key.replace("-", "").replace("_", "")
    return key if bare.isascii() and bare.isalnum() else json.dumps(key, ensure_ascii=False)
