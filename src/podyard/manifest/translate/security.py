"""Security contexts: what a container sets wins over what its Pod sets (Kubernetes documentation, "Configure a
Security Context for a Pod or Container")."""

from __future__ import annotations

from podyard.cri import api
from podyard.errors import InvalidArgument
from podyard.manifest.model import AppArmorProfile, Container, Pod, PodSpec, SeccompProfile, SELinuxOptions
from podyard.manifest.translate.facts import ImageFacts

SECCOMP_ROOT = "/var/lib/kubelet/seccomp"
"""Where localhostProfile is relative to, on every node."""

MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


IDS = 65536
"""How many users a Pod has in a user namespace of its own."""


def id_mappings(users: int) -> list[api.IDMapping]:
    """The Pod's users on the host, of which ``users`` is its root."""
    return [api.IDMapping(host_id=users, container_id=0, length=IDS)]


def namespace_options(spec: PodSpec, users: int | None = None) -> api.NamespaceOption:
    """Whose namespaces the Pod uses: the host's, one of the Pod, or (processes only) one for each container.

    ``users``: the host id of its root where the Pod has its own user namespace.
    """
    own_pid = api.POD if spec.share_process_namespace else api.CONTAINER
    own_users = None
    if users is not None:
        own_users = api.UserNamespace(mode=api.POD, uids=id_mappings(users), gids=id_mappings(users))
    return api.NamespaceOption(
        userns_options=own_users,
        network=api.NODE if spec.host_network else api.POD,
        ipc=api.NODE if spec.host_ipc else api.POD,
        pid=api.NODE if spec.host_pid else own_pid,
    )


def check_non_root(pod: Pod, container: Container, image: ImageFacts) -> None:
    """Raise InvalidArgument where runAsNonRoot is set and the container would run as root, or may do so."""
    context, above = container.security_context, pod.spec.security_context
    if not (above.run_as_non_root if context.run_as_non_root is None else context.run_as_non_root):
        return
    user = _user(pod, container)
    what = f"container {container.name!r} of {pod.full_name} must not run as root (runAsNonRoot)"
    if user == 0:
        raise InvalidArgument(f"{what}, but its runAsUser is 0; set another")
    if user is None and image.username:
        text = f"the image's user is the name {image.username!r}, which may be root's; set runAsUser to its number"
        raise InvalidArgument(f"{what}, and {text}")
    if user is None and not image.uid:
        raise InvalidArgument(f"{what}, and the image {container.image} runs as root; set runAsUser")


def container_security(
    pod: Pod, container: Container, image: ImageFacts, target: str = "", users: int | None = None
) -> api.LinuxContainerSecurityContext:
    """The security context of a container. ``target``: the id of the container whose processes it sees. ``users``: as
    for ``namespace_options``.

    The image's user is left to the endpoint, which knows its group too, save where a group is given without a user:
    the protocol wants both.
    """
    context, above = container.security_context, pod.spec.security_context
    security = api.LinuxContainerSecurityContext(
        capabilities=api.Capability(
            add_capabilities=context.capabilities.add, drop_capabilities=context.capabilities.drop
        ),
        privileged=context.privileged,
        namespace_options=namespace_options(pod.spec, users),
        readonly_rootfs=context.read_only_root_filesystem,
        supplemental_groups=above.supplemental_groups,
        supplemental_groups_policy=api.SupplementalGroupsPolicy.Value(above.supplemental_groups_policy),
        no_new_privs=context.allow_privilege_escalation is False,
        seccomp=_seccomp(context.seccomp_profile or above.seccomp_profile),
    )
    if target:
        security.namespace_options.pid = api.TARGET
        security.namespace_options.target_id = target
    if above.fs_group is not None:
        security.supplemental_groups.append(above.fs_group)
    if context.proc_mount == "Default":
        security.masked_paths.extend(MASKED_PATHS)
        security.readonly_paths.extend(READONLY_PATHS)
    _set_user(security, pod, container, image)
    if (profile := context.app_armor_profile or above.app_armor_profile) is not None:
        security.apparmor.CopyFrom(_apparmor(profile))
        security.apparmor_profile = _old_apparmor_name(profile)
    if (options := context.se_linux_options or above.se_linux_options) is not None:
        security.selinux_options.CopyFrom(selinux(options))
    return security


def selinux(options: SELinuxOptions) -> api.SELinuxOption:
    """The parts of an SELinux label."""
    return api.SELinuxOption(user=options.user, role=options.role, type=options.type, level=options.level)


def _user(pod: Pod, container: Container) -> int | None:
    own = container.security_context.run_as_user
    return pod.spec.security_context.run_as_user if own is None else own


def _set_user(security: api.LinuxContainerSecurityContext, pod: Pod, container: Container, image: ImageFacts) -> None:
    user = _user(pod, container)
    group = container.security_context.run_as_group
    group = pod.spec.security_context.run_as_group if group is None else group
    if user is not None:
        security.run_as_user.value = user
    elif group is not None and image.username:
        security.run_as_username = image.username
    elif group is not None:
        security.run_as_user.value = image.uid or 0
    if group is not None:
        security.run_as_group.value = group


def _seccomp(profile: SeccompProfile | None) -> api.SecurityProfile:
    """Without a profile Kubernetes confines nothing."""
    if profile is None:
        return api.SecurityProfile(profile_type=api.SecurityProfile.Unconfined)
    kind = api.SecurityProfile.ProfileType.Value(profile.type)
    reference = f"{SECCOMP_ROOT}/{profile.localhost_profile}" if profile.localhost_profile else ""
    return api.SecurityProfile(profile_type=kind, localhost_ref=reference)


def _apparmor(profile: AppArmorProfile) -> api.SecurityProfile:
    kind = api.SecurityProfile.ProfileType.Value(profile.type)
    return api.SecurityProfile(profile_type=kind, localhost_ref=profile.localhost_profile or "")


def _old_apparmor_name(profile: AppArmorProfile) -> str:
    """The profile as runtimes read it that do not know the field ``apparmor``."""
    match profile.type:
        case "RuntimeDefault":
            return "runtime/default"
        case "Unconfined":
            return "unconfined"
    return f"localhost/{profile.localhost_profile}"
