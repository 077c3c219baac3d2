"""Every message of v1alpha2 passes through podyard's v1 messages unchanged: the same methods may serve both."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from podyard.cri import api

FACTS = Path(__file__).resolve().parents[4] / "shared" / "cri" / "v1alpha2.json"
DEPTH = 8
"""Messages inside messages that are filled; v1alpha2 has none deeper (fill checks it)."""


@functools.cache
def published() -> dict[str, Any]:
    if not FACTS.is_file():
        pytest.skip(f"the protocol's facts are not beside this clone ({FACTS}): nothing to compare with")
    facts: dict[str, Any] = json.loads(FACTS.read_text(encoding="utf-8"))
    return facts


@functools.cache
def pool() -> descriptor_pool.DescriptorPool:
    """v1alpha2 as descriptors, made from the published facts alone."""
    facts = published()
    file = descriptor_pb2.FileDescriptorProto(name="v1alpha2.proto", package=facts["package"], syntax="proto3")
    for name, values in facts["enums"].items():
        outer, _, inner = name.rpartition(".")
        assert not outer or outer in facts["messages"]
        if not outer:
            _add_enum(file, inner, values)
    for name, message in facts["messages"].items():
        assert "." not in name, "messages inside messages are not expected"
        made = file.message_type.add(name=name)
        for enum, values in facts["enums"].items():
            if enum.startswith(f"{name}."):
                _add_enum(made, enum.removeprefix(f"{name}."), values)
        for field in message["fields"]:
            _add_field(made, field)
    result = descriptor_pool.DescriptorPool()
    result.Add(file)
    return result


def _add_enum(
    scope: descriptor_pb2.FileDescriptorProto | descriptor_pb2.DescriptorProto, name: str, values: dict[str, int]
) -> None:
    enum = scope.enum_type.add(name=name)
    for value, number in values.items():
        enum.value.add(name=value, number=number)


def _add_field(message: descriptor_pb2.DescriptorProto, field: dict[str, Any]) -> None:
    assert "oneof" not in field and not field.get("optional"), "v1alpha2 has no oneof and no optional field"
    made = message.field.add(name=field["name"], number=field["number"])
    made.label = made.LABEL_OPTIONAL
    if field.get("repeated"):
        made.label = made.LABEL_REPEATED
    if "map" not in field:
        _set_type(made, field["type"])
        return
    entry = message.nested_type.add(name="".join(word.capitalize() for word in field["name"].split("_")) + "Entry")
    entry.options.map_entry = True
    for number, (name, kind) in enumerate(zip(("key", "value"), field["map"], strict=True), start=1):
        part = entry.field.add(name=name, number=number)
        part.label = part.LABEL_OPTIONAL
        _set_type(part, kind)
    made.label = made.LABEL_REPEATED
    made.type = made.TYPE_MESSAGE
    made.type_name = f".{published()['package']}.{message.name}.{entry.name}"


def _set_type(field: descriptor_pb2.FieldDescriptorProto, kind: str) -> None:
    facts = published()
    if kind in facts["messages"]:
        field.type = field.TYPE_MESSAGE
    elif kind in facts["enums"]:
        field.type = field.TYPE_ENUM
    else:
        field.type = descriptor_pb2.FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
        return
    field.type_name = f".{facts['package']}.{kind}"


def old_descriptor(name: str) -> Descriptor:
    return pool().FindMessageTypeByName(f"runtime.v1alpha2.{name}")


def fill(message: Message, counter: Iterator[int], depth: int = 0) -> None:
    """A value other than the default in every field, all of them different where the type allows it."""
    assert depth < DEPTH, f"{message.DESCRIPTOR.full_name} lies deeper than this test fills"
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            parts = field.message_type.fields_by_name
            assert parts["value"].message_type is None, "no map of v1alpha2 holds messages"
            for _ in range(2):
                getattr(message, field.name)[scalar(parts["key"], counter)] = scalar(parts["value"], counter)
        elif field.message_type is not None and field.is_repeated:
            for _ in range(2):
                fill(getattr(message, field.name).add(), counter, depth + 1)
        elif field.message_type is not None:
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name), counter, depth + 1)
        elif field.is_repeated:
            getattr(message, field.name).extend(scalar(field, counter) for _ in range(2))
        else:
            setattr(message, field.name, scalar(field, counter))


def scalar(field: Any, counter: Iterator[int]) -> Any:
    number = next(counter)
    if field.enum_type is not None:
        return field.enum_type.values[number % (len(field.enum_type.values) - 1) + 1].number
    return {
        FieldDescriptor.TYPE_STRING: f"välue {number}",
        FieldDescriptor.TYPE_BYTES: b"\xff\x00" + str(number).encode(),
        FieldDescriptor.TYPE_BOOL: True,
        FieldDescriptor.TYPE_INT32: -number,
        FieldDescriptor.TYPE_INT64: -(1 << 62) - number,
        FieldDescriptor.TYPE_UINT32: (1 << 31) + number,
        FieldDescriptor.TYPE_UINT64: (1 << 63) + number,
    }[field.type]


def has_unknown_fields(message: Message) -> bool:
    """Whether the message, at any depth, came with fields that its type does not know."""
    copy = type(message)()
    copy.CopyFrom(message)
    copy.DiscardUnknownFields()
    return copy.ByteSize() != message.ByteSize()


def test_every_message_of_v1alpha2_comes_back_unchanged_from_the_v1_message() -> None:
    names = list(published()["messages"])
    assert len(names) == 122
    for name in names:
        old = GetMessageClass(old_descriptor(name))()
        fill(old, itertools.count(1))
        assert {field.name for field, _ in old.ListFields()} == {field.name for field in old.DESCRIPTOR.fields}
        new = getattr(api, name).FromString(old.SerializeToString())
        assert not has_unknown_fields(new), f"v1 does not know a field of {name}"
        again = GetMessageClass(old_descriptor(name)).FromString(new.SerializeToString())
        assert again == old, name
        assert not has_unknown_fields(again)


def test_values_of_environment_variables_are_bytes_in_v1_and_text_in_v1alpha2() -> None:
    old = GetMessageClass(old_descriptor("KeyValue"))(key="A", value="grüße")  # type: ignore[call-arg, unused-ignore]
    new = api.KeyValue.FromString(old.SerializeToString())
    assert (new.key, new.value) == ("A", "grüße".encode())
    assert GetMessageClass(old_descriptor("KeyValue")).FromString(new.SerializeToString()) == old


def test_fields_of_v1alpha2_have_the_same_names_in_v1() -> None:
    for name, message in published()["messages"].items():
        fields = getattr(api, name).DESCRIPTOR.fields_by_number
        assert {field["number"]: field["name"] for field in message["fields"]} == {
            field["number"]: fields[field["number"]].name for field in message["fields"]
        }


def test_a_field_that_v1_lacks_would_be_noticed() -> None:
    message = GetMessageClass(old_descriptor("PodSandboxConfig"))()
    fill(message, itertools.count(1))
    as_another_type = api.PodSandboxFilter.FromString(api.PodSandboxMetadata(attempt=1).SerializeToString())
    assert has_unknown_fields(as_another_type)
    assert not has_unknown_fields(message)
