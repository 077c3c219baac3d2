"""What types cannot say about a Pod."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from podyard.errors import InvalidArgument, Unimplemented
from podyard.manifest.model import Pod
from podyard.manifest.quantity import Quantity

MakePod = Callable[..., Pod]
RULE = "{action: Restart, exitCodes: {operator: In, values: [1]}}"


@pytest.mark.parametrize(
    ("spec", "container", "said"),
    [
        ("", "name: Main", "the key 'name' stands here twice"),
        ("initContainers: [{name: main, image: a}]", "", "containers[0].name: spec.initContainers[0] is called 'main'"),
        ("initContainers: [{name: M_x, image: a}]", "", "initContainers[0].name: 'M_x' is not a name"),
        ("hostname: A.b", "", "spec.hostname: 'A.b' is not a name"),
        ("terminationGracePeriodSeconds: -1", "", "must be 0 or more"),
        ("terminationGracePeriodSeconds: 1000000000", "", "must be 0 or more"),
        ("", "resources: {limits: {cpu: 1e15}}", "larger than any machine"),
        ("", "resources: {limits: {memory: 1e20}}", "larger than any machine"),
        ("hostUsers: false\nhostPID: true", "", "spec.hostPID: cannot go with hostUsers: false"),
        ("hostPID: true\nshareProcessNamespace: true", "", "cannot go with hostPID"),
        ("dnsPolicy: None", "", "dnsPolicy None needs at least one name server"),
        ("dnsConfig: {nameservers: [a]}", "", "'a' is not an IP address"),
        ("hostAliases: [{ip: nowhere, hostnames: [a]}]", "", "'nowhere' is not an IP address"),
        ("volumes: [{name: a}]", "", "says not what it is"),
        ("volumes: [{name: a, emptyDir: {}, configMap: {name: b}}]", "", "emptyDir and configMap exclude each other"),
        ("volumes: [{name: a, image: {reference: ''}}]", "", "image.reference: names no image"),
        ("volumes: [{name: a, configMap: {name: B}}]", "", "volumes[0].configMap.name: 'B' is not a name"),
        ("volumes: [{name: a, secret: {}}]", "", "volumes[0].secret.secretName: '' is not a name"),
        ("volumes: [{name: a, configMap: {name: b, defaultMode: 644}}]", "", "644 is not a file mode"),
        ("volumes: [{name: a, secret: {secretName: b, items: [{key: c, path: ../d}]}}]", "", "must not hold '..'"),
        ("volumes: [{name: a, secret: {secretName: b, items: [{key: c, path: ..d}]}}]", "", "not begin with '..'"),
        (
            "volumes: [{name: a, secret: {secretName: b, items: [{key: c, path: d}, {key: e, path: d}]}}]",
            "",
            "the path 'd' stands in spec.volumes[0].secret already",
        ),
        ("volumes: [{name: a, projected: {sources: []}}]", "", "projected.sources: names nothing"),
        ("volumes: [{name: a, projected: {sources: [{}]}}]", "", "sources[0]: needs one of configMap, secret"),
        (
            "volumes: [{name: a, projected: {sources: [{serviceAccountToken: {path: a, expirationSeconds: 5}}]}}]",
            "",
            "serviceAccountToken.expirationSeconds: 5 is not between 600",
        ),
        (
            "volumes: [{name: a, downwardAPI: {items: [{path: a, resourceFieldRef: {resource: limits.cpu}}]}}]",
            "",
            "resourceFieldRef.containerName: missing",
        ),
        (
            "volumes: [{name: a, downwardAPI: {items: [{path: a, fieldRef: {fieldPath: status.podIP}}]}}]",
            "",
            "'status.podIP' is not one of",
        ),
        ("imagePullSecrets: [{name: A}]", "", "imagePullSecrets[0].name: 'A' is not a name"),
        ("ephemeralContainers: [{name: main, image: a}]", "", "spec.containers[0] is called 'main' already"),
        ("ephemeralContainers: [{name: a, image: a, targetContainerName: b}]", "", "no container is called 'b'"),
        ("ephemeralContainers: [{name: a, image: a, ports: [{containerPort: 1}]}]", "", "an ephemeral container has"),
        ("", "envFrom: [{prefix: a}]", "envFrom[0]: needs one of configMapRef and secretRef"),
        ("", "envFrom: [{prefix: 'a=', secretRef: {name: b}}]", "envFrom[0].prefix: 'a=' is not a variable name"),
        ("", "env: [{name: A, valueFrom: {secretKeyRef: {name: b, key: a/b}}}]", "'a/b' is not a key"),
        ("", "livenessProbe: {grpc: {port: 0}}", "grpc.port: 0 is not between 1 and 65535"),
        ("", "resources: {limits: {cpu: 1, hugepages-2Mi: 3Mi}}", "a multiple of the pages' size"),
        ("", "resources: {limits: {hugepages-2Mi: 2Mi}}", "needs a request or limit of cpu or memory"),
        ("", "resources: {requests: {cpu: 1, hugepages-2Mi: 2Mi}}", "needs a limit"),
        ("", "resources: {limits: {cpu: 1, hugepages-x: 2Mi}}", "the size of the pages: 'x' is not a quantity"),
        (
            "restartPolicy: Never",
            "resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}]",
            "RestartContainer cannot go with the Pod's restartPolicy Never",
        ),
        ("", f"restartPolicyRules: [{RULE}]", "restartPolicyRules: needs a restartPolicy for all other exit codes"),
        ("", f"restartPolicy: Never\nrestartPolicyRules: [{', '.join([RULE] * 21)}]", "at most 20 rules"),
        (
            "",
            f"restartPolicy: Never\nrestartPolicyRules: [{RULE.replace('1', '')}]",
            "a rule names 1 to 255 exit codes",
        ),
        ("", f"restartPolicy: Never\nrestartPolicyRules: [{RULE.replace('1', '256')}]", "256 is not an exit code"),
        ("ephemeralContainers: [{name: a, image: a, restartPolicy: Never}]", "", "an ephemeral container has none"),
        ("activeDeadlineSeconds: 0", "", "spec.activeDeadlineSeconds: must be 1 or more"),
        ("subdomain: a.b", "", "spec.subdomain: 'a.b' is not a name"),
        ("hostnameOverride: a_b", "", "spec.hostnameOverride: 'a_b' is not a name"),
        (f"hostnameOverride: {'a.' * 32}b", "", "longer than the 64 bytes"),
        ("hostnameOverride: a\nhostNetwork: true", "", "spec.hostnameOverride: cannot go with hostNetwork"),
        ("hostnameOverride: a\nsetHostnameAsFQDN: true", "", "cannot go with setHostnameAsFQDN"),
        ("overhead: {gpu: 1}", "", "spec.overhead['gpu']: unknown resource"),
        ("overhead: {cpu: -1}", "", "spec.overhead['cpu']: must be 0 or more"),
        ("", "lifecycle: {stopSignal: TERM}", "lifecycle.stopSignal: 'TERM' is not a signal"),
        ("volumes: [{name: a, emptyDir: {medium: memory}}]", "", "'memory' is not Memory, HugePages or HugePages-SIZE"),
        ("volumes: [{name: a, emptyDir: {medium: HugePages}}]", "", "containers have limits of huge pages of one size"),
        (
            "volumes: [{name: a, emptyDir: {medium: HugePages-1Gi}}]",
            "resources: {limits: {cpu: 1, hugepages-2Mi: 2Mi}}",
            "no container has a limit of hugepages-1Gi",
        ),
        (
            "volumes: [{name: a, emptyDir: {medium: HugePages}}]",
            "resources: {limits: {cpu: 1, hugepages-2Mi: 2Mi, hugepages-1Gi: 1Gi}}",
            "or this names the size",
        ),
        ("volumes: [{name: a, emptyDir: {}}, {name: a, emptyDir: {}}]", "", "another volume is called 'a' already"),
        ("volumes: [{name: a, hostPath: {path: b}}]", "", "'b' is not an absolute path"),
        ("volumes: [{name: a, hostPath: {path: /a/../b}}]", "", "must not hold '..'"),
        ("", "volumeMounts: [{name: a, mountPath: /a}]", "the Pod has no volume 'a' (its volumes: none)"),
        ("", "workingDir: a", "'a' is not an absolute path"),
        ("", 'command: ["a\\0"]', "command[0]: holds a NUL character"),
        ("", "livenessProbe: {}", "livenessProbe: needs one of exec, httpGet, tcpSocket and grpc, has none"),
        ("", "livenessProbe: {exec: {command: [a]}, tcpSocket: {port: 1}}", "has 2"),
        ("", "livenessProbe: {exec: {command: []}}", "livenessProbe.exec.command: is empty"),
        ("", "livenessProbe: {tcpSocket: {port: 0}}", "livenessProbe.tcpSocket.port: 0 is not between 1 and 65535"),
        ("", "livenessProbe: {httpGet: {port: web}}", "httpGet.port: the container has no port called 'web'"),
        ("", "livenessProbe: {httpGet: {port: true}}", "expected an integer or a string, got the truth value true"),
        ("", "livenessProbe: {httpGet: {port: 1, path: '/a b'}}", "httpGet.path: holds a blank"),
        ("", "livenessProbe: {tcpSocket: {port: 1}, periodSeconds: 0}", "periodSeconds: 0 is not between 1"),
        ("", "livenessProbe: {tcpSocket: {port: 1}, successThreshold: 2}", "must be 1"),
        ("", "readinessProbe: {tcpSocket: {port: 1}, terminationGracePeriodSeconds: 2}", "stops nothing"),
        ("", "lifecycle: {preStop: {sleep: {seconds: 0}}}", "preStop.sleep.seconds: 0 is not between 1"),
        ("", "lifecycle: {postStart: {}}", "lifecycle.postStart: needs one of exec, httpGet and sleep, has none"),
        ("initContainers: [{name: a, image: b, livenessProbe: {tcpSocket: {port: 1}}}]", "", "has no probes"),
        ("initContainers: [{name: a, image: b, lifecycle: {preStop: {sleep: {seconds: 1}}}}]", "", "lifecycle hooks"),
        ("", "ports: [{containerPort: 0}]", "0 is not between 1 and 65535"),
        ("", "ports: [{containerPort: 1, hostPort: 70000}]", "70000 is not between"),
        ("hostNetwork: true", "ports: [{containerPort: 1, hostPort: 2}]", "must be 1 as containerPort"),
        ("", "resources: {limits: {cpu: 1}, requests: {cpu: 2}}", "2 is more than the limit 1"),
        ("", "resources: {limits: {memory: 100m}}", "not a whole number of bytes; did you mean Mi?"),
        ("", "resources: {limits: {gpu: 1}}", "unknown resource"),
        ("", "securityContext: {runAsUser: -1}", "-1 is not between 0"),
        ("", "securityContext: {privileged: true, allowPrivilegeEscalation: false}", "false cannot go with privileged"),
        ("", "securityContext: {seccompProfile: {type: Localhost}}", "goes with type Localhost, and only with it"),
        ("", "securityContext: {seccompProfile: {type: Localhost, localhostProfile: ../a}}", "without '..'"),
        ("securityContext: {sysctls: [{name: vm.swappiness, value: '1'}]}", "", "belongs to the host"),
        (
            "hostNetwork: true\nsecurityContext: {sysctls: [{name: net.core.somaxconn, value: '1'}]}",
            "",
            "would change the host, since hostNetwork is on",
        ),
        ("", "env: [{name: 'A=B', value: x}]", "'A=B' is not a variable name"),
        ("", "env: [{name: A, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]", "cannot go with a value"),
        ("", "env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.x}}}]", "'spec.x' is not one of"),
        (
            "",
            "env: [{name: A, valueFrom: {}}]",
            "needs one of fieldRef, resourceFieldRef, configMapKeyRef",
        ),
        (
            "",
            "env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu, containerName: x}}}]",
            "no container is called 'x'",
        ),
    ],
)
def test_a_fault_is_named(make_pod: MakePod, spec: str, container: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        make_pod(spec, container)
    assert said in str(caught.value)
    assert str(caught.value).startswith("web.yaml:")


@pytest.mark.parametrize(
    ("mount", "said"),
    [
        ("subPath: /a", "'/a' must be relative to the volume"),
        ("subPath: a/../../b", "must not hold '..'"),
        ("subPath: a, subPathExpr: b", "cannot go with subPath"),
        ("subPathExpr: $(X)", "the container has no variable 'X'"),
        ("mountPropagation: Bidirectional", "Bidirectional is for privileged containers"),
        ("recursiveReadOnly: Enabled", "Enabled needs readOnly: true and no mount propagation"),
        ("mountPath: '/a:b'", "the key 'mountPath' stands here twice"),
    ],
)
def test_a_fault_of_a_mount_is_named(make_pod: MakePod, mount: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        make_pod("volumes: [{name: a, emptyDir: {}}]", f"volumeMounts: [{{name: a, mountPath: /a, {mount}}}]")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "container",
    ["resources: {limits: {example.com/gpu: 1}}"],
)
def test_what_only_a_check_can_tell_apart_is_unimplemented(make_pod: MakePod, container: str) -> None:
    with pytest.raises(Unimplemented, match="not supported by podyard yet"):
        make_pod("", container)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("namespace: A", "metadata.namespace: 'A' is not a name"),
        ("uid: a/b", "metadata.uid: at most 128 letters"),
        ("labels: {'a b': c}", "'a b' is not a key"),
        ("labels: {a: 'b c'}", "'b c' is not a label value"),
        ("labels: {'x_y/a': c}", "the prefix of the key 'x_y/a' is not a DNS name"),
        ("annotations: {'': c}", "is not a key"),
    ],
)
def test_a_fault_of_the_metadata_is_named(make_pod: MakePod, metadata: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        make_pod(metadata=metadata)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("busybox", "Always"),
        ("busybox:latest", "Always"),
        ("host:5000/busybox", "Always"),
        ("busybox:1", "IfNotPresent"),
        ("host:5000/a/b:1.2", "IfNotPresent"),
        ("busybox@sha256:" + "a" * 64, "IfNotPresent"),
    ],
)
def test_the_pull_policy_follows_the_tag(make_pod: MakePod, image: str, policy: str) -> None:
    pod = make_pod(f"initContainers: [{{name: first, image: '{image}'}}]")
    assert pod.spec.init_containers[0].pull_policy == policy


@pytest.mark.parametrize(
    ("text", "value", "milli"),
    [
        ("1", 1, 1000),
        ("500m", 1, 500),
        ("0.1", 1, 100),
        (".5", 1, 500),
        ("64Mi", 67108864, 67108864000),
        ("1.5Gi", 1610612736, 1610612736000),
        ("1e3", 1000, 1000000),
        ("2k", 2000, 2000000),
        ("1u", 1, 1),
    ],
)
def test_a_quantity_is_exact_and_rounds_up(text: str, value: int, milli: int) -> None:
    quantity = Quantity.parse(text)
    assert (quantity.value, quantity.milli) == (value, milli)


@pytest.mark.parametrize("text", ["", "1 Mi", "Mi", "1mi", "1e999", "--1", "1KiB", "9" * 100])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        Quantity.parse(text)


def test_probes_and_hooks_that_are_right_pass(make_pod: MakePod) -> None:
    pod = make_pod(
        "initContainers: [{name: side, image: a, restartPolicy: Always, livenessProbe: {exec: {command: [a]}}}]",
        """\
        ports: [{containerPort: 8080, name: web}]
        livenessProbe: {httpGet: {port: web, httpHeaders: [{name: X-A, value: b c}]}, periodSeconds: 3}
        readinessProbe: {tcpSocket: {port: 8080}, successThreshold: 2}
        lifecycle: {postStart: {exec: {command: [a]}}, preStop: {httpGet: {port: web}}}
        """,
    )
    main = pod.container("main")
    assert main.liveness_probe is not None
    assert (main.liveness_probe.period_seconds, main.liveness_probe.failure_threshold) == (3, 3)
    assert main.readiness_probe is not None
    assert main.readiness_probe.success_threshold == 2
