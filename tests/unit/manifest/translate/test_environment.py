"""Environment variables and references to them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.manifests import HOST, container_of

from podyard.errors import NotFound
from podyard.manifest.model import Pod
from podyard.manifest.objects import ConfigMap, Held, Secret, Service, ServicePort
from podyard.manifest.translate import environment, expand

MakePod = Callable[..., Pod]


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y2"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(C)", "$(C)"),
        ("$A ${A} $(A", "$A ${A} $(A"),
        ("$$$$", "$$"),
        ("$", "$"),
    ],
)
def test_references_are_expanded_as_kubernetes_does(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expanded


def test_variables_see_those_before_them_and_commands_see_all(make_pod: MakePod) -> None:
    pod = make_pod(
        container="""\
        command: [sh, $(LATE)]
        args: [$$(LATE), $(NONE)]
        env:
        - {name: EARLY, value: "$(LATE)"}
        - {name: LATE, value: x}
        - {name: BOTH, value: "$(EARLY)-$(LATE)"}
        """
    )
    variables, skipped = environment(pod, pod.spec.containers[0], HOST, [], Held())
    assert not skipped
    assert variables == {"EARLY": "$(LATE)", "LATE": "x", "BOTH": "$(LATE)-x"}
    config = container_of(pod, variables=variables)
    assert (list(config.command), list(config.args)) == (["sh", "x"], ["$(LATE)", "$(NONE)"])
    assert [(pair.key, pair.value) for pair in config.envs] == [
        ("EARLY", b"$(LATE)"),
        ("LATE", b"x"),
        ("BOTH", b"$(LATE)-x"),
    ]


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("fieldRef: {fieldPath: metadata.name}", "web"),
        ("fieldRef: {fieldPath: metadata.uid}", "u-1"),
        ("fieldRef: {fieldPath: \"metadata.labels['app']\"}", "shop"),
        ("fieldRef: {fieldPath: \"metadata.annotations['none']\"}", ""),
        ("fieldRef: {fieldPath: spec.nodeName}", "node-1"),
        ("fieldRef: {fieldPath: spec.serviceAccountName}", "default"),
        ("fieldRef: {fieldPath: status.hostIP}", "192.0.2.7"),
        ("fieldRef: {fieldPath: status.podIPs}", "10.0.0.2,fd00::2"),
        ("resourceFieldRef: {resource: limits.cpu}", "1"),
        ("resourceFieldRef: {resource: limits.cpu, divisor: 1m}", "500"),
        ("resourceFieldRef: {resource: limits.memory, divisor: 1Mi}", "8192"),
        ("resourceFieldRef: {resource: limits.ephemeral-storage, divisor: 1Gi}", "64"),
        ("resourceFieldRef: {resource: requests.ephemeral-storage}", "0"),
        ("resourceFieldRef: {resource: requests.cpu, divisor: 1m}", "500"),
        ("resourceFieldRef: {resource: requests.memory}", "0"),
        ("resourceFieldRef: {resource: limits.hugepages-2Mi}", "0"),
    ],
)
def test_a_variable_may_come_from_the_pod(make_pod: MakePod, source: str, value: str) -> None:
    pod = make_pod(
        container=f"resources: {{limits: {{cpu: 500m}}}}\nenv: [{{name: A, valueFrom: {{{source}}}}}]",
        metadata="uid: u-1\nlabels: {app: shop}",
    )
    ips = ["10.0.0.2", "fd00::2"]
    assert environment(pod, pod.spec.containers[0], HOST, ips, Held()) == ({"A": value}, [])


HELD = Held(
    config_maps={
        "web": ConfigMap(data={"color": "red", "a b": "c", "x=y": "z", "A": "of all"}, binary_data={"b": b"b"})
    },
    secrets={"key": Secret(data={"password": b"s3cret\xff", "A": b"secret"})},
)


def test_whole_objects_come_first_and_single_variables_win(make_pod: MakePod) -> None:
    pod = make_pod(
        container="""\
        envFrom:
        - {configMapRef: {name: web}}
        - {secretRef: {name: key}, prefix: S_}
        - {configMapRef: {name: none, optional: true}}
        env:
        - {name: A, value: "$(color) $(S_A)"}
        - {name: B, valueFrom: {configMapKeyRef: {name: web, key: color}}}
        - {name: C, valueFrom: {secretKeyRef: {name: key, key: password}}}
        - {name: D, valueFrom: {secretKeyRef: {name: none, key: a, optional: true}}}
        - {name: E, valueFrom: {configMapKeyRef: {name: web, key: none, optional: true}}}
        """
    )
    variables, skipped = environment(pod, pod.spec.containers[0], HOST, [], HELD)
    config = container_of(pod, variables=variables)
    assert {pair.key: pair.value for pair in config.envs} == {
        "color": b"red",
        "a b": b"c",
        "A": b"red secret",
        "S_password": b"s3cret\xff",
        "S_A": b"secret",
        "B": b"red",
        "C": b"s3cret\xff",
    }
    assert skipped == ["keys [x=y] of the configmap 'web', which cannot be variables' names"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("envFrom: [{configMapRef: {name: none}}]", "configmap 'none' not found"),
        ("envFrom: [{secretRef: {name: web}}]", "secret 'web' not found"),
        ("env: [{name: A, valueFrom: {secretKeyRef: {name: none, key: a}}}]", "secret 'none' not found"),
        ("env: [{name: A, valueFrom: {configMapKeyRef: {name: web, key: a}}}]", "the configmap 'web' has no key 'a'"),
        ("env: [{name: A, valueFrom: {configMapKeyRef: {name: web, key: b}}}]", "the configmap 'web' has no key 'b'"),
    ],
)
def test_what_is_missing_is_named(make_pod: MakePod, line: str, said: str) -> None:
    pod = make_pod(container=line)
    with pytest.raises(NotFound, match=said):
        environment(pod, pod.spec.containers[0], HOST, [], HELD)


def test_services_are_told_in_two_forms_and_give_way(make_pod: MakePod) -> None:
    ports = (ServicePort(port=80, name="web-ui"), ServicePort(port=53, protocol="UDP"))
    held = Held(services=(Service(name="my-shop", ip="10.96.0.9", ports=ports), Service(name="v6", ip="fd00::9")))
    pod = make_pod(container="env: [{name: MY_SHOP_PORT, value: mine}, {name: URL, value: $(MY_SHOP_SERVICE_HOST)}]")
    variables, _ = environment(pod, pod.spec.containers[0], HOST, [], held)
    assert variables == {
        "MY_SHOP_SERVICE_HOST": "10.96.0.9",
        "MY_SHOP_SERVICE_PORT": "80",
        "MY_SHOP_SERVICE_PORT_WEB_UI": "80",
        "MY_SHOP_PORT": "mine",
        "MY_SHOP_PORT_80_TCP": "tcp://10.96.0.9:80",
        "MY_SHOP_PORT_80_TCP_PROTO": "tcp",
        "MY_SHOP_PORT_80_TCP_PORT": "80",
        "MY_SHOP_PORT_80_TCP_ADDR": "10.96.0.9",
        "MY_SHOP_PORT_53_UDP": "udp://10.96.0.9:53",
        "MY_SHOP_PORT_53_UDP_PROTO": "udp",
        "MY_SHOP_PORT_53_UDP_PORT": "53",
        "MY_SHOP_PORT_53_UDP_ADDR": "10.96.0.9",
        "V6_SERVICE_HOST": "fd00::9",
        "URL": "10.96.0.9",
    }
