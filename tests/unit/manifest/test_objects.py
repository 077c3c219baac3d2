"""ConfigMaps and Secrets as documents beside Pods."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from podyard.errors import InvalidArgument
from podyard.manifest import load, parse

POD = """\
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {containers: [{name: main, image: a}]}
---
"""


def test_documents_of_all_kinds_stand_in_one_manifest() -> None:
    text = """\
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: web, namespace: shop, labels: {a: b}}
        data: {color: red}
        binaryData: {blob: "/w=="}
        ---
        apiVersion: v1
        kind: Secret
        metadata: {name: key}
        type: kubernetes.io/dockerconfigjson
        data: {a: "MQ==", b: "Mg=="}
        stringData: {b: plain}
        """
    manifest = parse(POD.encode() + dedent(text).encode(), "web.yaml")
    assert [pod.full_name for pod in manifest.pods] == ["default/web"]
    config_map = manifest.config_maps["shop", "web"]
    assert config_map.files == {"color": b"red", "blob": b"\xff"}
    secret = manifest.secrets["default", "key"]
    assert (secret.data, secret.type) == ({"a": b"1", "b": b"plain"}, "kubernetes.io/dockerconfigjson")
    assert "plain" not in repr(secret)


@pytest.mark.parametrize(
    ("kind", "lines", "said"),
    [
        ("ConfigMap", "data: {a/b: c}", "data['a/b']: 'a/b' is not a key"),
        ("ConfigMap", "data: {a: c}\nbinaryData: {a: MQ==}", "binaryData['a']: stands in data too"),
        ("ConfigMap", "data: {a: 1}", 'put it in quotes: "1"'),
        ("ConfigMap", "stringData: {a: b}", "unknown field"),
        ("Secret", "data: {a: plain}", "is not Base64: "),
        ("Secret", "data: {a: 'x y'}", "plain text goes into stringData"),
        ("Secret", "stringData: {a: " + "x" * (1 << 20) + ", b: y}", "at most 1048576 are allowed"),
        ("Job", "", "v1 Job is not a v1 Pod, ConfigMap or Secret"),
    ],
)
def test_a_fault_is_named(kind: str, lines: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(f"{POD}apiVersion: v1\nkind: {kind}\nmetadata: {{name: a}}\n{lines}\n".encode(), "web.yaml")
    assert said in str(caught.value)


def test_a_name_stands_once_for_each_kind() -> None:
    text = "apiVersion: v1\nkind: Secret\nmetadata: {name: web}\n"
    assert parse((POD + text).encode(), "x.yaml").secrets
    with pytest.raises(InvalidArgument, match=r"x\.yaml:10: metadata.name: the Secret default/web stands in"):
        parse((POD + text + "---\n" + text).encode(), "x.yaml")


def test_a_manifest_to_run_has_a_pod(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("apiVersion: v1\nkind: Secret\nmetadata: {name: web}\n")
    with pytest.raises(InvalidArgument, match=r"x\.yaml: no Pod in it"):
        load(str(tmp_path / "x.yaml"))
