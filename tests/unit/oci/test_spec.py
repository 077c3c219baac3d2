"""The whole spec: which field of a request ends where."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument
from podyard.linux import mounts
from podyard.linux.userns import IdMap, Range
from podyard.model.image import ImageConfig
from podyard.oci.host import HostFacts, read_host_facts
from podyard.oci.lookup import Found, look_up
from podyard.oci.spec import SpecInputs, build_spec, infra_spec
from podyard.oci.users import User

Facts = Callable[..., HostFacts]
MAP = IdMap((Range(0, 100_000, 1000),), (Range(0, 100_000, 1000),))
HIDDEN = {"masked_paths": ["/proc/kcore"], "readonly_paths": ["/proc/sys"]}


def secured(**fields: Any) -> api.ContainerConfig:
    return api.ContainerConfig(
        linux=api.LinuxContainerConfig(security_context=api.LinuxContainerSecurityContext(**fields))
    )


def built(host: HostFacts, config: api.ContainerConfig | None = None, **changes: Any) -> dict[str, Any]:
    inputs = SpecInputs(
        **{
            "config": config or api.ContainerConfig(),
            "sandbox": api.PodSandboxConfig(hostname="pod-1"),
            "image": ImageConfig(cmd=("/run",)),
            "rootfs": Path("/bundle/rootfs"),
            "found": Found(User(5, 6, (6, 7), "/home")),
            "namespaces": {"mount": "", "network": "/pins/network", "pid": "/proc/9/ns/pid"},
            "cgroups_path": "/parent/id",
            "files": {},
            "shm": Path("/shm"),
            "host": host,
            **changes,
        }
    )
    spec = build_spec(inputs)
    assert json.loads(json.dumps(spec)) == spec
    return spec


@pytest.mark.parametrize(
    ("path", "resources", "v2", "told"),
    [
        ("podyard.slice:podyard:id", {"memory_limit_in_bytes": 1 << 24}, True, True),
        ("podyard.slice:podyard:id", {"memory_limit_in_bytes": 1 << 24}, False, False),
        ("podyard.slice:podyard:id", {}, True, False),
        (
            "podyard.slice:podyard:id",
            {"memory_limit_in_bytes": 1 << 24, "memory_swap_limit_in_bytes": 1 << 25},
            True,
            False,
        ),
        ("podyard.slice:podyard:id", {"unified": {"memory.swap.max": "0"}}, True, True),
        (
            "podyard.slice:podyard:id",
            {"memory_limit_in_bytes": 1 << 24, "unified": {"memory.swap.max": "4096"}},
            True,
            False,
        ),
        ("/podyard/id", {"memory_limit_in_bytes": 1 << 24}, True, False),
    ],
    ids=["no swap", "cgroup v1", "no limit", "some swap", "no swap from a kubelet", "some from a kubelet", "cgroupfs"],
)
def test_systemd_is_told_of_a_container_without_swap(
    facts: Facts, path: str, resources: dict[str, Any], v2: bool, told: bool
) -> None:
    config = api.ContainerConfig(linux=api.LinuxContainerConfig(resources=api.LinuxContainerResources(**resources)))
    spec = built(facts(cgroup_v2=v2, swap=True), config, cgroups_path=path)
    assert spec.get("annotations") == ({"org.systemd.property.MemorySwapMax": "uint64 0"} if told else None)


def test_the_plain_spec(facts: Facts) -> None:
    spec = built(facts())
    assert spec["ociVersion"] == "1.0.2"
    assert spec["root"] == {"path": "/bundle/rootfs", "readonly": False}
    assert spec["process"]["user"] == {"uid": 5, "gid": 6, "additionalGids": [6, 7]}
    assert "HOSTNAME=pod-1" in spec["process"]["env"]
    assert "hostname" not in spec
    assert spec["process"]["noNewPrivileges"] is False
    assert spec["linux"]["cgroupsPath"] == "/parent/id"
    assert spec["linux"]["namespaces"] == [
        {"type": "mount"},
        {"type": "network", "path": "/pins/network"},
        {"type": "pid", "path": "/proc/9/ns/pid"},
    ]
    assert not {"seccomp", "maskedPaths", "readonlyPaths", "mountLabel", "devices", "rootfsPropagation"} & set(
        spec["linux"]
    )


def test_a_pod_without_a_host_name_has_the_hosts(facts: Facts) -> None:
    assert "HOSTNAME=node-1" in built(facts(), sandbox=api.PodSandboxConfig())["process"]["env"]


def test_masked_and_readonly_paths_are_the_requests(facts: Facts) -> None:
    linux = built(facts(), secured(**HIDDEN))["linux"]
    assert (linux["maskedPaths"], linux["readonlyPaths"]) == (["/proc/kcore"], ["/proc/sys"])
    assert not {"maskedPaths", "readonlyPaths"} & set(built(facts(), secured(privileged=True, **HIDDEN))["linux"])
    with pytest.raises(InvalidArgument, match="readonly_paths: 'proc' is not"):
        built(facts(), secured(readonly_paths=["proc"]))


def test_the_security_context(facts: Facts) -> None:
    config = secured(
        readonly_rootfs=True,
        no_new_privs=True,
        seccomp=api.SecurityProfile(profile_type=api.SecurityProfile.RuntimeDefault),
        capabilities=api.Capability(add_capabilities=["SYS_ADMIN"]),
    )
    config.linux.resources.oom_score_adj = -500
    config.linux.resources.cpu_shares = 512
    spec = built(facts(oom_score_adj_floor=-100), config)
    assert spec["root"]["readonly"] is True
    assert spec["process"]["noNewPrivileges"] is True
    assert spec["process"]["oomScoreAdj"] == -100
    assert spec["linux"]["resources"]["cpu"] == {"shares": 512}
    assert spec["linux"]["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    # The container's own capabilities decide which calls the profile has.
    assert any("mount" in rule["names"] for rule in spec["linux"]["seccomp"]["syscalls"])


def test_a_privileged_container(facts: Facts) -> None:
    spec = built(facts(), secured(privileged=True))
    assert spec["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert len(spec["process"]["capabilities"]["bounding"]) == 41


def test_a_bidirectional_mount_opens_the_root(facts: Facts) -> None:
    config = api.ContainerConfig(
        mounts=[api.Mount(container_path="/a", host_path="/b", propagation=api.PROPAGATION_BIDIRECTIONAL)]
    )
    assert built(facts(), config)["linux"]["rootfsPropagation"] == "rshared"


def test_a_user_namespace_comes_with_its_mappings(facts: Facts) -> None:
    spec = built(facts(), id_map=MAP, namespaces={"user": "/pins/user", "mount": ""})
    assert {"type": "user", "path": "/pins/user"} in spec["linux"]["namespaces"]
    assert spec["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 100_000, "size": 1000}]
    assert spec["linux"]["gidMappings"] == spec["linux"]["uidMappings"]


@pytest.mark.parametrize("user", [User(1000, 0, (0,), "/"), User(0, 1000, (1000,), "/"), User(0, 0, (0, 5000), "/")])
def test_a_user_outside_the_mappings_is_refused(facts: Facts, user: User) -> None:
    with pytest.raises(InvalidArgument, match=r"1000|5000"):
        built(facts(), id_map=MAP, found=Found(user))


def test_the_infra_process_has_no_rights(facts: Facts) -> None:
    config = api.PodSandboxConfig()
    config.linux.security_context.run_as_user.value = 7
    spec = infra_spec(config, namespaces={"ipc": "/pins/ipc"}, cgroups_path="/c", host=facts(oom_score_adj_floor=0))
    assert json.loads(json.dumps(spec)) == spec
    assert spec["ociVersion"] == "1.0.2"
    assert spec["process"]["args"] == ["/init", "-P"]
    assert not any(spec["process"]["capabilities"].values())
    assert spec["process"]["noNewPrivileges"] is True
    assert spec["process"]["oomScoreAdj"] == 0
    assert spec["process"]["user"]["uid"] == 7
    assert spec["root"]["readonly"] is True
    assert spec["linux"]["namespaces"] == [{"type": "pid"}, {"type": "mount"}, {"type": "ipc", "path": "/pins/ipc"}]
    assert spec["linux"]["resources"]["cpu"] == {"shares": 2}
    assert spec["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
    assert infra_spec(config, namespaces={}, cgroups_path="/c", host=facts())["process"]["oomScoreAdj"] == -998
    without = infra_spec(config, namespaces={}, cgroups_path="/c", host=facts(seccomp=False))
    assert "seccomp" not in without["linux"]


def test_what_is_looked_up(facts: Facts, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("me:x:5:6::/me:\n")
    config = api.ContainerConfig(devices=[api.Device(container_path="/dev/x", host_path="/dev/null", permissions="r")])
    found = look_up(config, "me", tmp_path, facts())
    assert (found.user.uid, [node.path for node in found.devices], found.seccomp) == (5, ["/dev/x"], None)


@pytest.mark.host
def test_a_mount_whose_propagation_cannot_work_is_found(facts: Facts, tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir()
    config = api.ContainerConfig(
        mounts=[api.Mount(container_path="/a", host_path=str(folder), propagation=api.PROPAGATION_BIDIRECTIONAL)]
    )
    mounts.mount_tmpfs(folder, "size=1m")
    try:
        subprocess.run(["mount", "--make-private", str(folder)], check=True)
        with pytest.raises(FailedPrecondition, match=f"lies on {folder}, which is not a shared mount"):
            look_up(config, "0", tmp_path, facts())
        subprocess.run(["mount", "--make-shared", str(folder)], check=True)
        assert look_up(config, "0", tmp_path, facts()).user.uid == 0
    finally:
        mounts.remove_tree(folder)


def test_the_facts_of_this_host() -> None:
    host = read_host_facts(Path("/profiles"), pids_limit=9)
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    assert len(host.capabilities) == (int(status["CapEff"], 16) & int(status["CapBnd"], 16)).bit_count()
    assert host.seccomp is ("Seccomp" in status)
    assert (host.seccomp_dir, host.pids_limit) == (Path("/profiles"), 9)
    assert {"memory", "pids", "cpu", "cpuset"} <= host.controllers
    assert all(size.endswith(("KB", "MB", "GB")) for size in host.hugepage_sizes)
    assert -1000 <= host.oom_score_adj_floor <= 1000
