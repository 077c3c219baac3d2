"""How use is measured."""

from __future__ import annotations

import msgspec


class StatsConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What goes on between the calls that ask for it."""

    interval: float = 10.0
    """Seconds between two looks at what runs: CPU rates and the sizes of writable layers come from there."""

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise ValueError("stats.interval must be 1 second or more")
