"""The two sides of a copy: a path here, or one in a container."""

from __future__ import annotations

import posixpath
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
        return self.path in {"/", "."} or self.path.endswith("/.")

    @property
    def name_of_source(self) -> str:
        """The last part of the path."""
        return posixpath.basename(posixpath.normpath(self.path))

    @property
    def folder(self) -> str:
        """The directory that holds it; the directory itself where its contents are meant."""
        path = posixpath.normpath(self.path)
        return path if self.contents else posixpath.dirname(path) or "."


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
    if posixpath.basename(posixpath.normpath(path)) == "..":
        raise InvalidArgument(f"{text!r}: what ends in .. has no name of its own: name the directory")
    return Remote(name, path)
