"""Faults of a Pod's metadata and of its spec beside the containers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from podyard.manifest.checks.reference import check_object_name
from podyard.manifest.checks.resources import check_overhead
from podyard.manifest.model import Container, Metadata, PodSpec
from podyard.manifest.names import key_fault, label_fault, label_value_fault, subdomain_fault
from podyard.manifest.problems import Problem

MAX_ANNOTATIONS = 256 * 1024
MAX_LABEL = 4096
"""Bytes of a label's key and value that a runtime takes."""
MAX_UID = 128
MAX_GRACE = 10**9 - 1
MAX_DEADLINE = 2**31 - 1
MAX_OVERRIDE = 64
"""Bytes of a host name (uname(2))."""
MAX_NAMESERVERS = 3
MAX_SEARCHES = 32
_UID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")


def check_metadata(metadata: Metadata) -> Iterator[Problem]:
    if fault := subdomain_fault(metadata.name):
        yield Problem(0, "metadata.name", fault)
    if fault := label_fault(metadata.namespace):
        yield Problem(0, "metadata.namespace", fault)
    # the uid becomes part of directory names
    if len(metadata.uid) > MAX_UID or not _UID_CHARACTERS.issuperset(metadata.uid):
        yield Problem(0, "metadata.uid", f"at most {MAX_UID} letters, digits and '-' make a uid")
    for key, value in metadata.labels.items():
        path = f"metadata.labels[{key!r}]"
        if fault := key_fault(key) or label_value_fault(value):
            yield Problem(0, path, fault)
        elif len(key) + len(value) > MAX_LABEL:
            yield Problem(0, path, f"longer than {MAX_LABEL} bytes with its key")
    for key in metadata.annotations:
        if fault := key_fault(key.lower()):
            yield Problem(0, f"metadata.annotations[{key!r}]", fault)
    size = sum(len(key.encode()) + len(value.encode()) for key, value in metadata.annotations.items())
    if size > MAX_ANNOTATIONS:
        yield Problem(0, "metadata.annotations", f"{size} bytes; at most {MAX_ANNOTATIONS} are allowed")


def check_spec(spec: PodSpec) -> Iterator[Problem]:
    if not 0 <= spec.termination_grace_period_seconds <= MAX_GRACE:
        yield Problem(0, "spec.terminationGracePeriodSeconds", f"must be 0 or more, and {MAX_GRACE} at most")
    deadline = spec.active_deadline_seconds
    if deadline is not None and not 1 <= deadline <= MAX_DEADLINE:
        yield Problem(0, "spec.activeDeadlineSeconds", f"must be 1 or more, and {MAX_DEADLINE} at most")
    if spec.runtime_class_name and (fault := subdomain_fault(spec.runtime_class_name)):
        yield Problem(0, "spec.runtimeClassName", fault)
    yield from _check_names_of_host(spec)
    yield from check_overhead(spec.overhead)
    if spec.host_pid and spec.share_process_namespace:
        yield Problem(0, "spec.shareProcessNamespace", "cannot go with hostPID: the pod has no PID namespace to share")
    for index, secret in enumerate(spec.image_pull_secrets):
        yield from check_object_name(secret.name, f"spec.imagePullSecrets[{index}].name")
    if not spec.host_users:
        shared = {"hostNetwork": spec.host_network, "hostPID": spec.host_pid, "hostIPC": spec.host_ipc}
        for field in [name for name, is_shared in shared.items() if is_shared]:
            yield Problem(0, f"spec.{field}", "cannot go with hostUsers: false, whose users are nobody on the host")
    yield from _check_dns(spec)
    for index, alias in enumerate(spec.host_aliases):
        path = f"spec.hostAliases[{index}]"
        if not _is_ip(alias.ip):
            yield Problem(0, f"{path}.ip", f"{alias.ip!r} is not an IP address")
        for position, hostname in enumerate(alias.hostnames):
            if fault := subdomain_fault(hostname):
                yield Problem(0, f"{path}.hostnames[{position}]", fault)


def _check_names_of_host(spec: PodSpec) -> Iterator[Problem]:
    for field, name in (("hostname", spec.hostname), ("subdomain", spec.subdomain)):
        if name and (fault := label_fault(name)):
            yield Problem(0, f"spec.{field}", fault)
    if not spec.hostname_override:
        return
    path = "spec.hostnameOverride"
    if fault := subdomain_fault(spec.hostname_override):
        yield Problem(0, path, fault)
    elif len(spec.hostname_override) > MAX_OVERRIDE:
        yield Problem(0, path, f"longer than the {MAX_OVERRIDE} bytes that the kernel keeps")
    for field, is_given in (("hostNetwork", spec.host_network), ("setHostnameAsFQDN", spec.set_hostname_as_fqdn)):
        if is_given:
            yield Problem(0, path, f"cannot go with {field}")


def with_paths(spec: PodSpec) -> Iterator[tuple[str, Container]]:
    """Every container of a Pod and where it stands ("spec.containers[0]")."""
    for field, containers in (
        ("initContainers", spec.init_containers),
        ("containers", spec.containers),
        ("ephemeralContainers", spec.ephemeral_containers),
    ):
        for index, container in enumerate(containers):
            yield f"spec.{field}[{index}]", container


def check_names(spec: PodSpec) -> Iterator[Problem]:
    """Containers: there is one, each has a name, no two the same."""
    if not spec.containers:
        yield Problem(0, "spec.containers", "a Pod has at least one container")
    seen: dict[str, str] = {}
    for path, container in with_paths(spec):
        if fault := label_fault(container.name):
            yield Problem(0, f"{path}.name", fault)
        elif container.name in seen:
            yield Problem(0, f"{path}.name", f"{seen[container.name]} is called {container.name!r} already")
        seen.setdefault(container.name, path)


def _check_dns(spec: PodSpec) -> Iterator[Problem]:
    config = spec.dns_config
    if spec.dns_policy == "None" and not config.nameservers:
        yield Problem(0, "spec.dnsConfig.nameservers", "dnsPolicy None needs at least one name server")
    if len(config.nameservers) > MAX_NAMESERVERS:
        yield Problem(0, "spec.dnsConfig.nameservers", f"resolvers use at most {MAX_NAMESERVERS} name servers")
    for index, server in enumerate(config.nameservers):
        if not _is_ip(server):
            yield Problem(0, f"spec.dnsConfig.nameservers[{index}]", f"{server!r} is not an IP address")
    if len(config.searches) > MAX_SEARCHES:
        yield Problem(0, "spec.dnsConfig.searches", f"at most {MAX_SEARCHES} search domains are allowed")
    for index, search in enumerate(config.searches):
        # "." and a leading "_" of a label are legal in a search list
        if search != "." and (fault := subdomain_fault(search.removesuffix(".").replace("_", "a").lower())):
            yield Problem(0, f"spec.dnsConfig.searches[{index}]", fault)
    for index, option in enumerate(config.options):
        if not option.name or any(character.isspace() for character in option.name + (option.value or "")):
            yield Problem(0, f"spec.dnsConfig.options[{index}]", "an option has a name, and no blanks")


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text
