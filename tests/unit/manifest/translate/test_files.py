"""The files of volumes that come from elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.manifests import HOST

from podyard.errors import FailedPrecondition, NotFound
from podyard.manifest.model import Pod, TokenProjection
from podyard.manifest.objects import ConfigMap, Held, Secret
from podyard.manifest.translate import File, projected_files

MakePod = Callable[..., Pod]

HELD = Held(
    config_maps={"web": ConfigMap(data={"a": "1", "b": "2"}, binary_data={"c": b"\xff"})},
    secrets={"key": Secret(data={"password": b"x"})},
)


def files(pod: Pod, held: Held = HELD) -> dict[str, File]:
    projected = pod.spec.volumes[0].projection
    assert projected is not None
    token = TokenProjection(path="token", expiration_seconds=600)
    return projected_files(pod, projected, HOST, held, {token: "t0ken"})


@pytest.mark.parametrize(
    ("volume", "found"),
    [
        (
            "configMap: {name: web}",
            {"a": File(b"1", 0o644), "b": File(b"2", 0o644), "c": File(b"\xff", 0o644)},
        ),
        (
            "configMap: {name: web, defaultMode: 0600, items: [{key: a, path: x/./y}, {key: b, path: w, mode: 0400}]}",
            {"x/y": File(b"1", 0o600), "w": File(b"2", 0o400)},
        ),
        ("configMap: {name: none, optional: true}", {}),
        ("configMap: {name: web, optional: true, items: [{key: none, path: x}]}", {}),
        ("secret: {secretName: key, defaultMode: 256}", {"password": File(b"x", 0o400)}),
        (
            "projected: {sources: [{secret: {name: key}}, {configMap: {name: web, items: [{key: a, path: d/a}]}}]}",
            {"password": File(b"x", 0o644), "d/a": File(b"1", 0o644)},
        ),
        (
            "downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}},"
            " {path: labels, mode: 0440, fieldRef: {fieldPath: metadata.labels}},"
            " {path: notes, fieldRef: {fieldPath: metadata.annotations}},"
            " {path: cpu, resourceFieldRef: {containerName: main, resource: limits.cpu, divisor: 1m}}]}",
            {
                "name": File(b"web", 0o644),
                "labels": File(b'app="shop"\ntier="1"', 0o440),
                "notes": File(b'note="a \\"b\\"\\n\\x01\xc3\xa9"', 0o644),
                "cpu": File(b"4000", 0o644),
            },
        ),
        (
            "projected: {sources: [{serviceAccountToken: {path: token, expirationSeconds: 600}}]}",
            {"token": File(b"t0ken", 0o644)},
        ),
    ],
)
def test_a_volume_has_the_files_of_its_sources(make_pod: MakePod, volume: str, found: dict[str, File]) -> None:
    metadata = 'labels: {tier: "1", app: shop}\nannotations: {note: "a \\"b\\"\\n\\x01é"}'
    assert files(make_pod(f"volumes: [{{name: v, {volume}}}]", metadata=metadata)) == found


def test_the_pods_group_may_read_and_a_token_is_its_only_users(make_pod: MakePod) -> None:
    sources = "[{serviceAccountToken: {path: token, expirationSeconds: 600}}, {secret: {name: key}}]"
    volume = f"volumes: [{{name: v, projected: {{defaultMode: 0400, sources: {sources}}}}}]"
    alone = files(make_pod(f"securityContext: {{runAsUser: 7}}\n{volume}"))
    assert alone == {"token": File(b"t0ken", 0o600, 7), "password": File(b"x", 0o400)}
    grouped = files(make_pod(f"securityContext: {{fsGroup: 9}}\n{volume}"))
    assert grouped == {"token": File(b"t0ken", 0o640), "password": File(b"x", 0o440)}
    mixed = make_pod(f"securityContext: {{runAsUser: 7}}\n{volume}", "securityContext: {runAsUser: 8}")
    assert files(mixed)["token"].uid == 8


@pytest.mark.parametrize(
    ("volume", "said"),
    [
        ("configMap: {name: none}", "configmap 'none' not found"),
        ("secret: {secretName: web}", "secret 'web' not found"),
        ("configMap: {name: web, items: [{key: x, path: x}]}", "the configmap 'web' has no key 'x'"),
    ],
)
def test_what_is_missing_is_named(make_pod: MakePod, volume: str, said: str) -> None:
    with pytest.raises(NotFound, match=said):
        files(make_pod(f"volumes: [{{name: v, {volume}}}]"))


def test_a_path_is_a_file_or_a_directory(make_pod: MakePod) -> None:
    sources = "[{configMap: {name: web}}, {secret: {name: key, items: [{key: password, path: a/b}]}}]"
    with pytest.raises(FailedPrecondition, match="path 'a' would be a file and a directory"):
        files(make_pod(f"volumes: [{{name: v, projected: {{sources: {sources}}}}}]"))
