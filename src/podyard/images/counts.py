"""What the pulls of this daemon have done, counted for its metrics and told in its log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from podyard.errors import PodyardError
from podyard.images.progress import PullProgress

logger = logging.getLogger(__name__)

LOG_INTERVAL = 10.0
"""Seconds between two lines of the log about one pull."""


@dataclass
class Counts:
    """Since the daemon's start."""

    pulls: Counter[str] = field(default_factory=Counter)
    """By how they ended: "OK", or the status of their error."""
    seconds: float = 0.0
    """That all these took."""
    fetched: int = 0
    """Bytes of layers that came from registries and archives."""
    unpacked: int = 0
    """Layers."""

    @asynccontextmanager
    async def pull(self, progress: PullProgress) -> AsyncIterator[None]:
        """Count a pull by how the block ends, and tell of it in the log while it lasts."""
        began = time.monotonic()
        result = "UNKNOWN"
        telling = asyncio.create_task(_tell(progress))
        try:
            yield
            result = "OK"
            seconds = time.monotonic() - began
            logger.info("pulled %s in %.1f s: %s", progress.reference, seconds, progress.layers_text())
        except PodyardError as error:
            result = error.status
            raise
        except asyncio.CancelledError:
            result = "CANCELLED"
            raise
        finally:
            telling.cancel()
            self.pulls[result] += 1
            self.seconds += time.monotonic() - began


async def _tell(progress: PullProgress) -> None:
    before, _ = progress.bytes()
    while True:
        await asyncio.sleep(LOG_INTERVAL)
        done, _ = progress.bytes()
        rate = max(0, done - before) / LOG_INTERVAL / 1e6
        before = done
        logger.info(
            "pulling %s for %.0f s, %s: %s, %.1f MB/s",
            progress.reference,
            (time.time_ns() - progress.started_at) / 1e9,
            progress.stage,
            progress.layers_text(),
            rate,
        )
