"""By what a Pod is known again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from podyard.manifest.model import Pod
from podyard.manifest.translate import container_hash, pod_hash, sandbox_hash

MakePod = Callable[..., Pod]


def test_the_manifests_hash_follows_its_meaning_not_its_uid(make_pod: MakePod) -> None:
    hashes: Mapping[str, str] = {
        "plain": pod_hash(make_pod()),
        "uid": pod_hash(make_pod(metadata="uid: other")),
        "quantity": pod_hash(make_pod(container="resources: {limits: {cpu: 1}}")),
        "same": pod_hash(make_pod(container="resources: {limits: {cpu: 1000m}}")),
        "image": pod_hash(make_pod("initContainers: [{name: a, image: b}]")),
    }
    assert hashes["plain"] == hashes["uid"]
    assert hashes["quantity"] == hashes["same"]
    assert len(set(hashes.values())) == 3


def test_what_may_change_in_a_sandbox_does_not_change_its_hash(make_pod: MakePod) -> None:
    limited = "resources: {limits: {cpu: 1}}"
    plain = sandbox_hash(make_pod(container=limited))
    same = [
        make_pod(container="resources: {limits: {cpu: 2, memory: 1Gi}, requests: {cpu: 1}}"),
        make_pod(container=limited, metadata="uid: other\nlabels: {a: b}\nannotations: {a: b}"),
        make_pod("ephemeralContainers: [{name: debug, image: a}]", limited),
    ]
    assert {sandbox_hash(pod) for pod in same} == {plain}
    others = [
        make_pod(),
        make_pod(container="resources: {limits: {cpu: 1, hugepages-2Mi: 2Mi}}"),
        make_pod(container=f"{limited}\nimagePullPolicy: Always"),
        make_pod("hostNetwork: true", limited),
    ]
    assert len({sandbox_hash(pod) for pod in others} | {plain}) == 5


def test_limits_are_not_part_of_a_containers_hash(make_pod: MakePod) -> None:
    pods = [make_pod(), make_pod(container="resources: {limits: {cpu: 1}}"), make_pod(container="tty: true")]
    plain, limited, other = (container_hash(pod.container("main")) for pod in pods)
    assert plain == limited != other
