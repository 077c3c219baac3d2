"""The cases themselves: there are many, and their names are unique."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from tests.support.sent import fields_of

from podyard import validate
from podyard.client import runtime, statistics
from podyard.cri import services


def test_there_are_many_with_names_of_their_own() -> None:
    titles = [entry.title for entry in validate.CASES]
    assert len(titles) > 700
    assert len(titles) == len(set(titles))


def test_cases_are_chosen_by_a_part_of_their_title() -> None:
    assert validate.chosen([]) == validate.CASES
    chosen = validate.chosen(["VERSION: ", "selinux: "])
    assert {entry.subject for entry in chosen} == {"version", "selinux"}
    assert validate.chosen(["no case is called this"]) == []


def test_two_of_one_name_are_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["podyard.validate.case"], "CASES", [])

    async def body(kit: object) -> None:
        return

    validate.case("a", "b")(body)
    with pytest.raises(ValueError, match="a: b"):
        validate.case("a", "b")(body)


def test_every_field_of_an_answer_of_the_runtime_is_named_by_a_case_or_by_the_client() -> None:
    """The client takes some answers apart for them. What a request has as well is looked at by its effect."""
    files = [Path(runtime.__file__), Path(statistics.__file__), *Path(validate.__file__).parent.rglob("*.py")]
    words = {word for file in files for word in re.findall(r"\w+", file.read_text())}
    answers = [method.response for method in services.METHODS["RuntimeService"]]
    fields = {field for answer in answers for field in fields_of(answer.DESCRIPTOR)}
    assert {(message, name) for message, name in fields if name not in words and "Windows" not in message} == set()
