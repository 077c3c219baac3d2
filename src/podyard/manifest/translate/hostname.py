"""The names by which a Pod knows itself (Kubernetes documentation, "DNS for Services and Pods")."""

from __future__ import annotations

from podyard.errors import InvalidArgument
from podyard.manifest.model import Pod
from podyard.manifest.translate.facts import HostFacts

MAX_HOSTNAME = 63
MAX_KERNEL_NAME = 64
"""Bytes that the kernel keeps of a host name."""


def hostname(pod: Pod) -> str:
    """The Pod's own name, without its domain: given, or that of the Pod, cut to what a host name may be."""
    spec = pod.spec
    return spec.hostname_override or spec.hostname or pod.metadata.name[:MAX_HOSTNAME].rstrip("-.")


def domain(pod: Pod, host: HostFacts) -> str:
    """The domain below which other Pods find it; "" for one without subdomain, or whose name was overridden."""
    if not pod.spec.subdomain or pod.spec.hostname_override:
        return ""
    below = f"{pod.spec.subdomain}.{pod.metadata.namespace}.svc"
    return f"{below}.{host.cluster_dns.domain}" if host.cluster_dns.domain else below


def kernel_name(pod: Pod, host: HostFacts) -> str:
    """What hostname(1) tells in the Pod. Raises InvalidArgument where the kernel could not keep it."""
    name, below = hostname(pod), domain(pod, host)
    if not pod.spec.set_hostname_as_fqdn or not below:
        return name
    full = f"{name}.{below}"
    if len(full) > MAX_KERNEL_NAME:
        raise InvalidArgument(
            f"{pod.full_name} has setHostnameAsFQDN, but {full!r} is longer than the {MAX_KERNEL_NAME} bytes that the "
            "kernel keeps of a host name: give it a shorter hostname or subdomain"
        )
    return full
