"""What the answers to a probe mean."""

from __future__ import annotations

import pytest

from podyard.manifest.model import ExecAction, Probe
from podyard.pods.probes import Probing


def probe(**fields: int) -> Probe:
    return Probe(exec=ExecAction(command=("a",)), **fields)


@pytest.mark.parametrize(
    ("success", "failure", "answers", "results"),
    [
        (1, 3, "+", [True]),
        (1, 3, "--", [None, None]),
        (1, 3, "---", [None, None, False]),
        (1, 3, "--+--+", [None, None, True, True, True, True]),
        (1, 3, "+---+", [True, True, True, False, True]),
        (2, 1, "+-++", [None, False, False, True]),
        (3, 2, "++-+++", [None, None, None, None, None, True]),
        (1, 1, "-+-", [False, True, False]),
    ],
)
def test_a_result_needs_as_many_answers_in_a_row_as_its_threshold(
    success: int, failure: int, answers: str, results: list[bool | None]
) -> None:
    probing = Probing(probe(success_threshold=success, failure_threshold=failure), 0.0)
    found = []
    for answer in answers:
        probing.answered(answer == "+")
        found.append(probing.result)
    assert found == results


def test_only_a_change_is_news_and_each_failure_again() -> None:
    probing = Probing(probe(failure_threshold=2), 0.0)
    assert [probing.answered(answer == "+") for answer in "++------+"] == [
        *(True, False),
        *(False, True, False, True, False, True),
        True,
    ]


def test_the_first_question_comes_after_the_delay_and_the_next_each_a_period_after() -> None:
    probing = Probing(probe(initial_delay_seconds=5, period_seconds=3), 100.0)
    assert probing.wait(101.0) == 4.0
    assert probing.wait(106.0) == 0.0
    probing.asked(106.0)
    assert probing.wait(107.5) == 1.5
    # An answer that took long delays the next question; it is not asked twice for it.
    assert probing.wait(120.0) == 0.0
    probing.asked(120.0)
    assert probing.wait(120.0) == 3.0


def test_after_a_restart_of_the_agent_the_delay_counts_from_the_containers_start() -> None:
    assert Probing(probe(initial_delay_seconds=5), 100.0).wait(1000.0) == 0.0
