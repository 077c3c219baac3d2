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
        telling = _Telling(progress)
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
            telling.stop()
            self.pulls[result] += 1
            self.seconds += time.monotonic() - began


class _Telling:
    """Tells of a pull in the log at regular times, until ``stop``."""

    def __init__(self, progress: PullProgress) -> None:
        self._progress = progress
        self._before = 0
        self._timer = asyncio.get_running_loop().call_later(LOG_INTERVAL, self._tell)

    def stop(self) -> None:
        """No more."""
        self._timer.cancel()

    def _tell(self) -> None:
        progress = self._progress
        done, _ = progress.bytes()
        logger.info(
            "pulling %s for %.0f s, %s: %s, %.1f MB/s",
            progress.reference,
            (time.time_ns() - progress.started_at) / 1e9,
            progress.stage,
            progress.layers_text(),
            max(0, done - self._before) / LOG_INTERVAL / 1e6,
        )
        self._before = done
        self._timer = asyncio.get_running_loop().call_later(LOG_INTERVAL, self._tell)
