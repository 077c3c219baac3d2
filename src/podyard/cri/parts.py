"""Long lists in parts: what the Stream* calls send."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from google.protobuf.message import Message

__all__ = ["PART_SIZE", "parts"]

PART_SIZE = 1 << 20
"""Bytes of one part, as a rule: far below the 16 MiB that a kubelet's client takes in one message."""

Item = TypeVar("Item", bound=Message)


def parts(items: Iterable[Item], size: int = PART_SIZE) -> Iterator[list[Item]]:
    """The items in lists of some ``size`` bytes; one that is larger by itself is alone in its list. None is empty."""
    part: list[Item] = []
    filled = 0
    for item in items:
        weight = item.ByteSize()
        if part and filled + weight > size:
            yield part
            part, filled = [], 0
        part.append(item)
        filled += weight
    if part:
        yield part
