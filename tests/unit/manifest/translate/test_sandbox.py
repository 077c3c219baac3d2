"""A Pod as a sandbox's request, compared with what Kubernetes' documents say a kubelet asks for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.support.manifests import HOST, container_of, sandbox_of

from podyard.cri import api
from podyard.errors import InvalidArgument
from podyard.manifest.model import Pod
from podyard.manifest.translate import ClusterDns, hosts_file, pod_hash, sandbox_config, sandbox_hash

MakePod = Callable[..., Pod]


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
    assert dict(config.annotations) == {
        "a/b": "c d",
        "podyard.io/manifest-hash": pod_hash(pod),
        "podyard.io/sandbox-hash": sandbox_hash(pod),
    }
    security = config.linux.security_context
    assert security.namespace_options == api.NamespaceOption(network=api.POD, pid=api.CONTAINER, ipc=api.POD)
    assert security.seccomp.profile_type == api.SecurityProfile.RuntimeDefault
    assert not security.privileged
    assert not security.HasField("run_as_user")


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


CLUSTER = (["10.96.0.10"], ["default.svc.x.local", "svc.x.local", "x.local", "b.example", "c.example"], ["ndots:5"])
HOSTS = (["192.0.2.53"], ["b.example", "c.example"], ["ndots:2", "rotate"])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("", CLUSTER),
        ("dnsPolicy: ClusterFirst\nhostNetwork: true", HOSTS),
        ("dnsPolicy: ClusterFirstWithHostNet\nhostNetwork: true", CLUSTER),
        ("dnsPolicy: ClusterFirstWithHostNet", CLUSTER),
        ("dnsPolicy: Default", HOSTS),
        ("dnsPolicy: None\ndnsConfig: {nameservers: [192.0.2.1]}", (["192.0.2.1"], [], [])),
        ("dnsConfig: {options: [{name: ndots, value: '2'}]}", (*CLUSTER[:2], ["ndots:2"])),
    ],
)
def test_dns_is_the_clusters_where_there_is_one(
    make_pod: MakePod, spec: str, expected: tuple[list[str], list[str], list[str]]
) -> None:
    dns = ClusterDns(servers=("10.96.0.10",), domain="x.local")
    config = sandbox_config(make_pod(spec), replace(HOST, cluster_dns=dns), log_directory="/logs").dns_config
    assert (list(config.servers), list(config.searches), list(config.options)) == expected
    nameless = replace(HOST, cluster_dns=replace(dns, domain=""))
    config = sandbox_config(make_pod(spec), nameless, log_directory="/logs").dns_config
    assert not any(name.endswith("x.local") for name in config.searches)


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


IN_CLUSTER = replace(HOST, cluster_dns=ClusterDns(servers=("10.96.0.10",), domain="c.local"))


@pytest.mark.parametrize(
    ("spec", "hostname", "names"),
    [
        ("subdomain: sub", "web", "web.sub.shop.svc.c.local\tweb"),
        ("subdomain: sub\nhostname: a", "a", "a.sub.shop.svc.c.local\ta"),
        ("subdomain: sub\nsetHostnameAsFQDN: true", "web.sub.shop.svc.c.local", "web.sub.shop.svc.c.local\tweb"),
        ("setHostnameAsFQDN: true", "web", "web"),
        ("hostnameOverride: a.example\nhostname: b\nsubdomain: sub", "a.example", "a.example"),
    ],
)
def test_a_pod_knows_itself_by_these_names(make_pod: MakePod, spec: str, hostname: str, names: str) -> None:
    pod = make_pod(spec, metadata="namespace: shop\nuid: u")
    assert sandbox_config(pod, IN_CLUSTER, log_directory="/logs").hostname == hostname
    assert hosts_file(pod, IN_CLUSTER, ["10.0.0.2"]).splitlines()[-1] == f"10.0.0.2\t{names}"


def test_a_domain_without_a_cluster_ends_with_its_kind(make_pod: MakePod) -> None:
    assert hosts_file(make_pod("subdomain: sub"), HOST, ["10.0.0.2"]).endswith("\tweb.sub.default.svc\tweb\n")


def test_a_name_that_the_kernel_cannot_keep_is_refused(make_pod: MakePod) -> None:
    pod = make_pod(f"setHostnameAsFQDN: true\nsubdomain: sub\nhostname: {'a' * 50}")
    with pytest.raises(InvalidArgument, match="longer than the 64 bytes"):
        sandbox_of(pod)


def test_the_hosts_file_names_the_pod_and_its_aliases(make_pod: MakePod) -> None:
    lines = hosts_file(
        make_pod("hostAliases: [{ip: 192.0.2.9, hostnames: [db, db.x]}]"), HOST, ["10.0.0.2"]
    ).splitlines()
    assert "127.0.0.1\tlocalhost" in lines
    assert "10.0.0.2\tweb" in lines
    assert lines[-1] == "192.0.2.9\tdb\tdb.x"
    text = hosts_file(make_pod("hostNetwork: true\nhostAliases: [{ip: 192.0.2.9, hostnames: [db]}]"), HOST, [])
    assert text == "127.0.0.1 localhost node-1\n\n# hostAliases\n192.0.2.9\tdb\n"
