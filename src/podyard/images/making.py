"""Layers in the making: who waits for them to begin and to be whole, and which of them one worker unpacks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from podyard.images.unpack import Stack, Workers

RESTING_LIMIT = 4
"""Workers that may wait for a layer that is being fetched still."""


@dataclass(eq=False)
class Making:
    """A layer that is being unpacked: its directory, the stack that it is in, and whether it has come to be."""

    chain_id: str
    tree: Path
    stack: Stack
    whole: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Makings:
    """All of them, by chain id. Their directories are made in ``folder`` and have numbers for names."""

    def __init__(self, folder: Path, workers: Workers) -> None:
        self.next = 1
        """The number of the next directory."""
        self._folder = folder
        self._workers = workers
        self._making: dict[str, Making] = {}
        # By the chain id of the topmost layer that they have begun: what is on top of that can join.
        self._stacks: dict[str, Stack] = {}
        self._begun = asyncio.Event()

    def get(self, chain_id: str) -> Making | None:
        """A layer that is being unpacked."""
        return self._making.get(chain_id)

    async def begun(self, chain: Sequence[str], here: Callable[[str], bool]) -> None:
        """Wait until the unpacking of each layer of ``chain`` has begun, or it is ``here``."""
        # The topmost first: mostly it comes last.
        while not all(chain_id in self._making or here(chain_id) for chain_id in reversed(chain)):
            await self._begun.wait()

    def look_again(self) -> None:
        """Who waits in ``begun`` should: a layer has begun, or it is here without that."""
        self._begun.set()
        self._begun = asyncio.Event()

    def begin(self, chain_id: str, below: str | None, small: int) -> Making:
        """A new one: ``unpack`` it in its stack at once, and ``end`` it. Raises OSError, and has left nothing then.

        ``small``: how many layers, this one and those on top of it, are so small that one worker should unpack them
        all. It is that of the layer ``below``, if that is such a layer too.
        """
        stack = self._stacks.pop(below, None) if below is not None and small else None
        if stack is not None and stack.over:
            self._drop(stack)
            stack = None
        if stack is None:
            stack = Stack(self._folders(max(small, 1)), workers=self._workers)
        making = self._making[chain_id] = Making(chain_id, stack.claim(), stack)
        if not stack.over:
            self._drop(self._stacks.pop(chain_id, None))
            self._stacks[chain_id] = stack
        self.look_again()
        return making

    def end(self, making: Making, *, whole: bool) -> None:
        """A layer is whole, or it has come to nothing, and with it those of its stack that are on top of it."""
        if self._making.get(making.chain_id) is making:
            del self._making[making.chain_id]
        # Else it was begun again before this one, which was cancelled, had come to its end.
        making.whole.set_result(whole)
        if not whole:
            self._give_up(lambda stack: stack is making.stack)
        resting = [stack for stack in self._stacks.values() if stack.resting]
        self._give_up(lambda stack: stack in resting[:-RESTING_LIMIT])

    async def ended(self) -> None:
        """Wait until all that have begun by now are whole, or have come to nothing."""
        if self._making:
            await asyncio.wait([making.whole for making in self._making.values()])

    def release(self, chain_ids: Collection[str]) -> None:
        """An image is whole, or has come to nothing: no worker needs to wait for more of its layers."""
        known = [self._stacks[chain_id] for chain_id in chain_ids if chain_id in self._stacks]
        self._give_up(lambda stack: stack in known and stack.resting)

    def let_go(self) -> None:
        """No worker gets more layers than it has."""
        self._give_up(lambda _: True)

    def names(self) -> set[str]:
        """Of the directories."""
        claimed = {making.tree.name for making in self._making.values()}
        return claimed | {path.name for stack in self._stacks.values() for path in stack.unclaimed}

    def _folders(self, count: int) -> list[Path]:
        made: list[Path] = []
        try:
            for _ in range(count):
                path = self._folder / str(self.next)
                self.next += 1
                path.mkdir(mode=0o755)
                made.append(path)
        except OSError:
            _remove(made)
            raise
        return made

    def _give_up(self, chosen: Callable[[Stack], bool]) -> None:
        for chain_id, stack in list(self._stacks.items()):
            if chosen(stack):
                self._drop(self._stacks.pop(chain_id))

    def _drop(self, stack: Stack | None) -> None:
        if stack is not None:
            stack.give_up()
            _remove(stack.unclaimed)
            stack.unclaimed.clear()


def _remove(folders: Collection[Path]) -> None:
    for folder in folders:
        # One that is not empty, against all rules, is a stray from now on.
        with suppress(OSError):
            folder.rmdir()
