"""One action on several things: a failure does not spare the rest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from podyard.errors import PodyardError

Thing = TypeVar("Thing")


async def each(things: Iterable[Thing], act: Callable[[Thing], Awaitable[None]]) -> None:
    """Act on one after the other. Raises at the end, with all messages and the class of the first failure."""
    failures: list[PodyardError] = []
    for thing in things:
        try:
            await act(thing)
        except PodyardError as error:
            failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise type(failures[0])("; ".join(str(failure) for failure in failures))
