"""By what a Pod is known again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from podyard.manifest.model import Pod
from podyard.manifest.translate import pod_hash

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
