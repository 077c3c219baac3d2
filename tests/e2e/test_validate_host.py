"""The behaviour suite's cases about cgroups and AppArmor, on hosts with systemd: tests/vm makes one.

Elsewhere they run with all others (test_validate.py), and those about AppArmor are skipped.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.e2e.test_validate import failures
from tests.support.patience import PATIENCE
from tests.support.servers import SYSTEMD, Podyard

from podyard.validate import Target, chosen, run

CASES = ("apparmor: ", "limits: ", "update: ", "cgroup")

pytestmark = pytest.mark.skipif(
    not SYSTEMD, reason="needs systemd's cgroup driver (tests/vm/run makes a machine that has it)"
)


async def test_podyard_passes_what_depends_on_the_host(podyard: Podyard) -> None:
    cases = [replace(case, limit=case.limit * PATIENCE) for case in chosen(CASES)]
    outcome = await run(Target(runtime_endpoint=podyard.endpoint, strict=True), cases, parallel=2)
    assert failures(outcome) == {}
    assert outcome.leftovers == []
    assert outcome.count("passed") > 50
