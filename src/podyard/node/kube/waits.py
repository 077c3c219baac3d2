"""Trying again what an API server refuses or is not there for."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from podyard.errors import PodyardError
from podyard.node.kube.answers import Throttled

logger = logging.getLogger(__name__)

LONGEST_ASKED = 300.0
"""Seconds: a server that asks for more is asked again all the same."""


class Waits:
    """How long to wait after failures that follow each other: doubling, and never all clients at once."""

    def __init__(self, first: float = 0.5, longest: float = 30.0) -> None:
        self._first, self._longest = first, longest
        self._failures = 0

    def next(self, error: PodyardError | None = None) -> float:
        """Seconds to wait after one failure more: at least what a server asks for that throttles."""
        wait = min(self._first * 2.0 ** min(self._failures, 20), self._longest)
        self._failures += 1
        asked = min(error.delay, LONGEST_ASKED) if isinstance(error, Throttled) else 0.0
        return max(wait * random.uniform(0.5, 1.0), asked * random.uniform(1.0, 1.2))

    def reset(self) -> None:
        """Something went well."""
        self._failures = 0


async def for_ever(call: Callable[[], Awaitable[None]], pause: Callable[[], Awaitable[None]], doing: str) -> None:
    """``call``, then ``pause``, again and again until cancelled; what fails is logged once and tried again soon.

    ``doing`` completes "cannot …".
    """
    waits, said = Waits(), ""
    while True:
        try:
            await call()
        except PodyardError as error:
            if str(error) != said:
                said = str(error)
                logger.warning("cannot %s: %s", doing, error)
            await asyncio.sleep(waits.next(error))
        else:
            said = ""
            waits.reset()
            await pause()
