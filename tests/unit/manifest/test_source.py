"""The text of a manifest as a tree: what Kubernetes' YAML means, and what hostile YAML may not do."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from podyard.errors import InvalidArgument
from podyard.manifest.source import MAX_BYTES, MAX_DEPTH, Node, parse_documents


def plain(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("Off", False),
        ("~", None),
        ("null", None),
        ("0o17", 15),
        ("017", 15),
        ("0x1f", 31),
        ("-12", -12),
        ("1.50", 1.5),
        ("1e3", 1000.0),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("'12'", "12"),
        ('"yes"', "yes"),
        ("!!str 12", "12"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_a_plain_value_means_what_kubernetes_reads(text: str, value: object) -> None:
    (node,) = parse_documents(f"a: {text}\n".encode(), "x")
    assert plain(node) == {"a": value}


def test_a_value_knows_its_line_and_its_text() -> None:
    (node,) = parse_documents(b"a: 1\n\nb:\n  - c: 0.10\n", "x")
    assert isinstance(node.value, dict)
    found = node.value["b"]
    assert isinstance(found.value, list) and isinstance(found.value[0].value, dict)
    assert found.line == 3
    assert (found.value[0].value["c"].line, found.value[0].value["c"].text) == (4, "0.10")


def test_documents_are_separate_and_empty_ones_left_out() -> None:
    nodes = parse_documents(b"---\na: 1\n---\n---\n# nothing\n---\nb: 2\n", "x")
    assert [plain(node) for node in nodes] == [{"a": 1}, {"b": 2}]


def test_json_is_read_with_its_tabs_and_escapes() -> None:
    text = json.dumps({"a": ["x", 1, True, None, "\U0001f600", "\\ud83d\\ude00"]}, indent="\t")
    assert [plain(node) for node in parse_documents(text.encode(), "x")] == [
        {"a": ["x", 1, True, None, "\U0001f600", "\\ud83d\\ude00"]}
    ]


def test_an_alias_stands_for_its_anchor() -> None:
    (node,) = parse_documents(b"a: &x {b: 1}\nc: *x\n", "x")
    assert plain(node) == {"a": {"b": 1}, "c": {"b": 1}}


def bomb() -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (bomb(), "x:5: more than 100000 values"),
        (b"a: &a [*a]\n", "x:1: the alias *a stands before its anchor, or inside it"),
        (b"a: *b\n", "x:1: the alias *b stands before its anchor, or inside it"),
        (b"a: 1\nb: 2\na: 3\n", "x:3: the key 'a' stands here twice"),
        (b"a: " + b"[" * (MAX_DEPTH + 1), f"x:1: nested deeper than {MAX_DEPTH} levels"),
        (b"a: !!python/object/apply:os.system [id]\n", "x:1: the tag tag:yaml.org,2002:python/object/apply:os.system"),
        (b"a:\n  !!binary aGk=\n", "x:2: the tag tag:yaml.org,2002:binary means nothing"),
        (b"<<: {a: 1}\n", "x:1: merge keys (<<) are not supported"),
        (b"? [a]\n: 1\n", "x:1: a key must be a string"),
        (b"a: [1\nb: 2\n", "x:2: not YAML: "),
        (b"a: 1\n\tb: 2\n", "x:2: not YAML: "),
        (b"a: 1\nb: \xff\n", "x:2: not UTF-8 text"),
        (b'{"a": "\\ud800"}', "x:1: not YAML: "),
        (b"a: \x00\n", "x: not YAML: "),
        (b"a" * (MAX_BYTES + 1), f"x: larger than {MAX_BYTES} bytes"),
    ],
)
def test_what_is_not_a_manifest_is_refused_with_its_line(text: bytes, said: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_documents(text, "x")
    assert str(caught.value).startswith(said)


def test_an_alias_bomb_costs_no_memory() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArgument):
            parse_documents(bomb(), "x")
        assert tracemalloc.get_traced_memory()[1] < 10 * 1024 * 1024
    finally:
        tracemalloc.stop()
