"""Runs cases: several at a time where they allow it, each within its time, each cleaned up after."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from podyard.errors import PodyardError, Unimplemented
from podyard.validate.case import Case
from podyard.validate.expect import Skipped, Unmet
from podyard.validate.kit import Kit
from podyard.validate.session import Session, Target, opened

__all__ = ["Outcome", "Result", "State", "run"]

CLEANING = 60.0
"""Seconds for taking away what a case has made."""

State = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a case. ``seconds``: with its cleaning."""

    case: Case
    state: State
    seconds: float
    reason: str = ""
    """Why it was skipped."""
    expected: str = ""
    came: str = ""
    where: str = ""
    """The line of the case that was not satisfied."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a run. ``leftovers``: what could not be taken away at its end."""

    runtime: str
    results: Sequence[Result]
    leftovers: Sequence[str]
    seconds: float

    def count(self, state: State) -> int:
        """How many cases ended so."""
        return sum(result.state == state for result in self.results)

    @property
    def good(self) -> bool:
        """Nothing failed and nothing is left."""
        return self.count("failed") == 0 and not self.leftovers


async def run(
    target: Target,
    cases: Sequence[Case],
    *,
    parallel: int = 4,
    tell: Callable[[Result], None] = lambda result: None,
    tell_left: Callable[[Sequence[str]], None] = lambda leftovers: None,
) -> Outcome:
    """Run cases against an endpoint; ``parallel`` at a time, those that must be alone at the end.

    ``tell`` is called with each result as it comes. What the run has made is taken away even when it is cut off;
    ``tell_left`` is then called with what could not be: there is no outcome that has it.
    Raises what ``opened`` raises.
    """
    began = time.monotonic()
    async with opened(target) as session:
        version = await session.client.runtime.version()
        results: list[Result] = []

        async def one(number: int, entry: Case) -> None:
            result = await _run_case(session, number, entry)
            results.append(result)
            tell(result)

        numbered = list(enumerate(cases))
        try:
            gate = asyncio.Semaphore(parallel)

            async def gated(number: int, entry: Case) -> None:
                async with gate:
                    await one(number, entry)

            async with asyncio.TaskGroup() as group:
                for number, entry in numbered:
                    if not entry.alone:
                        group.create_task(gated(number, entry))
            for number, entry in numbered:
                if entry.alone:
                    await one(number, entry)
        except BaseException as error:  # cancelled, or nobody reads what ``tell`` prints any more
            tell_left(await _end(session))
            if isinstance(error, ExceptionGroup):
                raise error.exceptions[0] from None
            raise
        leftovers = await _end(session)
    order = {entry.title: number for number, entry in numbered}
    return Outcome(
        runtime=f"{version.runtime_name} {version.runtime_version}",
        results=sorted(results, key=lambda result: order[result.case.title]),
        leftovers=leftovers,
        seconds=time.monotonic() - began,
    )


async def _end(session: Session) -> list[str]:
    """Take away what the run has made; what is left. The results stand, even when the runtime has gone meanwhile."""
    try:
        async with asyncio.timeout(CLEANING):
            return await session.end()
    except PodyardError as error:
        return [f"what the runtime still has of the run, it does not tell: {error.status}: {error}"]
    except TimeoutError:
        return [f"what could not be removed within {CLEANING:g} s"]


async def _run_case(session: Session, number: int, entry: Case) -> Result:
    began = time.monotonic()
    kit = Kit(session, str(number))
    found = await _judged(entry, kit)
    try:
        async with asyncio.timeout(CLEANING):
            problems = await kit.close()
    except (PodyardError, TimeoutError) as error:
        problems = [str(error) or f"{CLEANING:g} s were not enough"]
    if problems and found["state"] != "failed":
        found = {"state": "failed", "expected": "all that the case made can be removed", "came": "; ".join(problems)}
    return Result(case=entry, seconds=time.monotonic() - began, **found)  # type: ignore[arg-type]


async def _judged(entry: Case, kit: Kit) -> dict[str, str]:
    try:
        async with asyncio.timeout(entry.limit) as limit:
            await entry.body(kit)
    except Exception as error:  # a case with a fault of its own must not end the run
        if limit.expired():
            return _failed(error, f"an end within {entry.limit:g} s", "none")
        return _explained(entry, error)
    return {"state": "passed"}


def _explained(entry: Case, error: Exception) -> dict[str, str]:
    match error:
        case Skipped():
            found = {"state": "skipped", "reason": str(error)}
        case Unmet():
            found = _failed(error, error.expected, error.came)
        case Unimplemented() if entry.needs:
            found = {"state": "skipped", "reason": f"the endpoint does not have {entry.needs}: {error}"}
        case PodyardError():
            found = _failed(error, "no error", f"{error.status}: {error}")
        case _:
            found = _failed(error, "no error", "".join(traceback.format_exception_only(error)).strip())
    return found


def _failed(error: BaseException, expected: str, came: str) -> dict[str, str]:
    """With the innermost line of a file of cases."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/validate/cases/" in frame.filename]
    where = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    return {"state": "failed", "expected": expected, "came": came, "where": where}
