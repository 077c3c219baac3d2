"""Security contexts as a container's request."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.manifests import container_of, sandbox_of

from podyard.cri import api
from podyard.errors import InvalidArgument
from podyard.manifest.model import Pod
from podyard.manifest.translate import ImageFacts, check_non_root

MakePod = Callable[..., Pod]


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
