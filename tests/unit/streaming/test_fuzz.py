"""Whatever a peer sends over SPDY and WebSocket is taken. A longer run: tests/support/fuzz.py."""

from __future__ import annotations

import pytest
from tests.support.fuzz import Target, targets, try_one

INPUTS = 500


@pytest.mark.parametrize("target", targets(), ids=lambda target: target.name)
async def test_mutated_conversations_are_taken(target: Target) -> None:
    for number in range(INPUTS):
        try_one(target, 0, number)
