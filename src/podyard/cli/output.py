"""What commands print: tables for people, JSON and YAML for programs, names and ids for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from podyard.cli.settings import Settings
from podyard.errors import PodyardError

if TYPE_CHECKING:
    from google.protobuf.message import Message

SHORT_ID = 13
"""Hex digits of an id in a table: as many as crictl shows."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Things to print. ``data`` is called only for JSON and YAML: making it costs more than a table."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    ids: Sequence[str]
    names: Sequence[str]
    data: Callable[[], Any]


def show(listing: Listing, settings: Settings) -> None:
    """Print a listing in the format of the settings."""
    if settings.quiet:
        _lines(listing.ids)
    elif settings.output == "name":
        _lines(listing.names)
    elif settings.output in {"json", "yaml"}:
        show_data(listing.data(), settings.output)
    else:
        print(table(listing.columns, listing.rows))


def show_data(data: Any, format_: str) -> None:
    """Print plain data as "json" or "yaml"."""
    if format_ == "yaml":
        import yaml

        print(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), end="")
    else:
        print(json.dumps(data, indent=2, ensure_ascii=False))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text in columns, without trailing blanks."""
    lines = [list(columns), *([printable(cell) or "-" for cell in row] for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    padded = ("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def printable(text: str) -> str:
    """Text that cannot steer a terminal: names and messages come from whoever made the object."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def as_data(message: Message) -> dict[str, Any]:
    """A protobuf message in its JSON mapping, with the protocol's field names and all fields (64-bit numbers: text)."""
    from google.protobuf import json_format

    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def decoded(info: Mapping[str, str]) -> dict[str, Any]:
    """The verbose part of an answer: values that are JSON are decoded, others stay text."""
    values: dict[str, Any] = {}
    for key, text in sorted(info.items()):
        try:
            values[key] = json.loads(text)
        except ValueError:
            values[key] = text
    return values


def complain(error: PodyardError) -> None:
    """Tell of an error on standard error."""
    print(f"podyard: error: {error}", file=sys.stderr)


def short_id(full: str, settings: Settings) -> str:
    """An id for a table."""
    return full if settings.no_trunc else full.removeprefix("sha256:")[:SHORT_ID]


def _lines(lines: Sequence[str]) -> None:
    for line in lines:
        print(line)
