"""What a name or an id on the command line stands for."""

from __future__ import annotations

import pytest

from podyard.cli.resolve import ContainerRef, Inventory, PodRef
from podyard.cri import api
from podyard.errors import InvalidArgument, NotFound

SANDBOXES = {
    # id: namespace, name, created at
    "a1" + "0" * 62: ("default", "web", 30),
    "a2" + "0" * 62: ("default", "web", 10),
    "b1" + "0" * 62: ("other", "web", 20),
    "c1" + "0" * 62: ("default", "db", 5),
}
CONTAINERS = {
    # id: sandbox, name, attempt
    "d1" + "0" * 62: ("a1", "nginx", 0),
    "d2" + "0" * 62: ("a1", "nginx", 1),
    "d3" + "0" * 62: ("a1", "log", 0),
    "d4" + "0" * 62: ("b1", "log", 0),
    "d5" + "0" * 62: ("c1", "db", 0),
    "d6" + "0" * 62: ("a2", "nginx", 0),
    "a3" + "0" * 62: ("c1", "sidecar", 0),
}


@pytest.fixture
def inventory() -> Inventory:
    sandboxes = [
        api.PodSandbox(id=id_, metadata=api.PodSandboxMetadata(name=name, namespace=namespace), created_at=created)
        for id_, (namespace, name, created) in SANDBOXES.items()
    ]
    containers = [
        api.Container(
            id=id_,
            pod_sandbox_id=sandbox + "0" * 62,
            metadata=api.ContainerMetadata(name=name, attempt=attempt),
            state=api.CONTAINER_RUNNING,
            created_at=number,
        )
        for number, (id_, (sandbox, name, attempt)) in enumerate(CONTAINERS.items(), 1)
    ]
    return Inventory(sandboxes, containers)


def pod_of(found: PodRef | ContainerRef) -> PodRef:
    assert isinstance(found, PodRef)
    return found


def container_of(found: PodRef | ContainerRef) -> ContainerRef:
    assert isinstance(found, ContainerRef)
    return found


def test_a_name_with_its_namespace_is_the_pod_with_all_its_sandboxes_the_newest_first(inventory: Inventory) -> None:
    pod = inventory.pod("default/web")
    assert [sandbox.id[:2] for sandbox in pod.sandboxes] == ["a1", "a2"]
    assert pod.sandbox.id[:2] == "a1"


def test_a_plain_name_is_enough_where_one_namespace_has_it(inventory: Inventory) -> None:
    assert inventory.pod("db").full_name == "default/db"
    assert pod_of(inventory.any("default/db")).name == "db"


def test_a_name_in_two_namespaces_is_ambiguous_and_both_are_named(inventory: Inventory) -> None:
    with pytest.raises(InvalidArgument, match=r"default/web .*other/web"):
        inventory.pod("web")


def test_the_beginning_of_an_id_is_enough(inventory: Inventory) -> None:
    assert inventory.pod("b").full_name == "other/web"
    assert inventory.pod("a2").full_name == "default/web", "an old sandbox is its Pod's"
    assert container_of(inventory.any("d4")).full_name == "other/web/log"


def test_an_id_that_fits_a_pod_and_a_container_is_ambiguous(inventory: Inventory) -> None:
    with pytest.raises(InvalidArgument, match=r"Pod default/web, container default/db/sidecar"):
        inventory.any("a")


def test_a_container_goes_by_its_name_with_as_much_before_it_as_is_needed(inventory: Inventory) -> None:
    assert inventory.container("nginx").full_name == "default/web/nginx"
    assert inventory.container("db/sidecar").full_name == "default/db/sidecar"
    assert inventory.container("other/web/log").container.id[:2] == "d4"
    with pytest.raises(InvalidArgument, match=r"default/web/log .*other/web/log"):
        inventory.container("web/log")


def test_the_last_attempt_in_the_newest_sandbox_is_meant(inventory: Inventory) -> None:
    assert inventory.container("web/nginx").container.id[:2] == "d2"
    assert inventory.container("d1").container.metadata.attempt == 0, "an id says which attempt"


def test_a_pods_name_wins_over_a_containers(inventory: Inventory) -> None:
    assert pod_of(inventory.any("db")).full_name == "default/db"
    assert container_of(inventory.any("db/db")).full_name == "default/db/db"


@pytest.mark.parametrize("text", ["nothing", "", "default/", "ff"])
def test_what_is_unknown_says_which_command_lists_what_there_is(inventory: Inventory, text: str) -> None:
    with pytest.raises(NotFound, match="podyard pods"):
        inventory.any(text)
    with pytest.raises(NotFound, match="podyard pods"):
        inventory.pod(text)
    with pytest.raises(NotFound, match="podyard ps -a"):
        inventory.container(text)


def test_a_pod_stands_for_its_container_where_it_has_one_or_one_is_chosen(inventory: Inventory) -> None:
    assert inventory.one_container("other/web").full_name == "other/web/log"
    assert inventory.one_container("default/web", "log").full_name == "default/web/log"
    assert inventory.one_container("nginx").full_name == "default/web/nginx"
    with pytest.raises(InvalidArgument, match=r"--container \(log, nginx\)"):
        inventory.one_container("default/web")
    with pytest.raises(NotFound, match="it has log, nginx"):
        inventory.one_container("default/web", "other")
    with pytest.raises(InvalidArgument, match="leave --container out"):
        inventory.one_container("nginx", "log")


def test_of_several_containers_the_only_one_that_runs_is_meant(inventory: Inventory) -> None:
    for container in inventory.containers:
        if container.metadata.name == "log":
            container.state = api.CONTAINER_EXITED
    assert inventory.one_container("default/web").full_name == "default/web/nginx"
