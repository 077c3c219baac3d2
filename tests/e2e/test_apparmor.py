"""AppArmor profiles of containers, on hosts that enforce it: tests/vm makes one; elsewhere these tests are skipped."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.images import Images
from tests.support.pods import WAIT_LIMIT, Kit
from tests.support.servers import Podyard

from podyard.client import Client
from podyard.cri import api
from podyard.errors import PodyardError

ENABLED = Path("/sys/module/apparmor/parameters/enabled")
LISTED = Path("/sys/kernel/security/apparmor/profiles")
pytestmark = pytest.mark.skipif(
    not ENABLED.exists() or ENABLED.read_text().strip() != "Y" or not LISTED.exists(),
    reason="needs a kernel that enforces AppArmor (tests/vm/run makes a machine that does)",
)

OWN = "podyard-pytest"
RULES = f"profile {OWN} flags=(attach_disconnected) {{ file, capability, network, deny /forbidden/** rwx, }}\n"
CONFINED_BY = "cat /proc/self/attr/current"


@pytest.fixture
async def kit(podyard: Podyard, images: Images) -> AsyncIterator[Kit]:
    async with await Client.connect(podyard.endpoint) as client:
        await client.images.pull_image(images.busybox)
        kit = Kit(client, podyard.folder / "tests", images.busybox, podyard.name)
        try:
            yield kit
        finally:
            await kit.close()


@pytest.fixture
def own_profile() -> Iterator[str]:
    """A profile of the node's administrator."""
    subprocess.run(["apparmor_parser", "--replace", "--skip-cache"], input=RULES, text=True, check=True)
    try:
        yield OWN
    finally:
        subprocess.run(["apparmor_parser", "--remove"], input=RULES, text=True, check=True)


def linux(**fields: object) -> api.LinuxContainerConfig:
    return api.LinuxContainerConfig(security_context=api.LinuxContainerSecurityContext(**fields))  # type: ignore[arg-type]


def profile(kind: api.SecurityProfile.ProfileType.ValueType, name: str = "") -> api.SecurityProfile:
    return api.SecurityProfile(profile_type=kind, localhost_ref=name)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"apparmor": profile(api.SecurityProfile.RuntimeDefault)},
        {"apparmor_profile": "runtime/default"},
    ],
    ids=["nothing said", "RuntimeDefault", "runtime/default"],
)
async def test_the_default_profile(kit: Kit, fields: dict[str, object]) -> None:
    output = await kit.shell(await kit.sandbox(), CONFINED_BY, linux=linux(**fields))
    assert output.strip() == "podyard-default (enforce)"


@pytest.mark.parametrize(
    "fields",
    [{"apparmor": profile(api.SecurityProfile.Unconfined)}, {"apparmor_profile": "unconfined"}],
    ids=["Unconfined", "unconfined"],
)
async def test_no_profile(kit: Kit, fields: dict[str, object]) -> None:
    assert (await kit.shell(await kit.sandbox(), CONFINED_BY, linux=linux(**fields))).strip() == "unconfined"


async def test_the_privileged_are_not_confined_unless_they_ask_for_it(kit: Kit, own_profile: str) -> None:
    sandbox = api.LinuxPodSandboxConfig(security_context=api.LinuxSandboxSecurityContext(privileged=True))
    sandbox_id = await kit.sandbox(linux=sandbox)
    output = await kit.shell(sandbox_id, CONFINED_BY, linux=linux(privileged=True))
    assert output.strip() == "unconfined"
    asked = linux(privileged=True, apparmor=profile(api.SecurityProfile.Localhost, own_profile))
    assert (await kit.shell(sandbox_id, CONFINED_BY, linux=asked)).strip() == f"{own_profile} (enforce)"


async def test_a_profile_of_the_node(kit: Kit, own_profile: str) -> None:
    script = f"{CONFINED_BY}; mkdir /forbidden; touch /forbidden/file 2>&1 || true; touch /allowed"
    for fields in (
        {"apparmor": profile(api.SecurityProfile.Localhost, own_profile)},
        {"apparmor_profile": f"localhost/{own_profile}"},
    ):
        output = await kit.shell(await kit.sandbox(), script, linux=linux(**fields))
        assert output.startswith(f"{own_profile} (enforce)\n")
        assert "Permission denied" in output


async def test_a_profile_that_is_not_loaded_is_named(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    wanted = linux(apparmor=profile(api.SecurityProfile.Localhost, "no-such-profile"))
    with pytest.raises(PodyardError, match="no-such-profile"):
        await kit.create(sandbox_id, ["true"], linux=wanted)


async def test_an_exec_is_confined_as_its_container(kit: Kit) -> None:
    container_id = await kit.start(await kit.sandbox(), ["sleep", "1000"])
    assert (await kit.exec(container_id, "cat", "/proc/self/attr/current")).strip() == "podyard-default (enforce)"


async def test_the_default_profile_lets_containers_be_stopped_and_keeps_the_hosts_settings(kit: Kit) -> None:
    capabilities = api.Capability(add_capabilities=["ALL"])
    wanted = linux(capabilities=capabilities, readonly_paths=[], masked_paths=[])
    script = "mount -t tmpfs none /mnt 2>&1; trap 'exit 4' TERM; echo ready; while :; do sleep 0.1; done"
    container_id = await kit.start(await kit.sandbox(), ["sh", "-c", f"mkdir /mnt; {script}"], linux=wanted)
    async with asyncio.timeout(WAIT_LIMIT):
        while "ready" not in kit.output(await kit.status(container_id)):
            await asyncio.sleep(0.1)
    assert "denied" in kit.output(await kit.status(container_id))
    await kit.client.runtime.stop_container(container_id, int(WAIT_LIMIT))
    assert (await kit.status(container_id)).exit_code == 4
