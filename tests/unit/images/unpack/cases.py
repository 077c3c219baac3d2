"""What a case of the corpus is.

``outside`` is the absolute path of a directory next to the target, with a file ``secret``; no archive may change it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.unit.images.unpack.archives import END

from podyard.errors import PodyardError
from podyard.images.unpack import Limits


@dataclass(frozen=True)
class Case:
    """``build`` makes the blob. It is refused with ``error`` and a text that matches, or unpacked so that it holds."""

    name: str
    build: Callable[[bytes], bytes]
    error: type[PodyardError] | None = None
    match: str = ""
    holds: Callable[[Path], bool] = lambda target: True
    limits: Limits = field(default_factory=Limits)


def refused(name: str, error: type[PodyardError], match: str, build: object, limits: Limits | None = None) -> Case:
    """An archive whose end mark is added; ``build`` makes it from ``outside``, or is it."""
    return Case(name, _builder(build), error, match, limits=limits or Limits())


def harmless(name: str, holds: Callable[[Path], bool], build: object) -> Case:
    """As ``refused``, for an archive that is unpacked."""
    return Case(name, _builder(build), holds=holds)


def blob(name: str, error: type[PodyardError], match: str, content: bytes) -> Case:
    """A blob that is taken as it is."""
    return Case(name, lambda outside: content, error, match)


def _builder(build: object) -> Callable[[bytes], bytes]:
    if isinstance(build, bytes):
        return lambda outside: build + END
    assert callable(build)
    return lambda outside: build(outside) + END
