"""Looking into pinned network namespaces."""

from __future__ import annotations

from pathlib import Path

import pytest

from podyard.linux import namespaces, netns
from podyard.linux.namespaces import NewNamespaces

pytestmark = pytest.mark.host


def own() -> int:
    return Path("/proc/thread-self/ns/net").stat().st_ino


def test_each_namespace_is_seen_from_inside_and_the_caller_stays_where_it_is(tmp_path: Path) -> None:
    pins = {}
    for name in ("a", "b"):
        namespaces.pin(tmp_path / name, NewNamespaces(frozenset({"network"})))
        pins[name] = tmp_path / name / "network"
    try:
        before = own()
        (tmp_path / "no-namespace").touch()
        seen = netns.in_each({**pins, "gone": tmp_path / "gone", "stale": tmp_path / "no-namespace"}, own)
        assert seen == {name: pin.stat().st_ino for name, pin in pins.items()}
        assert own() == before
        assert not set(seen.values()) & {before}
    finally:
        for name in pins:
            namespaces.unpin(tmp_path / name)


def test_a_failing_look_leaves_its_namespace_out(tmp_path: Path) -> None:
    namespaces.pin(tmp_path / "a", NewNamespaces(frozenset({"network"})))
    try:
        assert netns.in_each({"a": tmp_path / "a" / "network"}, (tmp_path / "gone").stat) == {}
    finally:
        namespaces.unpin(tmp_path / "a")


def test_nothing_to_look_at() -> None:
    assert netns.in_each({}, own) == {}
