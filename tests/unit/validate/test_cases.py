"""The cases themselves: there are many, and their names are unique."""

from __future__ import annotations

import sys

import pytest

from podyard import validate


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
