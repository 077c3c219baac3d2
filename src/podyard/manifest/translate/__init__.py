"""A Pod and what is known of the host → CRI requests, as a kubelet makes them. Pure functions: nothing here does I/O.

    facts        what must be known beside the manifest
    sandbox      PodSandboxConfig;  dns, hosts: its resolver settings and /etc/hosts
    container    ContainerConfig;  environment, resources, security: parts of it
    labels       the labels and annotations by which Pods are found again

The Pod given has its uid. Where Kubernetes' documents leave something to the kubelet, its behaviour is followed.
"""

from podyard.manifest.translate.container import ResolvedMount, container_config
from podyard.manifest.translate.environment import environment, expand
from podyard.manifest.translate.facts import ClusterDns, HostFacts, ImageFacts
from podyard.manifest.translate.files import File, projected_files
from podyard.manifest.translate.hosts import hosts_file
from podyard.manifest.translate.labels import container_hash, kind_of, pod_hash, port_number, sandbox_hash
from podyard.manifest.translate.sandbox import sandbox_config
from podyard.manifest.translate.security import IDS, check_non_root

__all__ = [
    "IDS",
    "ClusterDns",
    "File",
    "HostFacts",
    "ImageFacts",
    "ResolvedMount",
    "check_non_root",
    "container_config",
    "container_hash",
    "environment",
    "expand",
    "hosts_file",
    "kind_of",
    "pod_hash",
    "port_number",
    "projected_files",
    "sandbox_config",
    "sandbox_hash",
]
