"""OOM kills in cgroups that are gone, on a v2 tree as the kernel would leave it."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from podyard.linux import cgroups
from podyard.runtime.oom import KILLED, OomKills

PARENT = "/podyard.slice"


class Tree:
    """Cgroups as folders, whose counts include those below them, whether they are there or not."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store: Any = SimpleNamespace(containers={})
        self.restart()
        self.count(PARENT, 0)

    def restart(self) -> None:
        self.kills = OomKills(self.store, self.root / "kept.json")

    def count(self, cgroup: str, kills: int) -> None:
        folder = self.root / cgroup.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.events").write_text(f"low 0\nhigh 0\nmax 12\noom {kills}\noom_kill {kills}\n")

    def start(self, name: str) -> Any:
        cgroup = f"{PARENT}/{name}"
        self.count(cgroup, 0)
        entry = SimpleNamespace(record=SimpleNamespace(id=name, cgroup=cgroup, state="running"))
        self.store.containers[name] = entry
        self.kills.watch(cgroup)
        return entry

    def empty(self, entry: Any) -> None:
        """systemd removes a scope."""
        shutil.rmtree(self.root / entry.record.cgroup.lstrip("/"))

    def ended(self, entry: Any, code: int) -> bool:
        found = self.kills.ended(entry, code)
        entry.record.state = "exited"
        return found


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    monkeypatch.setattr(cgroups, "is_v2", lambda: True)
    return Tree(tmp_path)


def test_a_cgroup_that_is_there_tells_itself(tree: Tree) -> None:
    one, two = tree.start("one.scope"), tree.start("two.scope")
    tree.count(one.record.cgroup, 1)
    tree.count(PARENT, 1)
    assert tree.ended(one, KILLED)
    assert not tree.ended(two, KILLED)


def test_a_kill_that_was_told_is_not_told_again_when_its_cgroup_goes(tree: Tree) -> None:
    one, two = tree.start("one.scope"), tree.start("two.scope")
    tree.count(one.record.cgroup, 2)
    tree.count(PARENT, 2)
    assert tree.ended(one, KILLED)
    tree.empty(one)
    tree.empty(two)
    assert not tree.ended(two, KILLED)


def test_a_kill_in_a_cgroup_that_is_gone(tree: Tree) -> None:
    one = tree.start("one.scope")
    tree.count(PARENT, 1)
    tree.empty(one)
    assert tree.ended(one, KILLED)


def test_a_cgroup_below_its_scope_goes_with_it(tree: Tree) -> None:
    one = tree.start("one.scope/container")
    two = tree.start("two.scope/container")
    tree.count(PARENT, 1)
    shutil.rmtree(tree.root / PARENT.lstrip("/") / "one.scope")
    assert tree.ended(one, KILLED)
    tree.empty(two)
    assert not tree.ended(two, KILLED)


def test_a_kill_of_long_ago_is_not_the_next_ones(tree: Tree) -> None:
    one = tree.start("one.scope")
    tree.count(PARENT, 3)
    tree.empty(one)
    assert tree.ended(one, KILLED)
    two = tree.start("two.scope")
    tree.empty(two)
    assert not tree.ended(two, KILLED)


def test_kills_from_before_the_start_are_nobodys(tree: Tree) -> None:
    tree.count(PARENT, 5)
    one = tree.start("one.scope")
    tree.empty(one)
    assert not tree.ended(one, KILLED)


def test_a_kill_in_one_that_lives_is_its_own(tree: Tree) -> None:
    lives, dies = tree.start("lives.scope"), tree.start("dies.scope")
    tree.count(lives.record.cgroup, 2)
    tree.count(PARENT, 2)
    tree.empty(dies)
    assert not tree.ended(dies, KILLED)


def test_many_at_once_are_each_told(tree: Tree) -> None:
    entries = [tree.start(f"{number}.scope") for number in range(8)]
    tree.count(PARENT, 8)
    for entry in entries:
        tree.empty(entry)
    assert all(tree.ended(entry, KILLED) for entry in entries)


def test_a_slice_that_was_made_anew_counts_anew(tree: Tree) -> None:
    one = tree.start("one.scope")
    tree.count(PARENT, 5)
    tree.empty(one)
    assert tree.ended(one, KILLED)
    # The old folder stays under another name, so that the new one gets an inode of its own.
    (tree.root / PARENT.lstrip("/")).rename(tree.root / "gone")
    tree.count(PARENT, 0)
    two = tree.start("two.scope")
    tree.count(PARENT, 1)
    tree.empty(two)
    assert tree.ended(two, KILLED)


def test_another_exit_code_is_no_oom_kill_and_takes_its_kills_with_it(tree: Tree) -> None:
    one = tree.start("one.scope")
    tree.count(PARENT, 2)
    tree.empty(one)
    assert not tree.ended(one, 1)
    two = tree.start("two.scope")
    tree.empty(two)
    assert not tree.ended(two, KILLED)


def test_one_that_was_not_watched_tells_nothing(tree: Tree) -> None:
    tree.count("/other.slice", 4)
    stranger: Any = SimpleNamespace(record=SimpleNamespace(id="x", cgroup="/other.slice/x.scope", state="running"))
    assert not tree.ended(stranger, KILLED)


def test_cgroups_of_podyards_own_stay_until_they_have_been_read(tree: Tree) -> None:
    one = tree.start("one")
    tree.count(PARENT, 1)
    assert not tree.ended(one, KILLED)
    two = tree.start("two")
    tree.count(two.record.cgroup, 1)
    assert tree.ended(two, KILLED)


def test_a_parent_that_went_too_tells_nothing(tree: Tree) -> None:
    one = tree.start("one.scope")
    shutil.rmtree(tree.root / PARENT.lstrip("/"))
    assert not tree.ended(one, KILLED)


def test_a_kill_while_podyard_was_down(tree: Tree) -> None:
    before, one, two = tree.start("before.scope"), tree.start("one.scope"), tree.start("two.scope")
    tree.count(PARENT, 1)
    tree.empty(before)
    assert tree.ended(before, KILLED)
    tree.count(PARENT, 2)
    tree.empty(one)
    tree.restart()
    assert tree.ended(one, KILLED)
    tree.restart()
    tree.empty(two)
    assert not tree.ended(two, KILLED)


def test_a_slice_that_was_made_anew_while_podyard_was_down_tells_nothing(tree: Tree) -> None:
    one = tree.start("one.scope")
    (tree.root / PARENT.lstrip("/")).rename(tree.root / "gone")
    tree.count(PARENT, 1)
    tree.restart()
    assert not tree.ended(one, KILLED)
