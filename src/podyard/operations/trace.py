"""The stages of a call: what it is doing, and for how long.

A trace follows a call through a context variable, so that a stage is named where it happens, whoever called. Slow-call
reports, metrics and the "while …" of an error all read it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

_current: ContextVar[Trace | None] = ContextVar("podyard_trace", default=None)


@dataclass
class Span:
    """One stage: its name, its depth, and its begin and end (seconds of the monotonic clock; None while it lasts)."""

    name: str
    depth: int
    begin: float
    end: float | None = None

    @property
    def seconds(self) -> float:
        """How long it took, or has taken so far."""
        return (self.end if self.end is not None else time.monotonic()) - self.begin


@dataclass
class Trace:
    """All stages of one call, in the order in which they began.

    ``deadline``: when its caller gives up (monotonic clock, seconds), None where it waits without an end.
    """

    name: str
    deadline: float | None = None
    begin: float = field(default_factory=time.monotonic)
    spans: list[Span] = field(default_factory=list)
    depth: int = 0

    @contextmanager
    def active(self) -> Iterator[Trace]:
        """Make this the trace of whatever runs inside."""
        token = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(token)

    def doing(self) -> str:
        """The innermost stage that lasts, with its age, or "" ("attaching the network (3.2 s)")."""
        lasting = [span for span in self.spans if span.end is None]
        return f"{lasting[-1].name} ({lasting[-1].seconds:.1f} s)" if lasting else ""

    def __str__(self) -> str:
        stages = ", ".join(f"{'>' * span.depth}{span.name} {span.seconds * 1000:.0f} ms" for span in self.spans)
        return f"{self.name} {(time.monotonic() - self.begin) * 1000:.0f} ms: {stages}"


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Name what happens inside. Costs nothing worth mentioning where no trace is active."""
    trace = _current.get()
    if trace is None:
        yield
        return
    span = Span(name, trace.depth, time.monotonic())
    trace.spans.append(span)
    trace.depth += 1
    try:
        yield
    finally:
        trace.depth -= 1
        span.end = time.monotonic()


def current() -> Trace | None:
    """The active trace, if any."""
    return _current.get()


def time_left() -> float | None:
    """Seconds until the caller gives up; None where it does not."""
    trace = _current.get()
    return None if trace is None or trace.deadline is None else max(trace.deadline - time.monotonic(), 0.0)
