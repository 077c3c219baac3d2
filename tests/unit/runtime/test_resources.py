"""Changed limits, and what becomes of a change that fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from podyard.cri import api
from podyard.errors import FailedPrecondition, Internal
from podyard.model.records import Container, Sandbox
from podyard.oci.host import HostFacts
from podyard.operations import Engine, Journal
from podyard.runtime import resources
from podyard.runtime.container_update import UpdateContainerResources
from podyard.runtime.context import Paths
from podyard.runtime.store import Store
from podyard.state.database import Database
from podyard.state.records import Records

Limits = api.LinuxContainerResources


def pages(**sizes: int) -> list[api.HugepageLimit]:
    return [api.HugepageLimit(page_size=size, limit=limit) for size, limit in sizes.items()]


def test_what_is_not_named_stays() -> None:
    before = Limits(cpu_shares=5, memory_limit_in_bytes=7, cpuset_cpus="0", unified={"memory.high": "1", "io.max": "2"})
    wanted = Limits(memory_limit_in_bytes=8, cpu_quota=-1, unified={"memory.high": "3"})
    assert resources.merged(before, wanted) == Limits(
        cpu_shares=5,
        memory_limit_in_bytes=8,
        cpu_quota=-1,
        cpuset_cpus="0",
        unified={"memory.high": "3", "io.max": "2"},
    )
    assert resources.merged(before, Limits()) == before


@pytest.mark.parametrize(
    ("before", "wanted", "after"),
    [((7, 7), (9, 0), (9, 9)), ((7, 7), (9, 12), (9, 12)), ((7, 8), (6, 0), (6, 8)), ((-1, -1), (9, 0), (9, -1))],
)
def test_no_swap_goes_with_the_memory(before: tuple[int, int], wanted: tuple[int, int], after: tuple[int, int]) -> None:
    def memory(both: tuple[int, int]) -> api.LinuxContainerResources:
        return Limits(memory_limit_in_bytes=both[0], memory_swap_limit_in_bytes=both[1])

    assert resources.merged(memory(before), memory(wanted)) == memory(after)


def test_huge_pages_count_by_their_size() -> None:
    before = Limits(hugepage_limits=pages(**{"2MB": 1, "1GB": 2}))
    assert resources.merged(before, Limits(hugepage_limits=pages(**{"2MB": 0}))) == Limits(
        hugepage_limits=pages(**{"2MB": 0, "1GB": 2})
    )


def test_every_field_of_the_protocol_is_merged() -> None:
    texts = {"cpuset_cpus": "1", "cpuset_mems": "1"}
    for field in Limits.DESCRIPTOR.fields:
        if field.name in {"unified", "hugepage_limits"}:
            continue
        wanted = Limits(**{field.name: texts.get(field.name, 1)})  # type: ignore[arg-type]
        assert resources.merged(Limits(), wanted) == wanted, field.name


def test_a_pod_has_its_containers_limits_and_its_overhead() -> None:
    found = resources.together(
        Limits(cpu_shares=500, cpu_quota=50_000, cpu_period=100_000, memory_limit_in_bytes=100),
        Limits(cpu_shares=10, cpu_quota=1_000, cpu_period=10_000, memory_limit_in_bytes=20),
    )
    assert (found.cpu_shares, found.cpu_quota, found.memory_limit_in_bytes) == (510, 60_000, 120)
    unlimited = resources.together(Limits(memory_limit_in_bytes=-1), Limits(memory_limit_in_bytes=20, cpu_quota=5))
    assert (unlimited.memory_limit_in_bytes, unlimited.cpu_quota) == (-1, 0)


class Runtime:
    """An OCI runtime that keeps what it was told, and fails where a test says so."""

    systemd = False

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.failures: list[Exception] = []

    async def update(self, _container_id: str, file: Path) -> None:
        self.told.append(json.loads(file.read_text()))
        if self.failures:
            raise self.failures.pop()


class Host:
    """A context with what an update needs."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.store = Store(Records(database))
        self.oci = Runtime()
        self.engine = Engine(Journal(database))
        self.paths = Paths(folder, folder)
        self.paths.bundle("c").mkdir(parents=True)
        (self.paths.bundle("c") / "config.json").write_text('{"linux": {"resources": {"devices": [1]}}}')
        host = HostFacts(
            capabilities=frozenset(),
            oom_score_adj_floor=-1000,
            cgroup_v2=False,
            cgroup_namespace=True,
            apparmor=False,
            selinux=False,
            seccomp=True,
            seccomp_dir=folder,
        )
        self.context: Any = SimpleNamespace(
            store=self.store, paths=self.paths, host=host, runtime=lambda _name: self.oci
        )
        config = api.ContainerConfig(
            linux=api.LinuxContainerConfig(resources=Limits(cpu_shares=512, memory_limit_in_bytes=1 << 30))
        )
        self.store.save_sandbox(Sandbox(id="s", config=b"", handler="", runtime="crun", created_at=1, boot_id="b"))
        self.entry = self.store.save_container(
            Container(
                id="c",
                sandbox_id="s",
                config=config.SerializeToString(),
                runtime="crun",
                image_id="i",
                image_ref="r",
                created_at=1,
                boot_id="b",
                stop_signal="SIGTERM",
                cgroup="/podyard-no-such-cgroup",
                state="running",
            )
        )

    async def update(self, **fields: Any) -> None:
        await self.engine.run(UpdateContainerResources(self.context, "c", Limits(**fields)))

    def shown(self) -> Limits:
        return resources.effective(self.entry.record, self.entry.config)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    database = Database(tmp_path / "state.db")
    yield Host(tmp_path, database)
    database.close()


async def test_a_change_is_told_as_a_whole_and_shown_everywhere(host: Host) -> None:
    await host.update(cpu_shares=256)
    memory = {"limit": 1 << 30, "swap": 1 << 30}
    assert host.oci.told == [{"cpu": {"shares": 256}, "memory": memory}]
    assert host.shown() == Limits(cpu_shares=256, memory_limit_in_bytes=1 << 30)
    spec = json.loads((host.paths.bundle("c") / "config.json").read_text())
    assert spec["linux"]["resources"] == {"devices": [1], "cpu": {"shares": 256}, "memory": memory}


async def test_a_change_that_fails_is_taken_back(host: Host) -> None:
    await host.update(cpu_shares=256)
    before = host.entry.record
    host.oci.failures = [Internal("no")]
    with pytest.raises(Internal, match="while changing the limits"):
        await host.update(cpu_shares=100, cpu_quota=5_000)
    assert host.entry.record == before
    assert host.oci.told[-1]["cpu"] == {"shares": 256, "quota": -1}


async def test_a_change_that_cannot_be_recorded_is_taken_back(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    before = host.entry.record
    monkeypatch.setattr(host.store, "save_container", lambda _record: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(Exception, match="while remembering the limits"):
        await host.update(cpu_shares=100)
    assert host.entry.record == before
    assert [told["cpu"] for told in host.oci.told] == [{"shares": 100}, {"shares": 512}]


async def test_what_a_crash_cut_off_is_taken_back(host: Host) -> None:
    operation = UpdateContainerResources(host.context, "c", Limits(cpu_quota=5_000))
    again = UpdateContainerResources.from_journal(host.context, operation.journal_input())
    await again.restore()
    assert host.oci.told[-1]["cpu"] == {"shares": 512, "quota": -1}
    host.store.delete_container("c")
    await again.restore()
    assert len(host.oci.told) == 1


async def test_a_container_that_ends_meanwhile_is_told(host: Host) -> None:
    host.oci.failures = [Internal("container not running")]
    host.entry.ended.set()
    with pytest.raises(FailedPrecondition, match="ended while"):
        await host.update(cpu_shares=100)
