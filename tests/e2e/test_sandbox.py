"""Pod sandboxes, through the CRI."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.support.host import snapshot
from tests.support.pods import WAIT_LIMIT, Kit

from podyard.cri import api
from podyard.errors import AlreadyExists, NotFound, PodyardError

POD, CONTAINER, NODE = api.POD, api.CONTAINER, api.NODE


def linux(**options: api.NamespaceMode.ValueType) -> api.LinuxPodSandboxConfig:
    return api.LinuxPodSandboxConfig(
        security_context=api.LinuxSandboxSecurityContext(namespace_options=api.NamespaceOption(**options))
    )


def own(**options: api.NamespaceMode.ValueType) -> api.LinuxContainerConfig:
    return api.LinuxContainerConfig(
        security_context=api.LinuxContainerSecurityContext(namespace_options=api.NamespaceOption(**options))
    )


async def test_a_sandbox_from_run_to_remove(kit: Kit) -> None:
    runtime = kit.client.runtime
    config = kit.sandbox_config(labels={"app": "a", "empty": ""}, annotations={"note/x": "ü \n 1"})
    before = time.time_ns()
    sandbox_id = await kit.sandbox(config)
    status = (await runtime.pod_sandbox_status(sandbox_id)).status
    assert status.id == sandbox_id
    assert status.state == api.SANDBOX_READY
    assert status.metadata == config.metadata
    assert before <= status.created_at <= time.time_ns()
    assert dict(status.labels) == dict(config.labels)
    assert dict(status.annotations) == dict(config.annotations)
    assert status.network.ip
    [listed] = await runtime.list_pod_sandbox(api.PodSandboxFilter(id=sandbox_id))
    assert (listed.id, listed.metadata, listed.state) == (sandbox_id, config.metadata, api.SANDBOX_READY)
    await runtime.stop_pod_sandbox(sandbox_id)
    await runtime.stop_pod_sandbox(sandbox_id)
    assert (await runtime.pod_sandbox_status(sandbox_id)).status.state == api.SANDBOX_NOTREADY
    await runtime.remove_pod_sandbox(sandbox_id)
    await runtime.remove_pod_sandbox(sandbox_id)
    with pytest.raises(NotFound):
        await runtime.pod_sandbox_status(sandbox_id)
    assert await runtime.list_pod_sandbox(api.PodSandboxFilter(id=sandbox_id)) == []


async def test_filters_by_id_state_and_labels(kit: Kit) -> None:
    runtime = kit.client.runtime
    one = await kit.sandbox(labels={"test": "filters", "n": "1"})
    two = await kit.sandbox(labels={"test": "filters", "n": "2"})
    await runtime.stop_pod_sandbox(two)

    async def ids(**fields: object) -> set[str]:
        wanted = api.PodSandboxFilter(**fields)  # type: ignore[arg-type]
        return {entry.id for entry in await runtime.list_pod_sandbox(wanted)}

    assert await ids(label_selector={"test": "filters"}) == {one, two}
    assert await ids(label_selector={"test": "filters", "n": "2"}) == {two}
    ready = api.PodSandboxStateValue(state=api.SANDBOX_READY)
    assert await ids(label_selector={"test": "filters"}, state=ready) == {one}
    assert await ids(id=one, label_selector={"n": "2"}) == set()
    assert await ids(id=one[:20]) == {one}


async def test_the_same_request_again_returns_the_same_sandbox(kit: Kit) -> None:
    config = kit.sandbox_config()
    sandbox_id = await kit.sandbox(config)
    assert await kit.client.runtime.run_pod_sandbox(config) == sandbox_id


async def test_the_same_request_again_returns_no_sandbox_that_was_stopped(kit: Kit) -> None:
    config = kit.sandbox_config()
    sandbox_id = await kit.sandbox(config)
    await kit.client.runtime.stop_pod_sandbox(sandbox_id)
    with pytest.raises(PodyardError, match=sandbox_id[:12]) as told:
        await kit.client.runtime.run_pod_sandbox(config)
    assert kit.runtime != "podyard" or (isinstance(told.value, AlreadyExists) and "not ready" in str(told.value))
    config.metadata.attempt = 1
    assert await kit.sandbox(config) != sandbox_id


async def test_the_same_request_twice_at_once_makes_one_sandbox(kit: Kit) -> None:
    config = kit.sandbox_config()
    first, second = await asyncio.gather(kit.sandbox(config), kit.sandbox(config))
    assert first == second


async def test_another_configuration_under_the_same_name_is_refused(kit: Kit) -> None:
    config = kit.sandbox_config()
    await kit.sandbox(config)
    other = api.PodSandboxConfig()
    other.CopyFrom(config)
    other.labels["changed"] = "yes"
    with pytest.raises(AlreadyExists):
        await kit.client.runtime.run_pod_sandbox(other)
    other.metadata.attempt = 1
    assert await kit.sandbox(other)


async def test_without_a_server_to_ask_the_hosts_resolver_is_used(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(dns_config=api.DNSConfig())
    assert await kit.shell(sandbox_id, "cat /etc/resolv.conf") == Path("/etc/resolv.conf").read_text()


async def test_containers_share_network_ipc_and_host_name(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(hostname="shared-name")
    await kit.start(sandbox_id, ["httpd", "-f", "-p", "127.0.0.1:8081", "-h", "/etc"])
    fetch = "wget -q -O - http://127.0.0.1:8081/hostname"
    script = f"hostname; i=0; until {fetch}; do i=$((i+1)); [ $i -lt 50 ]; sleep 0.1; done"
    assert await kit.shell(sandbox_id, script) == "shared-name\nshared-name\n"
    spaces = "for kind in net ipc uts; do readlink /proc/self/ns/$kind; done"
    assert await kit.shell(sandbox_id, spaces) == await kit.shell(sandbox_id, spaces)
    lasting = [await kit.start(sandbox_id, ["sleep", "1000"]) for _ in range(2)]
    pids = [await kit.exec(container_id, "readlink", "/proc/self/ns/pid") for container_id in lasting]
    assert pids[0] != pids[1]


async def test_shared_memory_is_the_pods(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    assert await kit.shell(sandbox_id, "echo across > /dev/shm/file; stat -c %a /dev/shm") == "1777\n"
    assert (
        await kit.shell(sandbox_id, "cat /dev/shm/file; df -k /dev/shm | tail -1 | awk '{print $2}'")
        == "across\n65536\n"
    )


async def test_a_shared_pid_namespace(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(linux=linux(pid=POD))
    await kit.start(sandbox_id, ["sleep", "3333"], linux=own(pid=POD))
    output = await kit.shell(sandbox_id, "ps -o args", linux=own(pid=POD))
    assert "sleep 3333" in output
    assert "sleep 3333" not in await kit.shell(sandbox_id, "ps -o args", linux=own(pid=CONTAINER))


async def test_host_namespaces(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(linux=linux(network=NODE, pid=NODE, ipc=NODE), hostname="")
    spaces = "for kind in net pid ipc; do readlink /proc/self/ns/$kind; done"
    expected = "".join(f"{Path('/proc/self/ns', kind).readlink()}\n" for kind in ("net", "pid", "ipc"))
    assert await kit.shell(sandbox_id, spaces, linux=own(network=NODE, pid=NODE, ipc=NODE)) == expected


async def test_dns_settings(kit: Kit) -> None:
    dns = api.DNSConfig(servers=["10.9.8.7", "10.9.8.6"], searches=["a.test", "b.test"], options=["ndots:3"])
    sandbox_id = await kit.sandbox(dns_config=dns)
    words = (await kit.shell(sandbox_id, "cat /etc/resolv.conf")).split("\n")
    assert set(filter(None, words)) == {
        "search a.test b.test",
        "nameserver 10.9.8.7",
        "nameserver 10.9.8.6",
        "options ndots:3",
    }


async def test_sysctls(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(
        linux=api.LinuxPodSandboxConfig(sysctls={"net.core.somaxconn": "777", "kernel.shm_rmid_forced": "1"})
    )
    output = await kit.shell(sandbox_id, "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shm_rmid_forced")
    assert output == "777\n1\n"


async def test_low_ports_need_no_privilege(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    assert await kit.shell(sandbox_id, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start") == "0\n"


async def test_a_page_from_the_pods_address_and_from_a_host_port(kit: Kit) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mapping = api.PortMapping(protocol=api.TCP, container_port=8080, host_port=port)
    sandbox_id = await kit.sandbox(port_mappings=[mapping], hostname="web")
    await kit.start(sandbox_id, ["httpd", "-f", "-p", "8080", "-h", "/etc"])
    address = (await kit.client.runtime.pod_sandbox_status(sandbox_id)).status.network.ip
    assert await fetch(f"http://{address}:8080/hostname") == "web\n"
    assert await fetch(f"http://127.0.0.1:{port}/hostname") == "web\n"
    await kit.client.runtime.stop_pod_sandbox(sandbox_id)
    with socket.socket() as again:
        again.settimeout(1)
        assert again.connect_ex(("127.0.0.1", port)) != 0


async def test_an_address_is_given_back(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    address = (await kit.client.runtime.pod_sandbox_status(sandbox_id)).status.network.ip
    held = [path.name for path in (kit.folder.parent / "ipam").rglob("*.*.*.*")]
    await kit.client.runtime.stop_pod_sandbox(sandbox_id)
    assert address not in {path.name for path in (kit.folder.parent / "ipam").rglob("*.*.*.*")}, held


async def test_stopping_a_sandbox_kills_its_containers(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.start(sandbox_id, ["sh", "-c", "trap '' TERM; sleep 1000 & wait; wait"])
    await kit.client.runtime.stop_pod_sandbox(sandbox_id)
    status = await kit.status(container_id)
    assert (status.state, status.exit_code) == (api.CONTAINER_EXITED, 137)


async def test_removing_a_sandbox_removes_its_containers(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.start(sandbox_id, ["sleep", "1000"])
    await kit.client.runtime.remove_pod_sandbox(sandbox_id)
    with pytest.raises(NotFound):
        await kit.status(container_id)


async def test_a_container_cannot_be_made_in_a_stopped_sandbox(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    await kit.client.runtime.stop_pod_sandbox(sandbox_id)
    with pytest.raises(PodyardError):
        await kit.create(sandbox_id, ["true"])


@pytest.mark.alone
@pytest.mark.parametrize("host_network", [False, True])
async def test_verbose_status_of_what_runs_and_what_is_stopped(kit: Kit, host_network: bool) -> None:
    config = kit.sandbox_config(linux=linux(pid=POD, network=NODE if host_network else POD))
    if host_network:
        config.hostname = ""  # it has the host's
    sandbox_id = await kit.sandbox(config)

    async def info() -> dict[str, Any]:
        answer = await kit.client.runtime.pod_sandbox_status(sandbox_id, verbose=True)
        found: dict[str, Any] = json.loads(answer.info["info"])
        return found

    ready = await info()
    assert ready["pid"] > 1
    assert not ready["netNamespaceClosed"]
    await kit.client.runtime.stop_pod_sandbox(sandbox_id)
    stopped = await info()
    assert stopped["pid"] == 0
    assert stopped["netNamespaceClosed"] is not host_network


async def test_a_sandbox_that_fails_leaves_nothing(kit: Kit) -> None:
    await kit.sandbox()
    await kit.close()  # a runtime's first sandbox makes the bridge, which stays
    before = snapshot()
    config = kit.sandbox_config(linux=api.LinuxPodSandboxConfig(sysctls={"net.core.no_such_thing": "1"}))
    with pytest.raises(PodyardError, match="no_such_thing"):
        await kit.client.runtime.run_pod_sandbox(config)
    assert await kit.client.runtime.list_pod_sandbox() == []
    async with asyncio.timeout(WAIT_LIMIT):
        while snapshot().added_since(before) != {}:
            await asyncio.sleep(0.1)


async def fetch(url: str) -> str:
    """A page; its server may still be starting."""

    def get() -> str:
        deadline = time.monotonic() + WAIT_LIMIT
        while True:
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    return answer.read().decode()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    return await asyncio.to_thread(get)
