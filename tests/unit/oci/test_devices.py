"""Device nodes and cgroup rules."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from podyard.cri import api
from podyard.errors import InvalidArgument
from podyard.oci import devices
from podyard.oci.devices import device_nodes, device_rules, find_devices


def asked(host: str, inside: str = "/dev/mine", permissions: str = "rwm") -> api.Device:
    return api.Device(host_path=host, container_path=inside, permissions=permissions)


def test_one_node_under_another_name() -> None:
    (node,) = find_devices([asked("/dev/null", "/dev/../dev/mine", "mr")], privileged=False)
    assert (node.path, node.kind, node.major, node.minor, node.access) == ("/dev/mine", "c", 1, 3, "rm")
    owner = Path("/dev/null").stat()
    assert device_nodes([node]) == [
        {
            "path": "/dev/mine",
            "type": "c",
            "major": 1,
            "minor": 3,
            "fileMode": 0o666,
            "uid": owner.st_uid,
            "gid": owner.st_gid,
        }
    ]
    rules = device_rules([node], privileged=False)
    assert rules[0] == {"allow": False, "access": "rwm"}
    assert rules[-1] == {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rm"}


@pytest.mark.host
def test_a_directory_stands_for_the_nodes_below_it(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    os.mknod(tmp_path / "one", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    os.mknod(tmp_path / "deep" / "two", stat.S_IFBLK | 0o600, os.makedev(7, 9))
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("/dev/null")
    nodes = find_devices([asked(str(tmp_path), "/dev/all")], privileged=False)
    assert {(node.path, node.kind, node.minor) for node in nodes} == {
        ("/dev/all/one", "c", 5),
        ("/dev/all/deep/two", "b", 9),
    }


def test_a_directory_with_too_much_in_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        (tmp_path / str(number)).touch()
    monkeypatch.setattr(devices, "LIMIT", 3)
    with pytest.raises(InvalidArgument, match="more than 3 files"):
        find_devices([asked(str(tmp_path))], privileged=False)


@pytest.mark.parametrize(
    ("device", "text"),
    [
        (asked("/dev/no-such-thing"), "'/dev/no-such-thing': No such file"),
        (asked("/etc/passwd"), "neither a device"),
        (asked("/etc/ssl"), "neither a device"),
        (asked("dev/null"), "host_path"),
        (asked("/dev/null", "mine"), "container_path"),
        (asked("/dev/null", "/.."), "container_path"),
        (asked("/dev/null", permissions=""), "permissions ''"),
        (asked("/dev/null", permissions="rx"), "permissions 'rx'"),
    ],
)
def test_a_device_that_cannot_be_is_refused(device: api.Device, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        find_devices([device], privileged=False)


def test_the_privileged_get_the_hosts_devices_but_not_what_is_each_containers_own() -> None:
    paths = {node.path for node in find_devices([asked("/dev/null", "/dev/mine")], privileged=True)}
    assert "/dev/kmsg" in paths and "/dev/mine" in paths
    assert not {path for path in paths if path.startswith(("/dev/pts", "/dev/shm", "/dev/mqueue"))}
    assert not {f"/dev/{name}" for name in devices.STANDARD} & paths
    assert device_rules([], privileged=True) == [{"allow": True, "access": "rwm"}]
