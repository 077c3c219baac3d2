"""Which CNI configuration is taken, and which is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from podyard.network.config import NetworkConfig
from podyard.network.configuration import SIZE_LIMIT, Directory, parse


def conflist(name: str = "net", **more: Any) -> str:
    return json.dumps({"cniVersion": "1.0.0", "name": name, "plugins": [{"type": "bridge"}]} | more)


def loaded_name(directory: Directory) -> str | None:
    configuration = directory.load().configuration
    return configuration.name if configuration else None


def test_the_first_file_by_name_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    (tmp_path / "20-b.conflist").write_text(conflist("b"))
    (tmp_path / "10-a.conf").write_text(json.dumps({"cniVersion": "0.4.0", "name": "a", "type": "ptp", "mtu": 9}))
    (tmp_path / "00-notes.txt").write_text("not a configuration")
    configuration = Directory(tmp_path).load().configuration
    assert configuration is not None
    assert (configuration.name, configuration.versions) == ("a", ("0.4.0",))
    assert configuration.plugins == ({"cniVersion": "0.4.0", "name": "a", "type": "ptp", "mtu": 9},)


def test_invalid_files_are_skipped_and_named(tmp_path: Path) -> None:
    (tmp_path / "01-a.conflist").write_text("{")
    (tmp_path / "02-b.conflist").symlink_to(tmp_path / "nowhere")
    (tmp_path / "03-c.conflist").write_text(conflist("c"))
    loaded = Directory(tmp_path).load()
    assert loaded.configuration is not None
    assert loaded.configuration.name == "c"
    assert [problem.split(" is not used: ")[0] for problem in loaded.problems] == [
        str(tmp_path / "01-a.conflist"),
        str(tmp_path / "02-b.conflist"),
    ]
    assert "No such file" in loaded.problems[1]


def test_no_directory_is_no_configuration_and_no_problem(tmp_path: Path) -> None:
    loaded = Directory(tmp_path / "absent").load()
    assert (loaded.configuration, loaded.problems, loaded.any_file) == (None, (), False)


def test_changes_are_noticed_be_they_written_renamed_or_removed(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    assert loaded_name(directory) is None
    (tmp_path / "10-a.conflist.new").write_text(conflist("a"))
    assert loaded_name(directory) is None
    (tmp_path / "10-a.conflist.new").rename(tmp_path / "10-a.conflist")
    assert loaded_name(directory) == "a"
    (tmp_path / "10-a.conflist").write_text(conflist("longer"))
    assert loaded_name(directory) == "longer"
    (tmp_path / "05-z.conflist").write_text(conflist("z"))
    assert loaded_name(directory) == "z"
    (tmp_path / "05-z.conflist").unlink()
    assert loaded_name(directory) == "longer"


def test_an_unchanged_directory_gives_the_same_object(tmp_path: Path) -> None:
    (tmp_path / "10-a.conflist").write_text(conflist("a"))
    directory = Directory(tmp_path)
    assert directory.load() is directory.load()


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "10-a.conflist").write_text(conflist(padding="x" * SIZE_LIMIT))
    assert "larger than" in Directory(tmp_path).load().problems[0]


@pytest.mark.parametrize(
    ("content", "is_list", "complaint"),
    [
        ("[]", True, "not a JSON object"),
        ("nonsense", True, "malformed"),
        (conflist(name="../x"), True, "name '../x'"),
        (conflist(name=""), True, "name ''"),
        (conflist(plugins=[]), True, "no plugins"),
        (conflist(plugins={"type": "bridge"}), True, "no plugins"),
        (conflist(plugins=["bridge"]), True, "plugin 0 has no valid type"),
        (conflist(plugins=[{"type": "a"}, {"type": "../sh"}]), True, "plugin 1 has no valid type: '../sh'"),
        (conflist(plugins=[{"type": ".."}]), True, "no valid type"),
        (conflist(plugins=[{"type": "a", "capabilities": ["dns"]}]), True, "capabilities of plugin 0"),
        (conflist(cniVersion="2.0.0"), True, r"cniVersion \(2.0.0\) is not one of"),
        (conflist(cniVersion=None), True, r"cniVersion \(none\)"),
        (conflist(), False, "must be named"),
        (json.dumps({"cniVersion": "1.0.0", "name": "n"}), False, "plugin 0 has no valid type"),
    ],
)
def test_what_is_wrong_is_said(content: str, is_list: bool, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse(content.encode(), is_list=is_list)


def test_of_several_versions_those_that_are_known_count_newest_first() -> None:
    configuration = parse(conflist(cniVersion="0.4.0", cniVersions=["1.0.0", "9.9.9", "1.1.0"]).encode(), is_list=True)
    assert configuration.versions == ("1.1.0", "1.0.0", "0.4.0")


def test_the_plugins_that_give_addresses_are_needed_too() -> None:
    plugins = [{"type": "bridge", "ipam": {"type": "host-local"}}, {"type": "portmap"}, {"type": "bridge"}]
    configuration = parse(conflist(plugins=plugins).encode(), is_list=True)
    assert configuration.plugin_names == ["bridge", "host-local", "portmap"]


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"bridge": "a-name-that-is-too-long"}, "no interface name"),
        ({"ifname": "a/b"}, "no interface name"),
        ({"timeout": 0}, "more than 0"),
        ({"subnets": []}, "one IPv4 subnet"),
        ({"subnets": ["10.1.0.0/16", "10.2.0.0/16"]}, "one IPv4 subnet"),
        ({"subnets": ["10.1.2.3/16"]}, "host bits"),
        ({"subnets": ["10.1.2.4/31"]}, "10.1.2.4/31 has no address for a pod"),
    ],
)
def test_settings_that_cannot_be_are_refused(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=complaint):
        msgspec.convert(values, NetworkConfig)
