"""What an operation is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeVar

Result = TypeVar("Result")

Action = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Step:
    """One named change of the host.

    ``name`` completes the sentence "while …" ("attaching the network"); it is unique within its operation, and hooks,
    metrics and the journal know the step by it. ``do`` acts. ``undo`` takes back whatever ``do`` did or only began: it
    also runs when ``do`` failed half-way or died with the daemon, so it tolerates what is not there. ``limit``: seconds
    that each of them may take. ``needs_all`` matters in an operation that finishes (see Operation): the step is left
    out when an earlier one failed.
    """

    name: str
    do: Action
    undo: Action | None = None
    limit: float = 60.0
    needs_all: bool = False


@dataclass(frozen=True)
class Together:
    """Steps that do not depend on each other: they act at the same time."""

    steps: tuple[Step, ...]

    def __init__(self, *steps: Step) -> None:
        object.__setattr__(self, "steps", steps)


class Operation(ABC, Generic[Result]):
    """A change of the host as a list of steps. Subclasses hold the input, ``steps`` reads as the list.

    ``kind``: the operation's name in the journal, in logs and for hooks.

    ``policy``: what a failing step, or a crash in mid-way, leads to.
    "undo" takes back what was done, newest first (making a thing: all or nothing).
    "finish" goes on with the steps that are left (taking a thing away: as much as can be); its steps must stand a
    repetition, since after a crash they all run again.

    ``subject``: the id of what changes: two operations on one subject never run at the same time.
    ``within``: the id of what holds the subject (a container's sandbox), or "". Operations on the holder and on what it
    holds exclude each other too; those on two subjects within one holder do not.

    ``key`` and ``fingerprint``: a request that finds an operation in flight under its own key and fingerprint joins it.
    """

    kind: ClassVar[str]
    policy: ClassVar[Literal["undo", "finish"]]
    subject: str
    within: str = ""

    @property
    def key(self) -> str:
        """What makes two requests the same thing."""
        return f"{self.kind}:{self.subject}"

    @property
    def fingerprint(self) -> bytes:
        """Differs between requests of one key that ask for different things."""
        return b""

    @abstractmethod
    def journal_input(self) -> bytes:
        """All that is needed to build this operation again after a crash."""

    @abstractmethod
    def steps(self) -> Sequence[Step | Together]:
        """The steps, in order."""

    @abstractmethod
    def result(self) -> Result:
        """What the caller gets once all steps are done."""

    def conflicts(self, other: Operation[object]) -> bool:
        """Whether the two must not run at the same time."""
        return (
            self.subject == other.subject
            or (bool(self.within) and self.within == other.subject)
            or (bool(other.within) and other.within == self.subject)
        )

    def __str__(self) -> str:
        return f"{self.kind} of {self.subject[:12]}"


def flatten(steps: Sequence[Step | Together]) -> Iterator[Step]:
    """The single steps of a list, in order."""
    for entry in steps:
        if isinstance(entry, Together):
            yield from entry.steps
        else:
            yield entry
