"""A host as the pure functions see it, and requests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from podyard.oci.capabilities import BY_NUMBER
from podyard.oci.host import HostFacts

Facts = Callable[..., HostFacts]


@pytest.fixture
def facts(tmp_path: Path) -> Facts:
    """Facts of a well-equipped v2 host without AppArmor and SELinux; keywords replace single ones."""

    def make(**changes: object) -> HostFacts:
        values: dict[str, object] = {
            "capabilities": frozenset(BY_NUMBER),
            "oom_score_adj_floor": -1000,
            "cgroup_v2": True,
            "cgroup_namespace": True,
            "apparmor": False,
            "selinux": False,
            "seccomp": True,
            "seccomp_dir": tmp_path / "seccomp",
            "controllers": frozenset({"cpu", "cpuset", "memory", "pids", "hugetlb", "io"}),
            "hugepage_sizes": frozenset({"2MB", "1GB"}),
            "machine": "x86_64",
            "hostname": "node-1",
        }
        return HostFacts(**(values | changes))  # type: ignore[arg-type]

    return make
