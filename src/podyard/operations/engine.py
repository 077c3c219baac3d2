"""Runs operations: in order, joined, bounded, journaled; undone or finished when a step fails or the daemon dies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from podyard.errors import AlreadyExists, DeadlineExceeded, PodyardError, Unavailable, translate
from podyard.operations.hooks import Hooks
from podyard.operations.journal import Interrupted, Journal
from podyard.operations.step import Operation, Step, Together, flatten
from podyard.operations.trace import Trace, current, stage

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

UNDO_PATIENCE = 2
"""How often an undo is tried before it is reported and left to the next start."""


@dataclass(eq=False)
class _Flight:
    """An operation that was submitted and has not ended."""

    operation: Operation[Any]
    trace: Trace
    waits_for: list[_Flight]
    ancestors: frozenset[_Flight]
    task: asyncio.Task[Any] = field(init=False)

    def waits_on(self, others: frozenset[_Flight]) -> bool:
        """Whether it cannot go on before one of ``others`` has ended."""
        return any(other in others or other.waits_on(others) for other in self.waits_for)

    def doing(self) -> str:
        if not self.trace.spans and self.waits_for:
            return "waiting for " + ", ".join(str(other.operation) for other in self.waits_for)
        return self.trace.doing() or "about to begin"


class Engine:
    """Runs operations. One engine a daemon; all calls come from the event loop's thread."""

    def __init__(self, journal: Journal, hooks: Hooks | None = None) -> None:
        self._journal = journal
        self._hooks = hooks or Hooks()
        self._flights: list[_Flight] = []
        self._closing = False

    async def run(self, operation: Operation[Result], parent: Operation[Any] | None = None) -> Result:
        """Carry out an operation, or join the one in flight that does the same, and return its result.

        The operation goes on when the caller is cancelled: whoever asks again joins it. ``parent``: the operation one
        of whose steps asks for this one, which therefore does not wait for it.

        Raises AlreadyExists when the same key is in flight with another fingerprint, Unavailable when the daemon is
        stopping, and whatever the failing step raised, with the step's name in its text.
        """
        if self._closing:
            raise Unavailable(f"podyard is stopping: {operation} was not begun; ask again once it runs")
        ancestors = self._ancestors(parent)
        flight = self._join(operation, ancestors) or self._submit(operation, ancestors)
        try:
            result: Result = await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if not flight.task.done():
                logger.info("the caller of %s has gone; it goes on (%s)", operation, flight.doing())
            raise
        return result

    def has(self, operation: Operation[Any]) -> bool:
        """Whether one that does the same is in flight: ``run`` would join it, or refuse."""
        return any(flight.operation.key == operation.key for flight in self._flights)

    def in_flight(self, subject: str) -> list[tuple[Operation[Any], str]]:
        """The operations on a subject or on what it holds, each with what it is doing."""
        return [
            (flight.operation, flight.doing())
            for flight in self._flights
            if subject in (flight.operation.subject, flight.operation.within)
        ]

    def all_in_flight(self) -> list[tuple[Operation[Any], str]]:
        """All operations that have not ended, each with what it is doing."""
        return [(flight.operation, flight.doing()) for flight in self._flights]

    async def recover(self, build: Mapping[str, Callable[[bytes], Operation[Any]]]) -> list[str]:
        """Undo or finish what an earlier daemon left in the journal, oldest first; the problems met, as text.

        ``build`` makes an operation of a kind from its journal input. What fails stays journaled for the next start,
        and so does a kind that only another version of podyard has.
        """
        problems: list[str] = []
        for found in self._journal.interrupted():
            if found.kind not in build:
                problems.append(
                    f"{found.kind} of {found.subject} is left as it is: only the podyard that began it knows how"
                )
                continue
            try:
                operation = build[found.kind](found.input)
                with Trace(str(operation)).active():
                    problems += await self._recover_one(operation, found)
            except Exception as error:
                logger.exception("cannot recover %s of %s", found.kind, found.subject)
                problems.append(f"{found.kind} of {found.subject}: {error}")
        return problems

    async def close(self, patience: float) -> None:
        """Take no new operation and wait until those in flight have ended, ``patience`` seconds at most.

        What still runs then is left to the journal: the next start undoes or finishes it.
        """
        self._closing = True
        tasks = {flight.task for flight in self._flights}
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=patience)
        for flight in [flight for flight in self._flights if flight.task in late]:
            logger.warning("%s is left to the next start (%s)", flight.operation, flight.doing())
            flight.task.cancel()

    def _ancestors(self, parent: Operation[Any] | None) -> frozenset[_Flight]:
        """The flights whose steps led to an operation: it must neither wait for them nor for what waits for them."""
        for flight in self._flights:
            if flight.operation is parent:
                return flight.ancestors | {flight}
        return frozenset()

    def _join(self, operation: Operation[Result], ancestors: frozenset[_Flight]) -> _Flight | None:
        for flight in self._flights:
            if flight.operation.key == operation.key and not flight.waits_on(ancestors):
                if flight.operation.fingerprint != operation.fingerprint:
                    raise AlreadyExists(
                        f"{operation.key} is in flight with another configuration ({flight.doing()}): "
                        "wait for it and remove it, or ask for the same"
                    )
                return flight
        return None

    def _submit(self, operation: Operation[Any], ancestors: frozenset[_Flight]) -> _Flight:
        waits_for = [
            flight
            for flight in self._flights
            if operation.conflicts(flight.operation) and flight not in ancestors and not flight.waits_on(ancestors)
        ]
        flight = _Flight(operation, Trace(str(operation)), waits_for, ancestors)
        self._flights.append(flight)
        flight.task = asyncio.create_task(self._fly(flight, current()), name=str(operation))
        # A result that nobody waits for any more is no error of the loop's.
        flight.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return flight

    async def _fly(self, flight: _Flight, caller: Trace | None) -> Any:
        try:
            for other in flight.waits_for:
                await asyncio.wait([other.task])
            flight.waits_for = []
            with flight.trace.active():
                return await self._carry_out(flight.operation)
        finally:
            self._flights.remove(flight)
            if caller is not None:
                caller.spans.extend(flight.trace.spans)

    async def _carry_out(self, operation: Operation[Result]) -> Result:
        steps = list(operation.steps())
        groups = [entry.steps if isinstance(entry, Together) else (entry,) for entry in steps]
        number = self._journal.open(operation, [step.name for step in groups[0]])
        if operation.policy == "finish":
            failures = await self._finish(operation, groups, number)
            self._journal.close(number)
            if failures:
                raise _combined(failures)
        else:
            await self._all_or_nothing(operation, groups, number)
        return operation.result()

    async def _finish(self, operation: Operation[Any], groups: list[tuple[Step, ...]], number: int) -> list[Exception]:
        """Do every step that can be done; the errors of those that could not."""
        failures: list[Exception] = []
        for index, group in enumerate(groups):
            wanted = [step for step in group if not (step.needs_all and failures)]
            failures += [error for error in await self._act_together(operation, wanted) if error is not None]
            following = groups[index + 1] if index + 1 < len(groups) else ()
            self._journal.advance(number, [s.name for s in group], [s.name for s in following])
        return failures

    async def _all_or_nothing(self, operation: Operation[Any], groups: list[tuple[Step, ...]], number: int) -> None:
        """Do all steps; when one fails, undo it and those before it, and raise its error."""
        for index, group in enumerate(groups):
            outcomes = await self._act_together(operation, list(group))
            failures = [error for error in outcomes if error is not None]
            if failures:
                logger.info("%s failed, undoing: %s", operation, failures[0])
                begun = [step for done in groups[: index + 1] for step in done]
                problems = await self._undo(operation, begun, number)
                raise _combined(failures, problems)
            if index + 1 < len(groups):
                self._journal.advance(number, [s.name for s in group], [s.name for s in groups[index + 1]])
        self._journal.close(number)

    async def _act_together(self, operation: Operation[Any], steps: list[Step]) -> list[Exception | None]:
        if len(steps) == 1:
            return [await self._act(operation, steps[0])]
        return list(await asyncio.gather(*(self._act(operation, step) for step in steps)))

    async def _act(self, operation: Operation[Any], step: Step) -> Exception | None:
        """Do one step with its hooks within its time limit; its error, with the step's name, or None."""
        try:
            with stage(step.name):
                async with asyncio.timeout(step.limit):
                    await self._hooks.run_before(operation, step.name)
                    await step.do()
                    await self._hooks.run_after(operation, step.name)
        except TimeoutError as error:
            late = DeadlineExceeded(
                f"{operation}: {step.name} took longer than {step.limit:g} s: {error or 'no answer'}"
            )
            late.__cause__ = error
            return late
        except Exception as error:
            if not isinstance(error, PodyardError | OSError):
                logger.exception("%s: unexpected error while %s", operation, step.name)
            return translate(error, step.name)
        return None

    async def _undo(self, operation: Operation[Any], begun: list[Step], number: int) -> list[str]:
        """Undo steps, newest first, going on past what cannot be; the problems as text (they stay in the journal)."""
        self._journal.begin_undo(number)
        problems: list[str] = []
        for step in reversed(begun):
            problem = await self._undo_step(operation, step)
            if problem:
                logger.error("%s: %s", operation, problem)
                problems.append(problem)
            else:
                self._journal.undone(number, step.name)
        if not problems:
            self._journal.close(number)
        return problems

    async def _undo_step(self, operation: Operation[Any], step: Step) -> str:
        if step.undo is None:
            return ""
        problem = ""
        for _ in range(UNDO_PATIENCE):
            try:
                with stage(f"undoing: {step.name}"):
                    async with asyncio.timeout(step.limit):
                        await step.undo()
            except Exception as error:
                problem = f"could not undo {step.name}: {error or repr(error)}"
                logger.debug("%s: %s", operation, problem, exc_info=True)
            else:
                return ""
        return problem

    async def _recover_one(self, operation: Operation[Any], found: Interrupted) -> list[str]:
        logger.info("%s was interrupted after %s", operation, sorted(found.begun) or "nothing")
        steps = list(operation.steps())
        if operation.policy == "undo" or found.undoing:
            return await self._undo(operation, [step for step in flatten(steps) if step.name in found.begun], found.id)
        groups = [entry.steps if isinstance(entry, Together) else (entry,) for entry in steps]
        failures = await self._finish(operation, groups, found.id)
        if not failures:
            self._journal.close(found.id)
        return [str(error) for error in failures]


def _combined(failures: list[Exception], problems: list[str] | None = None) -> Exception:
    """The first failure, with the others and what could not be undone in its text."""
    first = failures[0]
    more = [str(error) for error in failures[1:]] + (problems or [])
    if not more:
        return first
    text = first.args[0] if first.args else str(first)
    combined = type(first)("; ".join([str(text), *more]))
    combined.__cause__ = first
    return combined
