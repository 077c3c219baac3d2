"""Cases: short functions with a subject and a sentence as their name.

@case("sandbox", "a stopped sandbox is not ready")
async def _(kit: Kit) -> None: ...

@table("exits", {"exit code 0": (0, "Completed"), "exit code 1": (1, "Error")})
async def _(kit: Kit, code: int, reason: str) -> None: ...
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from podyard.validate.kit import Kit

__all__ = ["CASES", "Case", "case", "chosen", "table"]

TIME_LIMIT = 60.0
"""Seconds for a case, where it says nothing else."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing that a runtime must do."""

    subject: str
    name: str
    body: Callable[[Kit], Awaitable[None]]
    needs: str = ""
    """A call or a field that not every runtime has: where it is unimplemented the case is skipped, not failed."""
    alone: bool = False
    """It looks at the whole endpoint or at the host: no other case may run beside it."""
    limit: float = TIME_LIMIT

    @property
    def title(self) -> str:
        """Unique."""
        return f"{self.subject}: {self.name}"

    @property
    def module(self) -> str:
        """The file of cases that it stands in."""
        body = self.body.func if isinstance(self.body, functools.partial) else self.body
        return str(getattr(body, "__module__", "")).rpartition(".")[2]


CASES: list[Case] = []
"""All cases, in the order in which their modules are imported (``podyard.validate.cases``)."""

Body = Callable[..., Awaitable[None]]


def case(
    subject: str, name: str, *, needs: str = "", alone: bool = False, limit: float = TIME_LIMIT
) -> Callable[[Body], Body]:
    """Make a case of a function that takes a Kit."""
    return table(subject, {name: ()}, needs=needs, alone=alone, limit=limit)


def table(
    subject: str,
    rows: Mapping[str, Sequence[Any]],
    *,
    needs: str = "",
    alone: bool = False,
    limit: float = TIME_LIMIT,
) -> Callable[[Body], Body]:
    """Make a case of each row: its name, and what the function takes after its Kit."""

    def decorate(body: Body) -> Body:
        for name, arguments in rows.items():
            bound = functools.partial(_call, body, tuple(arguments))
            functools.update_wrapper(bound, body)
            _add(Case(subject=subject, name=name, body=bound, needs=needs, alone=alone, limit=limit))
        return body

    return decorate


def chosen(patterns: Sequence[str]) -> list[Case]:
    """The cases whose title contains one of ``patterns`` (upper and lower case are the same); all without patterns."""
    wanted = [pattern.lower() for pattern in patterns]
    return [entry for entry in CASES if not wanted or any(pattern in entry.title.lower() for pattern in wanted)]


async def _call(body: Body, arguments: tuple[Any, ...], kit: Kit) -> None:
    await body(kit, *arguments)


def _add(entry: Case) -> None:
    if any(entry.title == other.title for other in CASES):
        raise ValueError(f"two cases have the title {entry.title!r}")
    CASES.append(entry)
