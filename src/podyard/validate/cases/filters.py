"""Filters of lists, for sandboxes and for containers, unary and streamed; short ids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from podyard.cri import api
from podyard.errors import PodyardError
from podyard.validate.case import case, table
from podyard.validate.expect import contains, equal
from podyard.validate.kit import IDLE, NOBODY, Kit

READY, NOTREADY = (api.PodSandboxStateValue(state=state) for state in (api.SANDBOX_READY, api.SANDBOX_NOTREADY))
CREATED, RUNNING, EXITED = (
    api.ContainerStateValue(state=state)
    for state in (api.CONTAINER_CREATED, api.CONTAINER_RUNNING, api.CONTAINER_EXITED)
)

SANDBOXES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "one label": ({"label_selector": {"n": "1"}}, {"ready"}),
    "a label that all have": ({"label_selector": {"all": "yes"}}, {"ready", "stopped"}),
    "two labels must both fit": ({"label_selector": {"all": "yes", "n": "2"}}, {"stopped"}),
    "a label with another value": ({"label_selector": {"n": "3"}}, set()),
    "a label that nobody has": ({"label_selector": {"no-such-label": ""}}, set()),
    "an empty value is a value": ({"label_selector": {"empty": ""}}, {"ready"}),
    "state ready": ({"state": READY}, {"ready"}),
    "state not ready": ({"state": NOTREADY}, {"stopped"}),
    "an id": ({"id": "ready"}, {"ready"}),
    "an id and a label that fits": ({"id": "ready", "label_selector": {"n": "1"}}, {"ready"}),
    "an id and a label that does not fit": ({"id": "ready", "label_selector": {"n": "2"}}, set()),
    "an id and a state that does not fit": ({"id": "ready", "state": NOTREADY}, set()),
    "an id that nothing has": ({"id": NOBODY}, set()),
    "nothing": ({}, {"ready", "stopped"}),
}


async def _make_sandboxes(kit: Kit) -> dict[str, str]:
    """A ready and a stopped one, by what they are called in the table."""
    ready = await kit.sandbox(labels={"all": "yes", "n": "1", "empty": ""})
    stopped = await kit.sandbox(labels={"all": "yes", "n": "2"})
    await kit.runtime.stop_pod_sandbox(stopped)
    return {"ready": ready, "stopped": stopped}


def _wanted(fields: dict[str, Any], made: dict[str, str]) -> dict[str, Any]:
    """The filter's fields with real ids."""
    return {key: made.get(text, text) if isinstance(text, str) else text for key, text in fields.items()}


def _names(found: Iterable[Any], made: dict[str, str]) -> set[str]:
    """Those of what was found that the table knows: others may be on the host."""
    return {name for name, made_id in made.items() if made_id in {entry.id for entry in found}}


@table("sandbox filters", SANDBOXES)
async def _(kit: Kit, fields: dict[str, Any], expected: set[str]) -> None:
    made = await kit.session.once("sandbox filters", lambda: _make_sandboxes(kit.lasting()))
    wanted = api.PodSandboxFilter(**_wanted(fields, made))
    equal(_names(await kit.runtime.list_pod_sandbox(wanted), made), expected, "sandboxes in the list")


@case("sandbox filters", "the stream takes them as well", needs="the call StreamPodSandboxes")
async def _(kit: Kit) -> None:
    made = await kit.session.once("sandbox filters", lambda: _make_sandboxes(kit.lasting()))
    for what, (fields, expected) in SANDBOXES.items():
        request = api.StreamPodSandboxesRequest(filter=api.PodSandboxFilter(**_wanted(fields, made)))
        parts = [part async for part in kit.runtime.stream("StreamPodSandboxes", request)]
        equal(_names([entry for part in parts for entry in part.pod_sandboxes], made), expected, what)


CONTAINERS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "one label": ({"label_selector": {"n": "1"}}, {"created"}),
    "a label that all have": ({"label_selector": {"all": "yes"}}, {"created", "running", "exited"}),
    "two labels must both fit": ({"label_selector": {"all": "yes", "n": "2"}}, {"running"}),
    "a label with another value": ({"label_selector": {"n": "4"}}, set()),
    "state created": ({"state": CREATED}, {"created"}),
    "state running": ({"state": RUNNING}, {"running"}),
    "state exited": ({"state": EXITED}, {"exited"}),
    "an id": ({"id": "running"}, {"running"}),
    "a sandbox": ({"pod_sandbox_id": "one"}, {"created", "running"}),
    "another sandbox": ({"pod_sandbox_id": "two"}, {"exited"}),
    "a sandbox and a state": ({"pod_sandbox_id": "one", "state": RUNNING}, {"running"}),
    "a sandbox and an id in it": ({"pod_sandbox_id": "one", "id": "running"}, {"running"}),
    "a sandbox and an id that is not in it": ({"pod_sandbox_id": "two", "id": "running"}, set()),
    "a sandbox that nothing has": ({"pod_sandbox_id": NOBODY}, set()),
    "an id that nothing has": ({"id": NOBODY}, set()),
    "an id and a state that does not fit": ({"id": "running", "state": EXITED}, set()),
    "nothing": ({}, {"created", "running", "exited"}),
}


async def _make_containers(kit: Kit) -> dict[str, str]:
    """One in each state and two sandboxes, by what they are called in the table."""
    one, two = await kit.sandbox(), await kit.sandbox()
    created = await kit.create(["true"], one, labels={"all": "yes", "n": "1"})
    running = await kit.idle(one, labels={"all": "yes", "n": "2"})
    exited = await kit.start(["true"], two, labels={"all": "yes", "n": "3"})
    await kit.ended(exited)
    return {"one": one, "two": two, "created": created, "running": running, "exited": exited}


@table("container filters", CONTAINERS)
async def _(kit: Kit, fields: dict[str, Any], expected: set[str]) -> None:
    made = await kit.session.once("container filters", lambda: _make_containers(kit.lasting()))
    wanted = api.ContainerFilter(**_wanted(fields, made))
    equal(_names(await kit.runtime.list_containers(wanted), made), expected, "containers in the list")


@case("container filters", "the stream takes them as well", needs="the call StreamContainers")
async def _(kit: Kit) -> None:
    made = await kit.session.once("container filters", lambda: _make_containers(kit.lasting()))
    for what, (fields, expected) in CONTAINERS.items():
        request = api.StreamContainersRequest(filter=api.ContainerFilter(**_wanted(fields, made)))
        parts = [part async for part in kit.runtime.stream("StreamContainers", request)]
        equal(_names([entry for part in parts for entry in part.containers], made), expected, what)


@case("short ids", "the filters for ids take the beginning of one")
async def _(kit: Kit) -> None:
    container_id, sandbox_id = await kit.session.idle(), await kit.shared()
    found = await kit.runtime.list_containers(api.ContainerFilter(id=container_id[:16]))
    equal([entry.id for entry in found], [container_id], "containers")
    found = await kit.runtime.list_containers(api.ContainerFilter(pod_sandbox_id=sandbox_id[:16]))
    contains([entry.id for entry in found], container_id, "containers of the sandbox")
    sandboxes = await kit.runtime.list_pod_sandbox(api.PodSandboxFilter(id=sandbox_id[:16]))
    equal([entry.id for entry in sandboxes], [sandbox_id], "sandboxes")


@case("short ids", "the statuses take the beginning of one")
async def _(kit: Kit) -> None:
    container_id, sandbox_id = await kit.session.idle(), await kit.shared()
    equal((await kit.status(container_id[:16])).id, container_id, "container")
    equal((await kit.pod_status(sandbox_id[:16])).id, sandbox_id, "sandbox")


@case("short ids", "a container's whole life by the beginning of its id")
async def _(kit: Kit) -> None:
    container_id = await kit.create(IDLE)
    short = container_id[:16]
    await kit.runtime.start_container(short)
    equal(await kit.exec(short, "echo", "x"), "x\n", "output")
    await kit.runtime.reopen_container_log(short)
    await kit.runtime.stop_container(short, 0)
    equal((await kit.status(container_id)).state, api.CONTAINER_EXITED, "state")
    await kit.runtime.remove_container(short)
    equal(await kit.runtime.list_containers(api.ContainerFilter(id=container_id)), [], "the list")


@case("short ids", "a sandbox is stopped and removed by the beginning of its id")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    await kit.runtime.stop_pod_sandbox(sandbox_id[:16])
    equal((await kit.pod_status(sandbox_id)).state, api.SANDBOX_NOTREADY, "state")
    await kit.runtime.remove_pod_sandbox(sandbox_id[:16])
    equal(await kit.runtime.list_pod_sandbox(api.PodSandboxFilter(id=sandbox_id)), [], "the list")


@case("short ids", "a container is made in a sandbox by the beginning of its id")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.shared()
    config = await kit.container_config(["true"])
    call = kit.runtime.create_container(sandbox_id[:16], config, kit.session.configs[sandbox_id])
    container_id = await kit.session.making(call)
    found = await kit.runtime.list_containers(api.ContainerFilter(id=container_id))
    equal([entry.pod_sandbox_id for entry in found], [sandbox_id], "pod_sandbox_id")


@case("short ids", "the beginning that several have is refused, and touches none")
async def _(kit: Kit) -> None:
    by_digit: dict[str, list[str]] = {}
    for _number in range(17):
        container_id = await kit.create(["true"])
        by_digit.setdefault(container_id[0], []).append(container_id)
        if len(by_digit[container_id[0]]) == 2:
            break
    [several] = [ids for ids in by_digit.values() if len(ids) > 1]
    await kit.refused(kit.status(several[0][0]), PodyardError)
    for container_id in several:
        equal((await kit.status(container_id)).state, api.CONTAINER_CREATED, "state")
