"""The engine alone, with steps that fail, hang and die."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from podyard.errors import AlreadyExists, DeadlineExceeded, FailedPrecondition, ResourceExhausted, Unavailable
from podyard.operations import Engine, Hooks, Journal, Operation, Step, Together
from podyard.state.database import Database


class Scripted(Operation[list[str]]):
    """Appends the name of each step to ``log`` ("-name" when undone), and misbehaves where told."""

    kind = "Scripted"
    policy: ClassVar[Literal["undo", "finish"]] = "undo"

    def __init__(self, log: list[str], plan: Sequence[Step | Together], subject: str = "s", within: str = "") -> None:
        self.log, self.plan, self.subject, self.within = log, plan, subject, within
        self.mark = b""

    @property
    def fingerprint(self) -> bytes:
        return self.mark

    def journal_input(self) -> bytes:
        return self.subject.encode()

    def steps(self) -> Sequence[Step | Together]:
        return self.plan

    def result(self) -> list[str]:
        return self.log


class Finishing(Scripted):
    kind = "Finishing"
    policy: ClassVar[Literal["undo", "finish"]] = "finish"


def step(
    log: list[str], name: str, error: Exception | None = None, wait: asyncio.Event | None = None, **more: Any
) -> Step:
    async def do() -> None:
        log.append(name)
        if wait is not None:
            await wait.wait()
        if error is not None:
            raise error

    async def undo() -> None:
        log.append("-" + name)

    return Step(name, do, more.pop("undo", undo), **more)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "state.db")
    yield database
    database.close()


@pytest.fixture
def engine(database: Database) -> Engine:
    return Engine(Journal(database))


def journal_rows(database: Database) -> int:
    count: int = database.execute("SELECT count(*) FROM operations").fetchone()[0]
    return count


async def test_steps_run_in_order_and_leave_no_journal(engine: Engine, database: Database) -> None:
    log: list[str] = []
    assert await engine.run(Scripted(log, [step(log, "a"), step(log, "b")])) == ["a", "b"]
    assert journal_rows(database) == 0


async def test_a_failing_step_undoes_itself_and_those_before_it_newest_first(
    engine: Engine, database: Database
) -> None:
    log: list[str] = []
    plan = [step(log, "a"), step(log, "b"), step(log, "baking", FailedPrecondition("no oven")), step(log, "d")]
    with pytest.raises(FailedPrecondition, match=r"no oven \(while baking\)"):
        await engine.run(Scripted(log, plan))
    assert log == ["a", "b", "baking", "-baking", "-b", "-a"]
    assert journal_rows(database) == 0


async def test_undo_goes_on_past_what_cannot_be_undone_and_says_so(engine: Engine, database: Database) -> None:
    log: list[str] = []

    async def stuck() -> None:
        raise OSError("device is busy")

    plan = [step(log, "a"), step(log, "b", undo=stuck), step(log, "c", FailedPrecondition("broken"))]
    with pytest.raises(FailedPrecondition, match=r"broken.*could not undo b: device is busy"):
        await engine.run(Scripted(log, plan))
    assert log == ["a", "b", "c", "-c", "-a"]
    left = Journal(database).interrupted()
    assert [(entry.undoing, entry.begun) for entry in left] == [(True, frozenset({"b"}))]


async def test_a_hanging_step_is_bounded_named_and_undone(engine: Engine) -> None:
    log: list[str] = []
    plan = [step(log, "a"), step(log, "waiting for godot", wait=asyncio.Event(), limit=0.05)]
    with pytest.raises(DeadlineExceeded, match=r"waiting for godot took longer than 0\.05 s"):
        await engine.run(Scripted(log, plan))
    assert log == ["a", "waiting for godot", "-waiting for godot", "-a"]


async def test_a_full_disk_is_resource_exhausted(engine: Engine) -> None:
    log: list[str] = []
    with pytest.raises(ResourceExhausted, match="while writing"):
        await engine.run(Scripted(log, [step(log, "writing", OSError(28, "No space left on device"))]))


async def test_together_runs_side_by_side_and_undoes_all_when_one_fails(engine: Engine) -> None:
    log: list[str] = []
    started = asyncio.Event()

    async def first() -> None:
        await started.wait()
        log.append("first")

    async def second() -> None:
        started.set()
        raise FailedPrecondition("second is ill")

    async def undo_first() -> None:
        log.append("-first")

    plan = [Together(Step("first", first, undo_first), Step("second", second))]
    with pytest.raises(FailedPrecondition, match="second is ill"):
        await engine.run(Scripted(log, plan))
    assert log == ["first", "-first"]


async def test_a_repeated_request_joins_and_another_configuration_is_refused(engine: Engine) -> None:
    log: list[str] = []
    gate = asyncio.Event()
    plan = [step(log, "a", wait=gate)]
    first = asyncio.create_task(engine.run(Scripted(log, plan)))
    await asyncio.sleep(0)
    second = asyncio.create_task(engine.run(Scripted(log, plan)))
    await asyncio.sleep(0)
    other = Scripted(log, plan)
    other.mark = b"other"
    with pytest.raises(AlreadyExists, match="in flight"):
        await engine.run(other)
    gate.set()
    assert await first == await second == ["a"]


async def test_an_operation_outlives_its_caller(engine: Engine) -> None:
    log: list[str] = []
    gate = asyncio.Event()
    caller = asyncio.create_task(engine.run(Scripted(log, [step(log, "a", wait=gate), step(log, "b")])))
    while not log:
        await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    again = asyncio.create_task(engine.run(Scripted(log, [])))
    gate.set()
    assert await again == ["a", "b"]


async def test_operations_on_one_subject_or_its_holder_wait_and_siblings_do_not(engine: Engine) -> None:
    log: list[str] = []
    gate = asyncio.Event()
    child = asyncio.create_task(engine.run(Scripted(log, [step(log, "child", wait=gate)], "c1", "pod")))
    await asyncio.sleep(0)
    holder = asyncio.create_task(engine.run(Finishing(log, [step(log, "holder")], "pod")))
    await engine.run(Scripted(log, [step(log, "other pod")], "c9", "pod2"))
    sibling = asyncio.create_task(engine.run(Scripted(log, [step(log, "late sibling")], "c2", "pod")))
    while "other pod" not in log:
        await asyncio.sleep(0)
    assert log == ["child", "other pod"]
    assert [doing for _, doing in engine.in_flight("pod")][1].startswith("waiting for Scripted of c1")
    gate.set()
    await asyncio.gather(child, holder, sibling)
    assert log == ["child", "other pod", "holder", "late sibling"]


async def test_a_step_may_run_an_operation_on_what_its_own_operation_holds(engine: Engine) -> None:
    log: list[str] = []

    async def stop_child() -> None:
        await engine.run(Finishing(log, [step(log, "child")], "c1", "pod"), parent=holder)

    holder = Finishing(log, [Step("stopping children", stop_child), step(log, "rest")], "pod")
    assert await engine.run(holder) == ["child", "rest"]


async def test_a_step_does_not_wait_for_what_waits_for_its_own_operation(engine: Engine) -> None:
    log: list[str] = []
    gate = asyncio.Event()

    async def stop_child() -> None:
        await gate.wait()
        await engine.run(Finishing(log, [step(log, "child")], "c1", "pod"), parent=holder)

    holder = Finishing(log, [Step("stopping children", stop_child, limit=5)], "pod")
    first = asyncio.create_task(engine.run(holder))
    await asyncio.sleep(0)
    # The same request from outside, which waits for the holder: the holder's step must not join it.
    second = asyncio.create_task(engine.run(Finishing(log, [step(log, "later")], "c1", "pod")))
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, second)
    assert log == ["child", "later"]


async def test_an_operation_that_finishes_goes_on_after_a_failure(engine: Engine, database: Database) -> None:
    log: list[str] = []
    plan = [
        step(log, "a", FailedPrecondition("a is stuck")),
        step(log, "b"),
        step(log, "forgetting", needs_all=True),
        step(log, "c", OSError("c too")),
    ]
    with pytest.raises(FailedPrecondition, match=r"a is stuck \(while a\); c too \(while c\)"):
        await engine.run(Finishing(log, plan))
    assert log == ["a", "b", "c"]
    assert journal_rows(database) == 0


async def test_hooks_watch_adjust_and_veto(database: Database) -> None:
    log: list[str] = []
    hooks = Hooks()

    async def adjust(operation: Scripted) -> None:
        operation.log.append(f"hook of {operation.kind}")

    async def veto(operation: Scripted) -> None:
        raise FailedPrecondition("not on this node")

    hooks.before("Scripted", "a", adjust)
    hooks.after("*", "*", adjust)
    hooks.before("Scripted", "b", veto)
    with pytest.raises(FailedPrecondition, match="not on this node"):
        await Engine(Journal(database), hooks).run(Scripted(log, [step(log, "a"), step(log, "b")]))
    assert log == ["hook of Scripted", "a", "hook of Scripted", "-b", "-a"]


async def test_closing_refuses_new_work_and_leaves_late_work_to_the_journal(engine: Engine, database: Database) -> None:
    log: list[str] = []
    task = asyncio.create_task(engine.run(Scripted(log, [step(log, "a", wait=asyncio.Event())])))
    while not log:
        await asyncio.sleep(0)
    await engine.close(patience=0.01)
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(Unavailable, match="is stopping"):
        await engine.run(Scripted(log, [step(log, "b")]))
    assert log == ["a"]
    assert journal_rows(database) == 1


DIE = """
import asyncio, os, sys
from pathlib import Path
from podyard.operations import Engine, Journal, Operation, Step
from podyard.state.database import Database

policy, die_in, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])

class Files(Operation[None]):
    kind = "Files"
    subject = "s"
    def journal_input(self): return b"input"
    def result(self): return None
    def steps(self): return [self.step(name) for name in "abc"]
    def step(self, name):
        async def do():
            if die_in == name + "-before": os._exit(9)
            (folder / name).write_text("made")
            if die_in == name + "-after": os._exit(9)
        async def undo():
            (folder / name).unlink(missing_ok=True)
            if die_in == name + "-undo": os._exit(9)
        return Step(name, do, undo)

Files.policy = policy
async def main():
    engine = Engine(Journal(Database(folder / "state.db")))
    print(await engine.recover({"Files": lambda data: Files()}))
    if die_in != "none":
        await engine.run(Files())
asyncio.run(main())
"""


async def test_an_operation_that_another_version_began_is_told_and_kept(tmp_path: Path) -> None:
    journal = Journal(Database(tmp_path / "state.db"))
    journal.open(Scripted([], [], "sandbox"), ["first"])
    for _ in range(2):
        [problem] = await Engine(journal).recover({})
        assert problem == "Scripted of sandbox is left as it is: only the podyard that began it knows how"


@pytest.mark.parametrize("policy", ["undo", "finish"])
@pytest.mark.parametrize("die_in", [f"{name}-{when}" for name in "abc" for when in ("before", "after")])
def test_killed_at_any_step_the_next_start_undoes_or_finishes(policy: str, die_in: str, tmp_path: Path) -> None:
    def run(die: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", DIE, policy, die, str(tmp_path)]
        return subprocess.run(command, text=True, capture_output=True, timeout=30, env=os.environ)

    assert run(die_in).returncode == 9
    # A second crash, now in the middle of the recovery.
    if policy == "undo" and die_in != "a-before":
        assert run("a-undo").returncode == 9
    after = run("none")
    assert (after.returncode, after.stdout, after.stderr) == (0, "[]\n", "")
    left = {path.name for path in tmp_path.iterdir() if len(path.name) == 1}
    assert left == (set() if policy == "undo" else {"a", "b", "c"})
