"""Channels in WebSocket messages, statuses and window sizes."""

from __future__ import annotations

import json

import pytest

from podyard.wire import channels
from podyard.wire.remotecommand import V1, V2, V3, V4, V5, Channel, ResizeReader, Status, WindowSize, choose

BINARY, BASE64 = channels.REMOTE_COMMAND[V4], channels.REMOTE_COMMAND[channels.BASE64]


def test_messages_begin_with_their_channel() -> None:
    assert BINARY.encode(1, b"text") == b"\x01text"
    assert BINARY.decode(b"\x02\xff\x00") == (2, b"\xff\x00")
    assert BASE64.encode(1, b"foo\n") == b"1Zm9vCg=="
    assert BASE64.decode(b"0Zm9vCg==") == (0, b"foo\n")


def test_the_close_signal_belongs_to_version_5() -> None:
    five = channels.REMOTE_COMMAND[V5]
    assert five.close_signal(Channel.STDIN) == b"\xff\x00"
    assert five.decode(b"\xff\x00") == (Channel.CLOSE, b"\x00")
    assert BINARY.close_signal(Channel.STDIN) == b""
    with pytest.raises(ValueError, match="3 bytes"):
        five.decode(b"\xff\x00\x01")


@pytest.mark.parametrize("payload", [b"", b"0no base64!", b"0Zm9vCg=", "0é".encode()])
def test_what_is_no_message_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="message"):
        BASE64.decode(payload)


def test_the_handshakes_answer_is_the_specifications_example() -> None:
    # RFC 6455, 1.3
    assert channels.accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_ports_stand_in_two_bytes_the_lower_first() -> None:
    assert channels.port_prefix(8080) == b"\x90\x1f"


def test_the_clients_order_decides() -> None:
    assert choose(["v9.channel.k8s.io", V3, V4], (V5, V4, V3)) == V3
    assert choose(["v9.channel.k8s.io"], (V5, V4, V3)) is None


@pytest.mark.parametrize("protocol", [V4, V5])
@pytest.mark.parametrize(
    "status", [Status(), Status(3, "command terminated with exit code 3"), Status(None, "no such container")]
)
def test_statuses_come_back_as_they_went(status: Status, protocol: str) -> None:
    assert Status.decode(status.encode(protocol), protocol) == status


def test_an_exit_code_is_a_cause_as_clients_look_for_it() -> None:
    document = json.loads(Status(7).encode(V4))
    assert (document["status"], document["reason"]) == ("Failure", "NonZeroExitCode")
    assert document["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]


@pytest.mark.parametrize("protocol", [V1, V2, V3])
def test_before_version_4_there_is_a_text_or_nothing(protocol: str) -> None:
    assert Status().encode(protocol) == b""
    assert Status(7).encode(protocol) == b"command terminated with exit code 7"
    assert Status.decode(b"", protocol) == Status()
    assert Status.decode(b"it failed", protocol) == Status(None, "it failed")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"status": "Failure", "reason": "NonZeroExitCode"}',
        b'{"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode"}]}}',
    ],
)
def test_what_is_no_status_is_told(content: bytes) -> None:
    with pytest.raises(ValueError, match="no Status"):
        Status.decode(content, V4)


def test_sizes_come_one_by_one_however_they_are_cut() -> None:
    content = WindowSize(80, 24).encode() + b'{"Width":101,"Height":33}'
    for cut in range(len(content) + 1):
        reader = ResizeReader()
        assert reader.feed(content[:cut]) + reader.feed(content[cut:]) == [WindowSize(80, 24), WindowSize(101, 33)]


@pytest.mark.parametrize(
    "size", ['{"Width":0,"Height":0}', '{"Width":-1,"Height":5}', '{"Width":70000,"Height":5}', '{"x":1}']
)
def test_sizes_that_mean_nothing_are_left_out(size: str) -> None:
    assert ResizeReader().feed(size.encode()) == []


@pytest.mark.parametrize("content", [b"[]", b"{" + b" " * 2000, b"[" * 100_000, b"\xff", b"1" * 5000])
def test_what_is_no_size_is_told(content: bytes) -> None:
    with pytest.raises(ValueError):
        ResizeReader().feed(content)
