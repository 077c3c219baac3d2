"""The mappings of a request, and which user namespace a container has."""

from __future__ import annotations

import pytest

from podyard.cri import api
from podyard.errors import InvalidArgument
from podyard.linux.userns import IdMap, Range
from podyard.oci import idmaps

MAPPING = api.IDMapping(host_id=100_000, container_id=0, length=65536)


def options(**fields: object) -> api.NamespaceOption:
    return api.NamespaceOption(userns_options=api.UserNamespace(**fields))  # type: ignore[arg-type]


def sandbox(namespace_options: api.NamespaceOption) -> api.PodSandboxConfig:
    security = api.LinuxSandboxSecurityContext(namespace_options=namespace_options)
    return api.PodSandboxConfig(linux=api.LinuxPodSandboxConfig(security_context=security))


def container(namespace_options: api.NamespaceOption) -> api.ContainerConfig:
    security = api.LinuxContainerSecurityContext(namespace_options=namespace_options)
    return api.ContainerConfig(linux=api.LinuxContainerConfig(security_context=security))


def test_the_map_of_a_sandbox() -> None:
    found = idmaps.of_sandbox(sandbox(options(mode=api.POD, uids=[MAPPING], gids=[MAPPING])))
    assert found == IdMap((Range(0, 100_000, 65536),), (Range(0, 100_000, 65536),))
    assert found.root == (100_000, 100_000)


@pytest.mark.parametrize("given", [api.NamespaceOption(), options(mode=api.NODE)])
def test_the_hosts_namespace_has_no_map(given: api.NamespaceOption) -> None:
    assert idmaps.of_sandbox(sandbox(given)) is None


BOTH = {"uids": [MAPPING], "gids": [MAPPING]}


def with_host(kind: str) -> api.NamespaceOption:
    found = options(mode=api.POD, **BOTH)
    setattr(found, kind, api.NODE)
    return found


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (options(mode=api.POD), "uids is empty"),
        (options(mode=api.POD, uids=[MAPPING]), "gids is empty"),
        (options(mode=api.NODE, **BOTH), "mappings and the mode NODE"),
        (options(mode=api.CONTAINER, **BOTH), "CONTAINER is neither POD nor NODE"),
        (options(mode=api.POD, uids=[api.IDMapping(host_id=1)], gids=[MAPPING]), "length 0"),
        (options(mode=api.POD, uids=[api.IDMapping(host_id=2**32 - 2, length=2)], gids=[MAPPING]), "ends above"),
        (options(mode=api.POD, uids=[MAPPING, MAPPING], gids=[MAPPING]), "two ranges have the container_id 0"),
        (
            options(
                mode=api.POD,
                uids=[MAPPING],
                gids=[MAPPING, api.IDMapping(host_id=100_001, container_id=70_000, length=1)],
            ),
            "two ranges have the host_id 100001",
        ),
        (
            options(mode=api.POD, uids=[api.IDMapping(host_id=5, container_id=1, length=9)], gids=[MAPPING]),
            "leave out container_id 0",
        ),
        (options(mode=api.POD, uids=[MAPPING], gids=[api.IDMapping(length=1)] * 341), "340"),
        (with_host("pid"), "PIDs"),
        (with_host("ipc"), "IPCs"),
    ],
)
def test_a_map_that_cannot_be_is_refused(given: api.NamespaceOption, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        idmaps.of_sandbox(sandbox(given))


def test_a_container_may_leave_its_namespace_to_the_pod() -> None:
    mapped = sandbox(options(mode=api.POD, **BOTH))
    idmaps.check_container(container(api.NamespaceOption()), mapped)
    idmaps.check_container(container(options(mode=api.POD, **BOTH)), mapped)
    idmaps.check_container(container(options(mode=api.NODE)), sandbox(api.NamespaceOption()))


@pytest.mark.parametrize(
    ("wanted", "pod"),
    [
        (options(mode=api.POD, **BOTH), api.NamespaceOption()),
        (options(mode=api.NODE), options(mode=api.POD, **BOTH)),
        (options(mode=api.CONTAINER), api.NamespaceOption()),
        (options(mode=api.POD, uids=[MAPPING], gids=[api.IDMapping(length=9)]), options(mode=api.POD, **BOTH)),
    ],
)
def test_another_namespace_than_the_pods_is_refused(wanted: api.NamespaceOption, pod: api.NamespaceOption) -> None:
    with pytest.raises(InvalidArgument, match="pod sandbox"):
        idmaps.check_container(container(wanted), sandbox(pod))
