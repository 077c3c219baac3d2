"""What a directory of manifests asks for."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from podyard.errors import NotFound
from podyard.node.source import ManifestDirectory


@pytest.fixture
def source(directory: Any) -> ManifestDirectory:
    return ManifestDirectory(directory.path)


def test_each_file_without_a_dot_before_its_name_is_a_manifest(directory: Any, source: ManifestDirectory) -> None:
    directory.pod("web")
    directory.pod("db", file="any-name")
    directory.pod("hidden", file=".hidden.yaml")
    (directory.path / "folder").mkdir()
    (directory.path / "nowhere").symlink_to("/no-such-file")
    wanted = source.look()
    assert sorted(wanted.pods) == ["default/db", "default/web"]
    assert (wanted.held, wanted.problems) == (frozenset(), {})


def test_a_pod_carries_its_file(directory: Any, source: ManifestDirectory) -> None:
    directory.pod("web")
    annotations = source.look().pods["default/web"].metadata.annotations
    file = str(directory.path / "web.yaml")
    assert annotations == {"podyard.io/origin": file, "kubernetes.io/config.source": "file"}
    assert source.owns(file)
    assert not source.owns("")
    assert not source.owns(str(directory.path / "folder" / "web.yaml"))


def test_a_file_that_could_not_be_read_is_read_again_although_it_has_not_changed(
    directory: Any, source: ManifestDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.pod("web")

    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, "injected")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", fail)
        wanted = source.look()
    file = str(directory.path / "web.yaml")
    assert (wanted.pods, wanted.held) == ({}, {file})
    assert "injected" in wanted.problems[file]
    wanted = source.look()
    assert (list(wanted.pods), wanted.held, wanted.problems) == (["default/web"], frozenset(), {})


def test_changes_and_removals_are_followed(directory: Any, source: ManifestDirectory) -> None:
    directory.pod("web", "a")
    before = source.look().pods["default/web"]
    assert source.look().pods["default/web"] is before
    directory.pod("web", "b")
    assert source.look().pods["default/web"].spec.containers[0].working_dir == "/b"
    (directory.path / "web.yaml").unlink()
    assert source.look().pods == {}


def test_a_broken_manifest_is_told_with_its_line_and_counts_with_what_it_held(
    directory: Any, source: ManifestDirectory
) -> None:
    directory.pod("web")
    source.look()
    directory.write("web.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  contaners: []\n")
    wanted = source.look()
    file = str(directory.path / "web.yaml")
    assert list(wanted.pods) == ["default/web"]
    assert wanted.held == {file}
    assert f"{file}:5: spec.contaners: unknown field, did you mean containers?" in wanted.problems[file]
    # It is not read again for nothing, and what is wrong with it stays known.
    assert source.look() == wanted
    # An agent that never read it while it was right knows that there is something.
    other = ManifestDirectory(directory.path).look()
    assert (other.pods, other.held) == ({}, {file})


def test_a_file_that_is_being_written_waits(directory: Any, source: ManifestDirectory) -> None:
    directory.pod("web")
    path = directory.path / "web.yaml"
    now = time.time()
    os.utime(path, (now, now))
    wanted = source.look()
    assert (wanted.pods, wanted.held, wanted.problems) == ({}, {str(path)}, {})
    os.utime(path, (now - 10, now - 10))
    assert list(source.look().pods) == ["default/web"]


def test_of_two_files_with_one_pod_the_first_counts(directory: Any, source: ManifestDirectory) -> None:
    directory.pod("web", "a", file="a.yaml")
    directory.pod("web", "b", file="b.yaml")
    wanted = source.look()
    assert wanted.pods["default/web"].spec.containers[0].working_dir == "/a"
    assert "stands in" in wanted.problems[str(directory.path / "b.yaml")]


def test_a_directory_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="cannot be listed: No such file or directory"):
        ManifestDirectory(tmp_path / "none").look()
