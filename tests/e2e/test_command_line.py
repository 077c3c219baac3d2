"""The command line against both runtimes: a Pod manifest from run to rm, and what the other commands show of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.test_sandbox import fetch
from tests.support.images import Images
from tests.support.pods import Kit
from tests.support.servers import Server

MANIFEST = """
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  labels: {{app: web}}
spec:
  terminationGracePeriodSeconds: 2
  volumes:
    - name: pages
      emptyDir: {{}}
    - name: host
      hostPath: {{path: {host}, type: DirectoryOrCreate}}
  initContainers:
    - name: first
      image: {image}
      command: [sh, -c, 'echo "prepared by $WHO" > /pages/index.html; echo done']
      env: [{{name: WHO, value: "the init container"}}]
      volumeMounts: [{{name: pages, mountPath: /pages}}]
  containers:
    - name: web
      image: {image}
      command: [httpd, -f, -p, "8080", -h, /pages]
      resources: {{limits: {{memory: 32Mi}}}}
      securityContext: {{runAsUser: 65534, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false}}
      volumeMounts: [{{name: pages, mountPath: /pages, readOnly: true}}]
    - name: side
      image: {image}
      command: [sh, -c, 'echo "hello from the sidecar"; echo written > /host/file; exec sleep 1000']
      volumeMounts: [{{name: host, mountPath: /host}}]
"""


class CommandLine:
    """podyard as a person calls it, for one endpoint."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "PODYARD_RUNTIME_ENDPOINT": endpoint,
            "PODYARD_POD_ROOT": str(folder / "pods"),
            "PODYARD_LOG_ROOT": str(folder / "logs"),
        }

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Run a command; its output, or with another ``code`` what it wrote to standard error."""
        argv = [sys.executable, "-m", "podyard", *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=100, env=self.environment, cwd="/")
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout if code == 0 else done.stderr

    def json(self, *arguments: str) -> Any:
        """A command's output as JSON."""
        return json.loads(self(*arguments, "-o", "json"))

    def manifest(self, text: str) -> str:
        """A file with a manifest."""
        path = self.folder / "pod.yaml"
        path.write_text(text)
        return str(path)


@pytest.fixture
def podyard_cli(kit: Kit, server: Server) -> Iterator[CommandLine]:
    podyard = CommandLine(server.endpoint, kit.folder)
    yield podyard
    podyard("rm", "--all")


async def test_a_manifest_from_run_to_rm(podyard_cli: CommandLine, kit: Kit, images: Images) -> None:
    podyard = podyard_cli
    name = f"web-{uuid.uuid4().hex[:8]}"
    text = MANIFEST.format(name=name, image=images.busybox, host=kit.folder / "host")
    output = podyard("run", podyard.manifest(text))
    assert "init container" in output
    assert name in podyard("pods")
    [pod] = [entry for entry in podyard.json("pods") if entry["name"] == name]
    assert await fetch(f"http://{pod['ip']}:8080/") == "prepared by the init container\n"
    assert (kit.folder / "host" / "file").read_text() == "written\n"
    # Once more changes nothing; another content under the name is refused with what to do.
    podyard("run", podyard.manifest(text))
    changed = podyard.manifest(text.replace("app: web", "app: other"))
    assert f"podyard rm {name}" in podyard("run", changed, code=4)
    containers = {
        entry["metadata"]["name"]: entry for entry in podyard.json("ps") if entry["pod_sandbox_id"] == pod["id"]
    }
    assert set(containers) == {"web", "side"}
    logs = podyard("logs", name)
    assert "hello from the sidecar" in logs
    assert "done" in logs
    assert podyard("exec", f"{name}/web", "--", "id", "-u") == "65534\n"
    assert "no-such" in podyard("exec", f"{name}/web", "--", "no-such-program", code=13)
    assert json.loads(podyard("inspect", name, "-o", "json"))["status"]["id"] == pod["id"]
    assert images.busybox.removesuffix(":1") in podyard("images")
    podyard("stop", name)
    assert podyard("ps", "-q") == ""
    podyard("rm", name)
    podyard("rm", name, code=3)
    assert await kit.client.runtime.list_pod_sandbox() == []
    assert list((kit.folder / "pods").iterdir()) == []
    assert list((kit.folder / "logs").iterdir()) == []


async def test_a_pod_that_fails_says_why_and_goes_away(podyard_cli: CommandLine, kit: Kit, images: Images) -> None:
    podyard = podyard_cli
    name = f"bad-{uuid.uuid4().hex[:8]}"
    text = f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  restartPolicy: Never
  initContainers:
    - {{name: fails, image: "{images.busybox}", command: [sh, -c, "echo no luck; exit 9"]}}
  containers:
    - {{name: main, image: "{images.busybox}", command: [sleep, "1000"]}}
"""
    message = podyard("run", podyard.manifest(text), code=5)
    assert "fails" in message
    assert "9" in message
    assert "no luck" in podyard("logs", name)
    podyard("rm", name)
    assert await kit.client.runtime.list_pod_sandbox() == []


def test_following_a_pod_ends_with_it(podyard_cli: CommandLine, images: Images) -> None:
    podyard = podyard_cli
    name = f"job-{uuid.uuid4().hex[:8]}"
    text = f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  restartPolicy: OnFailure
  volumes: [{{name: data, emptyDir: {{}}}}]
  containers:
    - name: main
      image: "{images.busybox}"
      command: [sh, -c, "echo try; test -e /data/seen && exit 0; touch /data/seen; exit 1"]
      volumeMounts: [{{name: data, mountPath: /data}}]
"""
    output = podyard("run", "-f", "--rm", podyard.manifest(text))
    assert output.count("try") == 2
    assert podyard.json("pods") == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("image: ", "imagee: ", "imagee: unknown field, did you mean image?"),
        ("kind: Pod", "kind: Job", "Job"),
        ("mountPath: /pages}", "mountPath: /pages, name: nothing}", "name"),
        ("memory: 32Mi", "memory: lots", "lots"),
    ],
    ids=["typo", "kind", "repeated key", "quantity"],
)
async def test_a_wrong_manifest_changes_nothing(
    podyard_cli: CommandLine, kit: Kit, images: Images, old: str, new: str, message: str
) -> None:
    podyard = podyard_cli
    text = MANIFEST.format(name="wrong", image=images.busybox, host=kit.folder / "host")
    error = podyard("run", podyard.manifest(text.replace(old, new, 1)), code=2)
    assert message in error
    assert "pod.yaml:" in error
    assert await kit.client.runtime.list_pod_sandbox() == []


def test_what_is_not_there_is_named(podyard_cli: CommandLine) -> None:
    for arguments in (["inspect", "nothing"], ["logs", "nothing"], ["exec", "nothing", "--", "true"]):
        assert "nothing" in podyard_cli(*arguments, code=3)


def test_version_and_info(podyard_cli: CommandLine, kit: Kit) -> None:
    assert kit.runtime in podyard_cli("version")
    assert "RuntimeReady" in podyard_cli("info")


async def test_pull_and_rmi(podyard_cli: CommandLine, kit: Kit, images: Images) -> None:
    podyard_cli("pull", images.small)
    image = (await kit.client.images.image_status(images.small)).image
    assert image.id.removeprefix("sha256:")[:12] in podyard_cli("images")
    podyard_cli("rmi", images.small)
    assert not (await kit.client.images.image_status(images.small)).HasField("image")
    assert "no-such-image" in podyard_cli("pull", f"{images.registry}/no-such-image:1", code=3)


def test_an_endpoint_that_is_not_there(podyard_cli: CommandLine) -> None:
    error = podyard_cli("--runtime-endpoint", f"unix://{podyard_cli.folder}/nothing.sock", "pods", code=14)
    assert "nothing.sock" in error
    assert "podyard serve" in error
