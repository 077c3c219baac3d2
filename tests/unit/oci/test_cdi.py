"""Devices by name: what files may say, which one counts, and what it makes of a spec."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument
from podyard.oci import cdi, cdi_edits


def document(**changes: Any) -> dict[str, Any]:
    return {
        "cdiVersion": "0.6.0",
        "kind": "vendor.com/gpu",
        "devices": [{"name": "0", "containerEdits": {"env": ["GPU=0"]}}],
    } | changes


def write(folder: Path, name: str, content: object) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def spec() -> dict[str, Any]:
    return {
        "process": {"env": ["PATH=/bin", "GPU=old"], "user": {"uid": 1000, "gid": 1001, "additionalGids": [1001]}},
        "mounts": [
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []},
            {"destination": "/a/b", "type": "bind", "source": "/x", "options": ["rbind"]},
        ],
        "linux": {"resources": {"devices": [{"allow": False, "access": "rwm"}]}},
    }


def edited(**edits: Any) -> dict[str, Any]:
    made = spec()
    cdi_edits.apply(made, cdi_edits.look_up([msgspec.convert(edits, cdi.Edits)]))
    return made


def test_names_come_from_the_field_and_from_annotations_each_once() -> None:
    config = api.ContainerConfig(
        CDI_devices=[api.CDIDevice(name="vendor.com/gpu=0")],
        annotations={"cdi.k8s.io/b": "vendor.com/gpu=1, vendor.com/gpu=0", "other": "x"},
    )
    assert cdi.requested(config) == ["vendor.com/gpu=0", "vendor.com/gpu=1"]


@pytest.mark.parametrize("name", ["", "gpu", "vendor.com/gpu", "gpu=0", "/gpu=0", "v/c=", "v/c=a b", "v/c/d=0"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="vendor/class=device"):
        cdi.requested(api.ContainerConfig(CDI_devices=[api.CDIDevice(name=name)]))


def test_json_and_yaml_are_read(tmp_path: Path) -> None:
    write(tmp_path, "a.json", document())
    write(
        tmp_path,
        "b.yaml",
        "cdiVersion: 1.0.0\nkind: vendor.com/nic\ndevices:\n- {name: eth, containerEdits: {additionalGids: [5]}}\n",
    )
    write(tmp_path, "c.txt", "no file of this kind")
    assert set(cdi.read([tmp_path]).devices) == {"vendor.com/gpu=0", "vendor.com/nic=eth"}


def test_edits_that_all_devices_share_come_once_and_first(tmp_path: Path) -> None:
    devices = [{"name": name, "containerEdits": {"env": [f"{name}=1"]}} for name in ("one", "two")]
    write(tmp_path, "a.json", document(devices=devices, containerEdits={"env": ["ALL=1"]}))
    found = cdi.find(["vendor.com/gpu=one", "vendor.com/gpu=two"], [tmp_path])
    assert [edits.env for edits in found] == [["ALL=1"], ["one=1"], ["two=1"]]


def test_a_later_directory_wins(tmp_path: Path) -> None:
    write(tmp_path / "etc", "a.json", document())
    write(tmp_path / "run", "z.json", document(devices=[{"name": "0", "containerEdits": {"env": ["GPU=run"]}}]))
    found = cdi.find(["vendor.com/gpu=0"], [tmp_path / "etc", tmp_path / "run", tmp_path / "missing"])
    assert [edits.env for edits in found] == [[], ["GPU=run"]]


def test_two_files_of_one_rank_are_told(tmp_path: Path) -> None:
    write(tmp_path, "a.json", document())
    write(tmp_path, "b.json", document())
    with pytest.raises(FailedPrecondition, match=r"both .*a\.json and .*b\.json have vendor\.com/gpu=0"):
        cdi.find(["vendor.com/gpu=0"], [tmp_path])


def test_a_device_of_three_files_stays_ambiguous(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path, f"{name}.json", document())
    with pytest.raises(FailedPrecondition, match="vendor"):
        cdi.find(["vendor.com/gpu=0"], [tmp_path])


def test_a_broken_file_leaves_the_others_alone_and_is_told_where_it_matters(tmp_path: Path) -> None:
    write(tmp_path, "a.json", document())
    write(tmp_path, "b.json", "{")
    assert len(cdi.find(["vendor.com/gpu=0"], [tmp_path])) == 2
    with pytest.raises(FailedPrecondition, match=r"no CDI device vendor\.com/gpu=9 .*b\.json is no CDI file"):
        cdi.find(["vendor.com/gpu=9"], [tmp_path])


def test_without_names_nothing_is_read(tmp_path: Path) -> None:
    assert cdi.find([], [tmp_path / "missing"]) == []


def device(**edits: Any) -> dict[str, Any]:
    return document(devices=[{"name": "0", "containerEdits": edits}])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("- a", "no CDI file"),
        ("a: [", "no CDI file"),
        (document(cdiVersion="9.0.0"), "version '9.0.0'"),
        (document(kind="gpu"), "kind 'gpu'"),
        (document(more=1), "more"),
        (document(devices=[{"name": "a b", "containerEdits": {}}]), "'a b'"),
        (device(netDevices=[{"name": "eth0"}]), "netDevices"),
        (device(env=["NOVALUE"]), "NAME=value"),
        (device(mounts=[{"hostPath": "relative", "containerPath": "/x"}]), "'relative'"),
        (device(deviceNodes=[{"path": "/dev/x", "permissions": "rx"}]), "'rx'"),
        (device(deviceNodes=[{"path": "/dev/x", "type": "z"}]), "no CDI file"),
        (device(hooks=[{"hookName": "whenever", "path": "/bin/true"}]), "no CDI file"),
        (device(hooks=[{"hookName": "prestart", "path": "true"}]), "'true'"),
    ],
)
def test_what_a_file_may_not_say(tmp_path: Path, content: object, text: str) -> None:
    path = write(tmp_path, "a.yaml", content)
    with pytest.raises(InvalidArgument, match=text) as caught:
        cdi.read_file(path)
    assert str(path) in str(caught.value)


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(cdi.FILE_LIMIT + 1)
    with pytest.raises(InvalidArgument, match="more than"):
        cdi.read_file(path)


def test_variables_replace_those_of_the_container() -> None:
    assert edited(env=["GPU=new", "MORE=1"])["process"]["env"] == ["PATH=/bin", "GPU=new", "MORE=1"]


def test_a_device_node_is_as_on_the_host_and_the_containers_users() -> None:
    made = edited(deviceNodes=[{"path": "/dev/inside", "hostPath": "/dev/full"}])["linux"]
    mode = Path("/dev/full").stat().st_mode & 0o777
    numbers = {"type": "c", "major": 1, "minor": 7}
    assert made["devices"] == [{"path": "/dev/inside", **numbers, "fileMode": mode, "uid": 1000, "gid": 1001}]
    assert made["resources"]["devices"][-1] == {"allow": True, **numbers, "access": "rwm"}


def test_a_device_node_as_the_file_has_it() -> None:
    node = {
        "path": "/dev/null",
        "type": "c",
        "major": 9,
        "minor": 8,
        "fileMode": 0o600,
        "permissions": "r",
        "uid": 0,
        "gid": 4,
    }
    made = edited(deviceNodes=[node])["linux"]
    del node["permissions"]
    assert made["devices"] == [node]
    assert made["resources"]["devices"][-1]["access"] == "r"


def test_a_device_node_that_the_file_tells_need_not_be_there() -> None:
    numbers = {"type": "c", "major": 9, "minor": 0}
    made = edited(deviceNodes=[{"path": "/dev/no-such-node", "type": "c", "major": 9}])["linux"]
    assert made["devices"] == [{"path": "/dev/no-such-node", **numbers, "uid": 1000, "gid": 1001}]
    assert made["resources"]["devices"][-1] == {"allow": True, **numbers, "access": "rwm"}


@pytest.mark.parametrize(
    "node", [{"path": "/dev/no-such-node"}, {"path": "/etc/passwd"}, {"path": "/dev/null", "type": "b"}]
)
def test_a_device_node_that_is_not_there_is_named(node: dict[str, Any]) -> None:
    with pytest.raises(FailedPrecondition, match=node["path"]):
        edited(deviceNodes=[node])


def test_a_mount_takes_the_place_of_another_and_hides_none() -> None:
    made = edited(
        mounts=[
            {"hostPath": "/h", "containerPath": "/a/b", "options": ["ro", "bind"]},
            {"hostPath": "/h", "containerPath": "/a"},
        ]
    )["mounts"]
    assert [mount["destination"] for mount in made] == ["/dev", "/a", "/a/b"]
    assert made[1] == {"destination": "/a", "type": "bind", "source": "/h", "options": ["rbind"]}
    assert made[2]["options"] == ["ro", "bind"]


def test_hooks_groups_and_intel_rdt() -> None:
    made = edited(
        hooks=[{"hookName": "createContainer", "path": "/bin/hook", "args": ["hook", "x"], "timeout": 5}],
        additionalGids=[0, 1001, 44, 44],
        intelRdt={"closID": "class", "enableCMT": True},
    )
    assert made["hooks"] == {"createContainer": [{"path": "/bin/hook", "args": ["hook", "x"], "timeout": 5}]}
    assert made["process"]["user"]["additionalGids"] == [1001, 44]
    assert made["linux"]["intelRdt"] == {"closID": "class", "enableCMT": True}
