"""The behaviour suite against both runtimes: podyard does all of it, containerd does otherwise where that is listed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.support.sent import Sent, fields_of
from tests.support.servers import Containerd, Podyard, Server

from podyard.client import Client
from podyard.cri import services
from podyard.validate import CASES, Outcome, Target, chosen, run
from podyard.validate.session import RUN

PARALLEL = 6


def listed(*, sometimes: bool) -> dict[str, str]:
    """The cases where containerd does otherwise, always or ``sometimes`` too, with the reason of each."""
    differences = tomllib.loads(Path(__file__).with_name("validate_containerd.toml").read_text())["difference"]
    differences = [entry for entry in differences if sometimes or not entry.get("sometimes")]
    found = [(case, entry["reason"]) for entry in differences for case in entry["cases"]]
    assert len(found) == len(dict(found)), "a case is listed twice"
    return dict(found)


def failures(outcome: Outcome) -> dict[str, str]:
    return {
        result.case.title: f"expected {result.expected}, came {result.came} ({result.where})"
        for result in outcome.results
        if result.state == "failed"
    }


async def left_behind(server: Server) -> list[str]:
    """What a run has made and not removed."""
    async with await Client.connect(server.endpoint) as client:
        sandboxes = [entry.id for entry in await client.runtime.list_pod_sandbox() if RUN in entry.labels]
        containers = [entry.id for entry in await client.runtime.list_containers() if RUN in entry.labels]
        images = [name for entry in await client.images.list_images() for name in entry.repo_tags]
    return sandboxes + containers + [name for name in images if "/validate/" in name]


SENT_BY = {
    "limits: huge pages of a size that the kernel has": {("runtime.v1.HugepageLimit", "limit")},
    "user namespaces: ids can be mapped in several stretches": {
        *(("runtime.v1.IDMapping", name) for name in ("host_id", "container_id", "length")),
        *(("runtime.v1.UserNamespace", name) for name in ("uids", "gids")),
    },
    "user namespaces: a volume with mappings shows its owners as they are on disk": {
        *(("runtime.v1.Mount", name) for name in ("uidMappings", "gidMappings")),
    },
}
"""Cases that hosts without the feature skip, and the fields that no other case sends."""

NOT_SENT = {
    ("runtime.v1.RestorePodRequest", "runtime_handler"),  # that of --runtime-handler: the run here has the default
    ("runtime.v1.AuthConfig", "identity_token"),  # unit/images/test_auth.py has it
}


async def test_podyard_passes_every_case_and_they_touch_all_of_the_protocol(
    podyard: Podyard, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Sent()
    sent.watch(monkeypatch)
    outcome = await run(Target(runtime_endpoint=podyard.endpoint, strict=True), CASES, parallel=PARALLEL)
    assert failures(outcome) == {}
    assert outcome.leftovers == []
    assert outcome.count("passed") > 600
    assert await left_behind(podyard) == []
    for service in ("RuntimeService", "ImageService"):
        assert {method.name for method in services.METHODS[service]} - sent.calls == set()
    skipped = {result.case.title for result in outcome.results if result.state == "skipped"}
    excused = {field for case, fields in SENT_BY.items() if case in skipped for field in fields}
    calls = [method for service in ("RuntimeService", "ImageService") for method in services.METHODS[service]]
    fields = {field for method in calls for field in fields_of(method.request.DESCRIPTOR)}
    assert fields - sent.fields - excused - NOT_SENT == set(), "no case sends these"


async def test_containerd_differs_where_that_is_listed(containerd: Containerd) -> None:
    outcome = await run(Target(runtime_endpoint=containerd.endpoint), CASES, parallel=PARALLEL)
    failed, known = failures(outcome), listed(sometimes=True)
    odd = [f"{title}: {text}" for title, text in failed.items() if title not in known]
    assert not odd, "\n".join(odd)
    assert sorted(listed(sometimes=False).keys() - failed.keys()) == [], "these are listed and did not fail"
    assert outcome.leftovers == []
    assert await left_behind(containerd) == []


async def test_an_interrupted_run_leaves_nothing(podyard: Podyard) -> None:
    target = Target(runtime_endpoint=podyard.endpoint)
    begun = asyncio.create_task(run(target, chosen(["stop: ", "network: "]), parallel=PARALLEL))
    async with await Client.connect(podyard.endpoint) as client, asyncio.timeout(30):
        while not [entry for entry in await client.runtime.list_containers() if RUN in entry.labels]:
            await asyncio.sleep(0.02)
    begun.cancel()
    with pytest.raises(asyncio.CancelledError):
        await begun
    assert await left_behind(podyard) == []


def test_the_command_reports_for_people_and_for_programs(podyard: Podyard, tmp_path: Path) -> None:
    junit, document = tmp_path / "report.xml", tmp_path / "report.json"
    command = [str(Path(sys.executable).parent / "podyard"), "validate", "--runtime-endpoint", podyard.endpoint]
    command += ["-k", "version: ", "-k", "selinux: ", "-v", "--junit", str(junit), "--json", str(document)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "  pass  the version is the one that kubelets accept (" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("podyard 0.1.0: ")
    report = json.loads(document.read_text())
    assert report["failed"] == 0
    assert report["passed"] + report["skipped"] == len(report["cases"]) == len(chosen(["version: ", "selinux: "]))
    suites = ElementTree.parse(junit).getroot()
    assert [suite.get("name") for suite in suites] == ["version", "selinux"]


def test_the_command_fails_where_a_case_does(containerd: Containerd) -> None:
    command = [str(Path(sys.executable).parent / "podyard"), "validate", "--runtime-endpoint", containerd.endpoint]
    command += ["-k", "a stop of a sandbox of what is not there"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "  FAIL  a stop of a sandbox of what is not there succeeds (" in done.stdout
    assert "        came     NOT_FOUND: " in done.stdout
