"""A manifest's faults: each with file, line, field, and the likely name."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from podyard.errors import InvalidArgument, NotFound, PodyardError, Unimplemented
from podyard.manifest import load, parse


def faults(text: str, kind: type[PodyardError]) -> list[str]:
    with pytest.raises(kind) as caught:
        parse(dedent(text).encode(), "web.yaml")
    assert type(caught.value) is kind
    return str(caught.value).splitlines()


def test_a_typo_is_named_with_its_line_and_the_likely_field() -> None:
    text = """\
        apiVersion: v1
        kind: Pod
        metadata:
          name: web
        spec:
          containers:
          - name: main
            imagee: busybox
        """
    assert faults(text, InvalidArgument) == [
        "web.yaml:7: spec.containers[0].image: missing",
        "web.yaml:8: spec.containers[0].imagee: unknown field, did you mean image?",
    ]


def test_all_faults_come_in_one_error_in_the_order_of_the_file() -> None:
    text = """\
        apiVersion: v1
        kind: Pod
        metadata: {name: web, label: {a: b}}
        spec:
          restartpolicy: Never
          hostNetwork: "true"
          containers:
          - name: main
            image: busybox
            command: sh
            env: [{name: A, value: 1}]
            ports: [{containerPort: "80", protocol: tcp}]
            resources: {limits: {cpu: lots}}
          - 7
        """
    assert faults(text, InvalidArgument) == [
        "web.yaml:3: metadata.label: unknown field, did you mean labels?",
        "web.yaml:5: spec.restartpolicy: unknown field, did you mean restartPolicy?",
        "web.yaml:6: spec.hostNetwork: expected true or false, got the string 'true'",
        "web.yaml:10: spec.containers[0].command: expected a list, got the string 'sh'",
        'web.yaml:11: spec.containers[0].env[0].value: expected a string, got the number 1; put it in quotes: "1"',
        "web.yaml:12: spec.containers[0].ports[0].containerPort: expected an integer, got the string '80'",
        "web.yaml:12: spec.containers[0].ports[0].protocol: 'tcp' is not one of TCP, UDP, SCTP, did you mean TCP?",
        "web.yaml:13: spec.containers[0].resources.limits['cpu']: 'lots' is not a quantity; write 500m, 2, 64Mi or 1G",
        "web.yaml:14: spec.containers[1]: expected fields, got the number 7",
    ]


def test_what_is_right_but_not_built_is_unimplemented_and_named() -> None:
    text = """\
        apiVersion: v1
        kind: Pod
        metadata: {name: web}
        spec:
          containers:
          - name: main
            image: busybox
            volumeDevices: [{name: a, devicePath: /dev/x}]
        """
    assert faults(text, Unimplemented) == ["web.yaml:8: spec.containers[0].volumeDevices: not supported by podyard yet"]


@pytest.mark.parametrize(
    "line",
    [
        "resourceClaims: [{name: a}]",
        "volumes: [{name: a, projected: {sources: [{clusterTrustBundle: {path: a}}]}}]",
        "volumes: [{name: a, persistentVolumeClaim: {claimName: b}}]",
        "resources: {limits: {cpu: 1}}",
    ],
)
def test_pod_fields_that_are_not_built_are_unimplemented(line: str) -> None:
    text = f"""\
        apiVersion: v1
        kind: Pod
        metadata: {{name: web}}
        spec:
          {line}
          containers: [{{name: main, image: busybox}}]
        """
    (fault,) = faults(text, Unimplemented)
    assert fault.startswith(f"web.yaml:5: spec.{line.partition(':')[0]}")


def test_fields_without_effect_on_one_node_are_accepted() -> None:
    text = """\
        apiVersion: v1
        kind: Pod
        metadata: {name: web, creationTimestamp: null, ownerReferences: [], resourceVersion: "1"}
        spec:
          affinity: {nodeAffinity: {}}
          tolerations: [{operator: Exists}]
          nodeSelector: {a: b}
          schedulerName: x
          priorityClassName: y
          serviceAccountName: z
          enableServiceLinks: false
          automountServiceAccountToken: false
          topologySpreadConstraints: []
          containers: [{name: main, image: busybox}]
        status: {phase: Running}
        """
    (pod,) = parse(dedent(text).encode(), "web.yaml").pods
    assert pod.spec.service_account_name == "z"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "web.yaml: no Pod in it"),
        ("# nothing\n", "web.yaml: no Pod in it"),
        ("- a\n", "web.yaml:1: expected fields, got a list"),
        ("apiVersion: apps/v1\nkind: Deployment\n", "web.yaml:1: apps/v1 Deployment is not a v1 Pod"),
        ("apiVersion: v1\nkind: pod\n", "web.yaml:1: v1 pod is not a v1 Pod"),
        ("kind: Pod\n", "web.yaml:1: apiVersion: missing"),
    ],
)
def test_other_things_than_pods_are_refused(text: str, said: str) -> None:
    assert faults(text, InvalidArgument)[0].startswith(said)


MINIMAL = "apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec: {containers: [{name: main, image: busybox}]}\n"


def test_a_file_may_hold_several_pods_but_none_twice(tmp_path: Path) -> None:
    path = tmp_path / "pods.yaml"
    path.write_text(MINIMAL % "a" + "---\n" + MINIMAL % "b")
    assert [pod.full_name for pod in load(str(path)).pods] == ["default/a", "default/b"]
    path.write_text(MINIMAL % "a" + "---\n" + MINIMAL % "a")
    with pytest.raises(
        InvalidArgument, match=r"pods.yaml:6: metadata.name: the Pod default/a stands in this file twice"
    ):
        load(str(path))


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        load(str(tmp_path / "none.yaml"))
    with pytest.raises(InvalidArgument, match="cannot be read"):
        load(str(tmp_path))


def test_twenty_faults_are_shown_and_the_rest_counted() -> None:
    text = MINIMAL % "a" + "".join(f"x{n}: 1\n" for n in range(30))
    lines = faults(text, InvalidArgument)
    assert len(lines) == 21
    assert lines[-1] == "web.yaml: and 10 more problems"
