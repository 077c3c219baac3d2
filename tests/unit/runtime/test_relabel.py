"""Labels of volumes, as attributes of files: no SELinux is needed to see them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from podyard.errors import InvalidArgument
from podyard.runtime.relabel import LABEL, relabel

WANTED = "system_u:object_r:container_file_t:s0:c1"


def label(path: Path) -> str:
    return os.getxattr(path, LABEL, follow_symlinks=False).decode().rstrip("\0")


@pytest.mark.host
def test_all_below_a_directory_but_not_what_links_lead_to(tmp_path: Path) -> None:
    (tmp_path / "outside").touch()
    volume = tmp_path / "volume"
    (volume / "sub").mkdir(parents=True)
    (volume / "sub" / "file").touch()
    (volume / "link").symlink_to(tmp_path / "outside")
    relabel(volume, WANTED)
    for path in (volume, volume / "sub", volume / "sub" / "file", volume / "link"):
        assert label(path) == WANTED, path
    with pytest.raises(OSError, match="No data"):
        label(tmp_path / "outside")


@pytest.mark.host
def test_a_single_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    relabel(tmp_path / "file", WANTED)
    assert label(tmp_path / "file") == WANTED


@pytest.mark.parametrize("path", ["/", "/etc", "/usr", "/var/lib"])
def test_what_the_host_needs_keeps_its_label(path: str) -> None:
    with pytest.raises(InvalidArgument, match="whole host"):
        relabel(Path(path), WANTED)
