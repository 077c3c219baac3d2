"""AppArmor's list of profiles, and the default one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from podyard.cri import api
from podyard.errors import FailedPrecondition
from podyard.oci import apparmor, lsm
from podyard.oci.host import HostFacts

Facts = Callable[..., HostFacts]


def test_the_kernels_list(tmp_path: Path) -> None:
    listing = tmp_path / "profiles"
    listing.write_text("podyard-default (enforce)\n/usr/bin/man (complain)\nwith space (enforce)\n")
    assert apparmor.loaded(listing) == {"podyard-default", "/usr/bin/man", "with space"}


def test_a_list_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="which AppArmor profiles are loaded"):
        apparmor.loaded(tmp_path / "profiles")


def localhost(name: str) -> api.LinuxContainerSecurityContext:
    profile = api.SecurityProfile(profile_type=api.SecurityProfile.Localhost, localhost_ref=name)
    return api.LinuxContainerSecurityContext(apparmor=profile)


def test_a_profile_of_the_node_must_be_loaded(facts: Facts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = tmp_path / "profiles"
    listing.write_text("mine (enforce)\n")
    loaded = apparmor.loaded
    monkeypatch.setattr(apparmor, "loaded", lambda: loaded(listing))
    host = facts(apparmor=True)
    lsm.check_loaded(localhost("mine"), host)
    with pytest.raises(FailedPrecondition, match="'other' is not loaded"):
        lsm.check_loaded(localhost("other"), host)


def test_a_container_without_a_profile_needs_no_list(facts: Facts) -> None:
    lsm.check_loaded(api.LinuxContainerSecurityContext(), facts())


@pytest.mark.skipif(shutil.which("apparmor_parser") is None, reason="apparmor_parser is not installed")
def test_the_default_profile_compiles() -> None:
    done = subprocess.run(
        ["apparmor_parser", "--skip-kernel-load", "--skip-cache"],
        input=apparmor.PROFILE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
