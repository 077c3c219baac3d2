"""Security contexts of a Pod and of a container."""

from __future__ import annotations

from typing import ClassVar, Literal

from podyard.manifest.model.base import Object


class SeccompProfile(Object, frozen=True, kw_only=True):
    type: Literal["RuntimeDefault", "Unconfined", "Localhost"]
    localhost_profile: str | None = None


class AppArmorProfile(Object, frozen=True, kw_only=True):
    type: Literal["RuntimeDefault", "Unconfined", "Localhost"]
    localhost_profile: str | None = None


class SELinuxOptions(Object, frozen=True, kw_only=True):
    user: str = ""
    role: str = ""
    type: str = ""
    level: str = ""


class Capabilities(Object, frozen=True, kw_only=True):
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class Sysctl(Object, frozen=True, kw_only=True):
    name: str
    value: str


class PodSecurityContext(Object, frozen=True, kw_only=True):
    unsupported: ClassVar[frozenset[str]] = frozenset({"seLinuxChangePolicy", "windowsOptions"})

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    fs_group: int | None = None
    fs_group_change_policy: Literal["Always", "OnRootMismatch"] = "Always"
    supplemental_groups: tuple[int, ...] = ()
    supplemental_groups_policy: Literal["Merge", "Strict"] = "Merge"
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None
    se_linux_options: SELinuxOptions | None = None
    sysctls: tuple[Sysctl, ...] = ()


class SecurityContext(Object, frozen=True, kw_only=True):
    unsupported: ClassVar[frozenset[str]] = frozenset({"windowsOptions"})

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    privileged: bool = False
    allow_privilege_escalation: bool | None = None
    capabilities: Capabilities = Capabilities()
    read_only_root_filesystem: bool = False
    proc_mount: Literal["Default", "Unmasked"] = "Default"
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None
    se_linux_options: SELinuxOptions | None = None
