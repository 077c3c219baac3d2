"""AppArmor and SELinux labels (CRI ``apparmor``, ``apparmor_profile``, ``selinux_options``).

Neither can be switched on for one host in this code: it says which label the OCI runtime shall set, and refuses what a
kernel without that module would silently leave out.
"""

from __future__ import annotations

from collections.abc import Mapping

from podyard.cri import api
from podyard.errors import FailedPrecondition
from podyard.oci import apparmor, profiles
from podyard.oci.host import HostFacts

Security = api.LinuxContainerSecurityContext | api.LinuxSandboxSecurityContext

SELINUX_USER = "system_u"
SELINUX_ROLE = "system_r"
SELINUX_TYPE = "container_t"
SELINUX_LEVEL = "s0"
SELINUX_FILE = "system_u:object_r:container_file_t"


def process_labels(security: Security, host: HostFacts) -> Mapping[str, str]:
    """The keys ``apparmorProfile`` and ``selinuxLabel`` of OCI ``process``, as far as they apply.

    Raises FailedPrecondition when the request asks for one that this host does not have.
    """
    labels = {}
    profile = apparmor_profile(security, host)
    if profile:
        labels["apparmorProfile"] = profile
    label = selinux_label(security, host)
    if label:
        labels["selinuxLabel"] = label
    return labels


def apparmor_profile(security: Security, host: HostFacts) -> str:
    """The profile's name, "" for none.

    A request that says nothing gets the default profile where one is loaded (kubernetes issue 51746), unless it is
    privileged. A sandbox has no deprecated string form of the field.
    """
    message = security.apparmor if security.HasField("apparmor") else None
    path = security.apparmor_profile if isinstance(security, api.LinuxContainerSecurityContext) else ""
    asked = profiles.requested(message, path, "security_context.apparmor")
    if asked is not None and asked.kind != "unconfined" and not host.apparmor:
        raise FailedPrecondition("the container asks for an AppArmor profile, and AppArmor is not enabled on this host")
    if asked is None or asked.kind == "default":
        if asked is not None and not host.apparmor_default:
            raise FailedPrecondition("the container asks for the default AppArmor profile, and none is loaded")
        return "" if security.privileged or not host.apparmor else host.apparmor_default
    return asked.name


def check_loaded(security: Security, host: HostFacts) -> None:
    """Refuse an AppArmor profile of the node that the kernel does not have. Blocking: reads the kernel's list.

    Raises FailedPrecondition, naming the profile.
    """
    name = apparmor_profile(security, host)
    if name and name not in apparmor.loaded():
        raise FailedPrecondition(
            f"the AppArmor profile {name!r} is not loaded on this host: load it with apparmor_parser --add <file>"
        )


def selinux_label(security: Security, host: HostFacts) -> str:
    """ "user:role:type:level" with defaults for what the request leaves empty; "" when it asks for none.

    A privileged process keeps the daemon's own label, as in containerd.
    """
    options = security.selinux_options
    asked = (options.user, options.role, options.type, options.level)
    if not any(asked):
        return ""
    if not host.selinux:
        raise FailedPrecondition("the container asks for selinux_options, and SELinux is not enabled on this host")
    if security.privileged:
        return ""
    defaults = (SELINUX_USER, SELINUX_ROLE, SELINUX_TYPE, SELINUX_LEVEL)
    return ":".join(given or default for given, default in zip(asked, defaults, strict=True))


def mount_label(security: Security, host: HostFacts) -> str:
    """The label of the file systems that are made for the container (OCI ``linux.mountLabel``), "" for none."""
    if not selinux_label(security, host):
        return ""
    return f"{SELINUX_FILE}:{security.selinux_options.level or SELINUX_LEVEL}"
