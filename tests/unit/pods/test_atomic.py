"""Files that are exchanged all at once."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from podyard.manifest.translate import File
from podyard.pods.atomic import write_files


def seen(volume: Path) -> dict[str, str]:
    """What a program in a container sees: visible names and their content."""
    found = {}
    for folder, names, files in os.walk(volume, followlinks=True):
        names[:] = [name for name in names if not name.startswith("..")]
        for name in files:
            if not name.startswith(".."):
                path = Path(folder) / name
                found[str(path.relative_to(volume))] = path.read_text()
    return found


def test_files_appear_change_and_go_together(tmp_path: Path) -> None:
    assert write_files(tmp_path, {"a": File(b"1", 0o644), "d/e/f": File(b"2", 0o400)}, None)
    assert seen(tmp_path) == {"a": "1", "d/e/f": "2"}
    assert stat.S_IMODE((tmp_path / "d/e/f").stat().st_mode) == 0o400
    assert (tmp_path / "a").readlink() == Path("..data/a")
    before = (tmp_path / "..data").readlink()
    assert not write_files(tmp_path, {"a": File(b"1", 0o644), "d/e/f": File(b"2", 0o400)}, None)
    assert (tmp_path / "..data").readlink() == before
    assert write_files(tmp_path, {"a": File(b"3", 0o644), "b": File(b"4", 0o600)}, None)
    assert seen(tmp_path) == {"a": "3", "b": "4"}
    assert sorted(entry.name for entry in tmp_path.iterdir() if not entry.name.startswith("..2")) == [
        "..data",
        "a",
        "b",
    ]
    assert len(list(tmp_path.glob("..2*"))) == 1


def test_an_empty_volume_is_one_too(tmp_path: Path) -> None:
    assert write_files(tmp_path, {}, None)
    assert seen(tmp_path) == {}
    assert (tmp_path / "..data").is_dir()
    assert not write_files(tmp_path, {}, None)


def test_what_a_killed_agent_left_is_cleared_away(tmp_path: Path) -> None:
    write_files(tmp_path, {"a": File(b"1", 0o644)}, None)
    (tmp_path / "..2020_01_01_00_00_00.x").mkdir()
    (tmp_path / "..data_tmp").symlink_to("..2020_01_01_00_00_00.x")
    (tmp_path / "stale").symlink_to("..data/stale")
    assert write_files(tmp_path, {"a": File(b"2", 0o644)}, None)
    assert seen(tmp_path) == {"a": "2"}
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.host
def test_owners_are_set_and_a_change_of_them_is_one(tmp_path: Path) -> None:
    assert write_files(tmp_path, {"d/a": File(b"1", 0o600, 7)}, 2000)
    state, folder = (tmp_path / "d/a").stat(), (tmp_path / "d").stat()
    assert (state.st_uid, state.st_gid, stat.S_IMODE(state.st_mode)) == (7, 2000, 0o600)
    assert (folder.st_gid, stat.S_IMODE(folder.st_mode)) == (2000, 0o2755)
    assert not write_files(tmp_path, {"d/a": File(b"1", 0o600, 7)}, 2000)
    assert write_files(tmp_path, {"d/a": File(b"1", 0o600, 8)}, 2000)
    assert write_files(tmp_path, {"d/a": File(b"1", 0o600, 8)}, 2001)
