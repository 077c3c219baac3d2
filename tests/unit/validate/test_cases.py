"""The cases themselves: there are many, their names are unique, and they touch all of the protocol."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor

from podyard import validate
from podyard.cri import api, services

SOURCE = "\n".join(path.read_text() for path in sorted((Path(validate.__file__).parent / "cases").glob("*.py")))
HELPERS = ("kit.py", "session.py", "requests.py")
MADE_BY_THE_KIT = "\n".join((Path(validate.__file__).parent / name).read_text() for name in HELPERS)


def fields_of(message: Descriptor, seen: set[str]) -> Iterator[str]:
    """The names of all fields below a message, without those for Windows."""
    seen.add(message.full_name)
    for field in message.fields:
        if field.name == "windows":
            continue
        yield field.name
        child = field.message_type
        if child and not child.GetOptions().map_entry and child.full_name not in seen:
            yield from fields_of(child, seen)


def test_there_are_many_with_names_of_their_own() -> None:
    titles = [entry.title for entry in validate.CASES]
    assert len(titles) > 700
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("message", [api.PodSandboxConfig, api.ContainerConfig])
def test_every_field_of_the_configurations_is_in_a_case(
    message: type[api.PodSandboxConfig | api.ContainerConfig],
) -> None:
    names = set(fields_of(message.DESCRIPTOR, set()))
    assert len(names) > 30
    text = SOURCE + MADE_BY_THE_KIT
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", text)] == []


@pytest.mark.parametrize("service", ["RuntimeService", "ImageService"])
def test_every_call_is_in_a_case(service: str) -> None:
    text = SOURCE + MADE_BY_THE_KIT
    lacking = []
    for method in services.METHODS[service]:
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower()
        if not re.search(rf'\.{snake}\(|"{method.name}"|"{snake}"', text):
            lacking.append(method.name)
    assert lacking == []


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
