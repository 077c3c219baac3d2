"""What a client has sent: every call, and every field that was set in its requests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from podyard.client.connection import Connection


class Sent:
    """``calls``: names. ``fields``: a message's full name and the name of one of its fields, set to no default."""

    def __init__(self) -> None:
        self.calls: set[str] = set()
        self.fields: set[tuple[str, str]] = set()

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take note of all that connections of this process send from now on."""
        call, stream = Connection.call, Connection.stream

        async def noted_call(self_: Connection, service: str, method: Any, request: Message, *rest: Any) -> Message:
            self.note(method.name, request)
            return await call(self_, service, method, request, *rest)

        async def noted_stream(
            self_: Connection, service: str, method: Any, request: Message, *rest: Any
        ) -> AsyncGenerator[Message, None]:
            self.note(method.name, request)
            async for answer in stream(self_, service, method, request, *rest):
                yield answer

        monkeypatch.setattr(Connection, "call", noted_call)
        monkeypatch.setattr(Connection, "stream", noted_stream)

    def note(self, call: str, request: Message) -> None:
        """One request."""
        self.calls.add(call)
        self._note(request)

    def _note(self, message: Message) -> None:
        for field, value in message.ListFields():
            self.fields.add((message.DESCRIPTOR.full_name, field.name))
            if field.message_type is None or field.message_type.GetOptions().map_entry:
                continue
            for one in value if field.is_repeated else [value]:
                self._note(one)


def fields_of(message: Descriptor, seen: set[str] | None = None) -> Iterator[tuple[str, str]]:
    """All fields at and below a message, each with its message's full name, without those for Windows."""
    seen = set() if seen is None else seen
    seen.add(message.full_name)
    for field in message.fields:
        if field.name == "windows":
            continue
        yield message.full_name, field.name
        child = field.message_type
        if child and not child.GetOptions().map_entry and child.full_name not in seen:
            yield from fields_of(child, seen)
