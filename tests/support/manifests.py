"""A host and an image for translations of Pods, and the requests that they lead to."""

from __future__ import annotations

from typing import Any

from podyard.cri import api
from podyard.manifest.model import Pod
from podyard.manifest.translate import HostFacts, ImageFacts, container_config, sandbox_config

HOST = HostFacts(
    name="node-1",
    ips=("192.0.2.7", "2001:db8::7"),
    cpus=4,
    memory=8 << 30,
    storage=64 << 30,
    resolv_conf="# x\nnameserver 192.0.2.53\nsearch a.example\nsearch b.example c.example\noptions ndots:2 rotate\n",
    hosts="127.0.0.1 localhost node-1",
)
IMAGE = ImageFacts(id="sha256:" + "a" * 64)


def container_of(pod: Pod, image: ImageFacts = IMAGE, **more: Any) -> api.ContainerConfig:
    given: dict[str, Any] = {"attempt": 0, "variables": {}, "volumes": (), "files": {}, **more}
    return container_config(pod, pod.spec.containers[0], image, HOST, **given)


def sandbox_of(pod: Pod) -> api.PodSandboxConfig:
    return sandbox_config(pod, HOST, log_directory="/var/log/pods/x")
