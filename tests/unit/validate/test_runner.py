"""Running cases: what they end in, what is cleaned up, what is told. The runtime is a fake, the cases are made here."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.unit.cli.fake_runtime import FakeRuntime, FakeServer

from podyard.cri import api
from podyard.errors import (
    Cancelled,
    DeadlineExceeded,
    EndpointError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PodyardError,
    RegistryUnavailable,
    Unavailable,
    Unimplemented,
)
from podyard.validate import Case, Outcome, Result, Target, report, run
from podyard.validate.expect import equal, skip
from podyard.validate.kit import Kit

Body = Callable[[Kit], Awaitable[None]]


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture
def target(runtime: FakeRuntime, tmp_path: Path) -> Iterator[Target]:
    server = FakeServer(tmp_path / "runtime.sock", runtime)
    yield Target(runtime_endpoint=server.endpoint)
    server.stop()


def made(body: Body, name: str = "does it", **fields: object) -> Case:
    return Case(subject="subject", name=name, body=body, **fields)  # type: ignore[arg-type]


async def only(target: Target, body: Body, **fields: object) -> Result:
    outcome = await run(target, [made(body, **fields)])
    [result] = outcome.results
    return result


async def passes(kit: Kit) -> None:
    await kit.runtime.version()


async def differs(kit: Kit) -> None:
    equal(1, 2, "the number")


async def lacks(kit: Kit) -> None:
    raise Unimplemented("no such call")


async def breaks(kit: Kit) -> None:
    raise KeyError("gone")


async def is_not_found(kit: Kit) -> None:
    raise NotFound("container x is not here")


async def does_not_apply(kit: Kit) -> None:
    skip("no AppArmor here")


async def takes_long(kit: Kit) -> None:
    await asyncio.sleep(60)


@pytest.mark.parametrize(
    ("body", "fields", "state", "texts"),
    [
        (passes, {}, "passed", ("", "", "")),
        (differs, {}, "failed", ("", "the number: 2", "1")),
        (does_not_apply, {}, "skipped", ("no AppArmor here", "", "")),
        (lacks, {"needs": "that call"}, "skipped", ("the endpoint does not have that call: no such call", "", "")),
        (lacks, {}, "failed", ("", "no error", "UNIMPLEMENTED: no such call")),
        (is_not_found, {}, "failed", ("", "no error", "NOT_FOUND: container x is not here")),
        (breaks, {}, "failed", ("", "no error", "KeyError: 'gone'")),
        (takes_long, {"limit": 0.05}, "failed", ("", "an end within 0.05 s", "none")),
    ],
    ids=["passes", "differs", "skips", "not there", "unimplemented", "an error", "a fault of its own", "too long"],
)
async def test_what_a_case_ends_in(
    target: Target, body: Body, fields: dict[str, object], state: str, texts: tuple[str, str, str]
) -> None:
    result = await only(target, body, **fields)
    assert (result.state, (result.reason, result.expected, result.came)) == (state, texts)


async def test_what_a_case_has_made_is_removed_however_it_ends(target: Target, runtime: FakeRuntime) -> None:
    async def leaves(kit: Kit) -> None:
        await kit.create(["true"], await kit.sandbox())
        raise KeyError("gone")

    runtime.add_sandbox("somebody-elses")
    result = await only(target, leaves)
    assert result.state == "failed"
    assert [request.container_id for request in runtime.called("RemoveContainer")] != []
    left = runtime.ListPodSandbox(api.ListPodSandboxRequest()).items
    assert [entry.metadata.name for entry in left] == ["somebody-elses"]


async def test_what_is_not_removed_fails_the_case_and_is_told_at_the_end(target: Target) -> None:
    async def refuse(id: str) -> None:
        raise FailedPrecondition("it is busy")

    async def leaves(kit: Kit) -> None:
        kit.runtime.remove_pod_sandbox = refuse  # type: ignore[method-assign]
        await kit.sandbox()

    outcome = await run(target, [made(leaves)])
    [result] = outcome.results
    assert (result.state, result.expected) == ("failed", "all that the case made can be removed")
    assert "it is busy" in result.came
    assert ["it is busy" in problem for problem in outcome.leftovers] == [True]
    assert not outcome.good


async def test_several_run_at_a_time_and_some_alone(target: Target) -> None:
    running: set[str] = set()
    seen: dict[str, set[str]] = {}
    all_there = asyncio.Event()

    def body(name: str, *, alone: bool) -> Body:
        async def case(kit: Kit) -> None:
            running.add(name)
            if len(running) == 3:
                all_there.set()
            if not alone:
                await asyncio.wait_for(all_there.wait(), 20)
            seen[name] = set(running)
            running.discard(name)

        return case

    cases = [made(body("alone", alone=True), "alone", alone=True)]
    cases += [made(body(name, alone=False), name) for name in ("a", "b", "c")]
    outcome = await run(target, cases, parallel=3)
    assert outcome.count("passed") == 4, outcome.results
    assert [result.case.name for result in outcome.results] == ["alone", "a", "b", "c"]
    assert seen["alone"] == {"alone"}


async def test_a_cancelled_run_removes_what_it_has_made(target: Target, runtime: FakeRuntime) -> None:
    there = asyncio.Event()

    async def waits(kit: Kit) -> None:
        await kit.sandbox()
        there.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(run(target, [made(waits)]))
    await asyncio.wait_for(there.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(runtime.ListPodSandbox(api.ListPodSandboxRequest()).items) == []


async def test_a_run_whose_results_nobody_takes_removes_what_it_has_made(target: Target, runtime: FakeRuntime) -> None:
    async def leaves(kit: Kit) -> None:
        await kit.session.pod()

    def broken(result: Result) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await run(target, [made(leaves)], tell=broken)
    assert list(runtime.ListPodSandbox(api.ListPodSandboxRequest()).items) == []


async def test_a_runtime_that_ends_in_the_middle_leaves_the_results(tmp_path: Path) -> None:
    server = FakeServer(tmp_path / "runtime.sock", FakeRuntime())

    async def ends(kit: Kit) -> None:
        await asyncio.to_thread(server.stop)
        await kit.runtime.version()

    outcome = await run(Target(runtime_endpoint=server.endpoint), [made(passes, "before"), made(ends)], parallel=1)
    assert [result.state for result in outcome.results] == ["passed", "failed"]
    assert outcome.results[1].came.startswith("UNAVAILABLE: ")
    assert ["it does not tell" in problem for problem in outcome.leftovers] == [True]
    assert not outcome.good


async def test_a_runtime_that_hangs_at_the_end_leaves_the_results(
    target: Target, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podyard.validate.runner.CLEANING", 0.2)
    released = threading.Event()

    async def hangs(kit: Kit) -> None:
        runtime.answers["ListContainers"] = lambda request: released.wait(20) and api.ListContainersResponse()

    try:
        outcome = await run(target, [made(hangs)])
    finally:
        released.set()
    assert outcome.leftovers == ["what could not be removed within 0.2 s"]


async def test_a_call_that_hangs_does_not_keep_the_rest_from_being_removed(
    target: Target, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podyard.validate.session.MAKING", 0.2, raising=False)
    monkeypatch.setattr("podyard.validate.runner.CLEANING", 5)
    released, there = threading.Event(), asyncio.Event()

    async def waits(kit: Kit) -> None:
        sandbox_id = await kit.sandbox()
        runtime.answers["CreateContainer"] = lambda request: released.wait(20) and api.CreateContainerResponse()
        there.set()
        await kit.create(["true"], sandbox_id)

    task = asyncio.create_task(run(target, [made(waits)]))
    await asyncio.wait_for(there.wait(), 20)
    while not runtime.called("CreateContainer"):
        await asyncio.sleep(0.02)
    task.cancel()
    try:
        with pytest.raises(asyncio.CancelledError):
            await task
        assert list(runtime.ListPodSandbox(api.ListPodSandboxRequest()).items) == []
    finally:
        released.set()


async def test_without_a_runtime_nothing_is_run(tmp_path: Path) -> None:
    with pytest.raises(EndpointError):
        await run(Target(runtime_endpoint=str(tmp_path / "none.sock")), [made(passes)])


async def refused_as(kit: Kit, error: Exception | None, **fields: object) -> None:
    async def call() -> str:
        if error is not None:
            raise error
        return "done"

    await kit.refused(call(), InvalidArgument, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "fields", "strict", "state"),
    [
        (InvalidArgument("no"), {}, True, "passed"),
        (NotFound("no"), {}, False, "passed"),
        (NotFound("no"), {}, True, "failed"),
        (NotFound("no"), {"fixed": True}, False, "failed"),
        (InvalidArgument("label x"), {"says": "label"}, True, "passed"),
        (InvalidArgument("no"), {"says": "label"}, True, "failed"),
        (InvalidArgument("no"), {"says": "label"}, False, "passed"),
        (None, {}, False, "failed"),
    ],
    ids=["as wanted", "another", "another, strict", "another, fixed", "named", "not named", "not strict", "done"],
)
async def test_what_counts_as_a_refusal(
    target: Target, error: Exception | None, fields: dict[str, object], strict: bool, state: str
) -> None:
    strictly = Target(runtime_endpoint=target.runtime_endpoint, strict=strict)
    result = await only(strictly, lambda kit: refused_as(kit, error, **fields))
    assert result.state == state


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (NotFound("no"), "passed"),
        (RegistryUnavailable("nobody serves it"), "passed"),
        (EndpointError("nobody listens"), "failed"),
        (Unavailable("socket closed"), "failed"),
        (DeadlineExceeded("no answer"), "failed"),
        (Cancelled("gone"), "failed"),
    ],
    ids=["refused", "by a registry", "gone", "broken off", "hangs", "given up"],
)
async def test_a_runtime_that_does_not_answer_has_not_refused(target: Target, error: PodyardError, state: str) -> None:
    async def call() -> None:
        raise error

    async def asks(kit: Kit) -> None:
        await kit.refused(call(), PodyardError)

    result = await only(target, asks)
    assert result.state == state
    if state == "failed":
        assert (result.expected, result.came) == ("an error", f"{error.status}: {error}")


def outcome_of(*results: Result) -> Outcome:
    return Outcome(runtime="fake 1", results=results, leftovers=[], seconds=1.5)


PASSED = Result(case=made(passes, "passes"), state="passed", seconds=0.1)
FAILED = Result(
    case=made(differs, "differs"), state="failed", seconds=0.2, expected="2", came="1\x1b[31m\n", where="x.py:3"
)
SKIPPED = Result(case=made(does_not_apply, "skips"), state="skipped", seconds=0.3, reason="no AppArmor here")


def test_progress_tells_a_subject_when_all_of_it_has_ended() -> None:
    lines: list[str] = []
    progress = report.Progress([PASSED.case, FAILED.case, SKIPPED.case], lines.append, verbose=False)
    progress(SKIPPED)
    progress(FAILED)
    assert lines == []
    progress(PASSED)
    assert lines == [
        "subject: 1 passed, 1 failed, 1 skipped",
        "  FAIL  differs (0.20 s)",
        "        expected 2",
        "        came     1\\x1b[31m\\n",
        "        at       x.py:3",
        "  skip  skips (0.30 s)",
        "        no AppArmor here",
    ]


def test_junit_has_a_suite_for_each_subject(tmp_path: Path) -> None:
    report.write_junit(outcome_of(PASSED, FAILED, SKIPPED), tmp_path / "report.xml")
    [suite] = ElementTree.parse(tmp_path / "report.xml").getroot()
    assert {key: suite.get(key) for key in ("name", "tests", "failures", "skipped")} == {
        "name": "subject",
        "tests": "3",
        "failures": "1",
        "skipped": "1",
    }
    assert [[child.tag for child in case] for case in suite] == [[], ["failure"], ["skipped"]]


def test_what_is_left_behind_fails_in_junit_as_it_does_in_the_exit_code(tmp_path: Path) -> None:
    outcome = Outcome(runtime="fake 1", results=[PASSED], leftovers=["sandbox x: it is busy"], seconds=1)
    report.write_junit(outcome, tmp_path / "report.xml")
    [_, suite] = ElementTree.parse(tmp_path / "report.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    [failure] = suite.iter("failure")
    assert failure.get("message") == "left behind: sandbox x: it is busy"


def test_what_a_runtime_calls_itself_spoils_neither_the_report_nor_the_terminal(tmp_path: Path) -> None:
    outcome = Outcome(runtime="odd\x1b[31m 1\x00", results=[PASSED], leftovers=["sandbox \x1b[2J"], seconds=1)
    report.write_junit(outcome, tmp_path / "report.xml")
    assert ElementTree.parse(tmp_path / "report.xml").getroot().get("name") == "podyard validate: odd?[31m 1?"
    assert report.summary(outcome).splitlines() == [
        "odd\\x1b[31m 1\\x00: 1 passed of 1 cases in 1.0 s",
        "left behind: sandbox \\x1b[2J",
    ]


def test_json_has_every_case(tmp_path: Path) -> None:
    report.write_json(outcome_of(PASSED, FAILED), tmp_path / "report.json")
    document = json.loads((tmp_path / "report.json").read_text())
    assert (document["passed"], document["failed"], document["skipped"]) == (1, 1, 0)
    assert [case["name"] for case in document["cases"]] == ["passes", "differs"]
    assert document["cases"][1]["came"] == "1\x1b[31m\n"


def test_a_run_is_good_without_failures_and_leftovers() -> None:
    assert outcome_of(PASSED, SKIPPED).good
    assert not outcome_of(PASSED, FAILED).good
    assert not Outcome(runtime="fake 1", results=[PASSED], leftovers=["sandbox x"], seconds=1).good
