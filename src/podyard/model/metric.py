"""What can be counted and measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One measurement. Its name ends as Prometheus has it: with the unit, and "_total" where it only grows."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()
    at: int | None = None
    """When it was made, in milliseconds since 1970; None for now."""
