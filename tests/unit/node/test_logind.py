"""What logind tells of the machine's shutdown, and how long that waits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from tests.support import logind as support
from tests.support.logind import Manager
from tests.support.patience import PATIENCE

from podyard.errors import FailedPrecondition, Unavailable
from podyard.node import logind

pytestmark = support.NEEDED
LIMIT = 30 * PATIENCE


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", support.address(tmp_path))
    with support.logind(tmp_path) as manager:
        yield manager


async def test_a_shutdown_waits_for_its_lock_and_is_told_of_both_ways(manager: Manager, tmp_path: Path) -> None:
    assert await logind.longest_delay() == 600.0
    async with asyncio.timeout(LIMIT), aclosing(logind.shutdowns()) as signals:
        assert await anext(signals) is False
        async with logind.delayed("the tests", "to see it"):
            await asyncio.to_thread(support.power_off, tmp_path)
            assert await anext(signals) is True
            assert not manager.asked.is_set()
        assert await asyncio.to_thread(manager.asked.wait, LIMIT)
        assert await anext(signals) is False  # systemd refused


async def test_without_logind_nothing_is_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    with pytest.raises(FailedPrecondition, match="systemd-logind does not answer: "):
        await logind.longest_delay()
    with pytest.raises(Unavailable, match="systemd-inhibit gives no lock: "):
        async with logind.delayed("the tests", "to see it"):
            pass
    with pytest.raises(Unavailable, match="busctl does not tell of shutdowns: "):
        async with aclosing(logind.shutdowns()) as signals:
            await anext(signals)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FailedPrecondition, match="busctl cannot be run"):
        await logind.longest_delay()
    with pytest.raises(Unavailable, match="systemd-inhibit cannot be run"):
        async with logind.delayed("the tests", "to see it"):
            pass
