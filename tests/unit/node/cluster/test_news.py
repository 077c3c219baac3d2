"""Which events there are, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

import podyard.pods
from podyard.manifest import parse
from podyard.manifest.model import Pod
from podyard.manifest.translate import pod_hash
from podyard.node.cluster import news
from podyard.node.cluster.news import about_pod, of_node, of_step
from podyard.pods import PodEvent

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, uid: u-1}
spec:
  restartPolicy: %s
  initContainers:
  - {name: first, image: 'init:1'}
  containers:
  - {name: main, image: 'main:1'}
  - {name: other, image: 'main:1'}
"""


def pod(policy: str = "Always") -> Pod:
    (found,) = parse((MANIFEST % policy).encode(), "test").pods
    return found


def step(name: str, subject: str, state: Literal["begun", "done", "failed"], **more: Any) -> PodEvent:
    return PodEvent(step=name, subject=subject, state=state, **more)


@pytest.mark.parametrize(
    ("event", "field", "reason", "message", "warning"),
    [
        (step("pulling the image", "main:1", "begun"), "containers{main}", "Pulling", 'Pulling image "main:1"', False),
        (
            step("pulling the image", "init:1", "done", seconds=1.25, detail="sha256:1"),
            "initContainers{first}",
            "Pulled",
            'Successfully pulled image "init:1" in 1.250s',
            False,
        ),
        (
            step("pulling the image", "main:1", "failed", detail="no {such} image"),
            "containers{main}",
            "Failed",
            'Failed to pull image "main:1": no {such} image',
            True,
        ),
        (
            step("finding the image", "main:1", "done", detail="sha256:1"),
            "containers{main}",
            "Pulled",
            'Container image "main:1" already present on machine',
            False,
        ),
        (step("starting the container", "other", "done"), "containers{other}", "Started", "container other", False),
        (step("stopping the container", "main", "begun"), "containers{main}", "Killing", "Stopping", False),
        (
            step("starting again", "main", "done", detail="in 10 s"),
            "containers{main}",
            "BackOff",
            "main in pod web_shop(u-1)",
            True,
        ),
        (
            step("running the init container", "first", "failed", detail="exit code 1"),
            "initContainers{first}",
            "BackOff",
            "first in pod web_shop(u-1)",
            True,
        ),
        (step("preparing the volumes of", "shop/web", "failed", detail="no map"), "", "FailedMount", "no map", True),
        (
            step("waiting to start", "main", "done", detail="ImagePullBackOff"),
            "containers{main}",
            "BackOff",
            "Back-off pulling the image of container main",
            False,
        ),
        (step("evicting", "shop/web", "done", detail="too much"), "", "Evicted", "too much", True),
        (step("ending", "shop/web", "done", detail="too long"), "", "DeadlineExceeded", "too long", False),
    ],
)
def test_what_a_step_is_for_a_pods_users(event: PodEvent, field: str, reason: str, message: str, warning: bool) -> None:
    told = of_step(pod(), event)
    assert told is not None
    assert (told.about.namespace, told.about.name, told.about.uid) == ("shop", "web", "u-1")
    assert (told.about.field, told.reason, told.warning) == (f"spec.{field}" if field else "", reason, warning)
    assert message in told.message


@pytest.mark.parametrize(
    "event",
    [
        step("starting the container", "main", "begun"),
        step("starting the container", "main", "failed", detail="interrupted"),
        step("starting again", "main", "done", detail="at once"),
        step("waiting to start", "main", "done", detail="CreateContainerError"),
        step("ending", "shop/web", "done"),
        step("stopping the sandbox of", "shop/web", "done"),
    ],
)
def test_what_is_no_news(event: PodEvent) -> None:
    assert of_step(pod(), event) is None


def test_an_init_container_that_is_not_started_again_does_not_wait_for_it() -> None:
    assert of_step(pod("Never"), step("running the init container", "first", "failed", detail="exit code 1")) is None


def test_the_steps_are_those_of_the_engine() -> None:
    text = "".join(path.read_text() for path in Path(podyard.pods.__file__).parent.glob("*.py"))
    named = {
        *news._BEGUN,
        *news._DONE,
        *news._FAILED,
        "starting again",
        "waiting to start",
        "running the init container",
    }
    probes = {f"running the {kind} probe of" for kind in ("startup", "liveness", "readiness")}
    assert {name for name in named - probes if f'"{name}"' not in text} == set()
    assert 'f"running the {kind} probe of"' in text


def test_a_pod_of_the_nodes_own_is_known_by_its_hash() -> None:
    (own,) = parse((MANIFEST.replace(", uid: u-1", "") % "Always").encode(), "test").pods
    assert about_pod(own).uid == pod_hash(own)


def test_what_changes_of_a_node() -> None:
    def status(ready: str, boot: str) -> dict[str, Any]:
        return {"conditions": [{"type": "Ready", "status": ready}], "nodeInfo": {"bootID": boot}}

    def reasons(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
        return [one.reason for one in of_node("n", before, after)]

    assert reasons({}, status("True", "a")) == ["NodeReady"]
    assert reasons(status("True", "a"), status("True", "a")) == []
    assert reasons(status("True", "a"), status("False", "b")) == ["NodeNotReady", "Rebooted"]
