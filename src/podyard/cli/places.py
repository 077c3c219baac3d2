"""The two sides of a copy: a path here, or one in a container."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from podyard.errors import InvalidArgument


@dataclass(frozen=True)
class Remote:
    """``path`` in the container that ``name`` stands for."""

    name: str
    path: str

    @property
    def contents(self) -> bool:
        """Whether what is in the directory is meant, not the directory: the path ends with "/."."""
        return self.last in {"", "."}

    @property
    def last(self) -> str:
        """The last part of the path."""
        return self.path.rstrip("/").rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The directory that holds it; the directory itself where its contents are meant."""
        if self.contents:
            return self.path
        before, slash, _ = self.path.rstrip("/").rpartition("/")
        return (before or "/") if slash else "."


def parse_place(text: str) -> Path | Remote:
    """``CONTAINER:PATH``, or a path here: one that begins with "/" or ".", or has no colon.

    Raises InvalidArgument.
    """
    name, colon, path = text.partition(":")
    if not colon or text.startswith(("/", ".")):
        if not text:
            raise InvalidArgument("a path is empty")
        return Path(text)
    if not name or not path or "\0" in path:
        raise InvalidArgument(f"{text!r}: write CONTAINER:PATH, with a container (or a Pod) and a path in it")
    place = Remote(name, path)
    if place.last == "..":
        raise InvalidArgument(f"{text!r}: what ends in .. has no name of its own: name the directory")
    return place
