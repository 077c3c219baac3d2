"""A Pod as CRI requests, compared with what Kubernetes' documents say a kubelet asks for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from podyard.cri import api
from podyard.errors import InvalidArgument
from podyard.manifest.model import Pod
from podyard.manifest.translate import (
    HostFacts,
    ImageFacts,
    ResolvedMount,
    check_non_root,
    container_config,
    environment,
    expand,
    hosts_file,
    pod_hash,
    sandbox_config,
)
from podyard.manifest.translate.resources import qos_class

MakePod = Callable[..., Pod]

HOST = HostFacts(
    name="node-1",
    ips=("192.0.2.7", "2001:db8::7"),
    cpus=4,
    memory=8 << 30,
    resolv_conf="# x\nnameserver 192.0.2.53\nsearch a.example\nsearch b.example c.example\noptions ndots:2 rotate\n",
    hosts="127.0.0.1 localhost node-1",
)
IMAGE = ImageFacts(id="sha256:" + "a" * 64)


def container_of(pod: Pod, image: ImageFacts = IMAGE, **more: Any) -> api.ContainerConfig:
    given: dict[str, Any] = {"attempt": 0, "variables": {}, "volumes": (), "files": {}, **more}
    return container_config(pod, pod.spec.containers[0], image, HOST, **given)


def sandbox_of(pod: Pod) -> api.PodSandboxConfig:
    return sandbox_config(pod, HOST, log_directory="/var/log/pods/x")


def test_a_plain_pod_becomes_a_plain_sandbox(make_pod: MakePod) -> None:
    pod = make_pod(metadata="uid: u-1\nnamespace: shop\nlabels: {app: web}\nannotations: {a/b: c d}")
    config = sandbox_of(pod)
    assert config.metadata == api.PodSandboxMetadata(name="web", namespace="shop", uid="u-1", attempt=0)
    assert config.hostname == "web"
    assert config.log_directory == "/var/log/pods/x"
    assert dict(config.labels) == {
        "app": "web",
        "io.kubernetes.pod.name": "web",
        "io.kubernetes.pod.namespace": "shop",
        "io.kubernetes.pod.uid": "u-1",
    }
    assert dict(config.annotations) == {"a/b": "c d", "podyard.io/manifest-hash": pod_hash(pod)}
    security = config.linux.security_context
    assert security.namespace_options == api.NamespaceOption(network=api.POD, pid=api.CONTAINER, ipc=api.POD)
    assert security.seccomp.profile_type == api.SecurityProfile.RuntimeDefault
    assert not security.privileged
    assert not security.HasField("run_as_user")


def test_a_plain_container_asks_for_nothing_but_its_image(make_pod: MakePod) -> None:
    config = container_of(make_pod(), attempt=2)
    assert config.metadata == api.ContainerMetadata(name="main", attempt=2)
    assert config.image == api.ImageSpec(image=IMAGE.id, user_specified_image="busybox:1")
    assert config.log_path == "main/2.log"
    assert dict(config.labels) == {
        "io.kubernetes.container.name": "main",
        "io.kubernetes.pod.name": "web",
        "io.kubernetes.pod.namespace": "default",
        "io.kubernetes.pod.uid": "u-1",
    }
    annotations = dict(config.annotations)
    assert len(annotations.pop("io.kubernetes.container.hash")) == 8
    assert annotations == {
        "io.kubernetes.container.restartCount": "2",
        "io.kubernetes.container.terminationMessagePath": "/dev/termination-log",
        "io.kubernetes.container.terminationMessagePolicy": "File",
        "io.kubernetes.pod.terminationGracePeriod": "30",
        "podyard.io/container-kind": "container",
    }
    security = config.linux.security_context
    assert security.seccomp.profile_type == api.SecurityProfile.Unconfined
    assert not (security.privileged or security.no_new_privs or security.readonly_rootfs)
    assert not security.HasField("run_as_user") and not security.run_as_username
    assert "/proc/kcore" in security.masked_paths and "/proc/sys" in security.readonly_paths


@pytest.mark.parametrize(
    ("spec", "hostname"),
    [("", "web"), ("hostname: other", "other"), ("hostNetwork: true", "")],
)
def test_the_host_name_is_the_pods_unless_the_network_is_the_hosts(make_pod: MakePod, spec: str, hostname: str) -> None:
    assert sandbox_of(make_pod(spec)).hostname == hostname


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        ("hostNetwork: true", api.NamespaceOption(network=api.NODE, pid=api.CONTAINER, ipc=api.POD)),
        ("hostPID: true", api.NamespaceOption(network=api.POD, pid=api.NODE, ipc=api.POD)),
        ("hostIPC: true", api.NamespaceOption(network=api.POD, pid=api.CONTAINER, ipc=api.NODE)),
        ("shareProcessNamespace: true", api.NamespaceOption(network=api.POD, pid=api.POD, ipc=api.POD)),
    ],
)
def test_namespaces_are_the_same_in_both_requests(make_pod: MakePod, spec: str, options: api.NamespaceOption) -> None:
    pod = make_pod(spec)
    assert sandbox_of(pod).linux.security_context.namespace_options == options
    assert container_of(pod).linux.security_context.namespace_options == options


@pytest.mark.parametrize(
    ("spec", "servers", "searches", "options"),
    [
        ("", ["192.0.2.53"], ["b.example", "c.example"], ["ndots:2", "rotate"]),
        ("dnsPolicy: Default", ["192.0.2.53"], ["b.example", "c.example"], ["ndots:2", "rotate"]),
        ("dnsPolicy: None\ndnsConfig: {nameservers: [192.0.2.1]}", ["192.0.2.1"], [], []),
        (
            "dnsConfig: {nameservers: [192.0.2.1, 192.0.2.53], searches: [c.example, d.example],"
            " options: [{name: ndots, value: '5'}, {name: edns0}]}",
            ["192.0.2.53", "192.0.2.1"],
            ["b.example", "c.example", "d.example"],
            ["ndots:5", "rotate", "edns0"],
        ),
    ],
)
def test_dns_is_the_hosts_with_the_pods_on_top(
    make_pod: MakePod, spec: str, servers: list[str], searches: list[str], options: list[str]
) -> None:
    expected = api.DNSConfig(servers=servers, searches=searches, options=options)
    assert sandbox_of(make_pod(spec)).dns_config == expected


def test_host_ports_are_mapped_and_the_others_only_noted(make_pod: MakePod) -> None:
    ports = "ports: [{containerPort: 80, hostPort: 8080, name: http}, {containerPort: 53, protocol: UDP}]"
    pod = make_pod(container=ports)
    assert list(sandbox_of(pod).port_mappings) == [api.PortMapping(protocol=api.TCP, container_port=80, host_port=8080)]
    noted = json.loads(container_of(pod).annotations["io.kubernetes.container.ports"])
    assert noted == [
        {"name": "http", "hostPort": 8080, "containerPort": 80, "protocol": "TCP"},
        {"containerPort": 53, "protocol": "UDP"},
    ]
    assert not sandbox_of(make_pod("hostNetwork: true", "ports: [{containerPort: 80, hostPort: 80}]")).port_mappings


@pytest.mark.parametrize(
    ("resources", "qos", "shares", "quota", "memory", "oom"),
    [
        ("{}", "BestEffort", 2, 0, 0, 1000),
        ("{limits: {cpu: 500m, memory: 64Mi}}", "Guaranteed", 512, 50000, 67108864, -997),
        ("{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1, memory: 1Gi}}", "Guaranteed", 1024, 100000, 1 << 30, -997),
        ("{requests: {cpu: 250m, memory: 2Gi}}", "Burstable", 256, 0, 0, 750),
        ("{requests: {memory: 1}}", "Burstable", 2, 0, 0, 999),
        ("{requests: {memory: 8Gi}}", "Burstable", 2, 0, 0, 3),
        ("{limits: {cpu: 1m}}", "Burstable", 2, 1000, 0, 999),
        ("{limits: {cpu: 1000}}", "Burstable", 262144, 100000000, 0, 999),
    ],
)
def test_resources_become_the_kernels_settings(
    make_pod: MakePod, resources: str, qos: str, shares: int, quota: int, memory: int, oom: int
) -> None:
    pod = make_pod(container=f"resources: {resources}")
    assert qos_class(pod) == qos
    assert container_of(pod).linux.resources == api.LinuxContainerResources(
        cpu_period=100000, cpu_quota=quota, cpu_shares=shares, memory_limit_in_bytes=memory, oom_score_adj=oom
    )


def test_one_container_without_limits_makes_the_pod_burstable(make_pod: MakePod) -> None:
    pod = make_pod("initContainers: [{name: first, image: a}]", "resources: {limits: {cpu: 1, memory: 1Gi}}")
    assert qos_class(pod) == "Burstable"


def test_the_containers_security_context_wins_over_the_pods(make_pod: MakePod) -> None:
    pod = make_pod(
        """\
        securityContext:
          runAsUser: 1000
          runAsGroup: 1001
          fsGroup: 2000
          supplementalGroups: [3000]
          supplementalGroupsPolicy: Strict
          seccompProfile: {type: RuntimeDefault}
          seLinuxOptions: {level: s0}
          sysctls: [{name: net/core/somaxconn, value: "10"}]
        """,
        """\
        securityContext:
          runAsUser: 5
          readOnlyRootFilesystem: true
          allowPrivilegeEscalation: false
          procMount: Unmasked
          capabilities: {add: [NET_ADMIN], drop: [ALL]}
          seccompProfile: {type: Localhost, localhostProfile: my/profile.json}
          appArmorProfile: {type: Localhost, localhostProfile: mine}
        """,
    )
    security = container_of(pod).linux.security_context
    assert (security.run_as_user.value, security.run_as_group.value) == (5, 1001)
    assert list(security.supplemental_groups) == [3000, 2000]
    assert security.supplemental_groups_policy == api.SupplementalGroupsPolicy.Value("Strict")
    assert security.readonly_rootfs and security.no_new_privs
    assert not security.masked_paths and not security.readonly_paths
    assert list(security.capabilities.add_capabilities) == ["NET_ADMIN"]
    assert list(security.capabilities.drop_capabilities) == ["ALL"]
    assert security.seccomp == api.SecurityProfile(
        profile_type=api.SecurityProfile.Localhost, localhost_ref="/var/lib/kubelet/seccomp/my/profile.json"
    )
    assert security.apparmor == api.SecurityProfile(profile_type=api.SecurityProfile.Localhost, localhost_ref="mine")
    assert security.apparmor_profile == "localhost/mine"
    assert security.selinux_options.level == "s0"
    sandbox = sandbox_of(pod).linux
    assert (sandbox.security_context.run_as_user.value, sandbox.security_context.run_as_group.value) == (1000, 1001)
    assert list(sandbox.security_context.supplemental_groups) == [3000, 2000]
    assert dict(sandbox.sysctls) == {"net.core.somaxconn": "10"}


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("net.core.somaxconn", "net.core.somaxconn"),
        ("net/ipv4/conf/eth0.1/arp_filter", "net.ipv4.conf.eth0/1.arp_filter"),
        ("net.ipv4.conf.eth0/1.arp_filter", "net.ipv4.conf.eth0/1.arp_filter"),
    ],
)
def test_kernel_parameters_are_asked_for_with_dots(make_pod: MakePod, given: str, asked: str) -> None:
    pod = make_pod(f"securityContext: {{sysctls: [{{name: {given}, value: '1'}}]}}")
    assert dict(sandbox_of(pod).linux.sysctls) == {asked: "1"}


def test_a_privileged_container_makes_the_sandbox_privileged(make_pod: MakePod) -> None:
    pod = make_pod(container="securityContext: {privileged: true}")
    assert container_of(pod).linux.security_context.privileged
    assert sandbox_of(pod).linux.security_context.privileged


@pytest.mark.parametrize(
    ("image", "uid", "username"),
    [
        (ImageFacts(id="x"), 0, ""),
        (ImageFacts(id="x", uid=7), 7, ""),
        (ImageFacts(id="x", username="www"), None, "www"),
    ],
)
def test_a_group_without_a_user_goes_with_the_images(
    make_pod: MakePod, image: ImageFacts, uid: int | None, username: str
) -> None:
    security = container_of(make_pod(container="securityContext: {runAsGroup: 9}"), image).linux.security_context
    assert security.run_as_group.value == 9
    assert (security.run_as_user.value if security.HasField("run_as_user") else None) == uid
    assert security.run_as_username == username


@pytest.mark.parametrize(
    ("context", "image", "said"),
    [
        ("runAsNonRoot: true, runAsUser: 0", ImageFacts(id="x", uid=5), "its runAsUser is 0"),
        ("runAsNonRoot: true", ImageFacts(id="x"), "runs as root"),
        ("runAsNonRoot: true", ImageFacts(id="x", uid=0), "runs as root"),
        ("runAsNonRoot: true", ImageFacts(id="x", username="www"), "the name 'www'"),
    ],
)
def test_run_as_non_root_refuses_root(make_pod: MakePod, context: str, image: ImageFacts, said: str) -> None:
    pod = make_pod(container=f"securityContext: {{{context}}}")
    with pytest.raises(InvalidArgument, match=said):
        check_non_root(pod, pod.spec.containers[0], image)


@pytest.mark.parametrize(
    ("context", "image"),
    [
        ("runAsNonRoot: true, runAsUser: 1", ImageFacts(id="x")),
        ("runAsNonRoot: true", ImageFacts(id="x", uid=5)),
        ("runAsNonRoot: false", ImageFacts(id="x")),
    ],
)
def test_run_as_non_root_lets_others_pass(make_pod: MakePod, context: str, image: ImageFacts) -> None:
    pod = make_pod("securityContext: {runAsNonRoot: false}", f"securityContext: {{{context}}}")
    check_non_root(pod, pod.spec.containers[0], image)


def test_mounts_carry_their_options_and_win_over_managed_files(make_pod: MakePod) -> None:
    pod = make_pod(
        "volumes: [{name: a, emptyDir: {}}]",
        """\
        volumeMounts:
        - {name: a, mountPath: /data, readOnly: true, recursiveReadOnly: Enabled}
        - {name: a, mountPath: /etc/hosts/, mountPropagation: HostToContainer}
        """,
    )
    mounts = pod.spec.containers[0].volume_mounts
    config = container_of(
        pod,
        volumes=[
            ResolvedMount(mount=mounts[0], host_path="/v/a", recursive_read_only=True),
            ResolvedMount(mount=mounts[1], host_path="/v/b"),
        ],
        files={"/etc/hosts": "/p/hosts", "/dev/termination-log": "/p/log"},
    )
    assert list(config.mounts) == [
        api.Mount(container_path="/data", host_path="/v/a", readonly=True, recursive_read_only=True),
        api.Mount(container_path="/etc/hosts/", host_path="/v/b", propagation=api.PROPAGATION_HOST_TO_CONTAINER),
        api.Mount(container_path="/dev/termination-log", host_path="/p/log"),
    ]


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
    variables = environment(pod, pod.spec.containers[0], HOST, [])
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
        ("resourceFieldRef: {resource: requests.cpu, divisor: 1m}", "500"),
        ("resourceFieldRef: {resource: requests.memory}", "0"),
    ],
)
def test_a_variable_may_come_from_the_pod(make_pod: MakePod, source: str, value: str) -> None:
    pod = make_pod(
        container=f"resources: {{limits: {{cpu: 500m}}}}\nenv: [{{name: A, valueFrom: {{{source}}}}}]",
        metadata="uid: u-1\nlabels: {app: shop}",
    )
    assert environment(pod, pod.spec.containers[0], HOST, ["10.0.0.2", "fd00::2"]) == {"A": value}


def test_the_hosts_file_names_the_pod_and_its_aliases(make_pod: MakePod) -> None:
    lines = hosts_file(
        make_pod("hostAliases: [{ip: 192.0.2.9, hostnames: [db, db.x]}]"), HOST, ["10.0.0.2"]
    ).splitlines()
    assert "127.0.0.1\tlocalhost" in lines
    assert "10.0.0.2\tweb" in lines
    assert lines[-1] == "192.0.2.9\tdb\tdb.x"
    text = hosts_file(make_pod("hostNetwork: true\nhostAliases: [{ip: 192.0.2.9, hostnames: [db]}]"), HOST, [])
    assert text == "127.0.0.1 localhost node-1\n\n# hostAliases\n192.0.2.9\tdb\n"


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


def test_a_sidecar_keeps_its_ports_and_is_not_killed_before_the_containers(make_pod: MakePod) -> None:
    pod = make_pod(
        "initContainers:\n"
        "- {name: side, image: a, restartPolicy: Always, ports: [{containerPort: 1, hostPort: 2}]}\n"
        "- {name: once, image: a, ports: [{containerPort: 3, hostPort: 4}]}",
        "resources: {requests: {memory: 4Gi}}",
    )
    assert [mapping.host_port for mapping in sandbox_of(pod).port_mappings] == [2]
    side = container_config(
        pod, pod.spec.init_containers[0], IMAGE, HOST, attempt=0, variables={}, volumes=(), files={}
    )
    assert side.linux.resources.oom_score_adj == 500
    assert side.annotations["podyard.io/container-kind"] == "sidecar"


def test_the_hook_before_a_stop_stands_in_an_annotation_with_the_ports_number(make_pod: MakePod) -> None:
    lines = "ports: [{containerPort: 80, name: web}]\nlifecycle: {preStop: {httpGet: {port: web, path: /bye}}}"
    pod = make_pod(container=lines)
    found = dict(container_of(pod).annotations)["io.kubernetes.container.preStopHandler"]
    assert json.loads(found)["httpGet"] == {
        "port": 80,
        "path": "/bye",
        "host": "",
        "scheme": "HTTP",
        "httpHeaders": [],
    }
