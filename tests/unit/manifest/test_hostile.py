"""Whatever stands in a manifest, the answer is Pods or an error that names the file."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from podyard.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from podyard.manifest import parse
from podyard.manifest.model import Pod
from podyard.manifest.objects import ConfigMap, Held, Secret
from podyard.manifest.translate import (
    HostFacts,
    ImageFacts,
    container_config,
    environment,
    projected_files,
    sandbox_config,
)

HELD = Held(config_maps={"held": ConfigMap(data={"a": "1"})}, secrets={"held": Secret(data={"a": b"1"})})
HOST = HostFacts(name="node", ips=(), cpus=1, memory=1 << 30, resolv_conf="", hosts="")

RICH = b"""\
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {a: b}, annotations: {a/b: c}, uid: u}
spec:
  terminationGracePeriodSeconds: 3
  hostAliases: [{ip: 192.0.2.1, hostnames: [db]}]
  dnsConfig: {nameservers: [192.0.2.2], options: [{name: ndots, value: "2"}]}
  securityContext: {runAsUser: 1, fsGroup: 2, sysctls: [{name: net.core.somaxconn, value: "1"}]}
  volumes:
  - {name: v, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  - {name: h, hostPath: {path: /srv, type: Directory}}
  - {name: c, configMap: {name: held, defaultMode: 256, items: [{key: a, path: b/c, mode: 0400}]}}
  - {name: s, secret: {secretName: held}}
  - name: p
    projected: {sources: [{downwardAPI: {items: [{path: d, fieldRef: {fieldPath: metadata.labels}}]}}]}
  imagePullSecrets: [{name: held}]
  ephemeralContainers: [{name: debug, image: a, targetContainerName: main}]
  containers:
  - name: main
    image: busybox:1
    command: [sh, -c, "echo $(A)"]
    env:
    - {name: A, value: x}
    - {name: B, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
    - {name: C, valueFrom: {configMapKeyRef: {name: held, key: a}}}
    envFrom: [{secretRef: {name: held}, prefix: p}]
    ports: [{containerPort: 80, hostPort: 8080}]
    resources: {limits: {cpu: 500m, memory: 64Mi}}
    volumeMounts: [{name: v, mountPath: /v, subPath: a}]
    securityContext: {capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}
"""

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["1e99", "-1", "9" * 39, "1Ei", "~", "..", "/", "$(A)", "a\x00b"]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
)


def like(value: Any) -> st.SearchStrategy[Any]:
    """Mostly another value of the same kind: what is refused for its kind alone tells little."""
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int):
        return st.integers(-1, 70000) | st.integers()
    if isinstance(value, str):
        words = ["a", "x-1", "1", "1e9", "100m", "1Ei", "9" * 39, "/a", "a/b", "..", "$(A)", "$(", "::1", "$$", "é"]
        return st.sampled_from(words) | st.text(max_size=20)
    return values


def places(tree: Any) -> list[tuple[Any, Any]]:
    """Every value of a tree, as its parent and its key there."""
    items = list(tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else [])
    return [(tree, key) for key, _ in items] + [place for _, child in items for place in places(child)]


def read(text: bytes) -> list[Pod]:
    try:
        return parse(text, "web.yaml").pods
    except (InvalidArgument, Unimplemented) as error:
        assert str(error).startswith("web.yaml:")
        return []


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
@settings(max_examples=150, deadline=None, database=None)
def test_any_text_is_read_or_refused(text: bytes) -> None:
    assert read(text) == []


@given(st.data())
@settings(max_examples=250, deadline=None, database=None)
def test_whatever_is_accepted_can_be_asked_for(data: st.DataObject) -> None:
    tree = yaml.safe_load(RICH)
    for _ in range(data.draw(st.integers(1, 2))):
        parent, key = data.draw(st.sampled_from(places(tree)))
        parent[key] = data.draw(like(parent[key]))
    for pod in read(yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "replace")):
        sandbox_config(pod, HOST, log_directory="/logs").SerializeToString()
        for volume in pod.spec.volumes:
            if volume.projection is not None:
                with suppress(NotFound, FailedPrecondition):
                    projected_files(pod, volume.projection, HOST, HELD, {})
        for container in (*pod.all_containers(), *pod.spec.ephemeral_containers):
            try:
                variables, _ = environment(pod, container, HOST, [], HELD)
            except NotFound:
                continue
            config = container_config(
                pod, container, ImageFacts(id="x"), HOST, attempt=0, variables=variables, volumes=(), files={}
            )
            config.SerializeToString()


def test_the_unchanged_manifest_is_accepted() -> None:
    assert [pod.full_name for pod in read(RICH)] == ["default/web"]
