"""A container as a request, compared with what Kubernetes' documents say a kubelet asks for."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.support.manifests import IMAGE, container_of

from podyard.cri import api
from podyard.manifest.model import Pod
from podyard.manifest.translate import ResolvedMount

MakePod = Callable[..., Pod]


def test_a_plain_container_asks_for_nothing_but_its_image(make_pod: MakePod) -> None:
    config = container_of(make_pod(), attempt=2)
    assert config.metadata == api.ContainerMetadata(name="main", attempt=2)
    assert config.image == api.ImageSpec(image=IMAGE.id, user_specified_image="busybox:1")
    assert config.log_path == "main/2.log"
    assert dict(config.labels) == {
        "io.kubernetes.container.name": "main",
        "io.kubernetes.pod.name": "web",
        "io.kubernetes.pod.namespace": "default",
        "io.kubernetes.pod.uid": "u-1",
    }
    annotations = dict(config.annotations)
    assert len(annotations.pop("io.kubernetes.container.hash")) == 8
    assert annotations == {
        "io.kubernetes.container.restartCount": "2",
        "io.kubernetes.container.terminationMessagePath": "/dev/termination-log",
        "io.kubernetes.container.terminationMessagePolicy": "File",
        "io.kubernetes.pod.terminationGracePeriod": "30",
        "podyard.io/container-kind": "container",
    }
    security = config.linux.security_context
    assert security.seccomp.profile_type == api.SecurityProfile.Unconfined
    assert not (security.privileged or security.no_new_privs or security.readonly_rootfs)
    assert not security.HasField("run_as_user") and not security.run_as_username
    assert "/proc/kcore" in security.masked_paths and "/proc/sys" in security.readonly_paths


@pytest.mark.parametrize(
    ("name", "signal"),
    [
        ("SIGUSR1", api.SIGNAL_SIGUSR1),
        ("SIGRTMIN+3", api.SIGNAL_SIGRTMINPLUS3),
        ("SIGRTMAX-14", api.SIGNAL_SIGRTMAXMINUS14),
        ('""', api.SIGNAL_RUNTIME_DEFAULT),
    ],
)
def test_the_signal_that_stops_it_has_the_protocols_name(make_pod: MakePod, name: str, signal: int) -> None:
    assert container_of(make_pod(container=f"lifecycle: {{stopSignal: {name}}}")).stop_signal == signal


def test_mounts_carry_their_options_and_win_over_managed_files(make_pod: MakePod) -> None:
    pod = make_pod(
        "volumes: [{name: a, emptyDir: {}}]",
        """\
        volumeMounts:
        - {name: a, mountPath: /data, readOnly: true, recursiveReadOnly: Enabled}
        - {name: a, mountPath: /etc/hosts/, mountPropagation: HostToContainer}
        """,
    )
    mounts = pod.spec.containers[0].volume_mounts
    config = container_of(
        pod,
        volumes=[
            ResolvedMount(mount=mounts[0], host_path="/v/a", recursive_read_only=True),
            ResolvedMount(mount=mounts[1], host_path="/v/b"),
        ],
        files={"/etc/hosts": "/p/hosts", "/dev/termination-log": "/p/log"},
    )
    assert list(config.mounts) == [
        api.Mount(container_path="/data", host_path="/v/a", readonly=True, recursive_read_only=True),
        api.Mount(container_path="/etc/hosts/", host_path="/v/b", propagation=api.PROPAGATION_HOST_TO_CONTAINER),
        api.Mount(container_path="/dev/termination-log", host_path="/p/log"),
    ]


def test_the_hook_before_a_stop_stands_in_an_annotation_with_the_ports_number(make_pod: MakePod) -> None:
    lines = "ports: [{containerPort: 80, name: web}]\nlifecycle: {preStop: {httpGet: {port: web, path: /bye}}}"
    pod = make_pod(container=lines)
    found = dict(container_of(pod).annotations)["io.kubernetes.container.preStopHandler"]
    assert json.loads(found)["httpGet"] == {"port": 80, "path": "/bye"}
