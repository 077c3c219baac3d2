"""Ages, durations and sizes as people read them."""

from __future__ import annotations

import time

MINUTE, HOUR, DAY, YEAR = 60, 3600, 86400, 365 * 86400

AGE_STEPS = (
    # below, larger unit, smaller unit (0: none): two units while the smaller one still matters, as kubectl shows ages
    (2 * MINUTE, 1, 0),
    (10 * MINUTE, MINUTE, 1),
    (3 * HOUR, MINUTE, 0),
    (8 * HOUR, HOUR, MINUTE),
    (2 * DAY, HOUR, 0),
    (8 * DAY, DAY, HOUR),
    (2 * YEAR, DAY, 0),
)
LETTERS = {1: "s", MINUTE: "m", HOUR: "h", DAY: "d", YEAR: "y"}


def age(since: int, now: int | None = None) -> str:
    """How long ago ``since`` was: "3m12s". Both are nanoseconds since 1970; 0 stands for never: "-"."""
    if since <= 0:
        return "-"
    seconds = max(0, ((time.time_ns() if now is None else now) - since) // 1_000_000_000)
    large, small = next(((large, small) for limit, large, small in AGE_STEPS if seconds < limit), (YEAR, DAY))
    whole, rest = divmod(seconds, large)
    more = rest // small if small else 0
    return f"{whole}{LETTERS[large]}" + (f"{more}{LETTERS[small]}" if more else "")


def duration(seconds: float) -> str:
    """How long something took: "0.04s", "2.3s", "1m05s"."""
    if seconds < 1:
        return f"{seconds:.2f}s"
    if seconds < MINUTE - 0.05:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), MINUTE)
    return f"{minutes}m{rest:02d}s"


def size(count: int) -> str:
    """Bytes in decimal units: "12.3 MB"."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        # 999.95 would be shown as 1000.0.
        if value < 999.95 or unit == "TB":
            break
        value /= 1000
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
