"""AppArmor and SELinux labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from podyard.cri import api
from podyard.errors import FailedPrecondition
from podyard.oci import lsm
from podyard.oci.host import HostFacts

Facts = Callable[..., HostFacts]
Kinds = api.SecurityProfile
ARMED: dict[str, Any] = {"apparmor": True, "apparmor_default": "podyard-default"}


def container(**fields: Any) -> api.LinuxContainerSecurityContext:
    return api.LinuxContainerSecurityContext(**fields)


def named(kind: Kinds.ProfileType.ValueType, ref: str = "") -> api.LinuxContainerSecurityContext:
    return container(apparmor=Kinds(profile_type=kind, localhost_ref=ref))


@pytest.mark.parametrize(
    ("security", "host", "expected"),
    [
        (container(), {}, ""),
        (container(), ARMED, "podyard-default"),
        (container(privileged=True), ARMED, ""),
        (named(Kinds.RuntimeDefault), ARMED, "podyard-default"),
        (named(Kinds.Unconfined), ARMED, ""),
        (named(Kinds.Unconfined), {}, ""),
        (named(Kinds.Localhost, "mine"), ARMED, "mine"),
        (container(apparmor_profile="localhost/mine"), ARMED, "mine"),
        (container(apparmor_profile="unconfined"), {}, ""),
    ],
)
def test_the_apparmor_profile(
    facts: Facts, security: api.LinuxContainerSecurityContext, host: dict[str, Any], expected: str
) -> None:
    assert lsm.process_labels(security, facts(**host)) == ({"apparmorProfile": expected} if expected else {})


@pytest.mark.parametrize(
    ("security", "host", "text"),
    [
        (named(Kinds.RuntimeDefault), {}, "AppArmor is not enabled"),
        (named(Kinds.Localhost, "mine"), {}, "AppArmor is not enabled"),
        (container(apparmor_profile="localhost/mine"), {}, "AppArmor is not enabled"),
        (named(Kinds.RuntimeDefault), {"apparmor": True}, "none is loaded"),
        (container(selinux_options=api.SELinuxOption(level="s0:c1")), {}, "SELinux is not enabled"),
    ],
)
def test_what_the_host_lacks_is_refused(
    facts: Facts, security: api.LinuxContainerSecurityContext, host: dict[str, Any], text: str
) -> None:
    with pytest.raises(FailedPrecondition, match=text):
        lsm.process_labels(security, facts(**host))


def test_the_selinux_label_has_defaults(facts: Facts) -> None:
    security = container(selinux_options=api.SELinuxOption(level="s0:c1,c2"))
    host = facts(selinux=True)
    assert lsm.process_labels(security, host) == {"selinuxLabel": "system_u:system_r:container_t:s0:c1,c2"}
    assert lsm.mount_label(security, host) == "system_u:object_r:container_file_t:s0:c1,c2"
    assert lsm.mount_label(container(), host) == ""
    security.privileged = True
    assert lsm.process_labels(security, host) == {}


def test_a_sandbox_has_labels_too(facts: Facts) -> None:
    security = api.LinuxSandboxSecurityContext(apparmor=Kinds(profile_type=Kinds.Localhost, localhost_ref="mine"))
    assert lsm.process_labels(security, facts(**ARMED)) == {"apparmorProfile": "mine"}
