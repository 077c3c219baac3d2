"""PodSandboxConfig."""

from __future__ import annotations

from podyard.cri import api
from podyard.manifest.model import Pod, is_sidecar
from podyard.manifest.translate import labels
from podyard.manifest.translate.dns import dns_config
from podyard.manifest.translate.facts import HostFacts
from podyard.manifest.translate.hostname import kernel_name
from podyard.manifest.translate.resources import pod_overhead, pod_resources
from podyard.manifest.translate.security import namespace_options, selinux


def sandbox_config(
    pod: Pod, host: HostFacts, *, log_directory: str, users: int | None = None, attempt: int = 0
) -> api.PodSandboxConfig:
    """The request for a Pod's sandbox.

    ``users``: the host id of its root, in a user namespace of its own. ``attempt``: how many sandboxes it had before.
    Raises InvalidArgument for a host name that the kernel cannot keep.
    """
    spec = pod.spec
    config = api.PodSandboxConfig(
        metadata=api.PodSandboxMetadata(
            name=pod.metadata.name, namespace=pod.metadata.namespace, uid=pod.metadata.uid, attempt=attempt
        ),
        hostname="" if spec.host_network else kernel_name(pod, host),
        log_directory=log_directory,
        dns_config=dns_config(pod, host),
        labels=labels.sandbox_labels(pod),
        annotations=labels.sandbox_annotations(pod),
        linux=api.LinuxPodSandboxConfig(
            security_context=_security(pod, users),
            sysctls={_with_dots(sysctl.name): sysctl.value for sysctl in spec.security_context.sysctls},
            overhead=pod_overhead(pod),
            resources=pod_resources(pod),
        ),
    )
    if not spec.host_network:
        config.port_mappings.extend(_port_mappings(pod))
    return config


def _with_dots(name: str) -> str:
    """A kernel parameter's name with dots between its parts; where slashes are, dots belong to a part (sysctl.d(5))."""
    slash, dot = name.find("/"), name.find(".")
    if slash < 0 or 0 <= dot < slash:
        return name
    return name.translate({ord("/"): ".", ord("."): "/"})


def _port_mappings(pod: Pod) -> list[api.PortMapping]:
    lasting = [container for container in pod.spec.init_containers if is_sidecar(container)]
    return [
        api.PortMapping(
            protocol=api.Protocol.Value(port.protocol),
            container_port=port.container_port,
            host_port=port.host_port,
            host_ip=port.host_ip,
        )
        for container in [*lasting, *pod.spec.containers]
        for port in container.ports
        if port.host_port
    ]


def _security(pod: Pod, users: int | None) -> api.LinuxSandboxSecurityContext:
    context = pod.spec.security_context
    security = api.LinuxSandboxSecurityContext(
        namespace_options=namespace_options(pod.spec, users),
        supplemental_groups=context.supplemental_groups,
        privileged=any(container.security_context.privileged for container in pod.all_containers()),
        seccomp=api.SecurityProfile(profile_type=api.SecurityProfile.RuntimeDefault),
    )
    if context.run_as_user is not None:
        security.run_as_user.value = context.run_as_user
        if context.run_as_group is not None:  # the protocol refuses a group without a user
            security.run_as_group.value = context.run_as_group
    if context.fs_group is not None:
        security.supplemental_groups.append(context.fs_group)
    if context.se_linux_options is not None:
        security.selinux_options.CopyFrom(selinux(context.se_linux_options))
    return security
