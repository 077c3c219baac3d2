"""Root file systems out of the host's busybox."""

from __future__ import annotations

import shutil

import pytest

from podyard.errors import FailedPrecondition
from podyard.images import busybox


def test_without_one_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(FailedPrecondition, match="busybox-static"):
        busybox.find()


def test_one_that_is_not_static_will_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/ls")
    with pytest.raises(FailedPrecondition, match="not statically linked"):
        busybox.find()


def test_every_applet_is_a_link_to_it() -> None:
    entries = busybox.tree(busybox.find())
    assert {"bin/sh", "bin/cat", "etc/passwd", "tmp"} <= entries.keys()
