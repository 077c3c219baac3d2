"""What holds for all calls, one row each: the cases of the suite that ask for it, or tests where a case cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from podyard import validate

TESTS = Path(__file__).resolve().parents[2]

SEMANTICS: dict[str, tuple[str, ...]] = {
    "what is stopped or removed twice": (
        "repeats: a sandbox is removed twice",
        "repeats: a container is removed twice",
    ),
    "what is not there": (
        "repeats: a removal of a container of what is not there succeeds",
        "stop: stopping what is not",
    ),
    "short ids": ("short ids: ",),
    "filters": ("sandbox filters: ", "container filters: "),
    "name conflicts": ("repeats: another container under the same name is refused", "repeats: a name is free again"),
    "repeated creates": ("repeats: a sandbox asked for again", "repeats: a container asked for twice at once"),
    "cancelled calls": (
        "cancelled calls: ",
        "repeats: a sandbox whose client goes away",
        "stop: a stop whose client goes away",
        "e2e/test_pod_checkpoint.py::test_a_repeated_request_joins_the_one_in_flight",
        "e2e/test_pod_checkpoint.py::test_the_callers_deadline_is_the_limit",
    ),
    "stop with a shorter timeout": ("stop: a second stop with less time shortens the first",),
    "exits and reasons": (
        "exits: exit code 0 is Completed",
        "exits: exit code 1 is an Error",
        "exits: OOMKilled",
        "StartError",
    ),
    "timestamps": ("container: created, started and finished are in this order",),
    "16 MiB: a command's output": ("exec sync: what is more than 16 MiB is dropped",),
    "16 MiB: lists": (
        "e2e/test_dead_containers.py::test_thousands_of_dead_containers",
        "unit/test_server.py::test_a_list_that_no_client_would_take_is_refused_and_the_stream_is_named",
    ),
    "thousands of dead containers": (
        "e2e/test_dead_containers.py::test_thousands_of_dead_containers",
        "unit/runtime/test_streams.py::test_containers_come_as_in_the_list",
    ),
    "error codes": (
        "errors: PodSandboxStatus of an unknown id",
        "errors: ContainerStatus without id",
        "errors: Exec without",
    ),
}


@pytest.mark.parametrize("row", SEMANTICS)
def test_each_row_is_asked_for(row: str) -> None:
    titles = [case.title for case in validate.CASES]
    for wanted in SEMANTICS[row]:
        file, _, name = wanted.partition("::")
        if name:
            assert f"def {name}(" in (TESTS / file).read_text(), wanted
        else:
            assert any(wanted in title for title in titles), wanted
