"""The images of the tests: made on the spot from the host's static busybox, pushed to a registry of the tests' own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Images:
    """References, by what they are for."""

    registry: str
