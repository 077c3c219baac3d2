"""Requests and limits as the kernel's settings."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.manifests import HOST, IMAGE, container_of, sandbox_of

from podyard.cri import api
from podyard.manifest.model import Pod
from podyard.manifest.translate import container_config
from podyard.manifest.translate.resources import qos_class

MakePod = Callable[..., Pod]


@pytest.mark.parametrize(
    ("resources", "qos", "shares", "quota", "memory", "oom"),
    [
        ("{}", "BestEffort", 2, 0, 0, 1000),
        ("{limits: {cpu: 500m, memory: 64Mi}}", "Guaranteed", 512, 50000, 67108864, -997),
        ("{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1, memory: 1Gi}}", "Guaranteed", 1024, 100000, 1 << 30, -997),
        ("{requests: {cpu: 250m, memory: 2Gi}}", "Burstable", 256, 0, 0, 750),
        ("{requests: {memory: 1}}", "Burstable", 2, 0, 0, 999),
        ("{requests: {memory: 8Gi}}", "Burstable", 2, 0, 0, 3),
        ("{limits: {cpu: 1m}}", "Burstable", 2, 1000, 0, 999),
        ("{limits: {cpu: 1000}}", "Burstable", 262144, 100000000, 0, 999),
    ],
)
def test_resources_become_the_kernels_settings(
    make_pod: MakePod, resources: str, qos: str, shares: int, quota: int, memory: int, oom: int
) -> None:
    pod = make_pod(container=f"resources: {resources}")
    assert qos_class(pod) == qos
    assert container_of(pod).linux.resources == api.LinuxContainerResources(
        cpu_period=100000, cpu_quota=quota, cpu_shares=shares, memory_limit_in_bytes=memory, oom_score_adj=oom
    )


@pytest.mark.parametrize(
    ("init", "resources", "shares", "quota", "memory"),
    [
        ("", "{limits: {cpu: 500m, memory: 1Ki}, requests: {cpu: 250m}}", 256, 50000, 1024),
        ("{limits: {cpu: 2, memory: 1}}", "{limits: {cpu: 1, memory: 2}}", 2048, 200000, 2),
        ("{limits: {cpu: 2}}", "{limits: {cpu: 1, memory: 2}}", 2048, 200000, 0),
        ("{limits: {cpu: 1, memory: 3}}, restartPolicy: Always", "{limits: {cpu: 1, memory: 2}}", 2048, 200000, 5),
    ],
)
def test_a_sandbox_is_told_what_its_containers_have_together(
    make_pod: MakePod, init: str, resources: str, shares: int, quota: int, memory: int
) -> None:
    first = f"initContainers: [{{name: first, image: a, resources: {init}}}]" if init else ""
    linux = sandbox_of(make_pod(first, f"resources: {resources}")).linux
    assert linux.resources == api.LinuxContainerResources(
        cpu_period=100000, cpu_quota=quota, cpu_shares=shares, memory_limit_in_bytes=memory
    )
    assert not linux.HasField("overhead")


def test_a_sandbox_is_told_what_the_pod_costs_beside_its_containers(make_pod: MakePod) -> None:
    linux = sandbox_of(make_pod("overhead: {cpu: 250m, memory: 64Mi}")).linux
    assert linux.overhead == api.LinuxContainerResources(
        cpu_period=100000, cpu_quota=25000, cpu_shares=256, memory_limit_in_bytes=64 << 20
    )


def test_one_container_without_limits_makes_the_pod_burstable(make_pod: MakePod) -> None:
    pod = make_pod("initContainers: [{name: first, image: a}]", "resources: {limits: {cpu: 1, memory: 1Gi}}")
    assert qos_class(pod) == "Burstable"


def test_a_sidecar_keeps_its_ports_and_is_not_killed_before_the_containers(make_pod: MakePod) -> None:
    pod = make_pod(
        "initContainers:\n"
        "- {name: side, image: a, restartPolicy: Always, ports: [{containerPort: 1, hostPort: 2}]}\n"
        "- {name: once, image: a, ports: [{containerPort: 3, hostPort: 4}]}",
        "resources: {requests: {memory: 4Gi}}",
    )
    assert [mapping.host_port for mapping in sandbox_of(pod).port_mappings] == [2]
    side = container_config(
        pod, pod.spec.init_containers[0], IMAGE, HOST, attempt=0, variables={}, volumes=(), files={}
    )
    assert side.linux.resources.oom_score_adj == 500
    assert side.annotations["podyard.io/container-kind"] == "sidecar"


def test_huge_pages_have_the_kernels_names(make_pod: MakePod) -> None:
    pod = make_pod(
        container="resources: {limits: {cpu: 1, hugepages-2Mi: 4Mi, hugepages-1Gi: 1Gi, hugepages-64Ki: 64Ki}}"
    )
    found = {limit.page_size: limit.limit for limit in container_of(pod).linux.resources.hugepage_limits}
    assert found == {"2MB": 4 << 20, "1GB": 1 << 30, "64KB": 64 << 10}
